"""Integrated gradients: shares of the score, along a straight path from a baseline."""

from collections.abc import Callable

import numpy as np

from ...engine import adaptive_path
from ...engine.batches import Progress, answering_size, even_slices
from ...engine.checks import check_count
from ...engine.fills import baseline_image
from ...engine.tensorflow import tf
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query, to_scores


def integrated_gradients(
    classifier: Classifier, image, target=None, *, baseline="black", steps: int = 256,
    tolerance: float | None = 0.02, seed: int = 0, score: str = "logit",
    progress: Progress = None,
) -> Attribution:  # fmt: skip
    """Each pixel's share in the score's climb: Sundararajan et al. (2017), eq. 1.

    With $x$ the image and $b$ the baseline,

    $\\phi(x) = (x - b) \\int_0^1 \\partial y / \\partial x\\,(b + \\alpha (x - b))
    \\, d\\alpha$. The shares add up to $y(x) - y(b)$ (completeness); ``checks`` says
    how nearly.

    The integral is a sum over intervals of the path, the gradient taken in the middle
    of each. Intervals are even, as in the paper, or halved where the gradient changes
    (``engine/adaptive_path.py``; notebook 07).

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
    baseline : "black", "grey", "blurred", "noise", or uint8 array (height, width, 3)
        What the climb begins with; an array at the network's size.
    steps : int
        At most so many gradients, each a forward and a backward pass.
    tolerance : float above 0, or None
        Each interval may miss a tenth of this share of the score difference; their
        errors partly cancel, so that the gap mostly ends below ``tolerance``. None:
        ``steps`` even steps.

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in units of the score.
        ``checks``: ``sum`` of the values, ``score difference``, ``gap``, their
        distance as a share of the difference, and the ``steps`` taken.

    Examples
    --------
    >>> integrated_gradients(classifier, photo, "tabby", steps=64).checks["steps"]
    64
    """
    steps, seed = check_count("steps", steps), check_count("seed", seed, 0)
    if tolerance is not None and not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is a share above 0, or None, not {tolerance!r}.")
    query = Query(classifier, image, target, score)
    x = query.square.astype("float32")
    b = baseline_image(query.square, baseline, seed).astype("float32")
    mean_gradient, climb, taken = _integrate(query, b, x, steps, tolerance, progress)
    values = (x - b) * mean_gradient
    return query.attribution(
        values,
        "integrated gradients",
        unit=score,
        parameters={"baseline": baseline if isinstance(baseline, str) else "given"}
        | {"steps": steps, "tolerance": tolerance, "seed": seed},
        checks=adaptive_path.completeness(values, climb) | {"steps": taken},
    )


def _integrate(query: Query, b, x, steps: int, tolerance: float | None, progress):
    """The mean gradient on the path from b to x, how far the score climbs, the steps.

    A missing target of the query becomes the top 1 of x.
    """
    count = 1 if tolerance is None else min(adaptive_path.INITIAL_INTERVALS, steps)
    edges = np.linspace(0, 1, count + 1)
    path = b + np.float32(edges)[:, None, None, None] * (x - b)
    logits_of, size = query.classifier.logits_of, answering_size(len(path), progress)

    def advance(_):  # these passes are not among the steps; but they can be cancelled
        if callable(progress):
            progress(0, steps)

    parts = even_slices(len(path), size, advance)
    logits = np.concatenate([logits_of(path[part]) for part in parts])
    scores = query.answer(logits[-1]).score_of(logits).astype("float64")
    compute, index = _compiled_path_gradients(query), tf.constant(query.target)

    def gradients_at(alphas):
        return [t.numpy() for t in compute(b, x, np.float32(alphas), index)]

    size = query.classifier.batch_size(backward=True)
    options = {"steps": steps, "batch_size": size, "progress": progress}
    if tolerance is None:  # as in the paper
        mean, steps = adaptive_path.integrate_evenly(gradients_at, **options), steps
    else:
        options["tolerance"] = tolerance
        mean, steps = adaptive_path.integrate_adaptively(
            gradients_at, edges, scores, **options
        )
    return mean, scores[-1] - scores[0], steps


def _compiled_path_gradients(query: Query) -> Callable:
    """(b, x, alphas (N,), class index) → at the points b + alpha (x − b): the scores
    (N,), how steeply they climb with alpha (N,), the gradients (N, height, width, 3).
    """
    classifier, score = query.classifier, query.score

    def build():
        def run(b, x, alphas, index):
            points = b + alphas[:, None, None, None] * (x - b)
            inputs = classifier.preprocess_tensor(points)
            logits = classifier.model(inputs, training=False)
            y = to_scores(classifier, logits, score)[:, index]
            gradient = classifier.gradients_of(y, [points], logits)[0]
            return y, tf.reduce_sum((x - b) * gradient, (1, 2, 3)), gradient

        return run

    return classifier.cached_function(("path gradients", score), build)
