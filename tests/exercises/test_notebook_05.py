"""Right and typical wrong answers to the exercises of notebook 05."""

import numpy as np
import pytest

from xai_helpers import check, explain, keras, metrics, sample_image, tf
from xai_helpers.exercises.notebook_05 import suspects

LAYER = "block14_sepconv2_act"


@pytest.fixture(scope="module")
def coffee():
    return sample_image("coffee")


def signed_map(vgg, inputs, target="espresso", probability=False, weights="mean"):
    layer = vgg.model.get_layer("block5_conv3")
    model = keras.Model(vgg.model.input, [layer.output, vgg.model.output])
    with tf.GradientTape() as tape:
        inputs = tf.constant(inputs)
        tape.watch(inputs)
        activations, logits = model(inputs, training=False)
        scores = tf.nn.softmax(logits) if probability else logits
        score = scores[0, vgg.class_index(target)]
    gradient = tape.gradient(score, activations)
    if weights == "mean":
        gradient = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    elif weights == "sum":
        gradient = tf.reduce_sum(gradient, axis=(1, 2), keepdims=True)
    elif weights == "none":
        gradient = tf.ones_like(activations)
    return tf.reduce_sum(gradient * activations, axis=-1).numpy()


WRONG_MAPS = {
    "ReLU": lambda vgg, x: np.maximum(signed_map(vgg, x)[0], 0),
    "summed over the positions": lambda vgg, x: signed_map(vgg, x, weights="sum")[0],
    "weights are missing": lambda vgg, x: signed_map(vgg, x, weights="none")[0],
    "at each position": lambda vgg, x: signed_map(vgg, x, weights="each")[0],
    "sum over the channels": lambda vgg, x: signed_map(vgg, x)[0] / 512,
    "not preprocessed": lambda vgg, x: signed_map(
        vgg, vgg.crop(sample_image("cat"))[0][None].astype("float32")
    )[0],
    "map of tabby": lambda vgg, x: signed_map(vgg, x, "tabby")[0],
    "map of Egyptian cat": lambda vgg, x: signed_map(vgg, x, "Egyptian_cat")[0],
    "probability": lambda vgg, x: signed_map(vgg, x, probability=True)[0],
    "batch axis": lambda vgg, x: signed_map(vgg, x),
    "up to the sign": lambda vgg, x: -signed_map(vgg, x)[0],
    "Rows and columns": lambda vgg, x: signed_map(vgg, x)[0].T,
    "three dots": lambda vgg, x: ...,
}


def test_the_signed_map(vgg16, cat):
    assert check("05-1", signed_map(vgg16, vgg16.preprocess(cat))[0])


@pytest.mark.parametrize("words", [w for w in WRONG_MAPS if w != "Rows and columns"])
def test_each_wrong_signed_map_gets_its_hint(words, vgg16, cat):
    verdict = check("05-1", WRONG_MAPS[words](vgg16, vgg16.preprocess(cat)))
    assert not verdict and words in verdict.hint, verdict


def correlation(xception, cat, score, scaled_up=False):
    pair = [
        explain.grad_cam(xception, cat, name, LAYER, score=score)
        for name in ("tabby", "Egyptian_cat")
    ]
    return metrics.correlation(*(m.heatmap() if scaled_up else m for m in pair))


def test_logit_or_probability(xception, cat):
    right = correlation(xception, cat, "probability")
    answers = {
        (right, "c"): None,
        (correlation(xception, cat, "logit"), "c"): "logits' maps",
        (correlation(xception, cat, "probability", True), "c"): "scaled-up",
        (-right, "c"): "up to the sign",
        (right, "a"): "rounding",
        (right, "b"): "from the logits alone",
        (right, "softmax"): "one letter",
    }
    for (number, letter), words in answers.items():
        verdict = check("05-2", number, letter)
        assert (words is None) == bool(verdict), (number, letter)
        assert words is None or words in verdict.hint, verdict


def test_the_place_of_a_position(xception):
    first, step = xception.receptive_field_grid(LAYER)
    cells = np.arange(10)
    centres = first[0] + step[0] * cells
    stretched = (cells + 0.5) * 29.9 - 0.5
    answers = {
        np.abs(centres - stretched).max(): None,
        np.abs(centres - cells * 29.9).max(): "left borders",
        np.abs(centres - np.linspace(0, 298, 10)).max(): "at the border",
        np.abs(step[0] * cells - stretched).max(): "first position is missing",
        np.abs(centres - stretched).mean(): "mean distance",
        100: "Too large",
    }
    assert len(answers) == 6
    for number, words in answers.items():
        verdict = check("05-3", number)
        assert (words is None) == bool(verdict), number
        assert words is None or words in verdict.hint, verdict


def test_judging_four_maps(xception):
    hints = {letter: check("05-4", letter).hint for letter in "abd"}
    assert len(set(hints.values())) == 3 and all(hints.values())
    assert check("05-4", "C")
    assert "letter of the function" in check("05-4", suspects(xception)["c"]).hint


def test_the_mosaic_finds_the_right_one_of_the_suspects(xception, cat, coffee):
    half = xception.crop(cat)[0][:, 75:225], xception.crop(coffee)[0][:, 75:225]
    mosaic = np.hstack(half)
    parts = {}
    for letter, function in suspects(xception).items():
        maps = [function(mosaic, name) for name in ("Egyptian_cat", "espresso")]
        parts[letter] = [float(m[:, :5].sum() / m.sum()) for m in maps]
    on_their_half = [
        letter for letter, (a, b) in parts.items() if a > 0.75 and b < 0.25
    ]
    assert on_their_half == ["c"], parts
