"""How good a map is: what happens to the score when the map is taken at its word.

========================  ==========================================================
``deletion``              take away what the map calls important: the score must fall
``insertion``             give it back: the score must rise
``pointing_game_score``   in a ``mosaic`` of several photos: is the right one marked?
``average_drop``          show only what the map calls important: is it enough?
``randomise_layers``      a network of noise: does the map notice?
``rank_correlation``      do two maps order the pixels alike?
``evidence``              a test of one map: would another place do as well?
``REFERENCE_MAPS``        maps that know nothing of the network, to be beaten
========================  ==========================================================

A heatmap is an ``Attribution`` or a float array (H, W) at the network's size. Where
only evidence *for* a class counts, what is below zero counts as zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..engine.batches import Progress
from ..engine.checks import check_count
from ..engine.cropping import mosaic, tile_slices  # noqa: F401  public here
from ..engine.fills import baseline_image
from ..engine.maps import (  # noqa: F401
    REFERENCE_MAPS,
    as_heatmap,
    centre_map,
    correlation,
    cosine_similarity,
    edge_map,
    importance_ranks,
    random_map,
    rank_correlation,
)  # fmt: skip
from ..engine.wrapping import randomised_copy
from .classifier import Classifier
from .evidence import evidence  # noqa: F401  public here
from .query import Query


class Curve(NamedTuple):
    """The score while more and more of the picture is taken away or given back."""

    fraction_changed: np.ndarray  # (steps + 1,), 0–1, of the pixels
    scores: np.ndarray  # (steps + 1,)

    @property
    def auc(self) -> float:
        """The area under the curve, which is its mean height (trapezoids)."""
        return float(np.trapezoid(self.scores, self.fraction_changed))


def deletion(
    classifier: Classifier, image, heatmap, target=None, *, steps: int = 40,
    fill: str = "blurred", score: str = "probability", seed: int = 0,
    progress: Progress = None,
) -> Curve:  # fmt: skip
    """Petsiuk et al. (2018): take pixels away, those the map calls important first.

    Parameters
    ----------
    classifier, image, score, progress : see ``explain``
    heatmap : Attribution or float array (H, W)
    target : str, int or None: the attribution's target, or the network's top class
    steps : int, pictures on the way
    fill : "blurred" (leaves no new edges), "grey" or "black", in place of a pixel
    seed : int, of the order of pixels that the map holds equal

    Returns
    -------
    Curve
        From the whole picture to none of it. The smaller ``auc``, the better the map;
        with probabilities it lies between 0 and 1.

    Examples
    --------
    >>> deletion(classifier, photo, grad_cam(classifier, photo), steps=10).auc < 1
    True
    """
    settings = steps, fill, score, seed, progress
    return _curve("deletion", classifier, image, heatmap, target, *settings)


def insertion(
    classifier: Classifier, image, heatmap, target=None, *, steps: int = 40,
    fill: str = "blurred", score: str = "probability", seed: int = 0,
    progress: Progress = None,
) -> Curve:  # fmt: skip
    """Petsiuk et al. (2018): the other way round, from nothing to the whole picture.

    Parameters as in ``deletion``. The larger ``auc``, the better the map.
    """
    settings = steps, fill, score, seed, progress
    return _curve("insertion", classifier, image, heatmap, target, *settings)


def _curve(
    name, classifier, image, heatmap, target, steps, fill, score, seed, progress
) -> Curve:
    """The scores while the pixels change in the order of the map."""
    steps = check_count("steps", steps)
    if fill not in ("blurred", "grey", "black"):
        raise ValueError(f"fill is 'blurred', 'grey' or 'black', not {fill!r}.")
    target = getattr(heatmap, "target", None) if target is None else target
    query = Query(classifier, image, target, score)
    query = query.ask() if target is None else query
    rank = importance_ranks(as_heatmap(heatmap, query.square.shape[:2]), seed)
    fractions = np.arange(steps + 1) / steps
    first, last = query.square, baseline_image(query.square, fill)
    if name == "insertion":
        first, last = last, first

    def pictures(part):
        changed = rank < np.round(fractions[part, None, None] * rank.size)
        return np.where(changed[..., None], last, first)

    scores = query.scores_of_pictures(steps + 1, pictures, name, progress)
    return Curve(fractions, scores)


def pointing_game_score(heatmap, tile: int, photos: int, columns: int = 2) -> float:
    """The grid pointing game, Böhle et al. (2021): evidence on a tile / all evidence.

    Parameters
    ----------
    heatmap : Attribution or float array (H, W)
    tile : int, the tile of the class that was explained, counted row by row
    photos, columns : int, as in ``mosaic``

    Returns
    -------
    float, 0–1: a map that knows nothing gets 1 / photos; one with no evidence gets 0
    """
    positive = np.maximum(as_heatmap(heatmap), 0).astype("float64")
    part = positive[tile_slices(positive.shape, tile, photos, columns)]
    return float(part.sum() / positive.sum()) if positive.any() else 0.0


def average_drop(
    classifier: Classifier, images: Sequence, heatmaps: Sequence, targets: Sequence
) -> tuple[float, float]:
    """Average drop and increase in confidence: Chattopadhay et al. (2018).

    Each picture is dimmed by its map, scaled to 0–1: black where the map is zero.
    Returns (drop, increase), both 0–1. Drop is the mean of max(0, before − after) /
    before, of the target's probability; small is good. Increase is the share of
    pictures of which the network is surer when dimmed; large is good.
    """
    pairs = []
    for image, heatmap, target in zip(images, heatmaps, targets, strict=True):
        square, _ = classifier.crop(image)
        mask = np.maximum(as_heatmap(heatmap, square.shape[:2]), 0)
        mask = mask / (mask.max() or 1)
        dimmed = np.round(square * mask[..., None]).astype("uint8")
        index = classifier.class_index(target)
        pairs.append(classifier.probabilities([square, dimmed])[:, index])
    before, after = np.transpose(pairs)
    drop = np.maximum(0, before - after) / np.maximum(before, 1e-12)
    return float(drop.mean()), float((after > before).mean())


def randomise_layers(classifier: Classifier, stop_layer: str, seed=0) -> Classifier:
    """The same network with its top layers turned to noise: Adebayo et al. (2018).

    Cascading: all layers from the output down to ``stop_layer`` have each of their
    kernels replaced by normal noise of the same standard deviation. Biases and
    normalisations stay, so that the network's numbers keep their size.
    Returns a ``Classifier`` with a copy of the network.

    stop_layer : str, name of the lowest layer or operation to be randomised
    """
    names = classifier.names_from(stop_layer)
    description = f"{classifier.weights_description}; random from {stop_layer} up"
    return classifier.with_model(
        randomised_copy(classifier.model, names, seed),
        name=f"{classifier.name}, random from {stop_layer}",
        weights_description=description,
    )
