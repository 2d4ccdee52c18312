"""Grad-CAM: the channels of a layer, weighted by what they do for a class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._tensorflow import tf
from ..models import Classifier
from . import placement
from .attribution import Attribution
from .engine import (
    about,
    as_sequence,
    as_stack,
    batch_size,
    batches,
    check_score,
    differentiate,
    score_of,
    seen,
    wanted,
)


def grad_cam(
    classifier: Classifier,
    image,
    target=None,
    layer=None,
    *,
    score: str = "logit",
    progress: Callable | bool | None = None,
):
    """Where a layer has what speaks for a class: Selvaraju et al. (2017), eq. 1 and 2.

    With $A^k$ the maps of the layer, $y$ the score and $Z$ the number of cells,

    $\\alpha_k = \\frac{1}{Z} \\sum_{ij} \\partial y / \\partial A^k_{ij}$ and
    $L = \\mathrm{ReLU}(\\sum_k \\alpha_k A^k)$.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it, or a stack: a list, or an array (N, H, W, 3)
        A stack is explained in batches.
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer. For a stack
        also a list, one for each image.
    layer : str, int, None, or a list
        None: the last layer before the network's spatial extent is pooled away. A list
        is served by one forward and one backward pass.
    score : "logit" or "probability"
        The paper takes the logit. With probabilities, other classes speak too.
    progress : None, False, or a function (done, total)

    Returns
    -------
    Attribution, or a list of them for a list of layers; for a stack, a list of those
        ``values`` float32 (h, w), 0 and up. All zero if no channel's evidence is
        positive: the text then says so.

    Raises
    ------
    ValueError
        For an unknown target (close labels are named) or layer (usable ones are), or a
        list of targets of another length than the stack.
    """
    check_score(score)
    images, stack = as_stack(image)
    listed = type(target) in (list, tuple)
    if listed and (not stack or len(target) != len(images)):
        count = len(images) if stack else "one"
        raise ValueError(
            f"A list of {len(target)} targets for {count} image(s): a list is for a "
            "stack, one target for each image."
        )
    targets = target if listed else [target] * len(images)
    indices = np.array([wanted(classifier, one) for one in targets], "int32")
    layers, several = as_sequence(layer)
    layers = [
        classifier.layer(last_maps(classifier) if one is None else one)
        for one in layers
    ]
    run = _function(classifier, tuple(known.name for known in layers), score)
    first = min(layers, key=lambda known: known.index)
    step = min(
        batch_size(classifier, backward=False),
        batch_size(classifier, backward=True, after=first),
    )
    found = []
    for part in batches(len(images), step, "Grad-CAM", progress):
        what = [seen(classifier, one) for one in images[part]]
        squares = np.stack([one["image"] for one in what])
        maps, logits, used = run(tf.constant(squares), tf.constant(indices[part]))
        maps, logits = [cams.numpy() for cams in maps], np.float32(logits)
        for k, one in enumerate(what):
            told = about(classifier, int(used[k]), logits[k], score) | one
            found.append(
                [
                    Attribution(
                        cams[k],
                        unit=f"evidence ({score})",
                        technique="Grad-CAM",
                        model=classifier.name,
                        layer=known.name,
                        placement=placement.of_layer(classifier, known.name),
                        **told,
                    )
                    for known, cams in zip(layers, maps, strict=True)
                ]
            )
    found = found if several else [maps[0] for maps in found]
    return found if stack else found[0]


def _function(classifier: Classifier, layers: tuple[str, ...], score: str):
    """(pixels, class indices (N,)) → all layers' maps (N, h, w), logits, indices."""

    def build():
        model = classifier.with_logits(*layers)

        def run(pixels, index):
            *outputs, logits = model(classifier.scale(pixels), training=False)
            y, index = score_of(classifier, logits, index, score)
            gradients = differentiate(y, outputs)  # each (N, h, w, channels)
            return (
                [
                    cam(maps, gradient)
                    for maps, gradient in zip(outputs, gradients, strict=True)
                ],
                logits,
                index,
            )

        return run

    return classifier.compiled(("grad_cam", layers, score), build)


def cam(maps: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Equations 1 and 2: (N, h, w, channels) twice → (N, h, w). Notebook 06."""
    maps, gradients = tf.cast(maps, tf.float32), tf.cast(gradients, tf.float32)
    alpha = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(alpha * maps, axis=-1))


def last_maps(classifier: Classifier) -> str:
    """The name of the last layer with more than one cell that is not a pooling layer.

    VGG16's ``block5_conv3`` (14 × 14), Xception's ``block14_sepconv2_act`` (10 × 10).
    """
    layers = [known for known in classifier.layers() if "Pooling" not in known.kind]
    if not layers:
        raise ValueError(f"{classifier.name} has no convolution whose maps to weigh.")
    wide = [known for known in layers if known.shape[0] * known.shape[1] > 1]
    return (wide or layers)[-1].name
