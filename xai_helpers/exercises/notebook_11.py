"""Checks of notebook 11, "Your own photo, your own model"."""

from functools import cache

import numpy as np

from ..core import explain
from ..core.classifier import Classifier
from ..course.samples import sample_image
from ..engine.loading import PREPROCESSING
from ..engine.tensorflow import tf
from .checking import (
    check_array,
    check_choice,
    check_number,
    exercise,
    network,
    require,
)

RANGES = ("xception", "unit", "none")


# The weights of red, green and blue in the brightness that a grey model is fed.
GREY = {
    "luma": (0.2989, 0.587, 0.114),
    "mean": (1 / 3, 1 / 3, 1 / 3),
    "green": (0, 1, 0),
}


@cache
def _model_for_cat(preprocess: str, grey: str = "") -> Classifier:
    """Xception with another preprocessing, in colours or in grey."""

    def preprocess_pixels(pixels):
        values = PREPROCESSING[preprocess](pixels)
        if not grey:
            return values
        brightness = tf.reduce_sum(values * GREY[grey], axis=-1, keepdims=True)
        return tf.repeat(brightness, 3, axis=-1)

    xception = network("xception")
    return xception.with_model(xception.model, preprocess=preprocess_pixels)


@cache
def _probabilities(preprocess: str, grey: str = "") -> np.ndarray:
    return _model_for_cat(preprocess, grey).probabilities(sample_image("cat"))[0]


@exercise("11-1")
def _(answer):
    rocket = sample_image("rocket")
    height, width = rocket.shape[:2]
    _, box = network("xception").crop(rocket)
    share = box.height * box.width / (height * width)
    require(np.max(answer) <= 2, "Give the share as a number from 0 to 1.")
    mistakes = {
        "This is the share that was cut off.": 1 - share,
        "This is the photo's area divided by the crop's: the other way round.": (
            1 / share
        ),
        "The 299 × 299 pixels are the square after scaling. The share needs the crop's "
        "height and width in the photo's own pixels.": 299**2 / (height * width),
        "1 would mean that nothing was cut off, as with fit='squash'.": 1.0,
    }
    check_number(answer, share, 0.005, mistakes)


@exercise("11-2")
def _(answer):
    index = network("xception").class_index("Egyptian_cat")
    expected = [_probabilities(name)[index] for name in RANGES]
    cat = sample_image("cat")
    mistakes = {
        "These are the same three models in the reverse order.": expected[::-1],
        "These are logits; probabilities are asked for.": [
            _model_for_cat(name).logits(cat)[0, index] for name in RANGES
        ],
        "This is the probability of each model's own first class, not of "
        "Egyptian_cat.": [_probabilities(name).max() for name in RANGES],
        "The same range was used three times: preprocess is still 'xception' in every "
        "model.": [expected[0]] * 3,
        "The second and the third range are exchanged.": [
            expected[0],
            expected[2],
            expected[1],
        ],
    }
    check_array(answer, expected, mistakes)


@exercise("11-3")
def _(answer):
    attribution = explain.grad_cam(network("xception"), sample_image("officer"))
    crop, height = attribution.crop, len(attribution.heatmap_on_original())
    rows, bottom = np.arange(height), crop.top + crop.height
    outside = (rows < crop.top) | (rows >= bottom)
    require(
        np.shape(answer) != np.shape(attribution.image)[:1],
        "These are the rows of the square of 299 pixels; the rows of the photo are "
        "asked for.",
    )
    mistakes = {
        "These are the rows that the network received; the others are asked for.": (
            ~outside
        ),
        "Only the rows above the crop are marked.": rows < crop.top,
        "Only the rows below the crop are marked.": rows >= bottom,
        "The first row below the crop is not marked, but it is outside.": (
            (rows < crop.top) | (rows > bottom)
        ),
        "The first row of the crop is marked, but it is inside.": (
            (rows <= crop.top) | (rows >= bottom)
        ),
        "`height` counts from the top of the crop, not from the top of the photo.": (
            (rows < crop.top) | (rows >= crop.height)
        ),
    }
    check_array(answer, outside, mistakes)


@exercise("11-4")
def _(answer):
    wrong = {
        "b": "There is a row of the table for a label without letters. What does it do "
        "to the score?",
        "c": "The new crops have the same flaw as the training images, so their "
        "accuracy cannot tell a stamp from a press photo.",
    }
    check_choice(answer, "a", wrong)


@exercise("11-5")
def _(answer):
    grey = {way: _probabilities("xception", way) for way in GREY}
    logits = _model_for_cat("xception", "luma").logits(sample_image("cat"))[0]
    mistakes = {
        "These are the probabilities of the photo with its colours.": (
            _probabilities("xception")
        ),
        "Red, green and blue were averaged with equal weights; rgb_to_grayscale "
        "weights them by how bright they look.": grey["mean"],
        "Only the green channel was used.": grey["green"],
        "These are logits; probabilities are asked for.": logits,
        "The model received values from 0 to 255; Xception expects -1 to 1 (see "
        "preprocess).": _probabilities("none", "luma"),
        "The model received values from 0 to 1; Xception expects -1 to 1 (see "
        "preprocess).": _probabilities("unit", "luma"),
    }
    check_array(answer, grey["luma"], mistakes, tolerance=0.002)
