"""The screening table: known answers, how often it errs, what it finds."""

import numpy as np
import pytest

from xai_helpers.survey.screening import figure, largest_columns, screen, strongest

CLASSES, CHANGES = ("cat", "dog", "cup"), ("turned", "grey")


def probabilities_with(gains, before=0.3):
    """float32 (n, 1 + changes, classes): ``gains`` above the same start for all."""
    gains = np.asarray(gains, "float32")
    start = np.full_like(gains[:, :1], before)
    return np.concatenate([start, before + gains], axis=1)


def test_gains_are_means_over_photos_of_other_classes():
    probabilities = np.array(
        [  # the photo itself, turned, grey
            [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1]],  # a cat
            [[0.0, 1.0, 0.0], [0.4, 0.4, 0.2], [0.0, 1.0, 0.0]],  # a dog
            [[0.2, 0.2, 0.6], [0.4, 0.0, 0.6], [0.0, 0.4, 0.6]],  # no label: a cup
        ]
    )
    matrix = screen(probabilities, ["cat", "dog", None], CLASSES, CHANGES)
    by_hand = [
        [(0.4 + 0.2) / 2, (0.3 - 0.2) / 2, (0.0 + 0.2) / 2],
        [(0.0 - 0.2) / 2, (0.0 + 0.2) / 2, 0.0],
    ]
    np.testing.assert_allclose(matrix.grid("gain"), by_hand, atol=1e-7)
    assert (matrix.grid("photos") == 2).all()
    assert matrix.cells.change.tolist() == ["turned"] * 3 + ["grey"] * 3
    assert matrix.cells["class"].tolist() == [*CLASSES, *CLASSES]


def test_few_photos_say_nothing():
    matrix = screen(
        probabilities_with(np.ones((9, 1, 2)) / 2), ["x"] * 9, "ab", ["turned"]
    )
    assert (matrix.cells.low == -1).all() and (matrix.cells.high == 1).all()
    assert not matrix.cells.significant.any() and strongest(matrix) == []
    none = screen(np.zeros((0, 2, 3)), [], CLASSES, ["turned"])
    assert not none.cells.significant.any() and (none.cells.photos == 0).all()


def test_a_class_that_all_photos_have_says_nothing_either():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.2, 0.01, (40, 1, 3))
    matrix = screen(probabilities_with(gains), ["cat"] * 40, CLASSES, ["turned"])
    assert matrix.cells.photos.tolist() == [0, 40, 40]
    assert matrix.cells.significant.tolist() == [False, True, True]


def normal(rng, shape):
    return rng.normal(size=shape) / 20


def skewed(rng, shape):
    """Mostly a little below zero, rarely far above: mean 0."""
    return (rng.exponential(size=shape) - 1) / 20


def dependent(rng, shape):
    """Classes share what a photo does; signs alternate, so tails do too."""
    signs = np.where(np.arange(shape[2]) % 2, -1, 1)
    own = skewed(rng, shape) + 2 * skewed(rng, (shape[0], 1, 1))
    return own * signs / 3


SURVEYS = 300  # simulated, in each of which nothing is the case


@pytest.mark.parametrize("photos", [25, 120])
@pytest.mark.parametrize("draw", [normal, skewed, dependent])
def test_errors_of_the_whole_table_are_as_rare_as_promised(draw, photos):
    """At most 5 % have an interval without the truth, 0, and 2.5 % a false finding.

    Up to what chance adds in so many simulated surveys: three standard deviations.
    """
    rng, outside, false_findings = np.random.default_rng(photos), 0, 0
    classes = [f"class {k}" for k in range(8)]
    for survey in range(SURVEYS):
        gains = draw(rng, (photos, 3, len(classes)))
        matrix = screen(
            probabilities_with(gains), ["none of them"] * photos, classes, "abc",
            resamples=400, seed=survey,
        )  # fmt: skip
        false_findings += matrix.cells.significant.any()
        outside += ((matrix.cells.low > 0) | (matrix.cells.high < 0)).any()
    for errors, promised in ((outside, 0.05), (false_findings, 0.025)):
        chance = np.sqrt(promised * (1 - promised) / SURVEYS)
        assert errors / SURVEYS <= promised + 3 * chance


def planted(photos=150, gain=0.2):
    """Skewed noise, and "grey" raises the probability of cups by ``gain``."""
    rng = np.random.default_rng(3)
    gains = skewed(rng, (photos, 2, 3))
    gains[:, 1, 2] += gain * rng.exponential(size=photos)
    labels = np.array(CLASSES, dtype=object)[np.arange(photos) % 3]
    return screen(probabilities_with(gains), labels, CLASSES, CHANGES), gains, labels


def test_a_planted_effect_is_found_first_and_with_its_photos():
    matrix, gains, labels = planted()
    finding, *others = strongest(matrix)
    assert (finding.change, finding.label) == ("grey", "cup") and not others
    cell = matrix.cells[matrix.cells.significant].iloc[0]
    assert cell.low < 0.2 < cell.high  # what was planted
    assert f"{cell.gain:.2g} ({cell.low:.2g} to {cell.high:.2g})" in finding.sentence
    assert "raises the probability of cup" in finding.sentence
    candidates = np.flatnonzero(labels != "cup")
    order = candidates[np.argsort(-gains[candidates, 1, 2])]
    assert list(finding.photos) == order[:6].tolist()
    np.testing.assert_allclose(finding.gains, gains[order[:6], 1, 2], atol=1e-6)


def test_the_same_seed_is_the_same_table():
    first, second = planted()[0], planted()[0]
    assert first.cells.equals(second.cells)


def test_a_class_is_named_once_under_its_strongest_change():
    gains = np.array([[0.1], [0.3]]) * np.ones((50, 1, 1))
    matrix = screen(probabilities_with(gains), ["x"] * 50, ["cat"], CHANGES)
    assert [finding.change for finding in strongest(matrix)] == ["grey"]


def test_the_picture_says_what_is_in_it_and_marks_what_is_sure():
    matrix, *_ = planted()
    picture = figure(matrix)
    [panel] = picture.figure.axes
    assert len(panel.patches) == 1 and panel.patches[0].get_xy() == (2 - 0.47, 1 - 0.47)
    assert "2 changes × 3 classes. 1 gains are above zero" in picture.description
    assert strongest(matrix)[0].sentence in picture.description
    assert len(picture.png()) > 5000
    assert largest_columns(matrix, 1) == [2]
    assert "1 of 3 classes are drawn" in figure(matrix, 1).description


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="shape"):
        screen(np.zeros((4, 2, 3)), ["cat"] * 4, CLASSES, CHANGES)
    with pytest.raises(ValueError, match="confidence"):
        screen(np.zeros((4, 3, 3)), ["cat"] * 4, CLASSES, CHANGES, confidence=95)
