"""Which change makes photos look like which class: a table of changes × classes.

A class that was learned for the wrong reason gives itself away: photos of *other*
classes become that class once the reason is put on them, a turn for example.

>>> rows = survey.photos[survey.photos.screened]
>>> probabilities = survey.probabilities(rows)
>>> matrix = screen(probabilities, rows.label, survey.classes, survey.changes)
>>> strongest(matrix, 1)[0].sentence
'The change “turned 30°” raises the probability of minaret by 0.085 …'
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from ..course import plots

FEWEST = 10  # photos; of fewer, a resampling of photos says nothing
LEAST_ERROR = 1e-3  # added to each standard error: cells where nothing moves


@dataclass(eq=False)
class Screening:
    """Mean gains of probabilities over photos of other classes, and how sure they are.

    Attributes
    ----------
    cells : DataFrame, a row for each change and class, in their order
        change, class, gain, low, high (−1 to 1), photos (how many of other classes),
        significant (bool: the whole interval is above 0)
    gains : float32 (photos, changes, classes), probability after the change − before
    other : bool (photos, classes), whether the photo is of another class than this
    confidence : float, of all intervals together
    """

    cells: pd.DataFrame
    gains: np.ndarray
    other: np.ndarray
    confidence: float
    changes: tuple[str, ...]
    classes: tuple[str, ...]

    def grid(self, column: str) -> np.ndarray:
        """A column of ``cells`` as an array (changes, classes)."""
        shape = len(self.changes), len(self.classes)
        return self.cells[column].to_numpy().reshape(shape)


@dataclass(frozen=True)
class Finding:
    """One cell in words, and the photos behind it."""

    change: str
    change_index: int
    label: str
    sentence: str
    photos: tuple[int, ...]  # places in the list of photos, largest gain first
    gains: tuple[float, ...]  # of these photos


def screen(
    probabilities: np.ndarray, labels: Sequence, classes: Sequence[str],
    changes: Sequence[str], *, confidence: float = 0.95, resamples: int = 2000,
    seed: int = 0,
) -> Screening:  # fmt: skip
    """The mean gain of each class under each change, over the photos of other classes.

    The intervals hold for all cells together: photos, drawn at random, show an interval
    without the true mean anywhere in the table in 1 − ``confidence`` of all surveys.
    They are bootstrap-t intervals: photos are drawn again with replacement, and of each
    draw the largest standardised error in any cell is noted, upwards and downwards
    apart, since gains are skewed (Romano and Wolf 2005, https://doi.org/10.1198/
    016214504000000539). A photo keeps all its cells, so that their dependence counts.

    Assumed is that the photos are independent draws from those that one wants to speak
    of (leave duplicates out). Classes and changes are fixed: they are not drawn again,
    and the intervals say nothing of others. Effects on fewer than about one photo in
    the sample cannot be seen.

    Parameters
    ----------
    probabilities : float (n, 1 + changes, classes), 0–1; the first are the photo's own
    labels : n labels, or None; a photo without one counts as what it was taken for
    classes, changes : their names, in the order of the arrays
    confidence : 0–1
    resamples : int, at least 100
    seed : int, of the draws

    Returns
    -------
    Screening
        With fewer than ten photos of other classes an interval is −1 to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit or the confidence is not between 0 and 1.
    """
    probabilities = np.asarray(probabilities, "float32")
    classes, changes = tuple(classes), tuple(changes)
    expected = len(labels), 1 + len(changes), len(classes)
    if probabilities.shape != expected:
        message = f"probabilities have shape {probabilities.shape}, not {expected}"
        raise ValueError(f"{message}: photos, 1 + changes, classes.")
    if not 0 < confidence < 1 or resamples < 100:
        raise ValueError("confidence is between 0 and 1, resamples are 100 or more.")
    gains = probabilities[:, 1:] - probabilities[:, :1]
    called = np.array(classes, dtype=object)[probabilities[:, 0].argmax(axis=1)]
    labels = [label or name for label, name in zip(labels, called, strict=True)]
    other = np.array(labels, dtype=object)[:, None] != np.array(classes, dtype=object)
    counts = other.sum(axis=0)
    enough, whole = counts >= FEWEST, np.ones((1, len(labels)))
    draws = np.zeros((resamples, 0))
    if photos := len(labels):
        shares = np.full(photos, 1 / photos)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(photos, shares, resamples).astype("float64")
    means, errors = np.zeros((2, len(changes), len(classes)))
    largest, smallest = np.zeros((2, resamples))
    for k in range(len(changes)):
        mean, errors[k] = _mean_and_error(whole, gains[:, k], other)
        means[k] = mean
        drawn_mean, drawn_error = _mean_and_error(draws, gains[:, k], other)
        distance = ((drawn_mean - mean) / drawn_error)[:, enough]
        largest = np.maximum(largest, distance.max(axis=1, initial=0))
        smallest = np.minimum(smallest, distance.min(axis=1, initial=0))
    level = (1 + confidence) / 2  # half of the errors on either side
    low = np.maximum(means - np.quantile(largest, level) * errors, -1)
    high = np.minimum(means - np.quantile(smallest, 1 - level) * errors, 1)
    low, high = np.where(enough, low, -1), np.where(enough, high, 1)
    cells = pd.DataFrame(
        {
            "change": np.repeat(np.array(changes, dtype=object), len(classes)),
            "class": np.tile(np.array(classes, dtype=object), len(changes)),
            "gain": means.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "photos": np.tile(counts, len(changes)),
            "significant": (low > 0).ravel(),
        }
    )
    return Screening(cells, gains, other, confidence, changes, classes)


def _mean_and_error(times: np.ndarray, gains: np.ndarray, other: np.ndarray):
    """The mean gain over photos of other classes, and its standard error.

    times : (draws, photos), how often each is drawn; gains, other : (photos, classes);
    returned are two arrays float64 (draws, classes)
    """
    counts = np.maximum(times @ other.astype("float64"), 1)
    gains = np.where(other, gains, 0).astype("float64")
    mean = times @ gains / counts
    variance = np.maximum(times @ gains**2 / counts - mean**2, 0)
    return mean, np.sqrt(variance / counts) + LEAST_ERROR


def strongest(matrix: Screening, count: int = 3, photos: int = 6) -> list[Finding]:
    """The largest gains that are surely above zero, each class once, in words.

    photos : int, how many photos that moved most to name; empty if no gain is sure
    """
    sure = matrix.cells[matrix.cells.significant]
    sure = sure.sort_values("gain", ascending=False, kind="stable")
    return [
        _finding(matrix, cell, photos)
        for _, cell in sure.drop_duplicates("class").head(count).iterrows()
    ]


def _finding(matrix: Screening, cell: pd.Series, photos: int) -> Finding:
    sentence = (
        f"The change “{cell.change}” raises the probability of {cell['class']} by "
        f"{cell.gain:.2g} ({cell.low:.2g} to {cell.high:.2g}) on average over "
        f"{cell.photos} photos of other classes."
    )
    change = matrix.changes.index(cell.change)
    label = matrix.classes.index(cell["class"])
    gains = np.where(matrix.other[:, label], matrix.gains[:, change, label], -np.inf)
    first = np.argsort(-gains, kind="stable")[:photos]
    first = [int(place) for place in first if gains[place] > 0]
    photos = tuple(first), tuple(map(float, gains[first]))
    return Finding(cell.change, change, cell["class"], sentence, *photos)


def largest_columns(matrix: Screening, count: int) -> list[int]:
    """Places of the classes with the largest gains, in the order of the classes."""
    best = matrix.grid("gain").max(axis=0, initial=-1)
    return sorted(np.argsort(-best, kind="stable")[:count].tolist())


def figure(matrix: Screening, most_classes: int = 15) -> plots.Picture:
    """The table as a picture; gains that are surely above zero are in bold, framed."""
    columns = largest_columns(matrix, most_classes)
    gains, sure = (
        matrix.grid("gain")[:, columns],
        matrix.grid("significant")[:, columns],
    )
    classes = [matrix.classes[k].replace("_", " ") for k in columns]
    size = 2.0 + 0.62 * len(columns), 1.3 + 0.34 * len(matrix.changes)
    title = "Mean gain in probability over photos of other classes"
    drawing, [[panel]] = plots.panel_grid(1, 1, size, title, axes=True)
    limit = max(0.01, np.abs(gains).max(initial=0))
    colours = {"cmap": plots.COLOUR_MAPS["signed"], "vmin": -limit, "vmax": limit}
    panel.imshow(gains, aspect="auto", **colours)
    panel.set_xticks(range(len(classes)), classes, rotation=40, ha="right", fontsize=8)
    panel.set_yticks(range(len(matrix.changes)), matrix.changes, fontsize=8)
    for (row, column), gain in np.ndenumerate(gains):
        style = {"ha": "center", "va": "center", "fontsize": 7}
        style["color"] = "white" if abs(gain) > 0.7 * limit else "black"
        style["fontweight"] = "bold" if sure[row, column] else "normal"
        panel.text(column, row, f"{gain:.3f}".replace("-", "−"), **style)
        if sure[row, column]:
            place = (column - 0.47, row - 0.47), 0.94, 0.94
            panel.add_patch(Rectangle(*place, fill=False, ec="black", lw=1.2))
    total = int(matrix.grid("significant").sum())
    sentences = [finding.sentence for finding in strongest(matrix)]
    shown = f"; {len(columns)} of {len(matrix.classes)} classes are drawn"
    text = f"{title}, {len(matrix.changes)} changes × {len(matrix.classes)} classes"
    text += shown if len(columns) < len(matrix.classes) else ""
    text += f". {total} gains are above zero with {matrix.confidence:.0%} confidence "
    return plots.Picture(drawing, " ".join([text + "for all of them.", *sentences]))
