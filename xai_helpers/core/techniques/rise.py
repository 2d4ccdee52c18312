"""RISE: how high the score is, on average, while a pixel is visible."""

import math
from collections.abc import Callable

import numpy as np

from ...engine.batches import Progress, batch_slices
from ...engine.checks import check_colour, check_count
from ...engine.fills import GREY_LEVEL
from ...engine.upsampling import interpolation_matrix
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query


def rise(
    classifier: Classifier, image, target=None, *, masks: int = 1000, cells: int = 7,
    visible: float = 0.5, fill=GREY_LEVEL, seed: int = 0, score: str = "probability",
    progress: Progress = None,
) -> Attribution:  # fmt: skip
    """The mean score over random masks that show a pixel: Petsiuk et al. (2018).

    $S(\\lambda) = \\frac{1}{N\\,E[M]} \\sum_i f(I \\odot M_i)\\, M_i(\\lambda)$ (eq. 6)
    for a pixel $\\lambda$, masks $M_i$ from 0 (hidden) to 1 (visible), and $f$ the
    score. Only the network's answers are used, no gradients.

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
        The paper explains the probability.
    masks : int
        Each costs a forward pass. The paper takes 4,000 (VGG16) and 8,000.
    cells : int
        Masks are random grids of so many cells a side, enlarged and shifted.
    visible : float between 0 and 1
        $E[M]$, the share of cells that are visible.
    fill : number, or (red, green, blue), 0–255
        What hidden pixels are painted with.

    Returns
    -------
    Attribution
        ``values`` float32 (height, width). ``checks``: the ``spread`` of the map
        (standard deviation over its pixels) and the ``standard error`` of a pixel
        (mean over the pixels); smaller differences mean nothing.

    Examples
    --------
    >>> rise(classifier, photo, "tabby", masks=100).values.shape
    (299, 299)
    """
    masks, cells = check_count("masks", masks), check_count("cells", cells)
    seed, colour = check_count("seed", seed, 0), check_colour(fill)
    if not 0 < visible < 1:
        raise ValueError(f"visible is a share between 0 and 1, not {visible!r}.")
    query = Query(classifier, image, target, score).ask()
    draw = random_masks(masks, cells, visible, classifier.input_size, seed)
    total, of_squares = np.zeros((2, *classifier.input_size))
    for part in batch_slices(masks, classifier.batch_size(), "RISE", progress):
        m = draw(part)[..., None]
        pictures = query.square * m + colour * (1 - m)
        f = query.score_of(classifier.logits_of(pictures))
        terms = f[:, None, None] * m[..., 0] / visible
        total += terms.sum(axis=0)
        of_squares += (terms**2).sum(axis=0)
    mean = total / masks
    variance = np.maximum(of_squares / masks - mean**2, 0) / max(masks - 1, 1)
    error = float(np.sqrt(variance).mean()) if masks > 1 else np.inf
    return query.attribution(
        mean, "RISE", unit=f"mean {score}", signed=bool(mean.min() < 0),
        parameters={"masks": masks, "cells": cells, "visible": visible, "seed": seed}
        | {"fill": tuple(map(int, colour))},
        checks={"spread": float(mean.std()), "standard error": error},
    )  # fmt: skip


def random_masks(masks: int, cells: int, visible: float, size, seed: int) -> Callable:
    """slice → those masks, float32 (n, height, width), 0–1: section 3.2 of the paper.

    Random grids, enlarged by linear interpolation to a cell more than the picture, and
    cropped at a random place. They do not depend on the slices.
    """
    rng = np.random.default_rng(seed)
    grids = (rng.random((masks, cells, cells)) < visible).astype("float32")
    (height, width), cell = size, [math.ceil(side / cells) for side in size]
    shifts = [rng.integers(0, side, masks) for side in cell]
    step = (cells + 1) / cells * np.array(cell)
    rows, columns = (
        interpolation_matrix((s - 1) / 2, s, cells, (cells + 1) * side)
        for s, side in zip(step, cell, strict=True)
    )

    def draw(part: slice) -> np.ndarray:
        places = zip(grids[part], shifts[0][part], shifts[1][part], strict=True)
        enlarged = [
            rows[y : y + height] @ grid @ columns[x : x + width].T
            for grid, y, x in places
        ]
        return np.stack(enlarged)

    return draw
