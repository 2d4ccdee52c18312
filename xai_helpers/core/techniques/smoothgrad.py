"""SmoothGrad: gradients averaged over noisy copies of the image."""

import numpy as np

from ...engine.batches import Progress
from ...engine.checks import check_count
from ...engine.replicates import Samples, check_samples, sample_maps
from ...engine.tensorflow import tf
from ..attribution import Attribution
from ..classifier import Classifier
from ..query import Query, pixel_gradients

PIXEL_RANGE = 255.0


def smoothgrad(
    classifier: Classifier, image, target=None, *, noise: float = 0.15,
    samples: Samples = 50, tolerance: float = 0.25, seed: int = 0,
    score: str = "logit", progress: Progress = None,
) -> Attribution:  # fmt: skip
    """The mean of the gradients of noisy copies: Smilkov et al. (2017), section 3.

    $\\hat M(x) = \\frac{1}{n} \\sum_n M(x + \\mathcal N(0, \\sigma^2))$, with
    $\\sigma$ = ``noise`` times the range of a pixel, 255. The copies come in pairs,
    $x + e$ and $x - e$: the mean is the same, and what is linear in the noise cancels.

    Parameters
    ----------
    classifier, image, target, seed, score, progress : see ``explain``
    noise : float, 0 and up
        $\\sigma$ as a share of the range; the paper suggests 0.1 to 0.2. Zero gives
        ``gradients``.
    samples : int or "auto"
        Noisy copies; an odd number is rounded up. A copy costs one forward and one
        backward pass. "auto": until the relative error is below ``tolerance``.
    tolerance : float above 0

    Returns
    -------
    Attribution
        ``values`` float32 (height, width, 3), signed, in score per grey level.
        ``checks``: the ``relative error``, an estimate of how far the map is from
        that of all possible copies, as a share of that map's length; the ``samples``.

    Examples
    --------
    >>> smoothgrad(classifier, photo, "tabby", noise=0.1, samples=20).values.shape
    (299, 299, 3)
    """
    samples = check_samples("samples", samples, tolerance)
    seed = check_count("seed", seed, 0)
    if not isinstance(noise, (int, float, np.number)) or not 0 <= noise < np.inf:
        raise ValueError(f"noise is a share of the range, 0 and up, not {noise!r}.")
    query = Query(classifier, image, target, score).ask()
    gradient = pixel_gradients(classifier, score)
    rng, target_index = np.random.default_rng(seed), tf.constant(query.target)
    x = query.square.astype("float32")

    def draw(pairs, advance):
        e = noise * PIXEL_RANGE * rng.standard_normal((pairs, *x.shape), "float32")
        total = np.float32(0)
        for copies in (x + e, x - e):
            total += gradient(tf.constant(copies), target_index)[0].numpy() / 2
            advance(pairs)
        return total[:, None]

    at_once = classifier.batch_size(backward=True)
    pairs = sample_maps(draw, samples, 2, at_once, tolerance, "SmoothGrad", progress)
    return query.attribution(
        pairs.mean[0],
        "SmoothGrad",
        unit=f"{score} per grey level",
        parameters={"noise": float(noise), "samples": samples, "seed": seed},
        checks=pairs.checks(),
        notes=pairs.notes,
    )
