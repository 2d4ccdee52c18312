"""SmoothGrad: gradients averaged over noisy copies of the image."""

import numpy as np

from ...engine.batches import Progress, batch_slices
from ...engine.checks import check_count
from ...engine.tensorflow import tf
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query, pixel_gradients

PIXEL_RANGE = 255.0


def smoothgrad(
    classifier: Classifier, image, target=None, *, noise: float = 0.15,
    samples: int = 50, seed: int = 0, score: str = "logit", progress: Progress = None,
) -> Attribution:  # fmt: skip
    """The mean of the gradients of noisy copies: Smilkov et al. (2017), section 3.

    $\\hat M(x) = \\frac{1}{n} \\sum_n M(x + \\mathcal N(0, \\sigma^2))$, with
    $\\sigma$ = ``noise`` times the range of a pixel, 255.

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
    noise : float, 0 and up
        $\\sigma$ as a share of the range; the paper suggests 0.1 to 0.2. Zero gives
        ``gradients``.
    samples : int
        Noisy copies. A copy costs one forward and one backward pass.

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in score per grey level.

    Examples
    --------
    >>> smoothgrad(classifier, photo, "tabby", noise=0.1, samples=20).values.shape
    (299, 299, 3)
    """
    samples = check_count("samples", samples)
    seed = check_count("seed", seed, 0)
    if not isinstance(noise, (int, float, np.number)) or not 0 <= noise < np.inf:
        raise ValueError(f"noise is a share of the range, 0 and up, not {noise!r}.")
    query = Query(classifier, image, target, score).ask()
    gradient = pixel_gradients(classifier, score)
    rng, target_index = np.random.default_rng(seed), tf.constant(query.target)
    x, total = query.square.astype("float32"), np.zeros(query.square.shape)
    size = classifier.batch_size(backward=True)
    for part in batch_slices(samples, size, "SmoothGrad", progress):
        shape = (part.stop - part.start, *x.shape)
        copies = x + noise * PIXEL_RANGE * rng.standard_normal(shape, "float32")
        total += gradient(tf.constant(copies), target_index)[0].numpy().sum(axis=0)
    return query.attribution(
        total / samples,
        "SmoothGrad",
        unit=f"{score} per grey level",
        parameters={"noise": float(noise), "samples": samples, "seed": seed},
    )
