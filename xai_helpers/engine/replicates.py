"""Means of independent estimates of a map: how far off they are, how many it takes."""

import math
from collections.abc import Callable

import numpy as np

from .batches import Progress, answering_size, progress_bar
from .checks import check_count

MOST_SAMPLES = 4000  # of ``samples="auto"``
Samples = int | str  # a whole number, or "auto"


class Replicates:
    """The mean of independent, equally good estimates of one or several maps.

    Their distances from each other say how far the mean is from what it estimates: the
    variance of a mean of R estimates is that between them, divided by R.
    """

    def __init__(self, each: int = 1):
        self.each = each  # samples that an estimate is made of
        self.notes: list[str] = []  # for an ``Attribution``
        self.count, self.mean, self._squares = 0, np.float64(0), np.float64(0)

    def add(self, estimates: np.ndarray) -> None:
        """estimates : float (n, maps, ...), n further estimates of each of the maps."""
        n, maps = estimates.shape[:2]
        self.count += n
        total = estimates.sum(axis=0, dtype="float64")
        self.mean = self.mean + (total - n * self.mean) / self.count
        rows = estimates.reshape(n, maps, -1)
        self._squares = self._squares + np.einsum(
            "nmv,nmv->m", rows, rows, dtype="float64"
        )

    @property
    def standard_error(self) -> np.ndarray:
        """float (maps,): √ of the sum, over a map's values, of the mean's variance.

        It estimates how far, as a Euclidean distance, the mean is from its
        expectation. Infinite for a single estimate.
        """
        if self.count < 2:
            return np.full(self._squares.shape, np.inf)
        between = self._squares - self.count * self._mean_squares
        return np.sqrt(np.maximum(between, 0) / (self.count - 1) / self.count)

    @property
    def relative_error(self) -> np.ndarray:
        """float (maps,): the standard error as a share of the expectation's length.

        The squared length of a mean is, on average, too long by its squared error.
        """
        length = np.sqrt(np.maximum(self._mean_squares - self.standard_error**2, 0))
        with np.errstate(all="ignore"):
            ratio = self.standard_error / length
        return np.where(self.standard_error == 0, 0, np.where(length, ratio, np.inf))

    def checks(self, index: int = 0) -> dict:
        """For an ``Attribution`` of one of the maps: its error, the samples taken."""
        error = float(self.relative_error[index])
        return {"relative error": error, "samples": self.count * self.each}

    @property
    def _mean_squares(self) -> np.ndarray:
        return (self.mean**2).reshape(len(self.mean), -1).sum(axis=1)


def sample_maps(
    draw: Callable, samples: Samples, each: int, at_once: int, tolerance: float,
    description: str, progress: Progress,
) -> Replicates:  # fmt: skip
    """Independent estimates of maps: of so many samples, or until the error is small.

    draw : (n, advance) → n further estimates, float (n, maps, ...), and calls
        ``advance(k)`` when k more samples are done
    each : samples that an estimate is made of; what is left over makes one more
    at_once : estimates that ``draw`` is asked for at a time
    tolerance : for "auto": until the largest ``relative_error`` is below it
    """
    is_auto, result = samples == "auto", Replicates(each)
    most = math.ceil((MOST_SAMPLES if is_auto else samples) / each)
    at_once = answering_size(at_once, progress)
    at_once = math.ceil(most / math.ceil(most / at_once))  # equal parts
    is_short = at_once == most
    with progress_bar(most * each, description, progress, short=is_short) as advance:
        while result.count < most:
            result.add(draw(min(at_once, most - result.count), advance))
            if is_auto and result.count > 1:
                error = result.relative_error.max()
                if error <= tolerance:
                    break
                needed = result.count * each * min(error / tolerance, 99) ** 2
                advance(0, min(math.ceil(needed), most * each), f"error {error:.2f}")
    if is_auto and (error := result.relative_error.max()) > tolerance:
        result.notes.append(
            f"After {most * each:,} samples the relative error is still {error:.2f}, "
            f"above the tolerance of {tolerance}: read no details into this map."
        )
    return result


def check_samples(name: str, samples: Samples, tolerance: float) -> Samples:
    """A whole number, or "auto" with a tolerance that can be reached."""
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is a share above 0, not {tolerance!r}.")
    if isinstance(samples, str) and samples != "auto":
        raise ValueError(f"{name} is a whole number or 'auto', not {samples!r}.")
    return samples if samples == "auto" else check_count(name, samples)
