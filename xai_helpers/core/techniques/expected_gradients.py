"""Expected gradients, what SHAP's GradientExplainer computes: at pixels or a layer."""

import math

import numpy as np

from ...engine.background import Background
from ...engine.batches import Progress, answering_size, even_slices
from ...engine.checks import as_list, check_background, check_count
from ...engine.random_draws import stratified_pairs
from ...engine.replicates import Replicates, Samples, check_samples, sample_maps
from ...engine.tensorflow import tf
from ..attribution import Attribution
from ..classifier import Classifier, Layer
from ..query import Query, to_scores
from .activations import layer_outputs

TITLE = "expected gradients"


def expected_gradients(
    classifier: Classifier, image, background: np.ndarray, target=None, *, layer=None,
    samples: Samples = 100, tolerance: float = 0.25, seed: int = 0,
    score: str = "logit", progress: Progress = None,
):  # fmt: skip
    """What makes the score differ from other photos': Erion et al. (2021), eq. 2.

    $\\phi(x) = \\mathbb E_{b, \\alpha}\\,[(x - b)\\; \\partial y / \\partial x
    \\,(b + \\alpha (x - b))]$ over background photos $b$ and $\\alpha$ uniform on
    0 to 1; an approximation of SHAP values (Lundberg, Lee 2017). Their sum is the
    score of the image minus the mean score of the background.

    At a layer, $x$ and $b$ are what the layer outputs for image and background. The
    article's "layer 7" is what goes *into* VGG16's layer 7: ``layer=6`` here.

    The expectation is estimated twice, each time from half of the samples, and the two
    maps are averaged; their distance says how far off the mean still is. Within a half,
    the samples are stratified (``engine/random_draws.py``; notebook 08).

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
        A list of targets shares the forward passes.
    background : uint8 array (n, height, width, 3), at the network's size
        What the image is compared with; see ``background``.
    layer : str, int or None
        None: at the pixels. A layer that is bypassed is a ``ValueError``.
    samples : int or "auto"
        Pairs ($b$, $\\alpha$); an odd number is rounded up. A pair costs a forward and
        a backward pass of the part of the network that comes after the layer. "auto":
        until the relative error is below ``tolerance``.
    tolerance : float above 0

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (height, width, 3), or (h, w, channels) of the layer, in
        units of the score. ``checks``: ``sum`` of the values, its ``standard error``
        (too large while there are only one or two samples for each photo, for then it
        does not see what the even places on the path gain), and the ``score
        difference`` that the sum estimates; the ``relative error``, an
        estimate of how far the map is from the expectation, as a share of the length
        of that; the ``samples``.

    Examples
    --------
    >>> others = background(20, classifier.input_size, exclude="cat")
    >>> expected_gradients(classifier, photo, others, "tabby", samples=50).unit
    'logit'
    """
    samples = check_samples("samples", samples, tolerance)
    rng = np.random.default_rng(check_count("seed", seed, 0))
    photos = check_background(background, classifier.input_size, classifier.name)
    layer = None if layer is None else classifier.layer(layer)
    targets, several = as_list(target)
    products = _compiled_products(classifier, layer, score, len(targets))
    queries = _one_query_for_each(targets, Query(classifier, image, None, score))
    others = Background(photos, classifier.model, classifier.cache)
    x, baselines = _endpoints(classifier, layer, queries[0].square, others)
    indices, sums = tf.constant([query.target for query in queries]), []
    each = 2 * len(photos) if samples == "auto" else math.ceil(samples / 2)
    size = answering_size(_batch_size(classifier, layer, len(queries)), progress)

    def draw(_, advance):
        rows, alpha = stratified_pairs(each, len(photos), rng)
        sums.append(np.empty((len(queries), each)))
        total = 0.0
        for k in even_slices(each, size, advance):
            parts = products(x, baselines(rows[k]), alpha[k], indices)
            total, sums[-1][:, k] = total + np.float64(parts[0]), parts[1]
        return total[None] / each

    estimates = sample_maps(draw, samples, each, 1, tolerance, TITLE, progress)
    sizes = {"samples": samples, "seed": seed, "background": len(photos)}
    fields = {"unit": score, "layer": layer, "parameters": sizes}
    maps = _attributions(queries, estimates, np.stack(sums), others, fields)
    return maps if several else maps[0]


def _one_query_for_each(targets, query: Query) -> list[Query]:
    """The same question for several classes, from one forward pass."""
    query.ask()
    queries = [query.for_target(target) for target in targets]
    if len({each.target for each in queries}) < len(queries):
        raise ValueError("The list of targets names the same class twice.")
    return queries


def _batch_size(classifier: Classifier, layer: Layer | None, targets: int) -> int:
    """Samples at a time: one forward pass, which the targets share, and one backward
    pass for each target.
    """
    size = classifier.batch_size(backward=True, after=layer)
    return max(1, 2 * size // (1 + targets))


def _compiled_products(classifier, layer: Layer | None, score: str, targets: int):
    """(x (h, w, c), b (N, h, w, c), alpha (N,), class indices (K,)) → the products
    (x − b) · gradient summed over the batch, (K, h, w, c), and over cells, (K, N).
    """

    def build():
        model = classifier.submodel_from(layer.name) if layer else classifier.model

        def run(x, b, alpha, indices):
            x, b = tf.cast(x, tf.float32), tf.cast(b, tf.float32)
            points = b + tf.reshape(alpha, [-1] + [1] * x.shape.rank) * (x - b)
            inputs = points if layer else classifier.preprocess_tensor(points)
            logits = model(inputs, training=False)
            y = tf.gather(to_scores(classifier, logits, score), indices, axis=1)
            gradients = [
                classifier.gradients_of(y[:, k], [points], logits)[0]
                for k in range(targets)
            ]
            products = (x - b) * tf.stack(gradients)  # (K, N, h, w, c)
            sums = tf.reduce_sum(products, list(range(2, products.shape.rank)))
            products = tf.reduce_sum(products, 1)
            return classifier.to_maps(layer, products) if layer else products, sums

        return run

    key = ("expected gradients", layer and layer.name, score, targets)
    return classifier.cached_function(key, build)


def _endpoints(classifier: Classifier, layer: Layer | None, square, others: Background):
    """Where the way ends, (h, w, c), and a function: rows of the background → where it
    begins, (N, h, w, c). At a layer both are what it outputs; else they are pixels.
    """
    if layer is None:
        return square.astype("float32"), others.reader(None, None)
    compute, size = layer_outputs(classifier, layer.name), classifier.batch_size()

    def read(squares):
        starts = range(0, len(squares), size)
        parts = [compute(tf.constant(squares[k : k + size])).numpy() for k in starts]
        return np.concatenate(parts)

    return read(square[None])[0], others.reader(read, layer)


def _attributions(
    queries: list[Query], estimates: Replicates, sums: np.ndarray, others: Background,
    fields: dict,
) -> list[Attribution]:  # fmt: skip
    """One for each query, with checks.

    sums : float (estimates, targets, samples), of each sample's values. The k-th
        samples of all estimates are draws from one stratum, one photo and stretch of
        the way: what they differ by is the error.
    """
    count, _, each = sums.shape
    logits, maps = others.keep("logits", queries[0].classifier.logits_of), []
    for k, query in enumerate(queries):
        variances = sums[:, k].var(axis=0, ddof=1) if count > 1 else np.inf
        checks = {"sum": sums[:, k].mean()}
        checks["standard error"] = np.sqrt(np.sum(variances) / count) / each
        checks["score difference"] = query.score_value - query.score_of(logits).mean()
        checks = {name: float(value) for name, value in checks.items()}
        fields |= {"checks": checks | estimates.checks(k), "notes": estimates.notes}
        maps.append(query.attribution(estimates.mean[k], TITLE, **fields))
    return maps
