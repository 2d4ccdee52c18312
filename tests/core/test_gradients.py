"""Gradients are difference quotients, and those of an eager tape over Keras itself."""

import numpy as np
import pytest
from toys import (
    SCORES_OF_CLASS_2,
    difference_quotients,
    linear,
    photo,
    relative_distance,
    toy,
    toy_first_maps,
    toy_logits_from,
)

from xai_helpers import explain, keras, tf


@pytest.mark.parametrize("score", SCORES_OF_CLASS_2)
def test_gradients_are_difference_quotients_in_pixels(score):
    clf = toy()
    image = photo((12, 14))

    def y(pixels):
        logits = toy_logits_from(clf, toy_first_maps(clf, pixels))
        return SCORES_OF_CLASS_2[score](logits)

    expected = difference_quotients(y, image.astype("float64"), step=1e-4)
    values = explain.gradients(clf, image, 2, score=score).values
    assert np.allclose(values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def gradient_by_tape(clf, network_name, image, target):
    """Gradients by an eager tape over Keras's own preprocessing."""
    published = getattr(keras.applications, network_name)
    with tf.GradientTape() as tape:
        x = tf.Variable(clf.crop(image)[0][None].astype("float32"))
        logits = clf.model(published.preprocess_input(x * 1.0), training=False)
        y = logits[0, target]
    return tape.gradient(y, x).numpy()[0]


def check_gradients(clf, network_name, image):
    """Rounding opens and closes some ReLUs of a deep network, so two ways to one
    gradient differ a little: by 0.03 % here, by 0.4 % if each pixel changes by a
    ten-thousandth of a grey level. The bugs below change it by half and more."""
    expected = gradient_by_tape(clf, network_name, image, 285)
    attribution = explain.gradients(clf, image, 285)
    assert relative_distance(attribution.values, expected) < 0.01
    published = getattr(keras.applications, network_name).preprocess_input
    x = published(clf.crop(image)[0][None].astype("float32"))
    logit = float(clf.model(x)[0, 285])
    assert attribution.score_value == pytest.approx(logit, abs=1e-3)


def test_gradients_of_the_networks_are_those_of_a_tape(clf, network_name, cat):
    check_gradients(clf, network_name, cat)


TWICE = "preprocessed twice"
SWAPPED = "RGB and BGR swapped"


@pytest.mark.parametrize("bug", [TWICE, SWAPPED])
def test_a_bug_in_the_preprocessing_is_caught(clf, network_name, cat, bug):
    """The check above fails when the bug is put in."""
    right = getattr(keras.applications, network_name).preprocess_input
    wrong = {TWICE: lambda x: right(right(x)), SWAPPED: lambda x: right(x[..., ::-1])}
    check_gradients(
        clf.with_model(clf.model, preprocess=lambda x: right(x * 1.0)),
        network_name,
        cat,
    )
    with pytest.raises(AssertionError):
        check_gradients(
            clf.with_model(clf.model, preprocess=wrong[bug]), network_name, cat
        )


def test_a_map_whose_colours_cancel_is_described_as_zero():
    """Red minus green: the slopes are 1 and -1 everywhere, and add up to nothing."""
    clf, weights = linear()
    weights[:] = 0
    weights[..., 0, :], weights[..., 1, :] = 1, -1
    clf.model.layers[-1].set_weights([weights.reshape(-1, 3), np.zeros(3)])
    attribution = explain.gradients(clf, photo((20, 28)), 1)
    assert attribution.values.any() and not attribution.map.any()
    assert "the map is zero everywhere" in " ".join(attribution.notes)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_values_that_are_not_finite_are_reported_and_zeroed(broken):
    clf = toy()
    weights = clf.model.layers[-1].get_weights()
    weights[0][0, 1] = broken
    clf.model.layers[-1].set_weights(weights)
    attribution = explain.gradients(clf, photo((12, 14)), 1)
    assert np.isfinite(attribution.values).all()
    assert "were not finite" in attribution.description
    assert attribution._repr_mimebundle_()[0]["image/jpeg"]


WITHOUT_GRADIENT = {
    "keras.ops": lambda x: np.asarray(x) / 255,
    "rounds or casts": lambda x: tf.round(x) / 255,
}


@pytest.mark.parametrize("advice", WITHOUT_GRADIENT)
def test_a_preprocessing_without_gradient_is_refused_with_advice(advice):
    clf = toy(preprocess=WITHOUT_GRADIENT[advice])
    with pytest.raises(ValueError, match=advice):
        explain.gradients(clf, photo((12, 14)), 0)


def test_a_message_from_within_a_graph_comes_without_tensorflows_traceback():
    clf = toy(preprocess=lambda x: tf.round(x) / 255)
    with pytest.raises(ValueError, match=r"^No gradient reaches"):
        explain.gradients(clf, photo((12, 14)), 0)


IMAGE = photo((12, 14))
BAD_USE = {
    "target out of range": ((IMAGE, 9), {}, "outside 0 to 3"),
    "unknown score": ((IMAGE,), {"score": "loss"}, "'logit'"),
    "float image": ((IMAGE / 255,), {}, "expected uint8"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case):
    arguments, options, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.gradients(toy(), *arguments, **options)
