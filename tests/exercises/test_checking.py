"""What ``check`` says of right, missing, unreadable and wrong answers."""

import re

import numpy as np
import pytest

from xai_helpers import check
from xai_helpers.exercises import checking

RIGHT = np.array([[1.0, -2, 3], [0, 5, -6]])


@pytest.fixture
def exercises(monkeypatch):
    """Three exercises of a notebook 00."""
    monkeypatch.setattr(checking, "_checks", {})
    monkeypatch.setattr(checking, "import_module", lambda *names: None)

    @checking.exercise("00-1")
    def _(answer):
        mistakes = {"The ReLU is missing.": lambda: RIGHT * RIGHT}
        checking.check_array(answer, RIGHT, mistakes)

    @checking.exercise("00-2")
    def _(answer):
        checking.check_number(answer, 3.0, 0.1, {"You forgot the bias.": 2.0})

    @checking.exercise("00-3")
    def _(answer):
        checking.check_choice(answer, "b", {"a": "Look at the sign.", "c": "No."})


ANSWERS = {
    "right": ("00-1", RIGHT, None),
    "right within a hundredth": ("00-1", RIGHT + 0.05, None),
    "a list": ("00-1", RIGHT.tolist(), None),
    "unanswered": ("00-1", ..., "three dots"),
    "the named mistake": ("00-1", RIGHT**2, "ReLU"),
    "a batch axis": ("00-1", RIGHT[None], "batch axis"),
    "transposed": ("00-1", RIGHT.T, "Rows and columns"),
    "another shape": ("00-1", RIGHT[:, :2], r"shape is \(2, 2\)"),
    "absolute values": ("00-1", abs(RIGHT), "signs are missing"),
    "negative": ("00-1", -RIGHT, "up to the sign"),
    "half": ("00-1", RIGHT / 2, "up to a factor"),
    "shifted": ("00-1", RIGHT + 1, "up to a constant"),
    "zero": ("00-1", 0 * RIGHT, "zero"),
    "NaN": ("00-1", RIGHT * np.nan, "NaN"),
    "other values": ("00-1", RIGHT[::-1], "correlate by -"),
    "constant": ("00-1", np.ones((2, 3)), "other values"),
    "words": ("00-1", "a map", "could not be read"),
    "the right number": ("00-2", 3.05, None),
    "a number in an array": ("00-2", np.array([[3.0]]), None),
    "a mistaken number": ("00-2", 2.0, "bias"),
    "the wrong sign": ("00-2", -3, "sign"),
    "too large": ("00-2", 8, "Too large"),
    "too small": ("00-2", 0, "Too small"),
    "two numbers": ("00-2", [1, 2], "One number"),
    "nothing": ("00-2", None, "finite number"),
    "the right letter": ("00-3", " B ", None),
    "a wrong letter": ("00-3", "a", "Look at the sign"),
    "no letter of these": ("00-3", "x", "a, b, c"),
    "a function": ("00-3", print, "letter of the function"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_each_kind_of_answer_gets_its_own_words(case, exercises):
    name, answer, words = ANSWERS[case]
    verdict = check(name, answer)
    if words is None:
        assert verdict and repr(verdict) == f"Exercise {name}: right."
    else:
        assert not verdict
        assert re.search(words, repr(verdict)), verdict


def test_a_mistake_is_computed_only_for_a_wrong_answer(exercises):
    def costly():
        raise AssertionError("computed for a right answer")

    checking.check_array(RIGHT, RIGHT, {"": costly})
    checking.check_number(3, 3, 0.1, {"": costly})


def test_a_hint_is_escaped_in_html(exercises):
    page = checking.Verdict("00-1", "<script>")._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="no exercise '99-1'"):
        check("99-1", 1)
