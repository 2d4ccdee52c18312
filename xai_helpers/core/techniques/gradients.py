"""Gradients of the score with respect to the pixels: the saliency map."""

from ...engine.tensorflow import tf
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query, pixel_gradients


def gradients(
    classifier: Classifier, image, target=None, *, score: str = "logit"
) -> Attribution:
    """How the score changes with each pixel: Simonyan et al. (2014), section 3.

    $M(x) = \\partial y / \\partial x$, with $x$ the pixels, RGB 0–255: the network's
    preprocessing belongs to the function that is differentiated.

    Parameters
    ----------
    classifier, image, target, score : see ``explain``

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in score per grey level. The
        paper shows the largest size over the colours; here the sign is kept.

    Examples
    --------
    >>> gradients(classifier, photo, "tabby").unit
    'logit per grey level'
    """
    query = Query(classifier, image, target, score)
    compute = pixel_gradients(classifier, score)
    pixels = tf.constant(query.square[None], tf.float32)
    gradient, logits, _ = compute(pixels, tf.constant(query.target))
    query.answer(logits[0])
    return query.attribution(
        gradient.numpy()[0], "gradients", unit=f"{score} per grey level"
    )
