"""A new last layer: the probabilities are scikit-learn's, the maps are explained."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from toys import photo, pooled_toy, unit

from xai_helpers import explain, keras, load_classifier
from xai_helpers.survey.heads import (
    TOLERANCE,
    fit_head,
    pooled_features,
    pooled_model,
)

THREE = ["b", "a", "c"] * 8
TWO = ["yes", "no"] * 12


@pytest.fixture(scope="module")
def network():
    return pooled_toy()


@pytest.fixture(scope="module")
def images():
    """Noise whose colour depends on its place in the list, so that labels differ."""
    pictures = [photo((40, 50), seed) // 2 for seed in range(24)]
    for k, picture in enumerate(pictures):
        picture[..., k % 3] += 100 + 20 * (k % 2)
    return pictures


def own_features(network, images):
    """The toy's last maps, averaged in NumPy."""
    squares = np.stack([network.crop(image)[0] for image in images])
    maps = network.submodel_to("two").predict(unit(squares), verbose=0)
    return maps.mean(axis=(1, 2), dtype="float64")


def test_features_are_the_means_of_the_last_maps(network, images):
    features = pooled_features(network, images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, own_features(network, images), rtol=1e-4)


@pytest.mark.parametrize("labels", [THREE, TWO], ids=["three", "two"])
@pytest.mark.parametrize("strength", [1.0, 50.0])
def test_probabilities_are_those_of_scikit_learn(network, images, labels, strength):
    head = fit_head(network, images, labels, strength=strength)
    regression = LogisticRegression(C=strength, max_iter=5000, tol=TOLERANCE)
    regression.fit(pooled_features(network, images), labels)
    expected = regression.predict_proba(own_features(network, images))
    assert [label for _, label in head.classes] == list(regression.classes_)
    np.testing.assert_allclose(head.probabilities(images), expected, atol=1e-4)
    assert expected.std() > 0.001  # the photos do not all get the same


@pytest.mark.parametrize("labels", [THREE, TWO], ids=["three", "two"])
def test_logits_of_a_photo_add_up_to_zero(network, images, labels):
    """They are determined up to a constant; no class is the reference."""
    logits = fit_head(network, images, labels).logits(images)
    np.testing.assert_allclose(logits.sum(axis=1), 0, atol=1e-4)


def test_a_second_fit_is_the_same(network, images):
    first, second = (fit_head(network, images, THREE) for _ in range(2))
    assert (first.logits(images) == second.logits(images)).all()


def test_the_network_below_is_shared_and_stays(network, images):
    before = network.logits(images[:2])
    head = fit_head(network, images, THREE)
    assert head.model.get_layer("two") is network.model.get_layer("two")
    assert (network.logits(images[:2]) == before).all()
    assert (head.input_size, head.fit) == (network.input_size, network.fit)
    assert "new head" in head.description


def test_grad_cam_is_the_weighted_mean_of_the_maps(network, images):
    head = fit_head(network, images, THREE, strength=50)
    cam = explain.grad_cam(head, images[0], "a")
    square = network.crop(images[0])[0].astype("float32")
    [values] = network.submodel_to("two")(unit(square[None])).numpy()
    weights = head.model.get_layer("head").get_weights()[0][:, 0]
    alpha = weights / values[..., 0].size
    expected = np.maximum((values * alpha).sum(axis=-1), 0)
    np.testing.assert_allclose(cam.values, expected, rtol=1e-3, atol=TOLERANCE)
    assert cam.layer == "two"
    assert cam.label == "a"


def test_a_head_on_a_head(network, images):
    again = fit_head(fit_head(network, images, THREE), images, TWO)
    expected = fit_head(network, images, TWO).logits(images)
    np.testing.assert_allclose(again.logits(images), expected, atol=1e-5)


def test_it_can_be_saved_and_loaded(network, images, tmp_path):
    head = fit_head(network, images, THREE)
    head.model.save(tmp_path / "head.keras")
    labels = [label for _, label in head.classes]
    loaded = load_classifier(
        tmp_path / "head.keras", preprocess="unit", labels=labels, verbose=False
    )
    expected = head.logits(images)
    np.testing.assert_allclose(loaded.logits(images), expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_fitted_says_why(network, images):
    with pytest.raises(ValueError, match="24 photos and 23 labels"):
        fit_head(network, images, THREE[1:])
    with pytest.raises(ValueError, match="class"):
        fit_head(network, images, ["a"] * 24)


def test_a_layer_with_another_order_of_axes_is_refused():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, name="maps")(inputs)
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    classifier = load_classifier(model, preprocess="unit", verbose=False)
    if classifier.default_layer.name == "maps":
        assert pooled_model(classifier).output_shape == (None, 4)
    else:
        with pytest.raises(ValueError, match="height, width and channels"):
            pooled_model(classifier)
