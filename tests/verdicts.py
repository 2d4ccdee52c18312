"""What the tests of the exercises ask of a verdict."""

from xai_helpers import check


def hints_of(exercise, wrong) -> list[str]:
    """The hints for wrong answers; every one must be wrong and get its own."""
    verdicts = [check(exercise, answer) for answer in wrong]
    assert not any(verdicts)
    hints = [verdict.hint for verdict in verdicts]
    assert len(set(hints)) == len(hints) >= 3, hints
    return hints


def assert_hints_differ(exercise, right, wrong) -> None:
    """The right answer passes; every wrong one gets a hint of its own."""
    assert check(exercise, right), check(exercise, right)
    hints_of(exercise, wrong)


def expect(verdict, words) -> None:
    """Right if words is None; else wrong, with these words in its hint."""
    assert bool(verdict) is (words is None), verdict
    if words:
        assert words in verdict.hint, verdict
