"""The exercises of notebook 06: gradients and SmoothGrad."""

from functools import cache

import numpy as np

from ..core import explain, metrics
from ..course.samples import sample_image
from ..engine.tensorflow import tf
from .checking import check_array, check_choice, check_number, exercise, network

TARGET = "Egyptian_cat"


@cache
def _smooth_map(samples: int, seed: int) -> np.ndarray:
    """SmoothGrad of the cat, (299, 299, 3)."""
    cat = sample_image("cat")
    return explain.smoothgrad(
        network("xception"), cat, TARGET, samples=samples, seed=seed
    ).values


@exercise("06-1")
def _another_display(answer):
    values = _smooth_map(10, 0)
    sizes = np.abs(values)
    check_array(
        answer,
        sizes.max(axis=2),
        {
            "This is the signed sum over the colours; it still has its sign.": (
                values.sum(axis=2)
            ),
            "This is the absolute value of the sum: colours of opposite sign cancel. "
            "Remove the sign first.": np.abs(values.sum(axis=2)),
            "This is the sum of the absolute values, not the largest of them.": (
                sizes.sum(axis=2)
            ),
            "This is the mean of the absolute values, not the largest of them.": (
                sizes.mean(axis=2)
            ),
            "This is the largest value; a large negative one has been lost. Remove the "
            "sign first.": values.max(axis=2),
        },
    )


@exercise("06-2")
def _two_seeds(answer):
    r = metrics.correlation(_smooth_map(4, 1), _smooth_map(4, 2))
    ratio = 4 * (1 / r - 1)
    check_number(
        answer,
        1 / (1 + ratio / 16),
        0.015,
        {
            "This is the correlation for 4 samples, not for 16.": r,
            "A correlation does not grow in proportion to the number of samples: with "
            "enough of them it would exceed 1.": 4 * r,
            "A correlation does not grow as the square root of the number of samples; "
            "that is how the standard deviation of the noise falls.": 2 * r,
            "This is the ratio v/c, not the correlation that follows from it.": ratio,
            "The variance of the noise has to be divided by 16.": 1 / (1 + ratio),
        },
    )


@exercise("06-3")
def _absent_class(answer):
    check_choice(
        answer,
        "a",
        {
            "b": "Compare the logits: that of espresso is close to zero.",
            "c": "Compute the correlation of the two arrays: equal maps have 1.",
        },
    )


def candidate_gradients(classifier, photo, target) -> dict[str, np.ndarray]:
    """Three arrays (299, 299, 3), of which one is the gradient that is asked for."""
    square = classifier.crop(photo)[0].astype("float32")[None]
    index, pixels = classifier.class_index(target), tf.constant(square)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pixels)
        inputs = classifier.preprocess_tensor(pixels)
        logits = classifier.model(inputs, training=False)
        score, log_p = logits[0, index], tf.nn.log_softmax(logits)[0, index]
    gradients = [(score, inputs), (score, pixels), (log_p, pixels)]
    return {
        name: tape.gradient(y, x)[0].numpy()
        for name, (y, x) in zip("ABC", gradients, strict=True)
    }


@exercise("06-4")
def _right_gradient(answer):
    check_choice(
        answer,
        "b",
        {
            "a": "Its predicted change is more than a hundred times the actual one. In "
            "which units is its step?",
            "c": "Its prediction is not the change of the logit. Of which other "
            "function could it be the gradient?",
        },
    )
