"""Grad-CAM: the channels of a layer, weighted by what they do for a class."""

from __future__ import annotations

from .._tensorflow import tf
from ..models import Classifier
from . import placement
from .attribution import Attribution
from .engine import (
    answer,
    as_sequence,
    check_score,
    chosen,
    differentiate,
    scores,
    seen,
    value,
)


def grad_cam(
    classifier: Classifier, image, target=None, layer=None, *, score: str = "logit"
):
    """Where a layer has what speaks for a class: Selvaraju et al. (2017), eq. 1 and 2.

    With $A^k$ the maps of the layer, $y$ the score and $Z$ the number of cells,

    $\\alpha_k = \\frac{1}{Z} \\sum_{ij} \\partial y / \\partial A^k_{ij}$ and
    $L = \\mathrm{ReLU}(\\sum_k \\alpha_k A^k)$.

    Parameters
    ----------
    classifier : Classifier
    image : as ``load_image`` takes it
    target : str, int or None
        Label, WordNet id or class index; None: the network's first answer.
    layer : str, int, None, or a list
        None: the last layer before the network's spatial extent is pooled away. A list
        is served by one forward and one backward pass.
    score : "logit" or "probability"
        The paper takes the logit. With probabilities, other classes speak too.

    Returns
    -------
    Attribution, or a list of them
        ``values`` float32 (h, w), 0 and up. All zero if no channel's evidence is
        positive: the text then says so.

    Raises
    ------
    ValueError
        For an unknown target (close labels are named) or layer (usable ones are).
    """
    check_score(score)
    layers, several = as_sequence(layer)
    layers = [
        last_maps(classifier) if one is None else classifier.layer(one).name
        for one in layers
    ]
    what = seen(classifier, image)
    logits = answer(classifier, what["image"]) if target is None else None
    index = chosen(classifier, target, logits)
    run = _function(classifier, tuple(layers), score)
    cams, logits = run(tf.constant(what["image"][None]), tf.constant(index))
    maps = [
        Attribution(
            cam.numpy()[0],
            unit=f"evidence ({score})",
            technique="Grad-CAM",
            model=classifier.name,
            layer=name,
            target=index,
            label=classifier.label(index),
            score=score,
            score_value=float(value(classifier, logits.numpy()[0], index, score)),
            placement=placement.of_layer(classifier, name),
            **what,
        )
        for name, cam in zip(layers, cams, strict=True)
    ]
    return maps if several else maps[0]


def _function(classifier: Classifier, layers: tuple[str, ...], score: str):
    """(pixels, class index) → the maps of all layers, and the logits."""

    def build():
        model = classifier.with_logits(*layers)

        def run(pixels, index):
            *outputs, logits = model(classifier.scale(pixels), training=False)
            y = scores(classifier, logits, score)[:, index]
            gradients = differentiate(y, outputs)  # each (N, h, w, channels)
            return [
                cam(maps, gradient)
                for maps, gradient in zip(outputs, gradients, strict=True)
            ], logits

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
