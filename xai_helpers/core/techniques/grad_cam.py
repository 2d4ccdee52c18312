"""Grad-CAM: the channels of a layer, weighted by what they do for a class."""

from ...engine.batches import Progress
from ...engine.tensorflow import tf
from ..classifier import Classifier
from ..layer_maps import layer_maps


def grad_cam(
    classifier: Classifier, image, target=None, layer=None, *,
    score: str = "logit", progress: Progress = None,
):  # fmt: skip
    """Where a layer has evidence for a class: Selvaraju et al. (2017), eq. 1 and 2.

    With $A^k$ the maps of the layer, $y$ the score and $Z$ the number of cells,

    $\\alpha_k = \\frac{1}{Z} \\sum_{ij} \\partial y / \\partial A^k_{ij}$ and
    $L = \\mathrm{ReLU}(\\sum_k \\alpha_k A^k)$.

    Parameters
    ----------
    classifier, image, target, layer, score, progress : see ``explain``
        ``image`` may also be a stack, explained in batches: a list, or an array (N, H,
        W, 3); then ``target`` may be a list, one for each. A list of layers is served
        by one forward and one backward pass. The paper explains the logit.

    Returns
    -------
    Attribution, or a list of them for a list of layers; for a stack, a list of those
        ``values`` float32 (h, w), 0 and up. All zero if no channel's evidence is
        positive: the description then says so.

    Examples
    --------
    >>> grad_cam(classifier, photo, "tabby", "block14_sepconv2_act").values.shape
    (10, 10)
    """
    return layer_maps(
        weighted_activations, "Grad-CAM", classifier, image, target, layer, score,
        progress,
    )  # fmt: skip


def weighted_activations(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Equations 1 and 2: (N, h, w, channels) twice → (N, h, w). Notebook 05."""
    alpha = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(alpha * activations, axis=-1))
