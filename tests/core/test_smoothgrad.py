"""SmoothGrad is the gradient where that is constant, and its noise has its size."""

import numpy as np
import pytest
from toys import linear, photo, relative_distance, sum_of_squares, toy

from xai_helpers import explain


def test_smoothgrad_without_noise_is_the_gradient(clf, cat):
    plain = explain.gradients(clf, cat, "tabby").values
    smooth = explain.smoothgrad(clf, cat, "tabby", noise=0, samples=2).values
    assert relative_distance(smooth, plain) < 0.01


def test_smoothgrad_is_the_gradient_where_the_score_is_linear():
    clf, weights = linear()
    values = explain.smoothgrad(clf, photo((20, 28)), 1, samples=5).values
    assert values == pytest.approx(weights[..., 1], rel=1e-4)


def test_the_noise_has_the_size_that_was_asked_for():
    """With the score ½ Σ x² the gradient is x: one noisy copy shows its noise."""
    clf = sum_of_squares((32, 32), factor=0.5)
    image = photo((32, 32))
    one_copy = explain.smoothgrad(clf, image, 0, noise=0.2, samples=1, seed=3).values
    noise = one_copy * 255**2 - image
    count = noise.size
    assert abs(noise.mean()) < 4 * 51 / np.sqrt(count)
    assert abs(noise.std() / 51 - 1) < 4 / np.sqrt(2 * count)
    mean = explain.smoothgrad(clf, image, 0, noise=0.2, samples=64, seed=3).values
    remaining = (mean * 255**2 - image).std()
    assert abs(remaining / (51 / 8) - 1) < 4 / np.sqrt(2 * count)


def test_the_noise_does_not_depend_on_the_memory(monkeypatch):
    clf, image = toy(), photo((12, 14))
    runs = []
    for memory in (2**30, 1):
        monkeypatch.setenv("XAI_MEMORY_MB", str(memory / 2**20))
        runs.append(explain.smoothgrad(clf, image, 0, samples=7).values)
    assert np.allclose(*runs, atol=1e-7)


def test_cancelled_stops_the_work():
    def stop(done, total):
        raise explain.Cancelled

    clf, _ = linear()
    with pytest.raises(explain.Cancelled):
        explain.smoothgrad(clf, photo((20, 28)), samples=40, progress=stop)


BAD_USE = {
    "zero samples": ({"samples": 0}, "from 1 up"),
    "negative noise": ({"noise": -1}, "0 and up"),
    "nan noise": ({"noise": np.nan}, "0 and up"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case):
    options, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.smoothgrad(toy(), photo((12, 14)), **options)
