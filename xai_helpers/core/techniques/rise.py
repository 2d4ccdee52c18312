"""RISE: how high the score is, on average, while a pixel is visible."""

import numpy as np

from ...engine.batches import Progress
from ...engine.checks import check_colour, check_count
from ...engine.fills import GREY_LEVEL
from ...engine.random_draws import mask_pairs
from ...engine.replicates import Samples, check_samples, sample_maps
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query


def rise(
    classifier: Classifier, image, target=None, *, masks: Samples = 1000,
    cells: int = 7, visible: float = 0.5, fill=GREY_LEVEL, tolerance: float = 0.25,
    seed: int = 0, score: str = "probability", progress: Progress = None,
) -> Attribution:  # fmt: skip
    """The mean score over random masks that show a pixel: Petsiuk et al. (2018).

    $S(\\lambda) = \\frac{1}{N\\,E[M]} \\sum_i f(I \\odot M_i)\\, M_i(\\lambda)$ (eq. 6)
    for a pixel $\\lambda$, masks $M_i$ from 0 (hidden) to 1 (visible), and $f$ the
    score. Only the network's answers are used, no gradients. The masks come in pairs,
    one showing what the other hides, which leaves the expectation as it is and takes
    most of the chance away (``engine/random_draws.py``).

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
        The paper explains the probability.
    masks : int or "auto"
        Each costs a forward pass; an odd number is rounded up. The paper takes 4,000
        (VGG16) and 8,000. "auto": until the relative error is below ``tolerance``.
    cells : int
        Masks are random grids of so many cells a side, enlarged and shifted.
    visible : float between 0 and 1
        $E[M]$, the share of cells that are visible.
    fill : number, or (red, green, blue), 0–255
        What hidden pixels are painted with.
    tolerance : float above 0

    Returns
    -------
    Attribution
        ``values`` float32 (height, width). ``checks``: the ``spread`` of the map
        (standard deviation over its pixels), the ``standard error`` of a pixel's
        difference from the map's mean (root mean square over the pixels), smaller
        differences mean nothing; the ``relative error``, the second as a share of the
        first in a map without chance; the ``samples``, masks that were taken.

    Examples
    --------
    >>> rise(classifier, photo, "tabby", masks=100).values.shape
    (299, 299)
    """
    masks, cells = check_samples("masks", masks, tolerance), check_count("cells", cells)
    seed, colour = check_count("seed", seed, 0), check_colour(fill)
    query = Query(classifier, image, target, score).ask()
    draw_masks, total = mask_pairs(cells, visible, classifier.input_size, seed), 0.0

    def draw(pairs, advance):
        nonlocal total
        terms = 0.0
        for m in draw_masks(pairs)[..., None]:
            pictures = query.square * m + colour * (1 - m)
            f = query.score_of(classifier.logits_of(pictures))
            terms += f[:, None, None] * m[..., 0] / visible / 2
            advance(pairs)
        total += terms.sum(axis=0, dtype="float64")
        return (terms - terms.mean(axis=(1, 2), keepdims=True))[:, None]

    at_once = classifier.batch_size()
    pairs = sample_maps(draw, masks, 2, at_once, tolerance, "RISE", progress)
    mean = total / pairs.count
    error = float(pairs.standard_error[0] / np.sqrt(mean.size))
    return query.attribution(
        mean, "RISE", unit=f"mean {score}", signed=bool(mean.min() < 0),
        parameters={"masks": masks, "cells": cells, "visible": visible, "seed": seed}
        | {"fill": tuple(map(int, colour))},
        checks={"spread": float(mean.std()), "standard error": error} | pairs.checks(),
        notes=pairs.notes,
    )  # fmt: skip
