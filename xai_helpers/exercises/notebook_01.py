"""Checks for notebook 01, and the faulty function of its second exercise."""

from functools import cache

import numpy as np

from ..course.samples import sample_image
from ..engine.tensorflow import tf
from .checking import check_array, check_choice, check_number, exercise, network

SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def faulty_response(patch: np.ndarray) -> np.ndarray:
    """The response of a patch, float (H, W), to the Sobel kernel, with an error.

    Returns an array (H − 2, W − 2).
    """
    windows = np.lib.stride_tricks.sliding_window_view(patch, SOBEL.shape)
    return np.einsum("yxij,ij->yx", windows, SOBEL[::-1, ::-1])


@exercise("01-1")
def _(blur):
    neighbours = np.full((3, 3), 1 / 8)
    neighbours[1, 1] = 0
    copy = np.zeros((3, 3))
    copy[1, 1] = 1
    mistakes = {
        "These weights add up to 9, so the patch becomes nine times as bright.": (
            np.ones((3, 3))
        ),
        "The pixel itself is missing in this mean.": neighbours,
        "This kernel leaves every pixel as it is.": copy,
        "These weights add up to 3: nine pixels are in the mean.": (
            np.full((3, 3), 1 / 3)
        ),
    }
    check_array(blur, np.full((3, 3), 1 / 9), mistakes)


@exercise("01-2")
def _(choice):
    wrong = {
        "a": "A transposed kernel responds to horizontal edges; look at the direction.",
        "c": "Try it: subtracting a constant from the patch changes nothing here.",
        "d": "After a ReLU no value is negative.",
    }
    check_choice(choice, "b", wrong)


@cache
def _logits() -> tuple[np.ndarray, int, int]:
    """Xception's logits of the cat; the classes tabby and Egyptian cat."""
    xception = network("xception")
    classes = [xception.class_index(label) for label in ("tabby", "Egyptian_cat")]
    return xception.logits(sample_image("cat"))[0], *classes


@exercise("01-3")
def _(gradient):
    logits, tabby, egyptian = _logits()
    p = np.asarray(tf.nn.softmax(logits))
    own = np.eye(len(p))
    mistakes = {
        "This is the gradient of the logit: the softmax is missing.": own[tabby],
        "This is the gradient of the logarithm of the probability.": own[tabby] - p,
        "This is the gradient of another class, of Egyptian_cat.": (
            p[egyptian] * (own[egyptian] - p)
        ),
        "These are the probabilities, not a gradient.": p,
    }
    check_array(gradient, p[tabby] * (own[tabby] - p), mistakes)


@exercise("01-4")
def _(side):
    mistakes = {
        "The distance d between neighbouring fields is 32 pixels here, not 1.": 218,
        "This is the field after the first of the three convolutions.": 276,
        "This is the field after the second of the three convolutions.": 340,
        "A window of side k adds (k − 1) · d, not k · d.": 500,
        "A convolution of stride 1 does not change d.": 212 + 64 + 128 + 256,
        "This is what the block adds; the field before it is missing.": 192,
    }
    check_number(side, 404, 0.5, mistakes)


@exercise("01-5")
def _(choice):
    wrong = {
        "b": "The photo shows no robin, and the network has no class for this bird.",
        "c": "The softmax distributes 100 % in any case; nothing in it stands for "
        "“none of these”.",
    }
    check_choice(choice, "a", wrong)
