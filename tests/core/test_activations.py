"""Activations are what the layers compute, in NumPy and at half precision."""

import numpy as np
import pytest
from toys import (
    convolution,
    model_with,
    photo,
    pooled_logits,
    relative_distance,
    toy,
    toy_first_maps,
    unit,
)

from xai_helpers import explain, keras, load_classifier


def test_activations_are_the_outputs_of_the_layer_in_numpy():
    clf = toy()
    image = photo((12, 14))
    attribution = explain.activations(clf, image, "one")
    expected = toy_first_maps(clf, image.astype("float64"))
    assert attribution.values == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert attribution.map == pytest.approx(expected.sum(axis=2), rel=1e-4, abs=1e-4)


def test_activations_have_no_target_and_say_so():
    attribution = explain.activations(toy(), photo((12, 14)), "one")
    assert attribution.target is None
    assert attribution.score_value is None
    assert not attribution.signed
    assert "class" not in attribution.title


def test_without_a_layer_activations_are_those_of_the_default_layer():
    clf = toy()
    image = photo((12, 14))
    attribution = explain.activations(clf, image)
    named = explain.activations(clf, image, clf.default_layer.name)
    assert attribution.layer == named.layer == "two"
    assert np.array_equal(attribution.values, named.values)


def test_activations_of_many_layers_keep_their_order(xception, cat):
    names = ["block2_sepconv1", "block1_conv1", "block2_sepconv1"]
    attributions = explain.activations(xception, cat, names)
    assert [attribution.layer for attribution in attributions] == names
    assert np.array_equal(attributions[0].values, attributions[2].values)
    alone = explain.activations(xception, cat, "block1_conv1")
    assert np.allclose(attributions[1].values, alone.values, atol=1e-4)


@pytest.mark.parametrize(
    "policy, epsilon", [("mixed_float16", 2**-10), ("mixed_bfloat16", 2**-7)]
)
def test_activations_of_half_precision_are_read_as_numbers(policy, epsilon):
    """Input, kernel and output are rounded once each: at most half an epsilon."""
    maps = []
    for precision in ("float32", policy):
        keras.config.set_dtype_policy(precision)
        try:
            keras.utils.set_random_seed(0)
            model = model_with(
                [convolution(activation=None, use_bias=False)],
                pooled_logits(3, dtype="float32"),
            )
            clf = load_classifier(model, preprocess=unit, verbose=False)
            maps.append(explain.activations(clf, photo((32, 32)), "one").values)
        finally:
            keras.config.set_dtype_policy("float32")
    exact, rounded = maps
    assert rounded.dtype == np.float32 and exact.any()
    assert relative_distance(rounded, exact) < 1.5 * epsilon


def test_a_layer_without_maps_is_refused_with_the_usable_ones():
    with pytest.raises(ValueError, match=r"no maps.*Usable"):
        explain.activations(toy(), photo((12, 14)), "flat")
