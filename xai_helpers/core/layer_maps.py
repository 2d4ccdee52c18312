"""Maps of a layer from its activations and their gradients, as in Grad-CAM.

A technique of this kind is one function of two arrays. What surrounds it stands here
once: one image or many, one layer or many, in as few passes as possible.
"""

from collections.abc import Callable

import numpy as np

from ..engine.batches import batch_slices
from ..engine.checks import as_list, one_for_each
from ..engine.tensorflow import tf
from .classifier import Classifier
from .query import Query, target_scores


def layer_maps(
    combine: Callable, technique: str, classifier: Classifier, image, target, layer,
    score: str, progress,
):  # fmt: skip
    """``combine(activations, gradients)`` for images and layers.

    combine : activations and gradients, float32 tensors (N, h, w, channels) → (N, h, w)
    technique : str, its title; the rest, and what is returned, as in ``grad_cam``
    """
    images, is_stack = as_list(image)
    targets = one_for_each(target, images, is_stack)
    layers, several_layers = as_list(layer)
    layers = [classifier.layer_or_default(la) for la in layers]
    names = [la.name for la in layers]
    compute = _compiled(classifier, names, score, technique, combine)
    first = min(layers, key=lambda la: la.index)
    size = classifier.batch_size(backward=True, after=first)
    results = []
    for part in batch_slices(
        len(images), min(size, classifier.batch_size()), technique, progress
    ):
        pairs = zip(images[part], targets[part], strict=True)
        queries = [Query(classifier, photo, goal, score) for photo, goal in pairs]
        squares = tf.constant(np.stack([query.square for query in queries]))
        maps, logits = compute(squares, tf.constant([q.target for q in queries]))
        maps, logits = [values.numpy() for values in maps], logits.numpy()
        for k, query in enumerate(queries):
            query.answer(logits[k])
            options = {"unit": f"evidence ({score})", "signed": False}
            attributions = [
                query.attribution(values[k], technique, layer=la, **options)
                for la, values in zip(layers, maps, strict=True)
            ]
            results.append(attributions if several_layers else attributions[0])
    return results if is_stack else results[0]


def _compiled(classifier: Classifier, layers, score: str, technique: str, combine):
    """(pixels, class indices (N,)) → the maps (N, h, w) of all layers, the logits."""

    def build():
        model = classifier.submodel_to(*layers, logits=True)

        def run(pixels, index):
            x = classifier.preprocess_tensor(pixels)
            *activations, logits = model(x, training=False)
            y, _ = target_scores(classifier, logits, index, score)
            gradients = classifier.gradients_of(y, activations, logits)
            of_layers, to_maps = (layers, activations, gradients), classifier.to_maps
            return [
                combine(to_maps(la, a), to_maps(la, gradient))
                for la, a, gradient in zip(*of_layers, strict=True)
            ], logits

        return run

    return classifier.cached_function((technique, *layers, score), build)
