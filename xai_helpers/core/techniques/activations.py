"""Activation maps: what a layer outputs."""

from collections.abc import Callable

import numpy as np

from ...engine.checks import as_list
from ...engine.tensorflow import tf
from ..classifier import Classifier
from ..query import Query


def activations(classifier: Classifier, image, layer=None):
    """What a layer outputs for an image, one map for each channel.

    Shown for this purpose by Zeiler, Fergus: Visualizing and understanding
    convolutional networks (2014), section 4. No target is involved.

    Parameters
    ----------
    classifier, image, layer : see ``explain``
        A list of layers is served by one forward pass.

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (h, w, channels): the layer's output, after its own
        activation function if it has one.

    Examples
    --------
    >>> activations(classifier, photo, "block2_sepconv1").values.shape
    (147, 147, 128)
    """
    layers, several = as_list(layer)
    layers = [classifier.layer_or_default(la) for la in layers]
    query = Query(classifier, image)
    names = list(dict.fromkeys(la.name for la in layers))  # each is computed once
    outputs = layer_outputs(classifier, *names)(tf.constant(query.square[None]))
    outputs = dict(zip(names, tf.nest.flatten(outputs), strict=True))
    values = {la: np.asarray(classifier.to_maps(la, o))[0] for la, o in outputs.items()}
    maps = [
        query.attribution(
            values[la.name], "activations", unit="activation", layer=la,
            signed=bool(values[la.name].size and values[la.name].min() < 0),
        )
        for la in layers
    ]  # fmt: skip
    return maps if several else maps[0]


def layer_outputs(classifier: Classifier, *names: str) -> Callable:
    """Pixels (N, height, width, 3), 0–255 → what these layers output, as tensors."""

    def build():
        model = classifier.submodel_to(*names)
        return lambda px: model(classifier.preprocess_tensor(px), training=False)

    return classifier.cached_function(("activations", *names), build)
