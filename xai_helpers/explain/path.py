"""Integrated gradients: shares of the score, along a straight line from a baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from .._tensorflow import tf
from ..models import Classifier
from .attribution import Attribution
from .engine import (
    about,
    batch_size,
    check_count,
    check_score,
    chosen,
    differentiate,
    reporting,
    scores,
    seen,
    value,
)

BASELINES = ("black", "grey", "blurred", "noise")
FIRST = 16  # pieces that the way is cut into before any is halved
SHARE = 10  # a piece may miss a tenth of the tolerance; their errors partly cancel


class Piece(NamedTuple):
    """A part of the way from the baseline (0) to the image (1)."""

    start: float
    end: float
    y_start: float  # the score there
    y_end: float
    error: float = np.inf  # of the piece that it is half of

    def halves(self, y_middle: float, error: float) -> list[Piece]:
        middle = (self.start + self.end) / 2
        return [
            Piece(self.start, middle, self.y_start, y_middle, error),
            Piece(middle, self.end, y_middle, self.y_end, error),
        ]


def integrated_gradients(
    classifier: Classifier,
    image,
    target=None,
    *,
    baseline="black",
    steps: int = 256,
    tolerance: float | None = 0.02,
    seed: int = 0,
    score: str = "logit",
    progress: Callable | bool | None = None,
) -> Attribution:
    """Each pixel's share in the score's climb: Sundararajan et al. (2017), eq. 1.

    With $x$ the image and $b$ the baseline,

    $\\phi(x) = (x - b) \\int_0^1 \\partial y / \\partial x\\,(b + \\alpha (x - b))
    \\, d\\alpha$. The shares add up to $y(x) - y(b)$ (completeness); ``checks`` says
    how nearly.

    The integral is a sum over pieces of the way, the gradient taken in the middle of
    each. On the first steps from black the gradient changes hundredfold, later hardly:
    so a piece is halved as long as gradient times length misses what the score really
    climbs on it (notebook 08). That reaches a given gap with a fraction of the steps
    that even spacing takes.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    baseline : "black", "grey", "blurred", "noise", or uint8 array (height, width, 3)
        What the climb begins with; an array at the network's size.
    steps : int
        At most so many gradients, each a forward and a backward pass.
    tolerance : float or None
        Each piece may miss a tenth of this share of the score difference; their errors
        partly cancel, so that the gap mostly ends below ``tolerance``. None: ``steps``
        even steps, as in the paper.
    seed : int
        Of the baseline "noise".
    score : "logit" or "probability"
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in units of the score.
        ``checks``: ``sum`` of the values, ``score difference``, ``gap``, their
        distance as a share of the difference, and the ``steps`` taken.

    Raises
    ------
    ValueError
        For an unknown target or baseline, a baseline of another size, no steps, or a
        tolerance that is not above 0.
    """
    check_score(score)
    steps, seed = check_count("steps", steps), check_count("seed", seed, 0)
    if tolerance is not None and not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is a share above 0, or None, not {tolerance!r}.")
    what = seen(classifier, image)
    x = what["image"].astype("float32")
    b = start(what["image"], baseline, seed).astype("float32")
    first = steps if tolerance is None else min(FIRST, steps)
    edges = np.linspace(0, 1, first + 1)
    known = [0, first] if tolerance is None else range(first + 1)
    logits = _climb(classifier, b, x, edges[known])
    index = chosen(classifier, target, logits[-1])
    y = value(classifier, logits, index, score).astype("float64")
    y = np.interp(edges, edges[known], y)
    difference = float(y[-1] - y[0])
    allowed = np.inf if tolerance is None else tolerance / SHARE * abs(difference)
    waiting = [Piece(*edges[k : k + 2], *y[k : k + 2]) for k in range(first)]

    run = _function(classifier, score)
    size = batch_size(classifier, backward=True)
    total, used = np.zeros(x.shape, "float64"), 0
    with reporting(
        steps, "integrated gradients", progress, short=steps <= size
    ) as tell:
        while waiting:  # those first that are likely to be farthest off
            waiting.sort(key=lambda piece: -piece.error)
            batch, waiting = waiting[:size], waiting[size:]
            alphas = np.array([(p.start + p.end) / 2 for p in batch], "float32")
            answers = (a.numpy() for a in run(b, x, alphas, tf.constant(index)))
            used += len(batch)
            for piece, y_middle, slope, gradient in zip(batch, *answers, strict=True):
                length = piece.end - piece.start
                error = abs(slope * length - (piece.y_end - piece.y_start))
                if error > allowed and used + len(waiting) + 2 <= steps:
                    waiting += piece.halves(y_middle, error)
                else:
                    total += length * gradient.astype("float64")
            tell(len(batch))
    values = (x - b) * total
    missed = abs(values.sum() - difference)
    gap = missed / abs(difference) if difference else (np.inf if missed else 0.0)
    return Attribution(
        values,
        unit=score,
        technique="integrated gradients",
        model=classifier.name,
        parameters={
            "baseline": baseline if isinstance(baseline, str) else "given",
            "steps": steps,
            "tolerance": tolerance,
            "seed": seed,
        },
        checks={
            "sum": float(values.sum()),
            "score difference": difference,
            "gap": float(gap),
            "steps": used,
        },
        **about(classifier, index, logits[-1], score),
        **what,
    )


def _function(classifier: Classifier, score: str) -> Callable:
    """(b, x, alphas (N,), class index) → at the points b + alpha (x − b): the scores
    (N,), how steeply they climb with alpha (N,), the gradients (N, height, width, 3).
    """

    def build():
        def run(b, x, alphas, index):
            points = b + alphas[:, None, None, None] * (x - b)
            logits = classifier.network(classifier.scale(points), training=False)
            y = scores(classifier, logits, score)[:, index]
            gradient = differentiate(y, [points])[0]
            return y, tf.reduce_sum((x - b) * gradient, (1, 2, 3)), gradient

        return run

    return classifier.compiled(("path", score), build)


def _climb(classifier: Classifier, b, x, alphas) -> np.ndarray:
    """The logits at points of the way, (N, classes); no gradients."""
    size, found = batch_size(classifier, backward=False), []
    for k in range(0, len(alphas), size):
        part = np.asarray(alphas[k : k + size], "float32")[:, None, None, None]
        scaled = classifier.scale(tf.constant(b + part * (x - b)))
        found.append(classifier._forward(scaled).numpy())
    return np.concatenate(found).astype("float32")


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
