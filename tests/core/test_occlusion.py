"""Occlusion is exact where the score is linear, and finds what matters."""

import numpy as np
import pytest
from toys import detector, linear, photo, toy

from xai_helpers import explain
from xai_helpers.core.techniques.occlusion import occlude, patch_positions

PATCHES = [((4, 4), (4, 4)), ((5, 3), (2, 4)), ((20, 28), (1, 1)), ((1, 1), (3, 5))]


@pytest.mark.parametrize(("patch", "stride"), PATCHES)
@pytest.mark.parametrize("fill", [127, (10, 200, 30)])
def test_occlusion_is_exact_where_the_score_is_linear(patch, stride, fill):
    clf, weights = linear((20, 28))
    image = photo((20, 28))
    attribution = explain.occlusion(
        clf, image, 2, patch=patch, stride=stride, fill=fill
    )
    lost = (weights[..., 2] * (image.astype(float) - np.array(fill))).sum(axis=2)
    rows = attribution.parameters["rows"]
    columns = attribution.parameters["columns"]
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1] + patch[0], columns[-1] + patch[1]) == (20, 28)
    total, covers = np.zeros((20, 28)), np.zeros((20, 28))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            area = np.s_[row : row + patch[0], column : column + patch[1]]
            drop = lost[area].sum()
            assert attribution.values[i, j] == pytest.approx(drop, abs=1e-3)
            total[area] += drop
            covers[area] += 1
    expected = total / np.maximum(covers, 1)
    assert attribution.heatmap() == pytest.approx(expected, abs=1e-3)


def test_occlusion_of_probabilities_is_the_drop_of_the_probability():
    clf = toy()
    image = photo((12, 14))
    attribution = explain.occlusion(
        clf, image, 1, patch=(12, 14), fill=0, score="probability"
    )
    black = np.zeros_like(image)
    full, occluded = clf.probabilities([image, black])[:, 1]
    assert attribution.values == pytest.approx(full - occluded, abs=1e-5)


def test_occlusion_finds_the_only_patch_that_matters():
    """A detector of red at one place; the photo has another shape than the network."""
    weights = np.zeros((40, 40, 3))
    weights[30:34, 8:12, 0] = 255
    clf = detector(weights)
    image = np.full((40, 60, 3), 255, np.uint8)
    attribution = explain.occlusion(clf, image, 1, patch=4, stride=2)
    heatmap = attribution.heatmap_on_original()
    row, column = np.unravel_index(heatmap.argmax(), (40, 60))
    assert 30 <= row < 34
    assert 8 + 10 <= column < 12 + 10  # the crop starts at column 10
    assert not heatmap[:, :10].any()


@pytest.mark.parametrize("incremental", [True, False])
def test_nothing_is_compiled_for_a_second_photo_or_patch(incremental, trace_count):
    clf = toy((40, 40))

    def count_after(seed, patches):
        for patch in patches:
            options = {"patch": patch, "incremental": incremental}
            explain.occlusion(clf, photo((40, 40), seed), 1, **options)
        return trace_count()

    assert count_after(0, [8, 4]) == count_after(1, [8, 4, 5]) > 0


def test_both_ways_to_occlude_agree():
    clf, image = toy((40, 40)), photo((40, 40))
    short, long = (
        explain.occlusion(clf, image, 1, patch=4, incremental=incremental)
        for incremental in (True, False)
    )
    assert np.allclose(short.values, long.values, atol=1e-4)
    assert short.parameters == long.parameters


def test_an_occluded_copy_differs_in_the_patch_alone():
    square = photo((12, 14))
    occluded = occlude(square, (3, 5), (2, 4), (1, 2, 3))
    inside = np.zeros((12, 14), bool)
    inside[3:5, 5:9] = True
    assert (occluded[inside] == (1, 2, 3)).all()
    assert np.array_equal(occluded[~inside], square[~inside])
    assert np.array_equal(square, photo((12, 14)))


def test_the_last_patch_ends_at_the_border():
    assert patch_positions(10, 4, 3).tolist() == [0, 3, 6]
    assert patch_positions(11, 4, 3).tolist() == [0, 3, 6, 7]
    assert patch_positions(4, 4, 9).tolist() == [0]


def test_progress_is_reported_up_to_the_last_position():
    clf, _ = linear()
    reports = []
    explain.occlusion(
        clf, photo((20, 28)), patch=4, progress=lambda *report: reports.append(report)
    )
    assert reports[-1] == (117, 117)  # 9 × 13 positions
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


BAD_USE = {
    "large patch": ({"patch": 13}, "13 × 13 .* larger .* 12 × 14"),
    "stride 0": ({"stride": 0}, "stride is a whole"),
    "patch 0": ({"patch": 0}, "patch is a whole"),
    "half a patch": ({"patch": 2.5}, "patch is a"),
    "three strides": ({"stride": (1, 2, 3)}, "down"),
    "no colour": ({"fill": 300}, "0 to 255"),
    "half a colour": ({"fill": (1, 2)}, "red, green"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case):
    options, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.occlusion(toy(), photo((12, 14)), **options)
