"""Integrated gradients: shares of the score, along a straight line from a baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from .._tensorflow import tf
from ..models import Classifier
from .attribution import Attribution
from .engine import (
    batch_size,
    batches,
    check_count,
    check_score,
    gradient_function,
    seen,
    value,
)
from .saliency import scored

BASELINES = ("black", "grey", "blurred", "noise")


def integrated_gradients(
    classifier: Classifier,
    image,
    target=None,
    *,
    baseline="black",
    steps: int = 64,
    seed: int = 0,
    score: str = "logit",
    progress: Callable | bool | None = None,
) -> Attribution:
    """Each pixel's share in the score's climb: Sundararajan et al. (2017), eq. 1.

    With $x$ the image and $b$ the baseline,

    $\\phi(x) = (x - b) \\int_0^1 \\partial y / \\partial x\\,(b + \\alpha (x - b))
    \\, d\\alpha$, the integral as a mean over ``steps`` midpoints. The shares add up to
    $y(x) - y(b)$ (completeness); ``checks`` says how nearly.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    baseline : "black", "grey", "blurred", "noise", or uint8 array (height, width, 3)
        What the climb begins with; an array at the network's size.
    steps : int
        A step costs one forward and one backward pass.
    seed : int
        Of the baseline "noise".
    score : "logit" or "probability"
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in units of the score.
        ``checks``: ``sum`` of the values, ``score difference``, and ``gap``, their
        distance as a share of the difference.

    Raises
    ------
    ValueError
        For an unknown target or baseline, a baseline of another size, or no steps.
    """
    check_score(score)
    steps, seed = check_count("steps", steps), check_count("seed", seed, 0)
    what = seen(classifier, image)
    x = what["image"].astype("float32")
    b = start(what["image"], baseline, seed).astype("float32")
    about = scored(classifier, what["image"], target, score)
    gradient = gradient_function(classifier, score)
    index = tf.constant(about["target"])
    alphas = ((np.arange(steps) + 0.5) / steps).astype("float32")[:, None, None, None]
    total = np.zeros(x.shape, "float64")
    step = min(steps, batch_size(classifier, backward=True))
    for part in batches(steps, step, "integrated gradients", progress):
        points = b + alphas[part] * (x - b)
        total += gradient(tf.constant(points), index).numpy().sum(axis=0)
    values = (x - b) * total / steps
    at_start = value(classifier, classifier.logits(b.astype("uint8"))[0],
                     about["target"], score)  # fmt: skip
    difference = about["score_value"] - float(at_start)
    gap = abs(values.sum() - difference) / abs(difference) if difference else np.inf
    return Attribution(
        values,
        unit=score,
        technique="integrated gradients",
        model=classifier.name,
        parameters={
            "baseline": baseline if isinstance(baseline, str) else "array",
            "steps": steps,
            "seed": seed,
        },
        checks={
            "sum": float(values.sum()),
            "score difference": difference,
            "gap": float(gap),
        },
        **about,
        **what,
    )


def start(square: np.ndarray, baseline, seed: int = 0) -> np.ndarray:
    """The picture that a baseline stands for, uint8, of the square's shape."""
    if isinstance(baseline, np.ndarray):
        if baseline.dtype != np.uint8 or baseline.shape != square.shape:
            raise ValueError(
                f"The baseline is {baseline.dtype} of shape {baseline.shape}; wanted "
                f"uint8 of shape {square.shape}."
            )
        return baseline
    if baseline == "black":
        return np.zeros_like(square)
    if baseline == "grey":
        return np.full_like(square, 127)
    if baseline == "blurred":
        radius = min(square.shape[:2]) / 10
        return np.array(
            Image.fromarray(square).filter(ImageFilter.GaussianBlur(radius))
        )
    if baseline == "noise":
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, square.shape, dtype=np.uint8)
    raise ValueError(
        f"baseline is {', '.join(BASELINES)} or a uint8 array, not {baseline!r}."
    )
