"""Checks of notebook 12, "What did it really learn?"."""

import math
from functools import cache

import numpy as np
from scipy import ndimage

from ..core import explain
from ..core.attribution import Attribution
from ..engine.data import data_folder
from .checking import (
    check_array,
    check_choice,
    check_number,
    exercise,
    network,
    require,
)

PHOTO = "caltech101/accordion/image_0001.jpg"  # in data/
BLACK = 20  # below it in all three channels, a pixel counts as black
ANGLE = -45  # degrees; below zero is clockwise


def black_corners(square: np.ndarray) -> np.ndarray:
    """Where a picture, uint8 (H, W, 3), is black from a corner on, bool (H, W).

    A turned photo has such corners. Black things in the middle do not count.
    """
    labels, _ = ndimage.label(square.max(axis=2) < BLACK)
    in_corners = set(labels[[0, 0, -1, -1], [0, -1, 0, -1]]) - {0}
    return np.isin(labels, list(in_corners))


@cache
def _cam() -> Attribution:
    xception = network("xception")
    squashed = xception.with_model(xception.model, fit="squash")
    return explain.grad_cam(squashed, data_folder() / PHOTO, "accordion")


@exercise("12-1")
def _(answer):
    heat, corners = _cam().heatmap(), black_corners(_cam().image)
    dark = _cam().image.max(axis=2) < BLACK
    share = heat[corners].sum() / heat.sum()
    mistakes = {
        "This is the share of the map that does not lie on the corners.": 1 - share,
        "Pixels were counted; add up the values of the map.": corners.mean(),
        "This is the mean of the map on the corners, divided by its mean.": (
            heat[corners].mean() / heat.mean()
        ),
        "This is the sum on the corners; divide it by the sum over the whole map.": (
            heat[corners].sum()
        ),
        "All black pixels were taken; the accordion has some of its own.": (
            heat[dark].sum() / heat.sum()
        ),
    }
    check_number(answer, share, 0.004, mistakes)


@exercise("12-2")
def _(answer):
    require(callable(answer), "A function is asked for; give its name, without ().")
    columns = np.linspace(20, 230, 120).round().astype("uint8")
    ramp = np.repeat(np.tile(columns, (120, 1))[..., None], 3, axis=2)
    before, turned = ramp.copy(), _changed(answer, ramp)
    require(
        (ramp == before).all(), "The function changes the picture that it is given."
    )
    level = 77
    even = _changed(answer, np.full((120, 120, 3), level, "uint8"))
    places = np.abs(even.astype(int) - level).max(axis=2) > 6
    require(
        not places.any(),
        f"A picture of one colour does not come out as it was: {places.mean():.0%} of "
        "it has another level. The corners are still there.",
    )
    slope_down, slope_right = (g[40:80, 40:80].mean() for g in np.gradient(
        turned[..., 0].astype("float64")
    ))  # fmt: skip
    angle = math.degrees(math.atan2(-slope_down, slope_right))
    zoom = np.diff(columns.astype(float)).mean() / math.hypot(slope_down, slope_right)
    require(abs(angle) > 3, "The picture is not turned.")
    require(abs(angle + ANGLE) > 3, "The picture is turned counter-clockwise.")
    require(
        abs(angle - ANGLE) < 3,
        f"The picture is turned by {abs(angle):.0f}°; 45° are asked for.",
    )
    require(
        zoom < 1.7,
        f"The picture is enlarged {zoom:.1f} times; 1.42 times is enough.",
    )


def _changed(change, square: np.ndarray) -> np.ndarray:
    """What the learner's function makes of a picture, uint8 of the same shape."""
    result = np.asarray(change(square, 0))
    require(
        result.shape == square.shape,
        f"The result has the shape {result.shape}; the picture has {square.shape}.",
    )
    require(
        result.dtype == np.uint8,
        f"The result is {result.dtype}; a picture is uint8, 0 to 255.",
    )
    return result


COLLEAGUE_CLASSES = ("bus", "tram", "ship", "kite")
COLLEAGUE_CHANGES = ("mirrored", "grey", "blurred")


def survey_of_a_colleague() -> tuple[np.ndarray, np.ndarray]:
    """Made-up results of a survey: 40 photos, 3 changes, 4 classes.

    Returns
    -------
    ndarray, float32 (40, 4, 4)
        Probabilities: photos × (unchanged, then each of ``COLLEAGUE_CHANGES``) ×
        classes.
    ndarray of int (40,)
        The index of each photo's class in ``COLLEAGUE_CLASSES``.
    """
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 10)
    logits = rng.normal(size=(40, 1, 4)) + rng.normal(scale=0.3, size=(40, 4, 4))
    logits[np.arange(40), :, labels] += 3
    logits[:, 2, 1] += 1.6  # grey looks like a tram
    logits[labels == 3, 3, 3] -= 4  # blurred, a kite is lost
    powers = np.exp(logits)
    return (powers / powers.sum(axis=2, keepdims=True)).astype("float32"), labels


def _gains(photos_of: str = "other", average=np.mean, before: float = 1) -> np.ndarray:
    """Changes × classes: the average over some photos of p after − p before."""
    probabilities, labels = survey_of_a_colleague()
    moved = probabilities[:, 1:] - before * probabilities[:, :1]
    columns = []
    for index in range(len(COLLEAGUE_CLASSES)):
        own = labels == index
        chosen = {"other": ~own, "own": own, "all": own | ~own}[photos_of]
        columns.append(average(moved[chosen, :, index], axis=0))
    return np.stack(columns, axis=1)


@exercise("12-3")
def _(answer):
    mistakes = {
        "The photos of the class itself are among those that were averaged.": (
            _gains("all")
        ),
        "These are the gains over the photos of the class itself; take the others.": (
            _gains("own")
        ),
        "The signs were lost before the average was taken.": (
            _gains(average=lambda values, axis: np.abs(values).mean(axis=axis))
        ),
        "The probability of the unchanged photo was not subtracted.": _gains(before=0),
        "This is the median; the mean is asked for.": _gains(average=np.median),
        "This is the sum over the photos; the mean is asked for.": _gains(
            average=np.sum
        ),
    }
    check_array(answer, _gains(), mistakes, tolerance=0.005)


@exercise("12-4")
def _(answer):
    wrong = {
        "a": "Which measurement shows that? The effect of a turn was measured, and not "
        "what the head takes from the tower.",
        "c": "Look at the photos that were held out: the minarets among them are "
        "turned, and the second head recognises them.",
        "d": "The map of the first head lay on the minaret, too, and the head went by "
        "the turn all the same.",
    }
    check_choice(answer, "b", wrong)
