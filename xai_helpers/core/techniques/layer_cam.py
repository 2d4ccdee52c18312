"""Layer-CAM: each cell of a layer, weighted by its own gradient."""

from ...engine.batches import Progress
from ...engine.tensorflow import tf
from ..classifier import Classifier
from ..layer_maps import layer_maps


def layer_cam(
    classifier: Classifier, image, target=None, layer=None, *,
    score: str = "logit", progress: Progress = None,
):  # fmt: skip
    """Where a layer has evidence for a class, cell by cell: Jiang et al. (2021).

    With $A^k$ the maps of the layer and $y$ the score,

    $w^k_{ij} = \\mathrm{ReLU}(\\partial y / \\partial A^k_{ij})$ and
    $M_{ij} = \\mathrm{ReLU}(\\sum_k w^k_{ij} A^k_{ij})$.

    Grad-CAM gives a channel one weight, the mean over its cells, which suits the last
    layers. Here every cell has its own, so that earlier, finer layers serve as well
    (https://doi.org/10.1109/TIP.2021.3089943).

    Parameters, and what is returned, as in ``grad_cam``; ``values`` are 0 and up.

    Examples
    --------
    >>> layer_cam(classifier, photo, "tabby", "block4_sepconv2_bn").values.shape
    (37, 37)
    """
    return layer_maps(
        positive_gradients, "Layer-CAM", classifier, image, target, layer, score,
        progress,
    )  # fmt: skip


def positive_gradients(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """The two equations: (N, h, w, channels) twice → (N, h, w)."""
    return tf.nn.relu(tf.reduce_sum(tf.nn.relu(gradients) * activations, axis=-1))
