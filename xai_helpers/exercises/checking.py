"""Checks an answer and says what is wrong with it, without giving the solution away.

In a notebook::

    from xai_helpers import check

    check("05-2", my_map)

The checks themselves are in ``notebook_01.py``, ``notebook_02.py``, ...: a function for
each exercise, which returns if the answer is right and raises ``Hint`` if it is not.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from ..core.classifier import Classifier
from ..course.loading import load_classifier

_checks: dict[str, Callable] = {}


class Hint(Exception):
    """What is wrong with an answer, as a sentence for the learner."""


@dataclass(frozen=True)
class Verdict:
    """The result of ``check``; true if the answer is right."""

    exercise: str
    hint: str | None

    def __bool__(self) -> bool:
        return self.hint is None

    def __repr__(self) -> str:
        text = "right." if self else f"not yet. {self.hint}"
        return f"Exercise {self.exercise}: {text}"

    def _repr_html_(self) -> str:
        colour = "#1b7837" if self else "#b35806"
        return (
            f'<p style="border-left: 4px solid {colour}; padding-left: 8px">'
            f"{html.escape(repr(self))}</p>"
        )


def check(exercise: str, *answers) -> Verdict:
    """Check the answers to one exercise.

    Parameters
    ----------
    exercise : str
        Its number: "05-2" is the second exercise of notebook 05.
    answers
        What the exercise asks for, in the order that it names.

    Returns
    -------
    Verdict
        True if the answers are right. Shown in a notebook, it says what is wrong.

    Raises
    ------
    ValueError
        If there is no such exercise.

    Examples
    --------
    >>> check("01-2", ...)
    Exercise 01-2: not yet. Replace the three dots (...) by your answer.
    """
    number = exercise[:2]
    try:
        import_module(f".notebook_{number}", __package__)
    except ModuleNotFoundError:
        raise ValueError(f"There is no exercise {exercise!r}.") from None
    if exercise not in _checks:
        numbers = sorted(name for name in _checks if name.startswith(number))
        raise ValueError(
            f"There is no exercise {exercise!r}; notebook {number} has {numbers}."
        )
    if any(answer is ... for answer in answers):
        return Verdict(exercise, "Replace the three dots (...) by your answer.")
    try:
        _checks[exercise](*answers)
    except Hint as hint:
        return Verdict(exercise, str(hint))
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        return Verdict(exercise, f"The answer could not be read: {error}")
    return Verdict(exercise, None)


def exercise(name: str) -> Callable:
    """Decorate a function of the answers that raises ``Hint`` if one is wrong."""

    def register(function: Callable) -> Callable:
        _checks[name] = function
        return function

    return register


@cache
def network(name: str) -> Classifier:
    """A published network, loaded once for the checks of all notebooks."""
    return load_classifier(name, verbose=False)


def require(condition: bool, hint: str) -> None:
    """Raise the hint unless the condition holds."""
    if not condition:
        raise Hint(hint)


def check_choice(answer, right: str, wrong: Mapping[str, str]) -> None:
    """One letter out of several.

    wrong : each wrong letter → what is wrong with its claim
    """
    letters = sorted([right, *wrong])
    require(not callable(answer), "Answer with the letter of the function.")
    letter = str(answer).strip().lower()
    require(letter in letters, f"Answer with one letter: {', '.join(letters)}.")
    require(letter == right, wrong.get(letter, ""))


def check_number(
    answer, expected: float, tolerance: float, mistakes: Mapping[str, float] = {}
) -> None:
    """A number within a tolerance.

    mistakes : hint → the number that one gets by that mistake; or, where it takes long,
        a function that computes it
    """
    value = np.asarray(answer, dtype="float64")
    require(value.size == 1, f"One number is asked for, not {value.size}.")
    value = float(value.reshape(()))
    require(np.isfinite(value), "A finite number is asked for.")
    if abs(value - expected) <= tolerance:
        return
    for hint, wrong in mistakes.items():
        require(abs(value - _computed(wrong)) > tolerance, hint)
    require(abs(value + expected) > tolerance, "Right up to the sign.")
    raise Hint("Too large." if value > expected else "Too small.")


def check_array(
    answer,
    expected: np.ndarray,
    mistakes: Mapping[str, np.ndarray] = {},
    tolerance: float = 0.01,
) -> None:
    """An array, each value within a share of the largest absolute value.

    mistakes : hint → the array that one gets by that mistake; or, where it takes long,
        a function that computes it
    """
    values, expected = _same_shape(answer, np.asarray(expected, "float64"))
    require(np.isfinite(values).all(), "Some values are NaN or infinite.")

    def equal(a, b) -> bool:
        return bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())

    if equal(values, expected):
        return
    for hint, wrong in mistakes.items():
        wrong = np.asarray(_computed(wrong), "float64")
        require(not equal(values, wrong), hint)
    require(values.any(), "All values are zero.")
    require(not equal(values, np.abs(expected)), "The signs are missing.")
    factor = (values * expected).sum() / (values * values).sum()
    if equal(factor * values, expected):
        raise Hint("Right up to the sign." if factor < 0 else "Right up to a factor.")
    offset = (expected - values).mean()
    require(not equal(values + offset, expected), "Right up to a constant.")
    if min(values.std(), expected.std()) > 0:
        r = np.corrcoef(values.ravel(), expected.ravel())[0, 1]
        raise Hint(f"These are other values; they correlate by {r:.1f} with the right.")
    raise Hint("These are other values.")


def _computed(value):
    return value() if callable(value) else value


def _same_shape(answer, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(answer, dtype="float64")
    if values.shape == expected.shape:
        return values, expected
    require(
        values.shape != (1, *expected.shape),
        "The answer still has a batch axis of length 1: take its element [0].",
    )
    require(
        values.shape != expected.shape[::-1] or values.ndim != 2,
        "Rows and columns are exchanged.",
    )
    raise Hint(f"The shape is {values.shape}, and {expected.shape} is asked for.")
