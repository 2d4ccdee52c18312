"""The checks of notebook 06: the right answer passes, mistakes get their own hints."""

import numpy as np
import pytest
from verdicts import expect

from xai_helpers import check, explain, metrics
from xai_helpers.exercises.notebook_06 import candidate_gradients


@pytest.fixture(scope="module")
def smooth(xception, cat):
    return explain.smoothgrad(xception, cat, "Egyptian_cat", samples=10).values


@pytest.fixture(scope="module")
def four_samples(xception, cat):
    """The correlation of two seeds."""
    first, second = (
        explain.smoothgrad(xception, cat, "Egyptian_cat", samples=4, seed=seed)
        for seed in (1, 2)
    )
    return metrics.correlation(first.values, second.values)


DISPLAYS = {
    "right": (lambda v: np.abs(v).max(axis=2), None),
    "signed": (lambda v: v.sum(axis=2), "signed sum"),
    "the order": (lambda v: np.abs(v.sum(axis=2)), "opposite sign cancel"),
    "the sum": (lambda v: np.abs(v).sum(axis=2), "sum of the absolute"),
    "the mean": (lambda v: np.abs(v).mean(axis=2), "mean of the absolute"),
    "the largest": (lambda v: v.max(axis=2), "negative one has been lost"),
    "all colours": (lambda v: np.abs(v), "shape"),
}


@pytest.mark.parametrize("case", DISPLAYS)
def test_another_display(case, smooth):
    answer, words = DISPLAYS[case]
    expect(check("06-1", answer(smooth)), words)


PREDICTIONS = {
    "right": (lambda r, q: 1 / (1 + q / 16), None),
    "unchanged": (lambda r, q: r, "for 4 samples"),
    "in proportion": (lambda r, q: 4 * r, "in proportion"),
    "root": (lambda r, q: 2 * r, "square root"),
    "the ratio": (lambda r, q: q, "ratio v/c"),
    "not divided": (lambda r, q: 1 / (1 + q), "divided by 16"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_two_seeds(case, four_samples):
    answer, words = PREDICTIONS[case]
    expect(check("06-2", answer(four_samples, 4 * (1 / four_samples - 1))), words)


@pytest.mark.parametrize("letter", "abcd")
def test_absent_class(letter):
    hints = {"a": None, "b": "close to zero", "c": "equal maps", "d": "one letter"}
    expect(check("06-3", letter), hints[letter])


@pytest.mark.parametrize("letter", "abcd")
def test_right_gradient(letter):
    hints = {"a": "units", "b": None, "c": "other function", "d": "one letter"}
    expect(check("06-4", letter), hints[letter])


def test_candidates_b_alone_predicts_the_change(xception, cat):
    square, target = xception.crop(cat)[0], xception.class_index("Egyptian_cat")
    before = xception.logits_of(square[None])[0, target]
    candidates = candidate_gradients(xception, cat, "Egyptian_cat")
    ratios = {}
    for name, candidate in candidates.items():
        moved = xception.logits_of((square + 0.005 * np.sign(candidate))[None])
        predicted = 0.005 * np.abs(candidate).sum()
        ratios[name] = (moved[0, target] - before) / predicted
    assert [name for name, r in ratios.items() if 0.8 < r < 1.25] == ["B"], ratios
