"""Activation maps: what a layer puts out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._tensorflow import tf
from ..models import Classifier
from . import placement
from .attribution import Attribution
from .engine import as_sequence, seen


def activations(classifier: Classifier, image, layer):
    """What a layer puts out for an image, one map for each channel.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    layer : str, int, or a list of them
        One of ``classifier.layers()``, by name or index. A list is served by one
        forward pass.

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (h, w, channels): what the layer puts out, after its own
        activation function if it has one. No target is involved.

    Raises
    ------
    ValueError
        For an unknown layer, or one that puts out no maps; the message lists the rest.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks (2014).
    """
    layers, several = as_sequence(layer)
    layers = [classifier.layer(one) for one in layers]
    what = seen(classifier, image)
    names = [known.name for known in layers]

    outputs = forward(classifier, *dict.fromkeys(names))(
        tf.constant(what["image"][None])
    )
    if len(set(names)) == 1:
        outputs = [outputs]
    by_name = dict(zip(dict.fromkeys(names), outputs, strict=True))
    maps = [
        Attribution(
            np.asarray(by_name[name])[0],  # numpy() would copy megabytes
            unit="activation",
            technique="activations",
            model=classifier.name,
            layer=name,
            placement=placement.of_layer(classifier, name),
            **what,
        )
        for name in names
    ]
    return maps if several else maps[0]


def forward(classifier: Classifier, *names: str) -> Callable:
    """Pixels (N, height, width, 3), 0–255 → what these layers put out, as tensors."""

    def build():
        model = classifier.up_to(*names)
        return lambda pixels: model(classifier.scale(pixels), training=False)

    return classifier.compiled(("activations", *names), build)
