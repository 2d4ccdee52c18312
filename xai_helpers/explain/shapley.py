"""SHAP's GradientExplainer: expected gradients, at the pixels or at any layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np

from .._tensorflow import tf
from ..models import Classifier, Layer
from . import engine, placement
from .activity import forward
from .attribution import Attribution


def shap_gradients(
    classifier: Classifier,
    image,
    background: np.ndarray,
    target=None,
    *,
    layer=None,
    samples: int = 100,
    seed: int = 0,
    score: str = "logit",
    progress: Callable | bool | None = None,
):
    """What makes the score differ from other photos': Erion et al. (2021), eq. 2.

    $\\phi(x) = \\mathbb E_{b, \\alpha}\\,[(x - b)\\; \\partial y / \\partial x
    \\,(b + \\alpha (x - b))]$ over background photos $b$ and $\\alpha$ uniform on
    0 to 1; an approximation of SHAP values (Lundberg, Lee 2017). Their sum is the
    score of the image minus the mean score of the background.

    At a layer, $x$ and $b$ are what the layer puts out for image and background. The
    article's "layer 7" is what goes *into* VGG16's layer 7: ``layer=6`` here.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    background : uint8 array (n, height, width, 3), at the network's size
        What the image is compared with; see ``background``.
    target : str, int, None, or a list
        Label, WordNet id or class index; None: the network's first answer. A list
        shares the forward passes.
    layer : str, int or None
        None: at the pixels. A layer that a skip connection leads around will not do.
    samples : int
        Pairs ($b$, $\\alpha$). A pair costs a forward and a backward pass of the part
        of the network that comes after the layer.
    seed : int
        Of the pairs, which do not depend on how they are put into batches.
    score : "logit" or "probability"
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (height, width, 3), or (h, w, channels) of the layer, in
        units of the score. ``checks``: ``sum`` of the values, its ``standard error``,
        and the ``score difference`` that the sum estimates.

    Raises
    ------
    ValueError
        For an unknown target or layer, a layer that does not see everything, no
        samples, or a background that is empty or of another size or dtype.
    """
    engine.check_score(score)
    samples = engine.check_count("samples", samples)
    seed = engine.check_count("seed", seed, 0)
    background = _checked(classifier, background)
    targets, several = engine.as_sequence(target)
    known = None if layer is None else classifier.layer(layer)
    what = engine.seen(classifier, image)
    run = _function(classifier, known, score, len(targets))
    logits = engine.answer(classifier, what["image"])
    indices = [engine.chosen(classifier, one, logits) for one in targets]
    if len(set(indices)) < len(indices):
        raise ValueError("The list of targets names the same class twice.")

    rng = np.random.default_rng(seed)
    pairs = rng.integers(len(background), size=samples), rng.random(samples, "float32")
    photos = _digest(classifier, background)
    its_logits = _kept(classifier, photos, lambda: classifier.logits(background))
    entering = _entering(classifier, known, background, photos)
    x = _before(classifier, known, what["image"][None])[0]
    total = np.zeros((len(indices), *x.shape), "float64")
    sums = np.empty((len(indices), samples))
    step = engine.batch_size(classifier, backward=True, after=known)
    step = min(samples, max(1, 2 * step // (1 + len(indices))))  # they share the way up
    for part in engine.batches(samples, step, "expected gradients", progress):
        chosen, alpha = pairs[0][part], pairs[1][part]
        products = run(x, entering(chosen), alpha, tf.constant(indices))
        total += products[0].numpy()
        sums[:, part] = products[1].numpy()

    mean = engine.value(classifier, its_logits, indices, score)
    scores = engine.value(classifier, logits, indices, score)
    maps = [
        Attribution(
            total[k] / samples,
            unit=score,
            technique="expected gradients",
            model=classifier.name,
            layer=known.name if known else None,
            parameters={
                "samples": samples,
                "seed": seed,
                "background": len(background),
            },
            checks={
                "sum": float(sums[k].mean()),
                "standard error": _standard_error(sums[k]),
                "score difference": float(scores[k] - mean[:, k].mean()),
            },
            placement=placement.of_layer(classifier, layer) if known else None,
            **engine.about(classifier, index, logits, score),
            **what,
        )
        for k, index in enumerate(indices)
    ]
    return maps if several else maps[0]


def _function(classifier: Classifier, layer: Layer | None, score: str, targets: int):
    """The part of the network after the layer, and what one batch of pairs gives.

    (x (h, w, c), b (N, h, w, c), alpha (N,), class indices (K,)) → the products
    (x − b) · gradient summed over the batch, (K, h, w, c), and over cells, (K, N).
    """

    def build():
        rest = classifier.after(layer.name) if layer else classifier.network

        def run(x, b, alpha, indices):
            x = tf.cast(x, tf.float32)
            b = tf.cast(b, tf.float32)
            points = b + alpha[:, None, None, None] * (x - b)
            entering = points if layer else classifier.scale(points)
            y = engine.scores(classifier, rest(entering, training=False), score)
            y = tf.gather(y, indices, axis=1)
            gradients = [
                engine.differentiate(y[:, k], [points])[0] for k in range(targets)
            ]
            products = (x - b) * tf.stack(gradients)  # (K, N, h, w, c)
            return tf.reduce_sum(products, 1), tf.reduce_sum(products, (2, 3, 4))

        return run

    return classifier.compiled(("shap", layer and layer.name, score, targets), build)


def _before(classifier: Classifier, layer: Layer | None, squares) -> np.ndarray:
    """What the layer puts out for squares (N, height, width, 3); without one, they."""
    if layer is None:
        return squares.astype("float32")

    run = forward(classifier, layer.name)
    step = engine.batch_size(classifier, backward=False)
    return np.concatenate(
        [
            run(tf.constant(squares[start : start + step])).numpy()
            for start in range(0, len(squares), step)
        ]
    )


def _entering(classifier: Classifier, layer: Layer | None, background, photos: str):
    """Indices → what the layer puts out for those photos of the background.

    Kept for all photos if that takes a quarter of the memory or less, else computed
    when asked for.
    """
    if layer is None:
        return lambda rows: background[rows]
    before = partial(_before, classifier, layer)
    if 4 * int(np.prod(layer.shape)) * len(background) > engine.MEMORY // 4:
        return lambda rows: before(background[rows])
    kept = _kept(classifier, photos, lambda: before(background), layer.name)
    return lambda rows: kept[rows]


def _digest(classifier: Classifier, background: np.ndarray) -> str:
    """A name for these photos in front of this network with these weights."""
    found = hashlib.sha1(np.ascontiguousarray(background), usedforsecurity=False)
    for weights in classifier.network.weights:
        found.update(np.ascontiguousarray(weights))
    return found.hexdigest()


def _kept(classifier: Classifier, photos: str, make: Callable, layer: str = ""):
    """``make()``, or what it gave for the last photo, if the background is the same."""
    place = "layer" if layer else "logits"  # one of each is kept
    key, found = classifier._background.get(place, (None, None))
    if key != (photos, layer):
        found = make()
        classifier._background[place] = (photos, layer), found
    return found


def _standard_error(sums: np.ndarray) -> float:
    return float(sums.std(ddof=1) / np.sqrt(len(sums))) if len(sums) > 1 else np.inf


def _checked(classifier: Classifier, background) -> np.ndarray:
    if (
        isinstance(background, (list, tuple))
        and len({np.shape(b) for b in background}) > 1
    ):
        raise ValueError("The background's photos differ in size; give one array.")
    background = np.asarray(background)
    wanted = (*classifier.input_size, 3)
    if background.size == 0:
        raise ValueError(
            "The background is empty; SHAP compares with other photos: "
            f"background(50, size={classifier.input_size})."
        )
    if background.dtype != np.uint8 or background.shape[1:] != wanted:
        raise ValueError(
            f"The background is {background.dtype} of shape {background.shape}; wanted "
            f"uint8 of shape (n, {wanted[0]}, {wanted[1]}, 3), photos at the size of "
            f"{classifier.name}: background(50, size={classifier.input_size})."
        )
    return background
