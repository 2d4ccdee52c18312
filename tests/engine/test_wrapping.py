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
    saveable,
    softmax,
    unit,
)

from xai_helpers import explain, keras, load_classifier, tf

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


def test_plain_logits():
    image = photo((32, 32))
    x = image[None].astype("float32")
    plain = nested(lambda x: Dense(3)(x))
    logits = load_classifier(plain, verbose=False).logits(image)
    assert np.allclose(logits, plain(x, training=False), atol=1e-6)


YES_NO = {
    "sigmoid": lambda x: Dense(1, "sigmoid")(x),
    "logit": lambda x: Dense(1)(x),
    "TensorFlow's": lambda x: Dense(1, tf.nn.sigmoid)(x),
}


@pytest.mark.parametrize("ending", YES_NO)
def test_one_output_is_two_classes_no_and_yes(ending):
    """Their logits are −z and z, so that evidence against is evidence for no."""
    own = nested(YES_NO[ending])
    image = photo((32, 32))
    answer = own(image[None].astype("float32"), training=False).numpy()[0, 0]
    p = 1 / (1 + np.exp(-answer)) if ending == "logit" else answer
    clf = load_classifier(own, labels=["cat"], verbose=False)
    assert clf.classes == [("", "not cat"), ("", "cat")]
    assert clf.probabilities(image)[0] == pytest.approx([1 - p, p], abs=1e-5)
    z = np.log(p / (1 - p))
    assert clf.logits(image)[0] == pytest.approx([-z, z], abs=1e-4)
    no, yes = (explain.gradients(clf, image, target).values for target in (0, 1))
    assert np.array_equal(no, -yes) and yes.any()
    assert "one output, yes or no" in repr(clf)


ACTIVATIONS = {
    "a function of Keras": (lambda x: keras.ops.softmax(Dense(3)(x)), "softmax"),
    "a layer's, of TensorFlow": (lambda x: Dense(3, tf.nn.softmax)(x), "softmax"),
    "written out": (
        lambda x: Dense(3, lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), 1)[:, None])(
            x
        ),
        "softmax",
    ),
    "before a dropout": (
        lambda x: layers.Dropout(0.5)(Dense(3, "softmax")(x)),
        "softmax",
    ),
    "sigmoid, an operation": (lambda x: keras.ops.sigmoid(Dense(3)(x)), "sigmoid"),
    "sigmoid before a flatten": (
        lambda x: Flatten()(keras.ops.expand_dims(Dense(3, "sigmoid")(x), 1)),
        "sigmoid",
    ),
    "a convolution and a reshape": (
        lambda x: Softmax()(
            layers.Reshape((3,))(layers.Conv2D(3, 1)(layers.Reshape((1, 1, -1))(x)))
        ),
        "softmax",
    ),
    "linear in float32 after it": (
        lambda x: layers.Activation("linear", dtype="float32")(Dense(3, "softmax")(x)),
        "softmax",
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_known_by_its_values_and_not_by_its_name(name):
    ending, expected = ACTIVATIONS[name]
    model = model_with(
        [convolution()], lambda x: ending(layers.GlobalAveragePooling2D()(x))
    )
    clf = load_classifier(model, preprocess=unit, verbose=False)
    image = photo((32, 32))
    own = model(image[None].astype("float32") / 255, training=False).numpy()
    assert clf.activation == expected and "as its last activation" in repr(clf)
    assert clf.probabilities(image) == pytest.approx(own, abs=1e-5)
    logits = clf.logits(image)
    assert logits.min() < 0 or logits.max() > 1  # not probabilities again
    with pytest.raises(ValueError, match="output="):
        other = {"softmax": "sigmoid", "sigmoid": "softmax"}[expected]
        load_classifier(model, preprocess=unit, output=other, verbose=False)


LOSSES = {
    "binary_crossentropy": "sigmoid",
    keras.losses.BinaryCrossentropy(from_logits=True): "sigmoid",
    keras.losses.BinaryFocalCrossentropy(from_logits=True): "sigmoid",
    "sparse_categorical_crossentropy": "softmax",
    keras.losses.CategoricalCrossentropy(from_logits=True): "softmax",
    keras.losses.sparse_categorical_crossentropy: "softmax",
}


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_what_plain_logits_mean_is_read_from_the_loss(loss, tmp_path):
    model = saveable_logits()
    model.compile(loss=loss)
    image = photo((24, 24))
    z = model(image[None].astype("float32")).numpy()
    expected = {"sigmoid": 1 / (1 + np.exp(-z)), "softmax": softmax(z)}[LOSSES[loss]]
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        clf = load_classifier(source, verbose=False)
        assert clf.probabilities(image) == pytest.approx(expected, abs=1e-5)
        assert "as its loss" in repr(clf)


def saveable_logits():
    parts = [*saveable().layers[:-1], Dense(4, name="out")]
    return keras.Sequential([keras.Input((24, 24, 3)), *parts])


def test_what_logits_mean_can_be_said_and_is_said():
    image, model = photo((24, 24)), saveable_logits()
    z = model(image[None].astype("float32")).numpy()
    said = load_classifier(model, output="sigmoid", verbose=False)
    assert said.probabilities(image) == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-5)
    assert "as output= says" in repr(said)
    assert "assumed; else say output='sigmoid'" in repr(
        load_classifier(model, verbose=False)
    )
    with pytest.raises(ValueError, match="'softmax', 'sigmoid' or None, not 'tanh'"):
        load_classifier(model, output="tanh")
    with pytest.raises(ValueError, match=r"keras\.Model of your own"):
        load_classifier("vgg16", output="softmax")


def test_a_model_trained_on_numbers_is_refused_unless_it_is_said():
    model = saveable_logits()
    model.compile(loss="mean_squared_error")
    with pytest.raises(ValueError, match="for numbers and not for classes"):
        load_classifier(model, verbose=False)
    assert load_classifier(model, output="softmax", verbose=False)


class Tempered(layers.Dense):
    """A Dense layer whose logits are divided before its activation."""

    def call(self, inputs):
        x = keras.ops.matmul(inputs, self.kernel) + self.bias
        return self.activation(x / 4)


def test_a_layer_derived_from_dense_keeps_what_it_computes():
    model = model_with(
        [convolution()],
        lambda x: Tempered(3, "softmax")(layers.GlobalAveragePooling2D()(x)),
    )
    clf = load_classifier(model, preprocess=unit, verbose=False)
    image = photo((32, 32))
    own = model(image[None].astype("float32") / 255).numpy()
    assert clf.probabilities(image) == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("form", [lambda y: [y], lambda y: {"answer": y}])
def test_a_list_or_dict_of_one_output_is_that_output(form):
    inputs = keras.Input((32, 32, 3))
    y = Dense(3, "softmax")(layers.GlobalAveragePooling2D()(convolution()(inputs)))
    clf = load_classifier(keras.Model(inputs, form(y)), preprocess=unit, verbose=False)
    own = keras.Model(inputs, y)(photo((32, 32))[None].astype("float32") / 255)
    assert clf.probabilities(photo((32, 32))) == pytest.approx(own.numpy(), abs=1e-5)


def test_a_photo_and_a_number_that_is_held_fixed():
    picture, number = keras.Input((32, 32, 3)), keras.Input((1,))
    x = layers.GlobalAveragePooling2D()(convolution()(picture))
    both = keras.Model([picture, number], Dense(3)(layers.Concatenate()([x, number])))
    one = keras.Input((32, 32, 3))
    model = keras.Model(one, both([one, keras.ops.full_like(one[:, 0, 0, :1], 2.0)]))
    clf = load_classifier(model, preprocess=unit, verbose=False)
    image = photo((32, 32))
    expected = both([image[None].astype("float32") / 255, np.array([[2.0]])]).numpy()
    assert clf.logits(image) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_compares_the_pictures_of_a_batch_is_refused():
    inputs = keras.Input((32, 32, 3))
    scaled = inputs / keras.ops.max(inputs)
    head = pooled_logits(3)(convolution()(scaled))
    with pytest.raises(ValueError, match="depends on the others of its batch"):
        load_classifier(keras.Model(inputs, head), preprocess=unit, verbose=False)


SHARES = {
    "percent": lambda x: layers.Rescaling(100)(Dense(3, "softmax")(x)),
    "two summed": lambda x: layers.Add()([Dense(3, "softmax")(x) for _ in range(2)]),
}


@pytest.mark.parametrize("name", SHARES)
def test_scaled_probabilities_are_no_logits(name):
    model = model_with(
        [convolution()], lambda x: SHARES[name](layers.GlobalAveragePooling2D()(x))
    )
    with pytest.raises(ValueError, match="look like probabilities"):
        load_classifier(model, preprocess=unit, verbose=False)


def test_the_way_out_for_hidden_probabilities_works():
    """Averaged softmaxes; log p are logits, since softmax(log p) = p."""
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(convolution()(inputs))
    mean = layers.Average()([Dense(3, "softmax")(x) for _ in range(2)])
    with pytest.raises(ValueError, match=r"keras\.ops\.log\(model\.output\)"):
        load_classifier(keras.Model(inputs, mean), preprocess=unit, verbose=False)
    logs = keras.Model(inputs, keras.ops.log(mean))
    clf = load_classifier(logs, preprocess=unit, verbose=False)
    image = photo((32, 32))
    own = keras.Model(inputs, mean)(image[None].astype("float32") / 255).numpy()
    assert clf.probabilities(image) == pytest.approx(own, abs=1e-5)


def test_one_output_under_a_softmax_is_refused():
    with pytest.raises(ValueError, match="always 1"):
        load_classifier(nested(lambda x: Dense(1, "softmax")(x)), verbose=False)


class Doubled(keras.Model):
    """A nested model whose call is its own."""

    def call(self, x, training=None):
        return 2 * super().call(x, training=training)


def test_a_model_with_a_call_of_its_own_is_taken_as_it_computes():
    inner = nested(lambda x: Dense(3)(x))
    model = Doubled(inner.inputs, inner.outputs, name="doubled")
    clf = load_classifier(model, verbose=False)
    image = photo((32, 32))
    expected = 2 * inner(image[None].astype("float32"), training=False).numpy()
    assert clf.logits(image) == pytest.approx(expected, abs=1e-5)


def test_loading_leaves_the_model_as_it_was():
    """Names, answers, training and saving; operations in a nested model as well."""
    entry = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same", name="inner")(entry)
    inner = Doubled(entry, keras.ops.relu(x) + x, name="inner_model")
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, pooled_logits(3)(inner(inputs)))
    names = [op.name for op in [*inner.operations, *model.operations]]
    x, configuration = photos(2, (32, 32)).astype("float32"), model.get_config()
    before = model.predict(x, verbose=0)
    load_classifier(model, preprocess=unit, verbose=False)
    assert [op.name for op in [*inner.operations, *model.operations]] == names
    assert np.array_equal(model.predict(x, verbose=0), before)
    assert model.get_config() == configuration
    model.compile("sgd", "mse")
    model.fit(x, before, verbose=0)


class Hidden(keras.layers.Layer):
    """Probabilities, made by a layer that has a weight and shows no activation."""

    def __init__(self, function):
        super().__init__(name="hidden")
        self.function = function
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return self.function(self.scale * x)


@pytest.mark.parametrize("function", [keras.ops.softmax, keras.ops.sigmoid])
def test_probabilities_whose_logits_cannot_be_found_are_refused(function):
    """Taken for logits, they would go through a softmax or sigmoid twice."""
    model = model_with(
        [convolution()],
        lambda x: Hidden(function)(Dense(3)(layers.GlobalAveragePooling2D()(x))),
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
        clf.submodel_from("twice (call 1)")


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
        return tf.reduce_mean(x, axis=(1, 2))  # not symbolic


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (two_inputs, "Inputs: 2, outputs: 1"),
        (Subclassed, "subclassed"),
        (lambda: keras.layers.Dense(3), "A layer is no model"),
        (lambda: keras.Sequential([Dense(2)]), "keras.Input"),
        (lambda: keras.Sequential([keras.Input((8,)), Dense(2)]), r"height, width, 3"),
        (base, r"\(None, classes\)"),
        (lambda: nested(lambda x: Dense(3, "tanh")(x)), "neither softmax nor"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_advice(make, advice):
    with pytest.raises(ValueError, match=advice):
        load_classifier(make(), verbose=False)
