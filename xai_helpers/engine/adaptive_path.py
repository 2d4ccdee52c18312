"""An integral along a path: in even steps, or with steps where the integrand changes.

From black to the photo, the gradient changes hundredfold on the first steps and hardly
later. So an interval is halved as long as gradient times length misses what the score
climbs on it: a given gap takes a fraction of the steps that even spacing takes.
"""

from collections.abc import Callable

import numpy as np

from .batches import answering_size, batch_slices, even_slices, progress_bar

DESCRIPTION = "integrated gradients"
INITIAL_INTERVALS = 16
ERROR_SHARE = 0.1  # of the tolerance, for one interval: their errors partly cancel


def integrate_evenly(evaluate: Callable, *, steps: int, batch_size: int, progress):
    """The mean of the gradients in the middles of ``steps`` equal intervals."""
    middles, total = (np.arange(steps) + 0.5) / steps, 0.0
    for part in batch_slices(steps, batch_size, DESCRIPTION, progress):
        *_, gradients = evaluate(middles[part])
        total = total + gradients.sum(axis=0, dtype="float64")
    return total / steps


def integrate_adaptively(
    evaluate: Callable, edges: np.ndarray, scores: np.ndarray, *,
    tolerance: float, steps: int, batch_size: int, progress,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """The integral of the gradient over the path, and the steps that it took.

    evaluate : alphas (n,) → scores, their derivatives by alpha, gradients (n, ...)
    edges, scores : (k + 1,), the first k intervals, and the score at their ends
    tolerance : share of the whole climb; each interval may miss a tenth of it
    """
    allowed = tolerance * ERROR_SHARE * abs(scores[-1] - scores[0])
    ends = zip(edges[:-1], edges[1:], scores[:-1], scores[1:], strict=True)
    pending = [(np.inf, *end) for end in ends]  # the error is that of the whole
    total, taken, short = 0.0, 0, steps <= batch_size
    with progress_bar(steps, DESCRIPTION, progress, short=short) as advance:
        while pending:  # those first that are likely to miss most
            pending.sort(key=lambda interval: -interval[0])
            batch, pending = pending[:batch_size], pending[batch_size:]
            middles = np.array([(start + end) / 2 for _, start, end, *_ in batch])
            size = answering_size(batch_size, progress)
            parts = [
                evaluate(middles[k]) for k in even_slices(len(batch), size, advance)
            ]
            results = map(np.concatenate, zip(*parts, strict=True))
            taken += len(batch)
            for interval, middle, score, slope, gradient in zip(
                batch, middles, *results, strict=True
            ):
                _, start, end, score_start, score_end = interval
                error = abs(slope * (end - start) - (score_end - score_start))
                if error > allowed and taken + len(pending) + 2 <= steps:
                    pending.append((error, start, middle, score_start, score))
                    pending.append((error, middle, end, score, score_end))
                else:
                    total = total + (end - start) * gradient.astype("float64")
    return total, taken


def completeness(values: np.ndarray, climb: float) -> dict:
    """How nearly the values add up to the score difference."""
    missed = abs(values.sum() - climb)
    gap = missed / abs(climb) if climb else (np.inf if missed else 0.0)
    checks = {"sum": values.sum(), "score difference": climb, "gap": gap}
    return {name: float(value) for name, value in checks.items()}
