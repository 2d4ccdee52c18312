"""The exercises of notebook 08: Shapley values and expected gradients."""

from functools import cache

import numpy as np

from ..core import explain
from ..core.classifier import Classifier
from ..course.samples import background, sample_image
from ..engine.tensorflow import tf
from .checking import check_array, check_choice, exercise, network

TARGET, LAYER = "Egyptian_cat", "block4_conv3"
PHOTOS = ["cat", "dogs", "palace", "coffee"]


@exercise("08-1")
def _three_parts(answer):
    values = np.array([41, 20, 11]) / 6
    check_array(
        answer,
        values,
        {
            "These are the scores of each part alone, as if it always came first.": (
                np.array([6, 4, 0])
            ),
            "This is what the score falls by when one part is removed, as if it always "
            "came last.": np.array([8, 3, 4]),
            "This is the mean of coming first and coming last. A part can also come "
            "second.": np.array([7, 3.5, 2]),
            "This is the sum over the orders, not the mean: divide by their number.": (
                6 * values
            ),
            "This is the mean over the sets of other parts. Some sets occur in more "
            "orders than others: go through all six orders.": (
                np.array([6.75, 3.25, 1.75])
            ),
            "An equal share for each part does not depend on what it contributes.": (
                np.full(3, 4)
            ),
        },
        tolerance=0.005,
    )


def wrong_maps(
    classifier: Classifier, photo, background_images: np.ndarray, target
) -> dict[str, np.ndarray]:
    """Three maps (28, 28), all wrong, of which one has the right sum."""
    options = {"layer": LAYER, "samples": 60}
    right, other = explain.expected_gradients(
        classifier, photo, background_images, [target, "espresso"], **options
    )
    gradients = _mean_gradients(classifier, photo, background_images, target)
    return {"A": other.map, "B": gradients.sum(axis=-1), "C": right.map[::-1]}


def _mean_gradients(classifier, photo, background_images, target) -> np.ndarray:
    """In the middle of the way from each background image, (28, 28, channels)."""
    extractor = classifier.submodel_to(LAYER)
    head = classifier.submodel_from(LAYER)
    x = extractor(classifier.preprocess(photo))
    b = extractor(classifier.preprocess(list(background_images)))
    points, index = (x + b) / 2, classifier.class_index(target)
    with tf.GradientTape() as tape:
        tape.watch(points)
        scores = head(points, training=False)[:, index]
    return tape.gradient(scores, points).numpy().mean(axis=0)


@exercise("08-2")
def _wrong_map_that_passes(answer):
    check_choice(
        answer,
        "c",
        {
            "a": "Its sum is near zero, far from the score difference. To which class "
            "could it belong?",
            "b": "Its sum is not the score difference: each value is a gradient and "
            "has another unit.",
        },
    )


@cache
def _map(of: str, target: str = TARGET) -> np.ndarray:
    """The map of the cat against photos, a black or a white image."""
    vgg16 = network("vgg16")
    images = {
        "photos": background(12, size=vgg16.input_size, exclude=PHOTOS),
        "black": np.zeros((1, 224, 224, 3), "uint8"),
        "white": np.full((1, 224, 224, 3), 255, "uint8"),
    }
    return explain.expected_gradients(
        vgg16, sample_image("cat"), images[of], target, layer=LAYER, samples=30
    ).map


@exercise("08-3")
def _black_background(answer):
    right = _map("black")
    check_array(
        answer,
        right,
        {
            "This is the map against the photos; the background must be black.": (
                _map("photos")
            ),
            "This is the map against a white image.": _map("white"),
            "This is the map of tabby, not of Egyptian cat.": _map("black", "tabby"),
            "The negative values have been lost.": np.maximum(right, 0),
        },
        tolerance=0.02,
    )


@exercise("08-4")
def _larger_value(answer):
    check_choice(
        answer,
        "a",
        {
            "b": "The probability of the class is the output of the whole network. "
            "Does it depend on the layer at which a map is made?",
            "c": "Compare the sums of the values at the two layers, not single values.",
        },
    )
