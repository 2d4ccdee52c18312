"""The checks of notebook 01: right answers pass, each wrong one gets its own hint."""

import numpy as np
import pytest

from xai_helpers import check
from xai_helpers.exercises.notebook_01 import SOBEL, faulty_response

NINTHS = np.full((3, 3), 1 / 9)
CENTRE = np.pad([[1.0]], 1)

ANSWERS = {
    "01-1": {
        "right": NINTHS,
        "no mean": np.ones((3, 3)),
        "only the neighbours": (1 - CENTRE) / 8,
        "a copy": CENTRE,
        "thirds": np.full((3, 3), 1 / 3),
        "one row": np.full((1, 3), 1 / 3),
    },
    "01-2": {"right": "b", "a": "a", "c": "c", "d": "d", "no letter": 3},
    "01-4": {
        "right": 404,
        "stride forgotten": 218,
        "one convolution": 276,
        "two convolutions": 340,
        "k in place of k - 1": 500,
        "stride 2": 660,
        "only the growth": 192,
        "the input image": 224,
    },
    "01-5": {"right": "A", "b": "b", "c": "c", "no letter": "d"},
}


@pytest.mark.parametrize("exercise", ANSWERS)
def test_each_wrong_answer_gets_its_own_hint(exercise):
    verdicts = {name: check(exercise, a) for name, a in ANSWERS[exercise].items()}
    assert verdicts.pop("right")
    hints = [verdict.hint for verdict in verdicts.values()]
    assert all(hints) and len(set(hints)) == len(hints), hints


def test_the_gradient_of_a_probability(xception, cat):
    z = xception.logits(cat)[0]
    p, own = np.exp(z) / np.exp(z).sum(), np.eye(1000)
    tabby, egyptian = map(xception.class_index, ("tabby", "Egyptian_cat"))
    right = p[tabby] * (own[tabby] - p)
    assert check("01-3", right)
    wrong = {
        "softmax is missing": own[tabby],
        "logarithm": own[tabby] - p,
        "Egyptian_cat": p[egyptian] * (own[egyptian] - p),
        "not a gradient": p,
        "sign": -right,
        "batch axis": right[None],
        "zero": 0 * right,
    }
    for words, answer in wrong.items():
        assert words in check("01-3", answer).hint


def test_the_faulty_response_has_exchanged_signs():
    ramp = np.tile(np.arange(6.0), (5, 1))  # brighter to the right
    assert faulty_response(ramp) == pytest.approx(np.full((3, 4), -8.0))
    assert (faulty_response(ramp) == -(SOBEL * ramp[:3, :3]).sum()).all()
