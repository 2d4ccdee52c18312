"""Expected gradients, what SHAP's GradientExplainer computes: at pixels or a layer."""

from collections.abc import Callable

import numpy as np

from ...engine.background import Background
from ...engine.batches import Progress, batch_slices
from ...engine.checks import as_list, check_background, check_count
from ...engine.tensorflow import tf
from ..classifier import Classifier, Layer
from ..query import Query, to_scores
from .activations import layer_outputs


def expected_gradients(
    classifier: Classifier, image, background: np.ndarray, target=None, *, layer=None,
    samples: int = 100, seed: int = 0, score: str = "logit", progress: Progress = None,
):  # fmt: skip
    """What makes the score differ from other photos': Erion et al. (2021), eq. 2.

    $\\phi(x) = \\mathbb E_{b, \\alpha}\\,[(x - b)\\; \\partial y / \\partial x
    \\,(b + \\alpha (x - b))]$ over background photos $b$ and $\\alpha$ uniform on
    0 to 1; an approximation of SHAP values (Lundberg, Lee 2017). Their sum is the
    score of the image minus the mean score of the background.

    At a layer, $x$ and $b$ are what the layer outputs for image and background. The
    article's "layer 7" is what goes *into* VGG16's layer 7: ``layer=6`` here.

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
        A list of targets shares the forward passes.
    background : uint8 array (n, height, width, 3), at the network's size
        What the image is compared with; see ``background``.
    layer : str, int or None
        None: at the pixels. A layer that is bypassed is a ``ValueError``.
    samples : int
        Pairs ($b$, $\\alpha$). A pair costs a forward and a backward pass of the part
        of the network that comes after the layer.

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (height, width, 3), or (h, w, channels) of the layer, in
        units of the score. ``checks``: ``sum`` of the values, its ``standard error``,
        and the ``score difference`` that the sum estimates.

    Examples
    --------
    >>> others = background(20, classifier.input_size, exclude="cat")
    >>> expected_gradients(classifier, photo, others, "tabby", samples=50).unit
    'logit'
    """
    samples, seed = check_count("samples", samples), check_count("seed", seed, 0)
    photos = check_background(background, classifier.input_size, classifier.name)
    layer = None if layer is None else classifier.layer(layer)
    targets, several = as_list(target)
    products = _compiled_products(classifier, layer, score, len(targets))
    queries = _one_query_for_each(targets, Query(classifier, image, None, score))
    others = Background(photos, classifier.model, classifier.cache)
    read = _layer_reader(classifier, layer)
    x, baselines = read(queries[0].square[None])[0], others.reader(read, layer)

    rng, indices = np.random.default_rng(seed), [query.target for query in queries]
    rows, alpha = rng.integers(len(photos), size=samples), rng.random(samples, "f4")
    mean, sums = np.float64(0), np.empty((len(queries), samples))
    size = classifier.batch_size(backward=True, after=layer)
    size = max(1, 2 * size // (1 + len(queries)))  # the targets share the forward pass
    for part in batch_slices(samples, size, "expected gradients", progress):
        b = baselines(rows[part])
        sum_of_batch, sums[:, part] = products(x, b, alpha[part], tf.constant(indices))
        mean = mean + sum_of_batch.numpy() / samples

    fields = {"unit": score, "layer": layer}
    fields["parameters"] = {"samples": samples, "seed": seed, "background": len(photos)}
    checks = [_sum_check(query, sums[k], others) for k, query in enumerate(queries)]
    maps = [
        query.attribution(mean[k], "expected gradients", checks=checks[k], **fields)
        for k, query in enumerate(queries)
    ]
    return maps if several else maps[0]


def _one_query_for_each(targets, query: Query) -> list[Query]:
    """The same question for several classes, from one forward pass."""
    query.ask()
    queries = [query.for_target(target) for target in targets]
    if len({each.target for each in queries}) < len(queries):
        raise ValueError("The list of targets names the same class twice.")
    return queries


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


def _layer_reader(classifier: Classifier, layer: Layer | None) -> Callable:
    """Squares (N, height, width, 3) → what the layer outputs; None: their pixels."""
    if layer is None:
        return lambda squares: squares.astype("float32")
    compute, size = layer_outputs(classifier, layer.name), classifier.batch_size()

    def read(squares):
        starts = range(0, len(squares), size)
        parts = [compute(tf.constant(squares[k : k + size])).numpy() for k in starts]
        return np.concatenate(parts)

    return read


def _sum_check(query: Query, sums: np.ndarray, background: Background) -> dict:
    """The mean of the samples' sums, its standard error, and what it estimates."""
    logits = background.keep("logits", query.classifier.logits_of)
    n, mean_score = len(sums), query.score_of(logits).mean()
    return {
        "sum": float(sums.mean()),
        "standard error": float(sums.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf,
        "score difference": float(query.score_value - mean_score),
    }
