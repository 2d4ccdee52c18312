"""Occlusion sensitivity: cover a part, see what is lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._tensorflow import tf
from ..models import Classifier
from . import incremental, placement
from .attribution import Attribution
from .engine import (
    about,
    answer,
    batch_size,
    batches,
    check_count,
    check_score,
    chosen,
    seen,
    value,
)

GREY = 127


def occlusion(
    classifier: Classifier,
    image,
    target=None,
    *,
    patch: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    fill=GREY,
    score: str = "logit",
    exhaustive: bool = False,
    progress: Callable | bool | None = None,
) -> Attribution:
    """How much of the score is lost when a patch is covered: Zeiler, Fergus (2014).

    The patch is laid on the *picture* (pixels 0–255), before any preprocessing, and
    moved over it; the last position of each row and column ends at the border.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    patch : int or (height, width), in pixels of the network's square
        None: a seventh of the square's shorter side.
    stride : int or (down, across), in pixels
        None: half the patch. Larger than the patch, it leaves pixels that are never
        covered; those are zero in ``heatmap()``.
    fill : number, or (red, green, blue), 0–255
        What the patch is painted with.
    score : "logit" or "probability"
    exhaustive : bool
        True: compute every covered picture whole. False: where a plain chain of layers
        allows it (VGG16), compute again only what the patch reaches; the logits are the
        same to within rounding. ``explain.savings`` counts what that saves.
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution
        ``values`` float32 (rows, columns), one for each position of the patch: score
        of the picture minus score with the patch. Positive: the patch hid evidence.
        ``heatmap()`` gives each pixel the mean over the patches that covered it.
        ``parameters["rows"]`` and ``["columns"]``: where the patches start.

    Raises
    ------
    ValueError
        For an unknown target, a patch that is empty or larger than the image, a stride
        below 1, or a fill that is no colour.
    """
    check_score(score)
    what = seen(classifier, image)
    size = what["image"].shape[:2]
    patch = _pair("patch", max(1, min(size) // 7) if patch is None else patch)
    stride = _pair(
        "stride", tuple(max(1, p // 2) for p in patch) if stride is None else stride
    )
    colour = _colour(fill)
    if patch[0] > size[0] or patch[1] > size[1]:
        raise ValueError(
            f"A patch of {patch[0]} × {patch[1]} pixels is larger than the image, "
            f"{size[0]} × {size[1]} as {classifier.name} sees it."
        )
    rows, columns = (starts(*sizes) for sizes in zip(size, patch, stride, strict=True))
    places = [(row, column) for row in rows for column in columns]
    logits = answer(classifier, what["image"])
    index = chosen(classifier, target, logits)
    whole = value(classifier, logits, index, score)
    left = np.empty(len(places), "float32")  # the score that is left
    short = None
    if not exhaustive:
        short = incremental.prepare(classifier, what["image"], places, patch, colour)
    step = short.at_once() if short else batch_size(classifier, backward=False)
    for part in batches(len(places), step, "occlusion", progress):
        if short:
            found = short.logits(part)
        else:
            covered = [cover(what["image"], p, patch, colour) for p in places[part]]
            scaled = classifier.scale(tf.constant(np.stack(covered)))
            found = classifier._forward(scaled).numpy()
        left[part] = value(classifier, found, index, score)
    return Attribution(
        (whole - left).reshape(len(rows), len(columns)),
        unit=f"drop in {score}",
        technique="occlusion",
        model=classifier.name,
        parameters={
            "patch": patch,
            "stride": stride,
            "fill": tuple(map(int, colour)),
            "rows": rows.tolist(),
            "columns": columns.tolist(),
        },
        placement=placement.Placement(
            placement.of_patches(rows, patch[0], size[0]),
            placement.of_patches(columns, patch[1], size[1]),
        ),
        **about(classifier, index, logits, score),
        **what,
    )


def starts(size: int, patch: int, stride: int) -> np.ndarray:
    """First pixels of the patches along one side; the last ends at the border."""
    regular = np.arange(0, size - patch + 1, stride)
    return np.unique(np.append(regular, size - patch))


def cover(square, place, patch, colour) -> np.ndarray:
    """A copy of the square with one patch painted over. Notebook 05."""
    row, column = place
    covered = square.copy()
    covered[row : row + patch[0], column : column + patch[1]] = colour
    return covered


def _pair(name: str, value) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} is one number or (down, across), not {value!r}.")
    return tuple(check_count(name, side) for side in pair)


def _colour(fill) -> np.ndarray:
    try:
        colour = np.asarray(fill)
    except ValueError:  # a ragged list
        colour = np.array("?")
    if colour.dtype.kind not in "iuf" or colour.shape not in ((), (3,)):
        raise ValueError(f"fill is a number or (red, green, blue), not {fill!r}.")
    if not ((colour >= 0) & (colour <= 255)).all():
        raise ValueError(
            f"fill is a colour, 0 to 255 before preprocessing, not {fill}."
        )
    return np.broadcast_to(np.round(colour), 3).astype("uint8")
