"""Checks of the exercises of notebook 05, Grad-CAM."""

import numpy as np

from ..core import explain, metrics
from ..course.samples import sample_image
from ..engine.tensorflow import keras, tf
from .checking import check_array, check_choice, check_number, exercise, network

VGG_LAYER, XCEPTION_LAYER = "block5_conv3", "block14_sepconv2_act"


@exercise("05-1")
def _(my_map):
    """The signed map of espresso on VGG16, before the ReLU."""
    vgg, cat = network("vgg16"), sample_image("cat")
    prepared = vgg.preprocess(cat)
    espresso, activations, gradient = _signed_map(vgg, prepared, "espresso")
    alpha = gradient.mean(axis=(0, 1))
    raw = vgg.crop(cat)[0][None].astype("float32")
    mistakes = {
        "The ReLU is still there: negative values are asked for, too.": np.maximum(
            espresso, 0
        ),
        "The gradient is summed over the positions; take its mean.": (
            espresso * gradient[..., 0].size
        ),
        "The weights are missing: this is the sum of the activations.": (
            activations.sum(axis=-1)
        ),
        "This is the gradient times the activation at each position: take the mean "
        "of the gradient first.": (gradient * activations).sum(axis=-1),
        "The activations are missing: these are the gradients.": gradient.sum(axis=-1),
        "The sum over the channels is a mean here.": espresso / alpha.size,
        "This map belongs to pixels that were not preprocessed.": (
            lambda: _signed_map(vgg, raw, "espresso")[0]
        ),
        "This is the map of tabby: the class is espresso.": (
            lambda: _signed_map(vgg, prepared, "tabby")[0]
        ),
        "This is the map of Egyptian cat: the class is espresso.": (
            lambda: _signed_map(vgg, prepared, "Egyptian_cat")[0]
        ),
        "This is the gradient of the probability: use the logit.": (
            lambda: _signed_map(vgg, prepared, "espresso", "softmax")[0]
        ),
    }
    check_array(my_map, espresso, mistakes)


def _signed_map(classifier, inputs, target: str, activation: str = "linear"):
    """Grad-CAM of VGG16 without the ReLU; the activations and their gradient."""
    layer = classifier.model.get_layer(VGG_LAYER)
    model = keras.Model(classifier.model.input, [layer.output, classifier.model.output])
    with tf.GradientTape() as tape:
        x = tf.constant(inputs)
        tape.watch(x)
        activations, logits = model(x, training=False)
        scores = keras.activations.get(activation)(logits)
        score = scores[0, classifier.class_index(target)]
    gradient = tape.gradient(score, activations)[0].numpy()
    activations = activations[0].numpy()
    alpha = gradient.mean(axis=(0, 1))
    return (alpha * activations).sum(axis=-1), activations, gradient


@exercise("05-2")
def _(my_correlation, my_choice):
    """The correlation of two classes' maps of the probability, and why."""
    xception, cat = network("xception"), sample_image("cat")

    def correlation(score, scaled_up=False):
        pair = [
            explain.grad_cam(xception, cat, name, XCEPTION_LAYER, score=score)
            for name in ("tabby", "Egyptian_cat")
        ]
        pair = [m.heatmap() if scaled_up else m.values for m in pair]
        return metrics.correlation(*pair)

    mistakes = {
        "This is the correlation of the logits' maps.": lambda: correlation("logit"),
        "These are the scaled-up maps; compare their values.": (
            lambda: correlation("probability", scaled_up=True)
        ),
    }
    check_number(my_correlation, correlation("probability"), 0.03, mistakes)
    wrong = {
        "a": "The correlation is right, the choice is not: rounding errors would give "
        "maps without structure. Look at the maps.",
        "b": "The correlation is right, the choice is not: the probabilities are "
        "computed from the logits alone, without the image.",
    }
    check_choice(my_choice, "c", wrong)


@exercise("05-3")
def _(my_distance):
    """How far stretching misplaces a position of Xception's last layer, in pixels."""
    xception = network("xception")
    first, step = xception.receptive_field_grid(XCEPTION_LAYER)
    side, count = xception.input_size[0], 10
    centres = first[0] + step[0] * np.arange(count)

    def largest(positions, reference=centres):
        return float(np.abs(reference - positions).max())

    cells = np.arange(count)
    stretched = (cells + 0.5) * side / count - 0.5
    mistakes = {
        "These are the left borders of the stretched positions, not their centres.": (
            largest(cells * side / count)
        ),
        "The first and the last position are not at the border of the image.": (
            largest(np.linspace(0, side - 1, count))
        ),
        "The centre of the first position is missing.": (
            largest(stretched, centres - first[0])
        ),
        "This is the mean distance; the largest is asked for.": (
            float(np.abs(centres - stretched).mean())
        ),
    }
    check_number(my_distance, largest(stretched), 0.6, mistakes)


def suspects(classifier) -> dict:
    """Four functions (image, class) → map (10, 10); one of them is Grad-CAM."""

    def as_pixels(pixels):
        return tf.cast(pixels, "float32")

    unscaled = classifier.with_model(classifier.model, preprocess=as_pixels)

    def grad_cam(image, target, by=classifier):
        return explain.grad_cam(by, image, target, XCEPTION_LAYER).values

    return {
        "a": lambda image, target: grad_cam(image, target).T,
        "b": lambda image, target: (
            explain.layer_cam(classifier, image, target, XCEPTION_LAYER).values
        ),
        "c": grad_cam,
        "d": lambda image, target: grad_cam(image, target, unscaled),
    }


@exercise("05-4")
def _(my_choice):
    """Which of the suspects is Grad-CAM."""
    wrong = {
        "a": "Look at where in the mosaic its two maps lie: left and right, or above "
        "and below?",
        "b": "Compare its maps of the two classes with each other.",
        "d": "Look at which half of the mosaic its map of the cat lies on.",
    }
    check_choice(my_choice, "c", wrong)
