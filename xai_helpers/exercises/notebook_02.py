"""Checks for notebook 02, and the faulty function of its fifth exercise."""

import numpy as np

from ..core.classifier import Classifier
from ..course.samples import sample_image
from ..engine.tensorflow import keras
from .checking import check_array, check_choice, check_number, exercise, network


def faulty_logits(last_maps: np.ndarray, classifier: Classifier) -> np.ndarray:
    """The logits, float (classes,), of last maps (H, W, C), with an error."""
    weights, _ = classifier.model.layers[-1].get_weights()
    return last_maps.mean(axis=(0, 1)) @ weights


@exercise("02-1")
def _(fraction):
    model = network("xception").model
    is_separable = keras.layers.SeparableConv2D
    layers = [layer for layer in model.layers if isinstance(layer, is_separable)]
    depthwise = sum(np.prod(layer.depthwise_kernel.shape) for layer in layers)
    pointwise = sum(np.prod(layer.pointwise_kernel.shape) for layer in layers)
    total = model.count_params()
    mistakes = {
        "This is the fraction of the depthwise steps.": depthwise / total,
        "This includes the depthwise steps.": (depthwise + pointwise) / total,
        "This is the fraction of the last layer.": (
            model.layers[-1].count_params() / total
        ),
        "This is a percentage; a number from 0 to 1 is asked for.": (
            100 * pointwise / total
        ),
        "This is a number of weights; divide it by the total.": pointwise,
        "Divide by the weights of the whole model, not of the separable layers.": (
            pointwise / (depthwise + pointwise)
        ),
    }
    check_number(fraction, pointwise / total, 0.002, mistakes)


@exercise("02-2")
def _(billions):
    vgg = network("vgg16")
    weights, total, without_kernel = 0, 0, 0
    for layer in vgg.model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width, _ = vgg.layer(layer.name).shape
            kernel = int(np.prod(layer.kernel.shape))
            weights += kernel
            total += height * width * kernel
            without_kernel += height * width * kernel / 9
    mistakes = {
        "Each position of the output needs these multiplications; the number of "
        "positions is missing.": weights / 1e9,
        "The size of the kernel, 3 × 3, is missing.": without_kernel / 1e9,
        "The answer is asked for in billions.": total,
        "These are millions; the answer is asked for in billions.": total / 1e6,
    }
    check_number(billions, total / 1e9, 0.06, mistakes)


@exercise("02-3")
def _(contributions):
    xception = network("xception")
    inputs = xception.preprocess(sample_image("cat"))
    maps = np.array(xception.submodel_to("block14_sepconv2_act")(inputs))[0]
    weights, bias = xception.model.layers[-1].get_weights()
    k, tabby = map(xception.class_index, ("Egyptian_cat", "tabby"))
    right = maps @ weights[:, k] / 100
    mistakes = {
        "The logit is a mean over 100 positions: these add up to 100 times as much.": (
            100 * right
        ),
        "The bias belongs to no position; leave it out.": right + bias[k],
        "The bias is divided among the positions here; leave it out.": (
            right + bias[k] / 100
        ),
        "This is the map of another class, of tabby.": maps @ weights[:, tabby] / 100,
        "This is the mean of the channels; the weights of the class are missing.": (
            maps.mean(axis=2)
        ),
    }
    check_array(contributions, right, mistakes, tolerance=1e-4)


@exercise("02-4")
def _(choice):
    wrong = {
        "a": "The 9 stands for the 3 × 3 values of the kernel; it is 5 × 5 now.",
        "b": "A 5 × 5 kernel has more than 5 values.",
    }
    check_choice(choice, "c", wrong)


@exercise("02-5")
def _(choice):
    wrong = {
        "b": "With the maximum, the difference from the right logits is much larger.",
        "c": "Probabilities add up to 1; do these values?",
        "d": "The function gets last_maps, which come from a preprocessed photo.",
    }
    check_choice(choice, "a", wrong)
