"""A model of your own, nested or not: its logits are found, or it is refused."""

import numpy as np
import pytest
from toys import (
    base,
    convolution,
    layers,
    model_with,
    nested,
    photo,
    photos,
    pooled_logits,
    softmax,
    unit,
)

from xai_helpers import explain, keras, load_classifier

Dense, Softmax, Flatten = layers.Dense, layers.Softmax, layers.Flatten
ENDINGS = {
    "dense softmax": lambda x: Dense(3, "softmax")(x),
    "dense softmax, no bias": lambda x: Dense(3, "softmax", use_bias=False)(x),
    "softmax activation": lambda x: layers.Activation("softmax")(Dense(3)(x)),
    "softmax layer": lambda x: Softmax()(Dense(3)(x)),
    "nested head": lambda x: keras.Sequential([Dense(5, "relu"), Dense(3, "softmax")])(
        x
    ),
    "twice nested": lambda x: keras.Sequential(
        [
            keras.Sequential([Dense(5, "relu")]),
            keras.Sequential([Dense(3, "softmax")]),
        ]
    )(x),
}


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(1)


# --- the logits -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_logits_of_a_nested_model_give_its_own_probabilities(ending):
    model = nested(ENDINGS[ending])
    clf = load_classifier(model, labels=["a", "b", "c"], verbose=False)
    images = photos(3, (32, 32), first_seed=0)
    own = model(images.astype("float32"), training=False).numpy()
    assert np.allclose(clf.probabilities(images), own, atol=1e-5)
    logits = clf.logits(images)
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3  # not probabilities again
    assert np.allclose(softmax(logits), own, atol=1e-5)


def test_the_classifier_shares_the_weights_of_the_model():
    model = nested(ENDINGS["dense softmax"])
    clf = load_classifier(model, verbose=False)
    before = clf.logits(photo((32, 32)))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([2 * kernel, 2 * bias])
    assert np.allclose(clf.logits(photo((32, 32))), 2 * before, atol=1e-5)


def test_sigmoid_and_plain_logits():
    image = photo((32, 32))
    x = image[None].astype("float32")
    own = nested(lambda x: Dense(1, "sigmoid")(x))
    clf = load_classifier(own, labels=["cat"], verbose=False)
    assert np.allclose(clf.probabilities(image), own(x, training=False), atol=1e-6)
    plain = nested(lambda x: Dense(3)(x))
    logits = load_classifier(plain, verbose=False).logits(image)
    assert np.allclose(logits, plain(x, training=False), atol=1e-6)


def test_one_linear_output_is_the_logit_of_a_sigmoid():
    own = nested(lambda x: Dense(1)(x))
    image = photo((32, 32))
    logit = own(image[None].astype("float32"), training=False).numpy()
    clf = load_classifier(own, labels=["cat"], verbose=False)
    assert np.allclose(clf.probabilities(image), 1 / (1 + np.exp(-logit)), atol=1e-5)


class Doubled(keras.Model):
    def call(self, x, training=None):
        return super().call(x) * 2


def doubled():
    inner = nested(lambda x: Dense(3)(x))
    return Doubled(inner.inputs, inner.outputs, name="doubled")


def same_names():
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(3, 3, name="inner_conv")(inputs)
    x = layers.Resizing(32, 32)(x)
    x = layers.GlobalAveragePooling2D()(base()(x))
    return keras.Model(inputs, Dense(2)(x))


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: nested(lambda x: keras.ops.softmax(Dense(3)(x))), "look like probab"),
        (
            lambda: nested(lambda x: layers.Dropout(0.5)(Dense(3, "softmax")(x))),
            "look like probab",
        ),
        (doubled, "do not show"),
        (same_names, "called inner_conv"),
    ],
)
def test_a_model_whose_logits_cannot_be_found_is_refused(make, advice):
    with pytest.raises(ValueError, match=advice):
        load_classifier(make(), verbose=False)


HIDDEN_SIGMOIDS = {
    "operation": lambda x: keras.ops.sigmoid(Dense(1)(x)),
    "before a flatten": lambda x: Flatten()(Dense(1, "sigmoid")(x)),
    "dropout": lambda x: layers.Dropout(0.1)(Dense(4, "sigmoid")(x)),
}


@pytest.mark.parametrize("name", HIDDEN_SIGMOIDS)
def test_a_sigmoid_that_does_not_show_is_refused(name):
    """Taken for logits, its outputs would go through a sigmoid twice."""
    model = model_with(
        [convolution()],
        lambda x: HIDDEN_SIGMOIDS[name](layers.GlobalAveragePooling2D()(x)),
    )
    with pytest.raises(ValueError, match="look like probabilities"):
        load_classifier(model, preprocess=unit, verbose=False)


# --- the layers -----------------------------------------------------------------------


def test_layers_inside_a_nested_base_can_be_reached():
    model = nested(ENDINGS["nested head"])
    clf = load_classifier(model, verbose=False)
    assert {"inner_conv", "inner_pool"} <= {layer.name for layer in clf.layers()}
    image = photo((32, 32))
    maps = clf.submodel_to("inner_pool")(clf.preprocess(image))
    expected = model.get_layer("base")(image[None].astype("float32") / 127.5 - 1)
    assert np.allclose(maps, expected, atol=1e-4)


def flat_head(x):
    return Dense(3)(Flatten()(x))


def nested_base():
    inner = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            convolution(name="inner_conv"),
            layers.MaxPooling2D(name="inner_pool"),
        ]
    )
    return model_with([inner], pooled_logits(3))


OWN_MODELS = {
    "softmax": lambda: model_with(
        [convolution()], lambda x: Dense(3, "softmax")(Flatten()(x))
    ),
    "sigmoid": lambda: model_with(
        [convolution()], lambda x: Dense(3, "sigmoid")(Flatten()(x))
    ),
    "softmax layer": lambda: model_with(
        [convolution()], lambda x: Softmax()(flat_head(x))
    ),
    "nested": nested_base,
    "operations": lambda: model_with(
        [convolution()], lambda x: flat_head(keras.ops.relu(2 * x + 1) + x)
    ),
}


@pytest.mark.parametrize("name", OWN_MODELS)
def test_the_network_after_a_layer_gives_the_same_logits(name):
    clf = load_classifier(OWN_MODELS[name](), preprocess=unit, verbose=False)
    image = photo((32, 32))
    assert clf.bottlenecks
    for layer in clf.bottlenecks:
        maps = clf.submodel_to(layer)(clf.preprocess(image))
        logits = np.asarray(clf.submodel_from(layer)(maps))
        assert logits == pytest.approx(clf.logits(image), abs=1e-4)
        checks = explain.expected_gradients(
            clf, image, photos(1, (32, 32)), 0, layer=layer, samples=50
        ).checks
        gap = abs(checks["sum"] - checks["score difference"])
        assert gap < 4 * checks["standard error"] + 1e-3


def test_a_layer_that_is_called_twice_is_no_bottleneck():
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    first = layers.Conv2D(4, 3, name="first")
    model = model_with([first, twice, twice, layers.ReLU(name="end")], flat_head)
    clf = load_classifier(model, verbose=False)
    assert clf.bottlenecks == ("first", "end")
    with pytest.raises(ValueError, match="does not depend on it alone"):
        clf.submodel_from("twice")


# --- labels, preprocessing, ways to call ----------------------------------------------


def test_layers_may_be_called_by_keyword():
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(base()(inputs))
    model = keras.Model(inputs, Dense(3, "softmax")(inputs=x))
    clf = load_classifier(model, verbose=False)
    own = model(photos(1, (32, 32), 0).astype("float32"), training=False)
    assert np.allclose(clf.probabilities(photo((32, 32))), own, atol=1e-5)


def test_labels_may_be_an_array_or_numbers():
    model = nested(ENDINGS["dense softmax"])
    for labels in (np.array(["a", "b", "c"]), [0, 1, 2]):
        clf = load_classifier(model, labels=labels, verbose=False)
        assert [label for _, label in clf.classes] == [str(each) for each in labels]


def test_labels_must_match_the_outputs():
    with pytest.raises(ValueError, match="2 labels for a model with 3"):
        load_classifier(nested(ENDINGS["dense softmax"]), labels=["a", "b"])


def test_a_sequential_model_and_its_preprocessing():
    model = keras.Sequential(
        [keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(), Dense(2)]
    )
    clf = load_classifier(model, preprocess=unit, input_size=(20, 30), verbose=False)
    image = photo((20, 30))
    expected = model(image[None].astype("float32") / 255)
    assert np.allclose(clf.logits(image), expected, atol=1e-5)
    with pytest.raises(ValueError, match="input_size"):
        load_classifier(model, verbose=False)


# --- models that cannot be used -------------------------------------------------------


def two_inputs():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Add()([a, b]))
    return keras.Model([a, b], Dense(2)(x))


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (two_inputs, "2 inputs"),
        (Subclassed, "subclassed"),
        (lambda: keras.Sequential([Dense(2)]), "keras.Input"),
        (lambda: keras.Sequential([keras.Input((8,)), Dense(2)]), r"height, width, 3"),
        (base, r"\(None, classes\)"),
        (lambda: nested(lambda x: Dense(3, "tanh")(x)), "'tanh'"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_advice(make, advice):
    with pytest.raises(ValueError, match=advice):
        load_classifier(make(), verbose=False)
