"""The checks of notebook 12: right answers pass, each mistake gets its own hint."""

import numpy as np
import pytest
from PIL import Image

from xai_helpers import check, explain, load_classifier
from xai_helpers.engine.data import data_folder
from xai_helpers.exercises.notebook_12 import (
    PHOTO,
    black_corners,
    survey_of_a_colleague,
)


def test_black_corners_are_those_of_a_turned_picture():
    white = np.full((100, 100, 3), 255, "uint8")
    white[40:60, 40:60] = 0  # a black thing in the middle
    turned = np.array(Image.fromarray(white).rotate(45))
    rows, columns = np.mgrid[:100, :100] - 49.5
    outside = (np.abs(rows + columns) > 72) | (np.abs(rows - columns) > 72)
    inside = (np.abs(rows + columns) < 69) & (np.abs(rows - columns) < 69)
    corners = black_corners(turned)
    assert corners[outside].all()
    assert not corners[inside].any()
    assert not black_corners(white).any()


@pytest.fixture(scope="module")
def cam():
    xception = load_classifier("xception", fit="squash", verbose=False)
    return explain.grad_cam(xception, data_folder() / PHOTO, "accordion")


def on_corners(cam):
    heat = cam.heatmap()
    return heat[black_corners(cam.image)].sum() / heat.sum()


SHARES = {
    "not lie": lambda cam: 1 - on_corners(cam),
    "divide it": lambda cam: cam.heatmap()[black_corners(cam.image)].sum(),
    "counted": lambda cam: black_corners(cam.image).mean(),
    "some of its own": lambda cam: (
        cam.heatmap()[cam.image.max(axis=2) < 20].sum() / cam.heatmap().sum()
    ),
    "divided by its mean": lambda cam: (
        cam.heatmap()[black_corners(cam.image)].mean() / cam.heatmap().mean()
    ),
}


def test_share_on_the_corners(cam):
    assert check("12-1", on_corners(cam))


@pytest.mark.parametrize("hint", SHARES)
def test_mistakes_in_the_share(hint, cam):
    verdict = check("12-1", SHARES[hint](cam))
    assert not verdict
    assert hint in verdict.hint


def turned_and_cut(square, seed=0, angle=-45, zoom=1.42):
    side = square.shape[0]
    margin = round((side - side / zoom) / 2)
    picture = Image.fromarray(square).rotate(angle, Image.BILINEAR)
    part = picture.crop((margin, margin, side - margin, side - margin))
    return np.array(part.resize((side, side), Image.BILINEAR))


def in_place(square, seed):
    square[:] = turned_and_cut(square)
    return square


WRONG_CHANGES = {
    "still there": lambda square, seed: turned_and_cut(square, zoom=1.1),
    "still there.": lambda square, seed: np.array(
        Image.fromarray(square).rotate(-45, fillcolor=(127,) * 3)
    ),
    "not turned": lambda square, seed: turned_and_cut(square, angle=0),
    "counter-clockwise": lambda square, seed: turned_and_cut(square, angle=45),
    "by 30°": lambda square, seed: turned_and_cut(square, angle=-30),
    "enlarged": lambda square, seed: turned_and_cut(square, zoom=2.5),
    "changes the picture": in_place,
    "shape": lambda square, seed: turned_and_cut(square)[9:-9, 9:-9],
    "float64": lambda square, seed: turned_and_cut(square) / 255.0,
    "could not be read": lambda square: turned_and_cut(square),
}


def test_a_turn_without_corners():
    assert check("12-2", turned_and_cut)
    assert check("12-2", lambda square, seed: turned_and_cut(square, zoom=1.5))


@pytest.mark.parametrize("hint", WRONG_CHANGES)
def test_mistakes_in_the_change(hint):
    verdict = check("12-2", WRONG_CHANGES[hint])
    assert not verdict
    assert hint in verdict.hint


def test_a_change_has_to_be_a_function():
    assert "function" in check("12-2", np.zeros((9, 9, 3), "uint8")).hint


def gains(own=False, other=True, average=np.mean, subtract=True):
    """In loops, as the words of the exercise have it."""
    probabilities, labels = survey_of_a_colleague()
    result = np.zeros((3, 4))
    for change in range(3):
        for index in range(4):
            values = [
                after[index] - subtract * before[index]
                for before, after, label in zip(
                    probabilities[:, 0],
                    probabilities[:, 1 + change],
                    labels,
                    strict=True,
                )
                if (label == index and own) or (label != index and other)
            ]
            result[change, index] = average(values)
    return result


WRONG_GAINS = {
    "among those": {"own": True},
    "take the others": {"own": True, "other": False},
    "signs were lost": {"average": lambda values: np.mean(np.abs(values))},
    "not subtracted": {"subtract": False},
    "median": {"average": np.median},
    "sum": {"average": np.sum},
}


def test_gains():
    assert check("12-3", gains())
    assert "sign" in check("12-3", -gains()).hint
    assert "shape" in check("12-3", gains()[0]).hint


@pytest.mark.parametrize("hint", WRONG_GAINS)
def test_mistakes_in_the_gains(hint):
    verdict = check("12-3", gains(**WRONG_GAINS[hint]))
    assert not verdict
    assert hint in verdict.hint


def test_the_colleague_s_survey_has_one_planted_cause():
    """And a class that loses under another change, which is no such cause."""
    largest = np.unravel_index(gains().argmax(), (3, 4))
    assert largest == (1, 1)  # grey, tram
    assert gains(own=True, other=False).min() == gains(own=True, other=False)[2, 3]


def test_claims():
    assert check("12-4", "b")
    hints = {check("12-4", wrong).hint for wrong in "acde"}
    assert len(hints) == 4 and None not in hints
