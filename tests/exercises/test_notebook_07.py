"""The checks of notebook 07: the right answer passes, mistakes get their own hints."""

import numpy as np
import pytest
from verdicts import expect

from xai_helpers import check, explain, metrics
from xai_helpers.exercises.notebook_07 import candidate_maps

END = np.array([1.0, 2.0])
ATTRIBUTIONS = {
    "right": (END / 3, None),
    "gradient × input": (0 * END, "gradient times input"),
    "slope at the baseline": (END, "slope at the baseline"),
    "no factor": ([1 / 3, 1 / 3], "factor"),
    "half each": ([0.5, 0.5], "not divided equally"),
    "a sum": (100 * END, "not a mean"),
    "one number": (1.0, "shape"),
}


@pytest.mark.parametrize("case", ATTRIBUTIONS)
def test_saturated_function(case):
    answer, words = ATTRIBUTIONS[case]
    expect(check("07-1", answer), words)


@pytest.mark.parametrize("letter", "abcd")
def test_white_baseline(letter):
    hints = {"a": "pupils are black", "b": "twice", "c": None, "d": "one letter"}
    expect(check("07-2", letter), hints[letter])


@pytest.fixture(scope="module")
def two_maps(xception, cat):
    return [
        explain.integrated_gradients(
            xception, cat, "Egyptian_cat", steps=n, tolerance=None
        )
        for n in (16, 17)
    ]


CHANGES = {
    "right": (lambda s, d, r: (abs(s[0] - s[1]) / d, r), None),
    "in logits": (lambda s, d, r: (abs(s[0] - s[1]), r), "in logits"),
    "one sum": (lambda s, d, r: (s[1] / d, r), "second sum as a fraction"),
    "the gap": (lambda s, d, r: (abs(s[0] - d) / d, r), "gap of the first"),
    "of a sum": (lambda s, d, r: (abs(s[0] - s[1]) / s[1], r), "the second sum;"),
    "not r": (lambda s, d, r: (abs(s[0] - s[1]) / d, r - 0.1), "not the correlation"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_one_more_step(case, two_maps):
    answer, words = CHANGES[case]
    sums = [attribution.checks["sum"] for attribution in two_maps]
    difference = two_maps[0].checks["score difference"]
    r = metrics.correlation(two_maps[0].map, two_maps[1].map)
    expect(check("07-3", *answer(sums, difference, r)), words)


@pytest.mark.parametrize("letter", "abcd")
def test_complete_map(letter):
    hints = {"a": "missing", "b": "units", "c": None, "d": "one letter"}
    expect(check("07-4", letter), hints[letter])


def test_candidates_c_alone_is_complete(xception, cat):
    maps, blurred = candidate_maps(xception, cat, "Egyptian_cat")
    logits = xception.logits([xception.crop(cat)[0], blurred])
    difference = np.subtract(*logits[:, xception.class_index("Egyptian_cat")])
    gaps = {name: abs(values.sum() / difference - 1) for name, values in maps.items()}
    assert [name for name, gap in gaps.items() if gap < 0.2] == ["C"], gaps
