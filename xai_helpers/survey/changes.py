"""Named changes of a picture, and what they do to the answer: counterfactuals.

A map marks places. Whether a network goes by something that has no place, such as the
turn of the photo, a map cannot say; the photo, turned, can.

>>> effect_of_change(classifier, photos, CHANGES["turned 30°"], "minaret")
The picture is turned by 30° …: on 141 photos, the probability of minaret rises by …
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy import stats

from ..core.classifier import Classifier
from ..engine.batches import Progress, batch_slices
from ..engine.fills import GREY_LEVEL

LEVEL_NAMES = {0: "black", GREY_LEVEL: "grey", 255: "white"}


@dataclass(frozen=True)
class Change:
    """One change of the square that a network is given."""

    name: str  # short, for tables
    sentence: str  # what is done
    # (uint8 (H, W, 3), seed int) → uint8 of the same shape, a new array. Only changes
    # at a random place use the seed: the same seed is the same place.
    apply: Callable[[np.ndarray, int], np.ndarray]


# --- makers of changes ----------------------------------------------------------------


def turn(degrees: float, fill: int = 0, name: str | None = None) -> Change:
    """The picture turned about its centre, counter-clockwise; corners of one level.

    degrees : below zero it is turned clockwise; fill : 0–255, of the corners
    """
    angle, level = f"{degrees:g}".replace("-", "−"), LEVEL_NAMES.get(fill, f"{fill}")
    sentence = f"The picture is turned by {angle}°; the corners are {level}."
    apply = partial(_turned, degrees=degrees, fill=fill)
    return Change(name or f"turned {angle}°", sentence, apply)


def border(level: int, width: float = 1 / 16) -> Change:
    """A frame over the rim; level : 0–255; width : as a share of the shorter side."""
    colour = LEVEL_NAMES.get(level, f"{level}")
    sentence = f"A {colour} frame covers the outer {width:.0%} of the shorter side."
    apply = partial(_framed, level=level, width=width)
    return Change(f"{colour} border", sentence, apply)


def blur(radius: float = 1 / 50) -> Change:
    """A Gaussian blur; radius : its standard deviation, share of the shorter side."""
    sentence = f"The picture is blurred, with a radius of {radius:.0%} of its side."
    return Change("blurred", sentence, partial(_blurred, radius=radius))


def stamp(anywhere: bool, size: float = 1 / 6) -> Change:
    """A small sign on the picture: at the lower left, or at a place the seed gives.

    size : side of the stamp, as a share of the shorter side of the picture
    """
    name, place = "stamped in a corner", "the lower left corner"
    if anywhere:
        name, place = "stamped anywhere", "a random place"
    sentence = f"A stamp, a red disc on white in a black frame, is put in {place}."
    return Change(name, sentence, partial(_stamped, anywhere=anywhere, size=size))


def cover(random_place: bool, size: float = 0.5, level: int = GREY_LEVEL) -> Change:
    """A rectangle of one level over the centre, or at a place that the seed gives.

    size : its sides, as a share of the picture's
    """
    name, place = "centre covered", "the centre"
    if random_place:
        name, place = "random place covered", "a random place"
    colour = LEVEL_NAMES.get(level, f"{level}")
    sentence = f"A {colour} rectangle covers {place}, {size**2:.0%} of the picture."
    apply = partial(_covered, random_place=random_place, size=size, level=level)
    return Change(name, sentence, apply)


# --- what they do to pixels -----------------------------------------------------------


def stamp_picture(side: int) -> np.ndarray:
    """The sign that ``stamp`` puts on pictures, uint8 (side, side, 3)."""
    picture = Image.new("RGB", (side, side), "black")
    draw, frame = ImageDraw.Draw(picture), max(1, side // 12)
    draw.rectangle([frame, frame, side - 1 - frame, side - 1 - frame], "white")
    draw.ellipse(
        [side // 4, side // 4, side - 1 - side // 4, side - 1 - side // 4], "red"
    )
    return np.array(picture)


def _turned(square: np.ndarray, seed: int = 0, *, degrees, fill) -> np.ndarray:
    picture, corners = Image.fromarray(square), (fill,) * 3
    return np.array(picture.rotate(degrees, Image.BILINEAR, fillcolor=corners))


def _mirrored(square: np.ndarray, seed: int = 0) -> np.ndarray:
    return square[:, ::-1].copy()


def _framed(square: np.ndarray, seed: int = 0, *, level, width) -> np.ndarray:
    w = max(1, round(width * min(square.shape[:2])))
    framed = np.full_like(square, level)
    framed[w:-w, w:-w] = square[w:-w, w:-w]
    return framed


def _grey(square: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.array(ImageOps.grayscale(Image.fromarray(square)).convert("RGB"))


def _blurred(square: np.ndarray, seed: int = 0, *, radius) -> np.ndarray:
    kernel = ImageFilter.GaussianBlur(radius * min(square.shape[:2]))
    return np.array(Image.fromarray(square).filter(kernel))


def _random_corner(shape, height: int, width: int, seed: int) -> tuple[int, int]:
    """Top and left of a rectangle that lies within the picture, each equally likely."""
    rng = np.random.default_rng(seed)
    spaces = shape[0] - height, shape[1] - width
    return tuple(int(rng.integers(space + 1)) for space in spaces)


def _stamped(square: np.ndarray, seed: int = 0, *, anywhere, size) -> np.ndarray:
    side = max(1, round(size * min(square.shape[:2])))
    margin = side // 4
    top, left = square.shape[0] - side - margin, margin
    if anywhere:
        top, left = _random_corner(square.shape, side, side, seed)
    stamped = square.copy()
    stamped[top : top + side, left : left + side] = stamp_picture(side)
    return stamped


def _covered(
    square: np.ndarray, seed: int = 0, *, random_place, size, level
) -> np.ndarray:
    height, width = (max(1, round(size * side)) for side in square.shape[:2])
    top, left = (square.shape[0] - height) // 2, (square.shape[1] - width) // 2
    if random_place:
        top, left = _random_corner(square.shape, height, width, seed)
    covered = square.copy()
    covered[top : top + height, left : left + width] = level
    return covered


_TABLE = (
    turn(-45),
    turn(30),
    turn(30, GREY_LEVEL, "turned 30°, grey corners"),
    Change("mirrored", "The picture is mirrored, left for right.", _mirrored),
    border(0),
    border(255),
    Change("grey", "The picture has lost its colours; its brightness stays.", _grey),
    blur(),
    stamp(anywhere=False),
    stamp(anywhere=True),
    cover(random_place=False),
    cover(random_place=True),
)
CHANGES = {change.name: change for change in _TABLE}


def changed_pictures(
    square: np.ndarray, changes: Sequence[Change], seed: int, sha256: str
) -> np.ndarray:
    """The square and all its changes, uint8 (1 + changes, height, width, 3).

    seed, sha256 : of the survey, and of the photo's file; from them follow the random
        places, so that a photo has the same ones wherever it lies
    """
    seeds = np.random.SeedSequence((seed, int(sha256[:8], 16)))
    seed = int(seeds.generate_state(1)[0])
    return np.stack([square, *(change.apply(square, seed) for change in changes)])


# --- what they do to the answer -------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """How a class's probability moves when photos are changed; shows itself."""

    change: Change
    label: str  # of the class
    before: np.ndarray  # float32 (photos,), its probability on each photo as it is
    after: np.ndarray  # float32 (photos,), and on the changed one
    interval: tuple[float, float]  # for the mean of the differences
    confidence: float  # of the interval, 0–1

    @property
    def differences(self) -> np.ndarray:
        """after − before, float64 (photos,), −1 to 1."""
        return self.after.astype("float64") - self.before

    @property
    def mean(self) -> float:
        """The mean of the differences, −1 to 1."""
        return float(self.differences.mean())

    @property
    def description(self) -> str:
        low, high = (f"{end:+.3f}".replace("-", "−") for end in self.interval)
        verb = "rises" if self.mean > 0 else "falls"
        return (
            f"{self.change.sentence.rstrip('.')}: on {len(self.before)} photos, the "
            f"probability of {self.label} {verb} by {abs(self.mean):.3f} on average "
            f"(from {self.before.mean():.3f} to {self.after.mean():.3f}; "
            f"{self.confidence:.0%} confidence interval of the change "
            f"{low} to {high})."
        )

    def __repr__(self) -> str:
        return self.description


def mean_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Student's interval for the mean of what the values (n,) are a sample of."""
    middle, error = np.mean(values), stats.sem(values)
    if error == 0:  # all the same: an interval of length 0
        return float(middle), float(middle)
    low, high = stats.t.interval(confidence, len(values) - 1, middle, error)
    return float(low), float(high)


def effect_of_change(
    classifier: Classifier, images: Sequence, change: Change, target, *,
    seed: int = 0, confidence: float = 0.95, progress: Progress = None,
) -> Effect:  # fmt: skip
    """How much a change moves the probability of a class, over several photos.

    Give photos of *other* classes to see whether the change alone makes the class.

    Parameters
    ----------
    classifier, target, progress : see ``explain``
    images : sequence of n ≥ 2 photos as ``load_image`` takes them, of any size
        The change is applied to the square that the network is given of each.
    change : Change, such as ``CHANGES["turned 30°"]`` or ``turn(90)``
    seed : int; photo k has the place of seed + k, for changes at a random place
    confidence : 0–1, of the interval: Student's t, the photos as a random sample

    Returns
    -------
    Effect
        Its ``mean`` is the mean change of the probability, −1 to 1.

    Raises
    ------
    ValueError
        With fewer than two photos, which say nothing of how much photos differ, and
        with a confidence that is not between 0 and 1.

    Examples
    --------
    >>> effect_of_change(classifier, photos, turn(90), "tabby").mean
    -0.31
    """
    if len(images) < 2:
        raise ValueError(f"An interval takes two photos or more, not {len(images)}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, not {confidence}.")
    index, size = classifier.class_index(target), classifier.batch_size()
    before, after = np.empty((2, len(images)), "float32")
    for part in batch_slices(len(images), size, change.name, progress):
        squares = [classifier.crop(image)[0] for image in images[part]]
        seeds = range(seed + part.start, seed + part.stop)
        changed = [change.apply(*pair) for pair in zip(squares, seeds, strict=True)]
        for result, pictures in ((before, squares), (after, changed)):
            logits = classifier.logits_of(np.stack(pictures))
            result[part] = classifier.to_probabilities(logits)[:, index]
    differences = after.astype("float64") - before
    interval = mean_interval(differences, confidence)
    label = classifier.class_label(index)
    return Effect(change, label, before, after, interval, confidence)
