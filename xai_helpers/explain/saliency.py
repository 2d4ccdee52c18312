"""Gradients of the score with respect to the pixels, plain and smoothed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._tensorflow import tf
from ..models import Classifier
from .attribution import Attribution
from .engine import (
    about,
    answer,
    batch_size,
    batches,
    check_count,
    check_score,
    chosen,
    gradient_function,
    seen,
    wanted,
)

RANGE = 255.0  # of a pixel


def gradients(
    classifier: Classifier, image, target=None, *, score: str = "logit"
) -> Attribution:
    """How the score answers to a small change of each pixel: Simonyan et al. (2014).

    $M(x) = \\partial y / \\partial x$, with $x$ the pixels, RGB 0–255: the network's
    preprocessing belongs to the function that is differentiated.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    score : "logit" or "probability"

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in score per grey level. The
        paper shows the largest size over the colours; here the sign is kept.

    Raises
    ------
    ValueError
        For an unknown target; close labels are named.
    """
    check_score(score)
    what = seen(classifier, image)
    pixels = tf.constant(what["image"][None].astype("float32"))
    run = gradient_function(classifier, score)
    found = run(pixels, tf.constant(wanted(classifier, target)))
    gradient, logits, index = (tensor.numpy()[0] for tensor in found)
    return Attribution(
        gradient,
        unit=f"{score} per grey level",
        technique="gradients",
        model=classifier.name,
        **about(classifier, int(index), logits.astype("float32"), score),
        **what,
    )


def smoothgrad(
    classifier: Classifier,
    image,
    target=None,
    *,
    noise: float = 0.15,
    samples: int = 50,
    seed: int = 0,
    score: str = "logit",
    progress: Callable | bool | None = None,
) -> Attribution:
    """The mean of the gradients of noisy copies: Smilkov et al. (2017).

    $\\hat M(x) = \\frac{1}{n} \\sum_n M(x + \\mathcal N(0, \\sigma^2))$, with
    $\\sigma$ = ``noise`` times the range of a pixel, 255.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    noise : float
        $\\sigma$ as a share of the range; the paper suggests 0.1 to 0.2. Zero gives
        ``gradients``.
    samples : int
        Noisy copies. A copy costs one forward and one backward pass.
    seed : int
        Of the noise. The noise does not depend on how copies are put into batches.
    score : "logit" or "probability"
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in score per grey level.

    Raises
    ------
    ValueError
        For an unknown target, no samples, or noise below zero.
    """
    check_score(score)
    samples = check_count("samples", samples)
    seed = check_count("seed", seed, 0)
    if not isinstance(noise, (int, float, np.number)) or not 0 <= noise < np.inf:
        raise ValueError(f"noise is a share of the range, 0 and up, not {noise!r}.")
    what = seen(classifier, image)
    square = what["image"].astype("float32")
    logits = answer(classifier, what["image"])
    index = chosen(classifier, target, logits)
    gradient = gradient_function(classifier, score)
    rng = np.random.default_rng(seed)
    total = np.zeros(square.shape, "float64")
    step = min(samples, batch_size(classifier, backward=True))
    for part in batches(samples, step, "SmoothGrad", progress):
        shape = (part.stop - part.start, *square.shape)
        noisy = square + noise * RANGE * rng.standard_normal(shape, "float32")
        found = gradient(tf.constant(noisy), tf.constant(index))[0]
        total += found.numpy().sum(axis=0)
    return Attribution(
        total / samples,
        unit=f"{score} per grey level",
        technique="SmoothGrad",
        model=classifier.name,
        parameters={"noise": float(noise), "samples": samples, "seed": seed},
        **about(classifier, index, logits, score),
        **what,
    )
