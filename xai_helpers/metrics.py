"""How good a map is: what happens to the score when the map is taken at its word.

========================  ==========================================================
``deletion``              take away what the map calls important: the score must fall
``insertion``             give back what it calls important: the score must rise
``mosaic``, ``share``     of several photos at once: does the map find the right one?
``average_drop``          show only what the map calls important: is it enough?
``randomised``            a network of noise: does the map notice?
``rank_correlation``      do two maps order the pixels alike?
``BASELINES``             maps that know nothing of the network, to be beaten
========================  ==========================================================

A heat map is an ``Attribution`` or a float array (H, W) at the network's size. Where
only evidence *for* counts, what is below zero counts as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage, stats

from ._tensorflow import keras, tf
from .explain import engine, path
from .images import load_image
from .models import Classifier, PreActivation

# --- maps that know nothing of the network --------------------------------------------


def random_map(square: np.ndarray, seed: int = 0) -> np.ndarray:
    """Uniform noise, 0–1, float32 (H, W), smoothed to spots of about a sixteenth."""
    shape = square.shape[:2]
    noise = np.random.default_rng(seed).random(shape)
    return ndimage.gaussian_filter(noise, min(shape) / 32).astype("float32")


def edge_map(square: np.ndarray, seed: int = 0) -> np.ndarray:
    """How steep the picture is (Sobel), float32 (H, W), 0 and up."""
    grey = square.astype("float32").mean(axis=2)
    return np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))


def centre_map(square: np.ndarray, seed: int = 0) -> np.ndarray:
    """A bell in the middle of the picture, 0–1: photographers aim."""
    rows, columns = (np.linspace(-2, 2, side) for side in square.shape[:2])
    bell = np.exp(-np.add.outer(rows**2, columns**2) / 2)
    return bell.astype("float32")


BASELINES = {"random": random_map, "edges": edge_map, "centre": centre_map}


# --- deletion and insertion -----------------------------------------------------------


class Curve(NamedTuple):
    """The score while more and more of the picture is taken away or given back."""

    shares: np.ndarray  # (steps + 1,), 0–1, of the pixels
    scores: np.ndarray  # (steps + 1,)

    @property
    def area(self) -> float:
        """The mean height of the curve (trapezoids)."""
        return float(np.trapezoid(self.scores, self.shares))


def deletion(classifier: Classifier, image, heat, target=None, **options) -> Curve:
    """Petsiuk et al. (2018): take pixels away, those the map calls important first.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    heat : Attribution or float array (H, W)
    target : str, int or None
        None: the attribution's target, or the network's first answer.
    steps : int, 40
        Pictures on the way.
    fill : "blurred", "grey" or "black"
        What takes the place of a pixel. "blurred" leaves no new edges.
    score : "probability" or "logit"
    seed : int
        Pixels that the map holds equal come in random order.
    progress : None, False, or a function (done, total)

    Returns
    -------
    Curve
        From the whole picture to none of it. The smaller ``area``, the better the map;
        with probabilities it lies between 0 and 1.
    """
    return _curve(classifier, image, heat, target, away=True, **options)


def insertion(classifier: Classifier, image, heat, target=None, **options) -> Curve:
    """Petsiuk et al. (2018): the other way round, from nothing to the whole picture.

    Parameters as in ``deletion``. The larger ``area``, the better the map.
    """
    return _curve(classifier, image, heat, target, away=False, **options)


def _curve(
    classifier: Classifier,
    image,
    heat,
    target,
    *,
    away: bool,
    steps: int = 40,
    fill: str = "blurred",
    score: str = "probability",
    seed: int = 0,
    progress: Callable | bool | None = None,
) -> Curve:
    engine.check_score(score)
    steps = engine.check_count("steps", steps)
    square, _ = classifier.cut(image)
    values = heat_values(heat, square.shape[:2])
    if target is None:
        target = getattr(heat, "target", None)
    logits = engine.answer(classifier, square)
    index = engine.chosen(classifier, target, logits)
    rank = ranks(values, seed)  # 0: the most important pixel
    empty = filled(square, fill)
    first, last = (square, empty) if away else (empty, square)
    shares = np.arange(steps + 1) / steps
    scores = np.empty(steps + 1, "float32")
    size = engine.batch_size(classifier, backward=False)
    name = "deletion" if away else "insertion"
    for part in engine.batches(steps + 1, size, name, progress):
        changed = rank[None] < np.round(shares[part, None, None] * rank.size)
        pictures = np.where(changed[..., None], last, first)
        scaled = classifier.scale(tf.constant(pictures))
        found = classifier._forward(scaled).numpy()
        scores[part] = engine.value(classifier, found, index, score)
    return Curve(shares, scores)


def ranks(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """int (H, W): 0 for the largest value; equal values in random order."""
    shuffled = np.random.default_rng(seed).permutation(values.size)
    order = shuffled[np.argsort(-values.ravel()[shuffled], kind="stable")]
    rank = np.empty(values.size, int)
    rank[order] = np.arange(values.size)
    return rank.reshape(values.shape)


def filled(square: np.ndarray, fill: str) -> np.ndarray:
    """The picture without information, uint8: blurred away, grey or black."""
    if fill not in ("blurred", "grey", "black"):
        raise ValueError(f"fill is 'blurred', 'grey' or 'black', not {fill!r}.")
    return path.start(square, fill)


def heat_values(heat, shape: tuple[int, int]) -> np.ndarray:
    """The heat map as a finite float array of this shape, or a ``ValueError``."""
    values = heat.heatmap() if hasattr(heat, "heatmap") else np.asarray(heat, float)
    if values.shape != tuple(shape):
        raise ValueError(f"The map has shape {values.shape}; wanted {tuple(shape)}.")
    if not np.isfinite(values).all():
        raise ValueError("The map holds NaN or infinity.")
    return values


# --- several photos at once -----------------------------------------------------------


def mosaic(photos: Sequence, side: int, columns: int = 2) -> np.ndarray:
    """Photos as equal tiles of one square, uint8 (side, side, 3), row by row.

    Each photo keeps its shape and loses what does not fit into its tile. Böhle et al.
    (2021) call the game that is played on it the grid pointing game.

    Parameters
    ----------
    photos : sequence of images, as ``load_image`` takes them
    side : int, of the whole, in pixels
    columns : int
        Two photos in two columns: two halves. Four: quarters.
    """
    if not len(photos) or len(photos) % columns:
        raise ValueError(f"{len(photos)} photos do not fill rows of {columns}.")
    rows = len(photos) // columns
    edges = [np.linspace(0, side, n + 1).round().astype(int) for n in (rows, columns)]
    whole = np.zeros((side, side, 3), np.uint8)
    for k, photo in enumerate(photos):
        (top, bottom), (left, right) = (
            edges[axis][place : place + 2]
            for axis, place in enumerate(divmod(k, columns))
        )
        whole[top:bottom, left:right] = _tile(
            load_image(photo), bottom - top, right - left
        )
    return whole


def _tile(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / photo.shape[0], width / photo.shape[1])
    h, w = min(height / scale, photo.shape[0]), min(width / scale, photo.shape[1])
    top, left = (photo.shape[0] - h) / 2, (photo.shape[1] - w) / 2
    box = (left, top, left + w, top + h)
    return np.array(Image.fromarray(photo).resize((width, height), Image.BILINEAR, box))


def share(heat, tile: int, photos: int, columns: int = 2) -> float:
    """The grid pointing game's score: how much of the evidence lies on one tile.

    Parameters
    ----------
    heat : Attribution or float array (H, W)
    tile : int, the tile of the class that was explained, counted row by row
    photos, columns : int, as in ``mosaic``

    Returns
    -------
    float, 0–1
        Positive mass on the tile / all positive mass. A map that knows nothing gets
        1 / photos; one with no positive value gets 0.
    """
    values = heat.heatmap() if hasattr(heat, "heatmap") else np.asarray(heat, float)
    positive = np.maximum(heat_values(values, values.shape), 0).astype("float64")
    if columns < 1 or photos < 1 or photos % columns:
        raise ValueError(f"{photos} photos do not fill rows of {columns}.")
    rows = photos // columns
    (height, width), (row, column) = positive.shape, divmod(tile, columns)
    if not 0 <= row < rows:
        raise ValueError(f"There is no tile {tile} among {photos}.")
    down = np.linspace(0, height, rows + 1).round().astype(int)
    across = np.linspace(0, width, columns + 1).round().astype(int)
    part = positive[down[row] : down[row + 1], across[column] : across[column + 1]]
    return float(part.sum() / positive.sum()) if positive.any() else 0.0


# --- only what the map calls important ------------------------------------------------


def average_drop(
    classifier: Classifier, images: Sequence, heats: Sequence, targets: Sequence
) -> tuple[float, float]:
    """Average drop and increase in confidence: Chattopadhay et al. (2018).

    Each picture is dimmed by its map, scaled to 0–1: black where the map is zero.

    Returns
    -------
    (drop, increase), both 0–1
        drop: the mean of max(0, before − after) / before of the target's probability;
        small is good. increase: the share of pictures of which the network is surer
        when dimmed; large is good.
    """
    before, after = [], []
    for image, heat, target in zip(images, heats, targets, strict=True):
        square, _ = classifier.cut(image)
        values = np.maximum(heat_values(heat, square.shape[:2]), 0)
        mask = values / (values.max() or 1)
        dimmed = np.round(square * mask[..., None]).astype("uint8")
        index = classifier.index(target)
        one, two = classifier.probabilities([square, dimmed])[:, index]
        before.append(one)
        after.append(two)
    before, after = np.array(before), np.array(after)
    drop = np.maximum(0, before - after) / np.maximum(before, 1e-12)
    return float(drop.mean()), float((after > before).mean())


# --- does the map depend on the network? ----------------------------------------------


def randomised(classifier: Classifier, down_to: str, seed: int = 0) -> Classifier:
    """The same network with its top layers turned to noise: Adebayo et al. (2018).

    Cascading: all layers from the output down to ``down_to`` have each of their
    kernels replaced by normal noise of the same standard deviation. Biases and
    normalisations stay, so that the network's numbers keep their size.

    Parameters
    ----------
    classifier : Classifier
    down_to : str
        Name of the lowest layer to be randomised.
    seed : int

    Returns
    -------
    Classifier, with a copy of the network; the given one is not changed.
    """
    names = [layer.name for layer in classifier.network.layers]
    if down_to not in names:
        raise ValueError(f"{classifier.name} has no layer {down_to!r}.")
    network = keras.models.clone_model(
        classifier.network,
        clone_function=lambda layer: (
            layer.copy()
            if isinstance(layer, PreActivation)
            else type(layer).from_config(layer.get_config())
        ),
    )
    network.set_weights(classifier.network.get_weights())
    rng = np.random.default_rng(seed)
    for layer in network.layers[names.index(down_to) :]:
        arrays = layer.get_weights()
        layer.set_weights(
            [
                rng.normal(0, a.std(), a.shape).astype(a.dtype) if a.ndim > 1 else a
                for a in arrays
            ]
        )
    return Classifier(
        f"{classifier.name}, random from {down_to}",
        network,
        classifier._scale,
        classifier.classes,
        weights=f"{classifier.weights}; random from {down_to} up",
        output=classifier.output,
        fit=classifier.fit,
    )


def rank_correlation(one, other) -> float:
    """Spearman's: 1 if two maps order their pixels alike, −1 if the other way round.

    Ties share their ranks. A constant map orders nothing: 0.

    Parameters
    ----------
    one, other : Attribution or float array, of one shape
        Attributions are compared by their maps in the layer's own cells.
    """
    a, b = (np.asarray(getattr(heat, "map", heat), float) for heat in (one, other))
    if a.shape != b.shape:
        raise ValueError(f"The maps have shapes {a.shape} and {b.shape}.")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a.ravel(), b.ravel()).statistic)
