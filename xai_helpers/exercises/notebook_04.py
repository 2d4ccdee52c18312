"""Checks of the exercises of notebook 04, Occlusion sensitivity."""

import numpy as np

from ..core import explain
from ..course.samples import sample_image
from .checking import check_array, check_choice, check_number, exercise, network

STARTS, PATCH, GREY = (0, 100, 199), 100, 127


@exercise("04-1")
def _(my_map):
    """The drops of tabby, 3 × 3 positions."""
    xception, cat = network("xception"), sample_image("cat")

    def occlusion(target="tabby", **options):
        options = {"patch": PATCH, "stride": PATCH} | options
        return explain.occlusion(xception, cat, target, **options)

    right = occlusion()
    mistakes = {
        "This is the score with the patch: the drop is asked for.": (
            right.score_value - right.values
        ),
        "The sign: a drop is positive where covering lowers the score.": -right.values,
        "This is the map of Egyptian cat: the class is tabby.": (
            lambda: occlusion("Egyptian_cat").values
        ),
        "These are drops of the probability: use the logit.": (
            lambda: occlusion(score="probability").values
        ),
        "The patch is black: it should be grey, 127.": (
            lambda: occlusion(fill=0).values
        ),
        "The patch is white: it should be grey, 127.": (
            lambda: occlusion(fill=255).values
        ),
        "The patches pile up: begin with the whole image at each position.": (
            lambda: _without_removing(xception, cat, "tabby")
        ),
        "The patch was painted after the preprocessing.": (
            lambda: _after_preprocessing(xception, cat, "tabby")
        ),
    }
    check_array(my_map, right.values, mistakes)


def _drops(classifier, image, target: str, logits) -> np.ndarray:
    """The drops (3, 3) from the logits of the nine occluded images, in order."""
    index = classifier.class_index(target)
    scores = np.asarray(logits)[:, index].reshape(len(STARTS), len(STARTS))
    return classifier.logits(image)[0, index] - scores


def _regions() -> list:
    return [
        np.s_[row : row + PATCH, column : column + PATCH]
        for row in STARTS
        for column in STARTS
    ]


def _without_removing(classifier, image, target: str) -> np.ndarray:
    occluded, images = classifier.crop(image)[0].copy(), []
    for region in _regions():
        occluded[region] = GREY
        images.append(occluded.copy())
    return _drops(classifier, image, target, classifier.logits(images))


def _after_preprocessing(classifier, image, target: str) -> np.ndarray:
    inputs = np.repeat(classifier.preprocess(image), len(STARTS) ** 2, axis=0)
    for occluded, region in zip(inputs, _regions(), strict=True):
        occluded[region] = GREY
    logits = classifier.model(inputs, training=False)
    return _drops(classifier, image, target, logits)


@exercise("04-2")
def _(my_gap):
    """The drop for both dogs minus the sum of the single drops."""
    xception = network("xception")
    dogs = xception.crop(sample_image("dogs"))[0]
    regions = np.s_[0:125, 40:165], np.s_[150:299, 125:245]
    images = [dogs.copy() for _ in range(4)]
    for k, covered in enumerate(([], regions[:1], regions[1:], regions)):
        for region in covered:
            images[k][region] = GREY
    index = xception.class_index("cocker_spaniel")
    scores = xception.logits(images)[:, index]
    chances = xception.probabilities(images)[:, index]
    upper, lower, both = scores[0] - scores[1:]
    mistakes = {
        "This is the sum of the two single drops.": upper + lower,
        "This is the drop for both; subtract the two single drops.": both,
        "The sign: the drop for both comes first.": upper + lower - both,
        "Subtract both single drops, not their mean.": both - (upper + lower) / 2,
        "Subtract both single drops; that of the upper dog is missing.": both - lower,
        "Subtract both single drops; that of the lower dog is missing.": both - upper,
        "This is the gap of the probabilities: use the logits.": (
            chances[0] - chances[3] - (2 * chances[0] - chances[1] - chances[2])
        ),
    }
    check_number(my_gap, both - upper - lower, 0.15, mistakes)


@exercise("04-3")
def _(my_part):
    """Which part of the pixels patches of 20 at a stride of 60 cover."""
    side, patch, stride = network("xception").input_size[0], 20, 60
    regular = np.arange(0, side - patch + 1, stride)
    starts = np.append(regular, side - patch)  # the last ends at the border
    right = (len(starts) * patch / side) ** 2
    mistakes = {
        "This is the part along one side; the image has two.": right**0.5,
        "This is the part that was never covered.": 1 - right,
        "Count the last patch of each row and column, at the border, too.": (
            (len(regular) * patch / side) ** 2
        ),
        "This is the number of pixels; divide it by all pixels.": right * side**2,
        "This is the part in per cent; a number from 0 to 1 is asked for.": 100 * right,
    }
    check_number(my_part, right, 0.003, mistakes)


def suspects(classifier) -> dict:
    """Four functions (image, class) → drops (3, 3); one of them is right."""

    def occlusion(image, target):
        options = {"patch": PATCH, "stride": PATCH}
        return explain.occlusion(classifier, image, target, **options).values

    return {
        "a": lambda image, target: occlusion(image, target).T,
        "b": occlusion,
        "c": lambda image, target: _without_removing(classifier, image, target),
        "d": lambda image, target: _after_preprocessing(classifier, image, target),
    }


@exercise("04-4")
def _(my_choice):
    """Which of the suspects computes an occlusion map."""
    wrong = {
        "a": "Compute the drop of one position away from the diagonal by hand.",
        "c": "Compute the drop of the last position by hand: is it as large?",
        "d": "Compare the size of its drops with those of this notebook.",
    }
    check_choice(my_choice, "b", wrong)
