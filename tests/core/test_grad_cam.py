"""Grad-CAM is the paper's equations, CAM where both are defined, and finds objects."""

import numpy as np
import pytest
from toys import (
    LAST_LAYERS,
    SCORES_OF_CLASS_2,
    convolution,
    difference_quotients,
    model_with,
    photo,
    photos,
    pooled_logits,
    relative_distance,
    toy,
    toy_first_maps,
    toy_logits_from,
    unit,
)

from xai_helpers import explain, keras, load_classifier, metrics, sample_image, tf
from xai_helpers.core.techniques.grad_cam import weighted_activations

CAT, CUP = "Egyptian_cat", "espresso"


@pytest.mark.parametrize("score", SCORES_OF_CLASS_2)
def test_grad_cam_is_equations_1_and_2_in_numpy(score):
    clf = toy()
    image = photo((12, 14))
    maps = toy_first_maps(clf, image.astype("float64"))
    gradient = difference_quotients(
        lambda a: SCORES_OF_CLASS_2[score](toy_logits_from(clf, a)), maps
    )
    expected = np.maximum((gradient.mean(axis=(0, 1)) * maps).sum(axis=2), 0)
    attribution = explain.grad_cam(clf, image, 2, "one", score=score)
    assert expected.any()
    assert np.allclose(
        attribution.values, expected, rtol=1e-3, atol=1e-6 * expected.max()
    )


def test_the_equations_alone_are_those_of_numpy():
    rng = np.random.default_rng(0)
    maps, gradients = rng.normal(size=(2, 3, 4, 5, 6)).astype("float32")
    alpha = gradients.mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((alpha * maps).sum(axis=-1), 0)
    assert np.allclose(weighted_activations(maps, gradients), expected, atol=1e-5)


def test_grad_cam_on_xceptions_last_convolution_is_cam(xception, cat):
    """Zhou et al. 2016: sum of the maps weighted by the classifier's weights."""
    submodel = xception.submodel_to(LAST_LAYERS["xception"])
    maps = np.array(submodel(xception.preprocess(cat)))[0]
    weights, _ = xception.model.layers[-1].get_weights()
    for target in ("tabby", "Egyptian_cat"):
        cam = np.maximum(maps @ weights[:, xception.class_index(target)], 0)
        values = explain.grad_cam(xception, cat, target).values
        assert np.allclose(values * maps[..., 0].size, cam, rtol=1e-3, atol=1e-3)


def maps_and_gradient_by_tape(clf, image, target, layer):
    """What a layer outputs, and the gradient there, by an eager tape."""
    with tf.GradientTape() as tape:
        x = tf.constant(clf.preprocess(image))
        tape.watch(x)
        maps, logits = clf.submodel_to(layer, logits=True)(x, training=False)
        y = logits[0, clf.class_index(target)]
    return maps.numpy()[0], tape.gradient(y, maps).numpy()[0]


def rounding(maps, gradient):
    """What float32 can spoil: equation 1 is a mean in which nearly all may cancel."""
    return 1e-3 * (np.abs(gradient).mean(axis=(0, 1)) * np.abs(maps)).sum(axis=2)


def test_grad_cam_by_tape_on_a_layer_within_a_branch(xception, cat):
    maps, gradient = maps_and_gradient_by_tape(
        xception, cat, "tabby", "block4_sepconv1"
    )
    expected = np.maximum((gradient.mean(axis=(0, 1)) * maps).sum(axis=2), 0)
    values = explain.grad_cam(xception, cat, "tabby", "block4_sepconv1").values
    assert (np.abs(values - expected) <= rounding(maps, gradient)).all()


def test_many_layers_in_one_pass_are_each_layer_alone(clf, cat):
    layers = clf.layers()
    names = [layer.name for layer in layers[2 :: len(layers) // 3]]
    together = explain.grad_cam(clf, cat, "tabby", names)
    for name, attribution in zip(names, together, strict=True):
        alone = explain.grad_cam(clf, cat, "tabby", name)
        assert attribution.layer == name
        allowed = rounding(*maps_and_gradient_by_tape(clf, cat, "tabby", name))
        assert (np.abs(attribution.values - alone.values) <= allowed).all()


def test_the_default_layer_is_the_last_before_the_pooling(clf, network_name):
    attribution = explain.grad_cam(clf, photo((50, 50)), 0)
    assert attribution.layer == clf.default_layer.name == LAST_LAYERS[network_name]


@pytest.mark.real
def test_the_default_layer_has_more_than_one_cell():
    """MobileNet ends in a 1 × 1 convolution behind the pooling."""
    model = keras.applications.MobileNet(weights=None, input_shape=(96, 96, 3))
    clf = load_classifier(model, verbose=False)
    assert explain.grad_cam(clf, photo((96, 96)), 0).values.shape == (3, 3)


@pytest.mark.parametrize("layer", [None, ["one", "two"]])
def test_a_stack_gives_what_each_image_gives_alone(layer, monkeypatch):
    clf = toy()
    images = photos(5, (12, 14), first_seed=0)
    monkeypatch.setenv("XAI_MEMORY_MB", str(2 * 2**13 / 2**20))  # a few at a time
    for targets in (None, 2, [0, None, 3, "class 1", 2]):
        target_of_each = targets if isinstance(targets, list) else [targets] * 5
        alone = [
            explain.grad_cam(clf, image, target, layer)
            for image, target in zip(images, target_of_each, strict=True)
        ]
        for stack in (images, list(images)):
            together = explain.grad_cam(clf, stack, targets, layer)
            assert len(together) == 5
            for ours, expected in zip(together, alone, strict=True):
                if layer is None:
                    ours, expected = [ours], [expected]
                for a, b in zip(ours, expected, strict=True):
                    assert (a.target, a.layer) == (b.target, b.layer)
                    assert a.score_value == pytest.approx(b.score_value, abs=1e-5)
                    assert np.allclose(a.values, b.values, atol=1e-6)
                    assert np.array_equal(a.image, b.image)


@pytest.mark.parametrize("target", [None, 1])
def test_nothing_is_compiled_for_a_second_stack(target, trace_count):
    """Batches of 10 and 9, so that two shapes occur."""
    clf, counts = toy((40, 40)), []
    for seed in range(2):
        explain.grad_cam(clf, [photo((40, 40), seed)] * 19, target)
        counts.append(trace_count())
    assert counts[0] == counts[1] > 0


def test_a_stack_may_hold_photos_of_any_size():
    images = [photo((30, 20)), photo((12, 14)), photo((13, 50))]
    attributions = explain.grad_cam(toy(), images)
    sizes = [attribution.original_size for attribution in attributions]
    assert sizes == [(30, 20), (12, 14), (13, 50)]


@pytest.mark.parametrize("cat_left", [True, False])
def test_two_objects_have_their_maps_on_their_own_half(clf, cat, cat_left):
    """Of each map more than half lies there; of the other class's map, far less.

    A map that did not depend on the class would have the same share for both.
    """
    pair = [cat, sample_image("coffee")]
    mosaic = metrics.mosaic(pair if cat_left else pair[::-1], 300)
    on_left = []
    for target in (CAT, CUP) if cat_left else (CUP, CAT):
        heatmap = explain.grad_cam(clf, mosaic, target).heatmap()
        on_left.append(heatmap[:, : heatmap.shape[1] // 2].sum() / heatmap.sum())
    left, right = on_left
    assert left > 0.5 > right
    assert left - right > 0.5


def test_missing_positive_evidence_is_described_in_words():
    clf = toy()
    weights = clf.model.layers[-1].get_weights()
    clf.model.layers[-1].set_weights([-np.abs(weights[0]), weights[1]])
    clf.model.layers[2].set_weights(
        [np.abs(array) for array in clf.model.layers[2].get_weights()]
    )
    attribution = explain.grad_cam(clf, photo((12, 14)), 1, "one")
    assert not attribution.values.any()
    assert "No positive evidence for class 1 at this layer" in attribution.description
    bundle = attribution._repr_mimebundle_()
    assert "zero everywhere" in bundle[0]["text/plain"]


def test_half_precision_gives_nearly_the_same_grad_cam():
    keras.utils.set_random_seed(0)
    single = model_with([convolution()], pooled_logits(3), size=(128, 128))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        head = pooled_logits(3, dtype="float32")
        half = model_with([convolution()], head, size=(128, 128))
        half.set_weights(single.get_weights())
        exact, rounded = (
            explain.grad_cam(
                load_classifier(model, preprocess=unit, verbose=False),
                photo((128, 128)),
                1,
            ).values
            for model in (single, half)
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert exact.any()  # summed in half precision it would be off by 13 % and more
    assert relative_distance(rounded, exact) < 0.03


def test_a_layer_and_a_prediction_of_the_package_are_accepted(xception, cat):
    layer, best = xception.layer("block2_sepconv1"), xception.top(cat, 2)
    attribution = explain.grad_cam(xception, cat, best[1], layer)
    assert (attribution.layer, attribution.target) == (layer.name, best[1].index)


IMAGE = photo((12, 14))
BAD_USE = {
    "unknown target": ((IMAGE, "clas 1"), "Close labels"),
    "unknown layer": ((IMAGE, 0, "x"), "Usable: 1 one"),
    "targets without a stack": ((IMAGE, [0, 1]), "A list of 2 targets for one image"),
    "targets for another stack": (
        ([IMAGE] * 3, [0, 1]),
        "A list of 2 targets for 3 image",
    ),
    "no images": (([],), "empty list"),
    "an empty stack": ((IMAGE[None][:0],), "empty stack"),
    "no layers": ((IMAGE, 0, []), "empty list"),
    "preprocessed image": ((IMAGE / 127.5 - 1,), "uint8"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case):
    arguments, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.grad_cam(toy(), *arguments)
