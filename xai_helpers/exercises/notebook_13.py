"""Checks of notebook 13, "The bug museum", and what one of its exercises hides."""

from functools import cache

import numpy as np

from ..core import explain
from ..course.samples import sample_image
from ..engine.tensorflow import tf
from .checking import check_array, check_choice, exercise, network, require

STEPS = 8  # of the path in exercise 5


def three_grad_cams(classifier) -> dict:
    """Three functions of (image, target) that return a heatmap; one is Grad-CAM."""

    def heatmap(image, target):
        return explain.grad_cam(classifier, image, target).heatmap()

    return {
        "A": lambda image, target: heatmap(image, target).T,
        "B": heatmap,
        "C": lambda image, target: heatmap(image, "maze") + 1e-9,
    }


@exercise("13-1")
def _(answer):
    wrong = {
        "a": "Look at A's two maps side by side: does each lie on the tile of its "
        "class, or beside the middle, too?",
        "c": "Compare C's two maps with each other: how much do they depend on the "
        "class?",
    }
    check_choice(answer, "b", wrong)


@cache
def _gradient() -> np.ndarray:
    return explain.gradients(network("vgg16"), sample_image("cat"), "tabby").map


@exercise("13-2")
def _(answer):
    values = _gradient()
    size, largest = np.abs(values), values.max()
    with np.errstate(invalid="ignore"):
        wrapped = (255 * values / largest).astype("uint8")
        wrapped_size = (255 * size / largest).astype("uint8")
    mistakes = {
        "The values end at 1, and a byte ends at 255.": size / size.max(),
        "Negative values were converted to bytes as they are; what do they become?": (
            wrapped
        ),
        "Negative values are black here; their size counts, too.": (
            255 * np.maximum(values, 0) / largest
        ),
        "Zero is not black here: the range from the smallest to the largest signed "
        "value was stretched.": 255 * (values - values.min()) / np.ptp(values),
        "The signs are still there; a byte cannot hold them.": 255 * values / largest,
        "The absolute values are divided by the largest signed value, so that some do "
        "not fit into a byte.": wrapped_size,
        "The absolute values are divided by the largest signed value, so that some are "
        "above 255.": 255 * size / largest,
        "The largest value is black here: it has to be the brightest.": (
            255 - 255 * size / size.max()
        ),
    }
    check_array(answer, 255 * size / size.max(), mistakes)


@exercise("13-3")
def _(answer):
    wrong = {
        "a": "In exhibit 15 the factor is missing. Did the sum come out?",
        "b": "In exhibit 16 the units are mixed. Did the sum come out?",
    }
    check_choice(answer, "c", wrong)


@exercise("13-4")
def _(answer):
    require(np.size(answer) == 2, "Two numbers are asked for: Xception's and VGG16's.")
    widths = np.array([2.0, 255.0])  # from black to white, as the network is fed
    values = np.asarray(answer, "float64").reshape(2)
    mistakes = {
        "The two numbers are exchanged.": 0.15 * widths[::-1],
        "This is 15 % of 1 for both; the range is wider.": [0.15, 0.15],
        "These are percentages and not the network's units.": [15, 15],
        "Both numbers are in grey levels; Xception's input has another unit.": (
            [0.15 * widths[1]] * 2
        ),
        "Both numbers are for a range from -1 to 1; VGG16's is another one.": (
            [0.15 * widths[0]] * 2
        ),
        "-124 to 151 is the range of all three channels together; each channel covers "
        "less.": [0.15 * 2, 0.15 * 275],
        "This is 15 % of half the range.": 0.075 * widths,
    }
    for hint, wrong in mistakes.items():  # the two differ too much for check_array
        require(not np.allclose(values, wrong, rtol=0.01), hint)
    check_array(values / widths, [0.15, 0.15])


@cache
def _path() -> tuple[np.ndarray, np.ndarray]:
    """VGG16's input for the cat, and its mean gradient on the way there from zero."""
    classifier = network("vgg16")
    x = classifier.preprocess(sample_image("cat"))
    points = tf.constant(np.linspace(0, 1, STEPS)[:, None, None, None] * x, "float32")
    with tf.GradientTape() as tape:
        tape.watch(points)
        logit = classifier.model(points)[:, classifier.class_index("tabby")]
    return x[0], tape.gradient(logit, points).numpy().mean(axis=0)


@exercise("13-5")
def _(answer):
    x, gradient = _path()
    square, _ = network("vgg16").crop(sample_image("cat"))
    require(
        np.shape(answer) != (), "The array is asked for, and not its sum or a number."
    )
    mistakes = {
        "The mean gradient is still without the factor.": gradient,
        "The factor is in pixels, and the gradient per unit of the network's range.": (
            gradient * square
        ),
        "The factor is the image minus the baseline, not the other way round.": (
            -gradient * x
        ),
        "The signs of the factor are lost; values below the mean are negative.": (
            gradient * np.abs(x)
        ),
        "The factor has to be multiplied, not added.": gradient + x,
        "The channels of the factor are in the other order: VGG16's are blue, green, "
        "red.": gradient * x[..., ::-1],
    }
    check_array(answer, gradient * x, mistakes)
