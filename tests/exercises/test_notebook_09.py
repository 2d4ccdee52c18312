"""The checks of notebook 09: right answers pass, each mistake gets its own hint."""

import numpy as np
import pytest
from PIL import Image

from xai_helpers import check, explain, metrics, sample_image
from xai_helpers.exercises.notebook_09 import LAYER, TARGET, maps_with_a_bug


def downsample(heat, side):
    return np.asarray(Image.fromarray(heat).resize((side, side), Image.BOX))


def ranks(values):
    return np.argsort(np.argsort(np.ravel(values)))


def r(first, second):
    return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]


@pytest.fixture(scope="module")
def dogs():
    return sample_image("dogs")


@pytest.fixture(scope="module")
def small(xception, dogs):
    sizes = np.abs(explain.gradients(xception, dogs, TARGET).map)
    return explain.activations(xception, dogs, LAYER).map, downsample(sizes, 10)


@pytest.fixture(scope="module")
def heats(xception, dogs):
    smooth = explain.smoothgrad(xception, dogs, TARGET, samples=8)
    return smooth.heatmap(), explain.grad_cam(xception, dogs, TARGET).heatmap()


def at_three_sizes(smooth, cam, after=np.array):
    return [
        metrics.rank_correlation(after(downsample(smooth, side)), downsample(cam, side))
        for side in (16, 64, 299)
    ]


def test_rank_correlation_by_hand(small):
    first, second = small
    assert check("09-1", r(ranks(first), ranks(second)))


WRONG_CORRELATIONS = {
    "values": (r, "replace them by their ranks"),
    "one argsort": (
        lambda a, b: r(np.argsort(a, axis=None), np.argsort(b, axis=None)),
        "argsort once",
    ),
    "rows": (
        lambda a, b: r(np.argsort(np.argsort(a)), np.argsort(np.argsort(b))),
        "within each row",
    ),
    "covariance": (
        lambda a, b: np.cov(ranks(a), ranks(b))[0, 1],
        "divide by both",
    ),
    "the sign": (lambda a, b: -r(ranks(a), ranks(b)), "up to the sign"),
}


@pytest.mark.parametrize("mistake", WRONG_CORRELATIONS)
def test_mistakes_in_rank_correlation(mistake, small):
    compute, hint = WRONG_CORRELATIONS[mistake]
    verdict = check("09-1", compute(*small))
    assert not verdict
    assert hint in verdict.hint


def test_resolutions(heats):
    smooth, cam = heats
    assert check("09-2", at_three_sizes(np.abs(smooth), cam))


WRONG_RESOLUTIONS = {
    "signed": (at_three_sizes, "signs are still there"),
    "absolute value after the mean": (
        lambda smooth, cam: at_three_sizes(smooth, cam, np.abs),
        "after the mean",
    ),
    "reversed": (
        lambda smooth, cam: at_three_sizes(np.abs(smooth), cam)[::-1],
        "reverse order",
    ),
    "one size": (lambda smooth, cam: at_three_sizes(np.abs(smooth), cam)[:1], "shape"),
}


@pytest.mark.parametrize("mistake", WRONG_RESOLUTIONS)
def test_mistakes_in_resolutions(mistake, heats):
    compute, hint = WRONG_RESOLUTIONS[mistake]
    verdict = check("09-2", compute(*heats))
    assert not verdict
    assert hint in verdict.hint


def test_claims():
    assert check("09-3", "c")
    hints = {check("09-3", wrong).hint for wrong in ("a", "b", "d")}
    assert len(hints) == 3 and None not in hints


def test_a_grey_image_supports_the_claim(xception, dogs):
    grey = np.full((299, 299, 3), 127, "uint8")
    maps = [explain.activations(xception, image, LAYER) for image in (dogs, grey)]
    assert metrics.rank_correlation(*maps) > 0.4


def test_map_with_a_bug(xception):
    assert check("09-4", "SmoothGrad") and check("09-4", "smoothgrad ")
    hints = {check("09-4", name).hint for name in ("activations", "Grad-CAM", "A")}
    assert len(hints) == 3 and None not in hints
    maps = maps_with_a_bug(xception, sample_image("bird"))
    right = maps | {"SmoothGrad": maps["SmoothGrad"].T}
    for other in ("activations", "Grad-CAM"):
        pair = right["SmoothGrad"], right[other]
        assert metrics.rank_correlation(*pair) > 0.7
        assert metrics.rank_correlation(maps["SmoothGrad"], maps[other]) < 0.2
