"""Checks for notebook 03, and the faulty function of its fourth exercise."""

from functools import cache

import numpy as np

from ..core import explain
from ..core.classifier import Classifier
from ..course.samples import sample_image
from .checking import check_array, check_choice, check_number, exercise, network

LAYER, CHANNEL = "block2_sepconv2_act", 117


def faulty_activations(classifier: Classifier, photo: np.ndarray) -> np.ndarray:
    """The activations, float (H, W, C), of block2_sepconv2_act, with an error."""
    return explain.activations(classifier, photo[..., ::-1], LAYER).values


@exercise("03-1")
def _(positions):
    mistakes = {
        "Two neighbouring positions are 2 pixels apart: the stride is missing.": 8,
        "The stride of 2 is counted twice; only one layer of the block has it.": 2,
        "With a stride of 2 there are fewer positions than pixels, not more.": 16,
        "The map moves in the same direction as the photo.": -4,
        "The map does move: a convolution is not invariant to translations.": 0,
    }
    check_number(positions, 4, 0.1, mistakes)


@cache
def _effects() -> tuple[np.ndarray, ...]:
    """Of each channel: fall of tabby's logit, its probability, and of another's logit.

    The last array is the logit of tabby with this channel alone.
    """
    vgg = network("vgg16")
    maps = explain.activations(vgg, sample_image("cat"), "block5_conv3").values
    head = vgg.submodel_from("block5_conv3")
    channels = np.arange(maps.shape[2])
    without, alone = [], []
    for part in np.array_split(channels, 16):
        batch, index = np.repeat(maps[None], len(part), axis=0), np.arange(len(part))
        single = np.zeros_like(batch)
        single[index, :, :, part] = batch[index, :, :, part]
        without.append(head(batch - single).numpy())
        alone.append(head(single).numpy())
    without, alone = np.concatenate(without), np.concatenate(alone)
    whole = head(maps[None]).numpy()
    probability = vgg.to_probabilities(whole) - vgg.to_probabilities(without)
    tabby, other = map(vgg.class_index, ("tabby", "Egyptian_cat"))
    fall = whole - without
    return fall[:, tabby], probability[:, tabby], fall[:, other], alone[:, tabby]


@exercise("03-2")
def _(effect):
    fall, probability, other, alone = _effects()
    mistakes = {
        "This is the change of the probability, not of the logit.": probability,
        "This is the effect on another class, on Egyptian_cat.": other,
        "Here all channels but one are zero; set only one channel to zero.": alone,
        "This is the logit after minus the logit before.": -fall,
    }
    check_array(effect, fall, mistakes, tolerance=0.005)


def _lines(period: float, axis: int) -> np.ndarray:
    grey = 127.5 + 100 * np.sin(2 * np.pi * np.mgrid[:299, :299][axis] / period)
    return np.repeat(grey[..., None], 3, axis=2).astype("uint8")


@cache
def _line_activations(axis: int) -> np.ndarray:
    """For four periods: activations, float (4, H, W, C)."""
    xception = network("xception")
    images = [_lines(period, axis) for period in (4, 8, 16, 32)]
    maps = [explain.activations(xception, image, LAYER).values for image in images]
    return np.stack(maps)


@exercise("03-3")
def _(responses):
    horizontal, vertical = _line_activations(0), _line_activations(1)
    of_channel = horizontal[..., CHANNEL]
    mistakes = {
        "This is the maximum over the positions, not the mean.": (
            of_channel.max(axis=(1, 2))
        ),
        "These lines are vertical.": vertical[..., CHANNEL].mean(axis=(1, 2)),
        "This is the mean over all channels, not of channel 117.": (
            horizontal.mean(axis=(1, 2, 3))
        ),
        "This is the sum over the positions, not the mean.": (
            of_channel.sum(axis=(1, 2))
        ),
        "The periods are in another order.": of_channel.mean(axis=(1, 2))[::-1],
    }
    check_array(responses, of_channel.mean(axis=(1, 2)), mistakes)


@exercise("03-4")
def _(choice):
    wrong = {
        "a": "In a mirrored photo, the larger eye would be on the right.",
        "c": "Without the ReLU, some values would be negative.",
        "d": "Make this error yourself: the values differ from those of the function.",
    }
    check_choice(choice, "b", wrong)


@exercise("03-5")
def _(choice):
    wrong = {
        "b": "One photo with a stable prediction proves no invariance; look at the "
        "other two.",
        "c": "Then each channel would agree with itself, after turning back.",
    }
    check_choice(choice, "a", wrong)
