"""Layers by name: sums, layers used twice, names that occur twice, blocks, tokens."""

import numpy as np
import pytest
from toys import base, convolution, layers, model_with, photo, pooled_logits, unit
from vision_transformers import ClassToken, swin, vit, vit_of_blocks

from xai_helpers import explain, keras, load_classifier, metrics, tf

ops = keras.ops
SIZE = 24, 32


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(2)


def load(model, **options):
    return load_classifier(model, preprocess=unit, verbose=False, **options)


def grad_cam_by_tape(model, tensor, image, target):
    """Equations 1 and 2 for a model that ends in Dense under a mean over the cells."""
    x = tf.constant(image[None], tf.float32) / 255
    with tf.GradientTape() as tape:
        tape.watch(x)
        maps, logits = keras.Model(model.input, [tensor, model.output])(x)
        score = logits[:, target]
    alpha = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    return np.maximum((alpha * maps).numpy().sum(-1)[0], 0)


# --- steps that are operations --------------------------------------------------------


def residual():
    """conv + skip, an operation, in the end; the sum is returned beside the model."""
    inputs = keras.Input((*SIZE, 3))
    skip = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    branch = layers.Conv2D(6, 3, padding="same", name="branch")(skip)
    total = branch + skip
    return keras.Model(inputs, pooled_logits(3)(total)), total


def test_the_default_layer_is_the_sum_and_not_the_branch():
    model, total = residual()
    clf, image = load(model), photo(SIZE)
    assert clf.default_layer.class_name == "Add"
    for target in range(3):
        expected = grad_cam_by_tape(model, total, image, target)
        values = explain.grad_cam(clf, image, target).values
        assert values == pytest.approx(expected, abs=1e-6)


ACTIVATED = {
    "an activation called as a function": keras.activations.gelu,
    "an operation": ops.silu,
    "arithmetic": lambda x: x * ops.sigmoid(x) - 1,
}


@pytest.mark.parametrize("name", ACTIVATED)
def test_what_is_no_layer_can_be_explained_like_one(name):
    inputs = keras.Input((*SIZE, 3))
    end = ACTIVATED[name](convolution(activation=None)(inputs))
    model = keras.Model(inputs, pooled_logits(2)(end))
    clf, image = load(model), photo(SIZE)
    assert clf.default_layer.index == clf.layers()[-1].index
    expected = grad_cam_by_tape(model, end, image, 1)
    assert explain.grad_cam(clf, image, 1).values == pytest.approx(expected, abs=1e-6)
    x = image[None].astype("float32") / 255
    maps = keras.Model(inputs, end)(x)[0]
    values = explain.activations(clf, image).values
    assert values == pytest.approx(np.asarray(maps), abs=1e-5)


class BlockModel(keras.Model):
    """A residual block as a subclass of keras.Model."""

    def __init__(self, name):
        super().__init__(name=name)
        self.conv = layers.Conv2D(3, 3, padding="same", name=f"{name}_conv")

    def call(self, x):
        return x + self.conv(x)


class BlockLayer(layers.Layer):
    """The same as a layer that holds a layer."""

    def __init__(self, name):
        super().__init__(name=name)
        self.conv = layers.Conv2D(3, 3, padding="same", name=f"{name}_conv")

    def call(self, x, training=None):
        return x + self.conv(x)


@pytest.mark.parametrize("block", [BlockModel, BlockLayer])
def test_a_block_with_a_call_of_its_own_is_looked_into(block):
    model = model_with([block("first"), block("second")], pooled_logits(3), SIZE)
    clf, image = load(model), photo(SIZE)
    names = [layer.name for layer in clf.layers()]
    assert names == ["first_conv", "first.add", "second_conv", "second.add"]
    assert clf.layer("second") == clf.default_layer == clf.layer("second.add")
    x = image[None].astype("float32") / 255
    first, second = (model.get_layer(name) for name in ("first", "second"))
    expected = second(first(x))[0]
    values = explain.activations(clf, image, "second").values
    assert values == pytest.approx(np.asarray(expected), abs=1e-5)
    again = [layer.name for layer in load(model).layers()]
    assert again == names  # and no counter goes on


class BlockWithAWeight(layers.Layer):
    """A weight of its own, used by no layer in it: it cannot be taken apart."""

    def __init__(self, name):
        super().__init__(name=name)
        self.conv = layers.Conv2D(3, 3, padding="same")

    def build(self, shape):
        self.scale = self.add_weight((1,), "ones", name="scale")

    def call(self, x):
        return x + self.conv(x) * ops.broadcast_to(self.scale, (3,))


class BlockOfTensorFlow(layers.Layer):
    """What it does cannot be followed with symbolic tensors."""

    def __init__(self, name):
        super().__init__(name=name)
        self.conv = layers.Conv2D(3, 3, padding="same")

    def call(self, x):
        return tf.nn.relu(self.conv(x))


class BlockOfKnownBatch(BlockOfTensorFlow):
    """It asks for the size of the batch, which a graph does not know."""

    def call(self, x):
        (count, *_), x = ops.shape(x), self.conv(x)
        return ops.reshape(x, (count, *x.shape[1:]))


class BlockOfTwoFaces(BlockOfTensorFlow):
    """Called with symbolic tensors, it does something else."""

    def call(self, x):
        return self.conv(x) * (1 if isinstance(x, keras.KerasTensor) else 2)


@pytest.mark.parametrize(
    "block", [BlockWithAWeight, BlockOfTensorFlow, BlockOfKnownBatch, BlockOfTwoFaces]
)
def test_a_block_that_cannot_be_taken_apart_is_one_layer(block):
    model = model_with([block("block")], pooled_logits(3), SIZE)
    clf, image = load(model), photo(SIZE)
    assert [layer.name for layer in clf.layers()] == ["block"]
    before = clf.logits(image)
    weights = model.get_layer("block").get_weights()
    model.get_layer("block").set_weights([2 * array for array in weights])
    own = model(image[None].astype("float32") / 255).numpy()
    assert clf.logits(image) == pytest.approx(own, abs=1e-5)  # no value was frozen
    assert np.abs(own - before).max() > 1e-3


def test_a_subclassed_model_needs_an_input_size():
    class Mine(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.conv = layers.Conv2D(4, 3, activation="relu", name="conv")
            self.pool = layers.GlobalAveragePooling2D()
            self.head = layers.Dense(3, "softmax", name="head")

        def call(self, x):
            return self.head(self.pool(self.conv(x)))

    model, image = Mine(), photo(SIZE)
    x = image[None].astype("float32") / 255
    expected = model(x).numpy()
    with pytest.raises(ValueError, match="input_size=\\(height, width\\)"):
        load(model)
    clf = load(model, input_size=SIZE)
    assert clf.probabilities(image) == pytest.approx(expected, abs=1e-6)
    assert clf.default_layer.name == "conv"


# --- layers used twice, names used twice ----------------------------------------------


def test_a_layer_used_twice_has_two_entries_and_no_plain_name():
    conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    clf = load(model_with([conv, conv], pooled_logits(2), SIZE))
    names = [layer.name for layer in clf.layers()]
    assert names == ["shared (call 1)", "shared (call 2)"]
    image = photo(SIZE)
    x = image[None].astype("float32") / 255
    for name, expected in zip(names, (conv(x), conv(conv(x))), strict=True):
        attribution = explain.activations(clf, image, name)
        assert attribution.values == pytest.approx(expected.numpy()[0], abs=1e-5)
        assert "used several times" in attribution.description
    with pytest.raises(ValueError, match=r"several calls.*shared \(call 1\), .*call 2"):
        explain.grad_cam(clf, image, layer="shared")


def twins():
    """One base on the photo and on its mirror image; bright pixels mean class 0."""
    inputs = keras.Input((*SIZE, 3))
    conv = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")
    entry = keras.Input((*SIZE, 3))
    shared = keras.Model(entry, conv(entry), name="shared")
    conv.set_weights([np.ones((3, 3, 3, 2)) / 27, np.zeros(2)])
    both = [shared(inputs), shared(ops.flip(inputs, axis=2))]
    pooled = [layers.GlobalAveragePooling2D()(x) for x in both]
    head = layers.Dense(2, use_bias=False)
    model = keras.Model(inputs, head(layers.Add()(pooled)))
    head.set_weights([np.array([[1.0, -1], [1, -1]])])
    return model


def test_the_map_of_a_mirrored_twin_lies_on_the_object():
    clf = load(twins())
    image = np.zeros((*SIZE, 3), np.uint8)
    image[8:16, 4:12] = 255
    for name in ("conv (call 1)", "conv (call 2)"):
        heatmap = explain.grad_cam(clf, image, 0, name).heatmap()
        assert heatmap[6:18, 2:14].sum() > 0.99 * heatmap.sum() > 0
    with pytest.raises(ValueError, match="several calls"):
        clf.layer("shared")
    assert "used several times" in explain.grad_cam(clf, image, 0).description


def two_bases():
    inputs = keras.Input((32, 32, 3))
    first, second = base(), base()
    second.name = "other"
    pooled = [layers.GlobalAveragePooling2D()(b(inputs)) for b in (first, second)]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(pooled)))


def test_two_bases_of_one_kind_keep_their_layers_apart():
    model, image = two_bases(), photo((32, 32))
    clf = load(model)
    x = image[None].astype("float32") / 255
    assert clf.logits(image) == pytest.approx(model(x).numpy(), abs=1e-5)
    for name in ("base", "other"):
        maps = explain.activations(clf, image, f"{name}.inner_pool").values
        expected = model.get_layer(name)(x)[0]
        assert maps == pytest.approx(np.asarray(expected), abs=1e-5)
    assert clf.layer("other").name == "other.inner_pool"
    with pytest.raises(ValueError, match="does not exist"):
        clf.layer("inner_pool")
    assert [layer.name for layer in model.get_layer("other").layers][1] == "inner_conv"


# --- no map, or one whose place is not known ------------------------------------------


def test_a_network_without_a_convolution_has_no_layer_to_weigh():
    model = model_with(
        [layers.Rescaling(1 / 255), layers.ReLU()],
        lambda x: layers.Dense(3)(layers.Flatten()(x)),
    )
    clf = load_classifier(model, verbose=False)
    for technique in (explain.grad_cam, explain.layer_cam):
        with pytest.raises(ValueError, match=r"no convolution.*gradients, SmoothGrad"):
            technique(clf, photo((32, 32)))
    assert explain.gradients(clf, photo((32, 32)), 0).values.any()


def test_cells_of_unknown_place_are_not_passed_over_in_silence():
    def head(x):
        x = layers.Reshape((-1, 30 * 4))(x)  # rows of the picture, one after the other
        x = layers.LSTM(5, return_sequences=True, name="reader")(x)
        return layers.Dense(2)(layers.Flatten()(x))

    clf = load(model_with([convolution()], head))
    with pytest.raises(ValueError, match=r"After 'one'.*comes 'reader'"):
        explain.grad_cam(clf, photo((32, 32)), 0)
    assert explain.grad_cam(clf, photo((32, 32)), 0, "one").values.shape == (30, 30)


def test_maps_of_one_cell_are_not_weighed():
    conv = layers.Conv2D(8, SIZE, activation="relu", name="whole")
    clf = load(model_with([conv], lambda x: layers.Dense(3)(layers.Flatten()(x)), SIZE))
    assert clf.layer("whole").shape == (1, 1, 8)
    with pytest.raises(ValueError, match="no layer has learned maps of several cells"):
        explain.grad_cam(clf, photo(SIZE))


def test_where_the_place_of_the_cells_is_lost_it_is_said():
    """Patches cut by reshapes, as many vision transformers are written."""

    def head(x):
        x = ops.reshape(x, (-1, 4, 8, 4, 8, 3))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 192))
        x = layers.Dense(5, name="embedding")(x)
        return layers.Dense(2)(layers.GlobalAveragePooling1D()(x))

    clf = load(model_with([layers.ReLU()], head))
    with pytest.raises(ValueError, match="from 'embedding' on, no place is known"):
        explain.grad_cam(clf, photo((32, 32)))


JOINED = {
    "a sum of a stack": lambda a, b: pooled_logits(3)(ops.sum(ops.stack([a, b]), 0)),
    "after the pool": lambda a, b: layers.Dense(3)(
        layers.Concatenate()([layers.GlobalMaxPooling2D()(x) for x in (a, b)])
    ),
}


@pytest.mark.parametrize("name", JOINED)
def test_a_map_that_holds_one_of_several_paths_says_so(name):
    inputs = keras.Input((*SIZE, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(inputs)
    b = layers.Conv2D(4, 3, padding="same", activation="relu", name="b")(inputs)
    clf = load(keras.Model(inputs, JOINED[name](a, b)))
    notes = " ".join(explain.grad_cam(clf, photo(SIZE)).notes)
    other = {"a": "b", "b": "a"}[clf.default_layer.name]
    assert f"past this layer, for example through '{other}'" in notes


def test_a_map_that_all_paths_pass_through_has_no_such_note():
    model, _ = residual()
    assert not explain.grad_cam(load(model), photo(SIZE), 0).notes


class TwoOutputs(layers.Layer):
    """Scores first, then maps; a model may use one of them, or both."""

    def __init__(self):
        super().__init__(name="two")
        self.conv = layers.Conv2D(4, 3, padding="same", name="conv")

    def call(self, x):
        y = self.conv(x)
        return tf.reduce_mean(y, -1, keepdims=True), tf.nn.relu(y)


def test_of_several_outputs_those_that_are_used_can_be_chosen():
    inputs = keras.Input((*SIZE, 3))
    scores, maps = TwoOutputs()(inputs)
    clf = load(keras.Model(inputs, pooled_logits(2)(maps)))
    assert [(la.name, la.shape) for la in clf.layers()] == [("two", (*SIZE, 4))]
    clf = load(keras.Model(inputs, pooled_logits(2)(maps * scores)))
    names = ["two (output 1)", "two (output 2)", "multiply"]
    assert [la.name.split("_")[0] for la in clf.layers()] == names
    assert not {"two (output 1)", "two (output 2)"} & set(clf.bottlenecks)
    with pytest.raises(ValueError, match=r"several.*two \(output 1\), .*output 2"):
        clf.layer("two")


def test_a_squeeze_and_excitation_gate_is_no_layer_with_maps():
    inputs = keras.Input((*SIZE, 3))
    x = convolution()(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    clf = load(keras.Model(inputs, pooled_logits(2)(x)))
    assert [layer.name for layer in clf.layers()] == ["one", "gated"]
    with pytest.raises(ValueError, match=r"'gate' of .* outputs no maps"):
        clf.layer("gate")
    assert clf.default_layer.name == "gated"


# --- vision transformers --------------------------------------------------------------

TRANSFORMERS = {
    "class token": (vit, {}, "block1_norm1"),
    "class token, blocks": (vit_of_blocks, {}, "block1_norm1"),
    "mean of the tokens": (vit, {"class_token": False}, "norm"),
    "windows": (swin, {}, "norm"),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_default_layer_of_a_transformer_is_the_last_that_matters(name):
    """A head that reads the class token ignores the other tokens of the last layer."""
    build, options, expected = TRANSFORMERS[name]
    clf, image = load_classifier(build(**options), verbose=False), photo((32, 32))
    assert clf.default_layer.name == expected
    assert explain.grad_cam(clf, image).values.shape == clf.default_layer.shape[:2]


class OpaqueEncoder(layers.Layer):
    """Blocks that cannot be looked into: one returns None beside its tokens."""

    def __init__(self):
        super().__init__(name="encoder")
        self.attention = layers.MultiHeadAttention(2, 8)

    def call(self, x):
        return tf.identity(x + self.attention(x, x))


def test_a_transformer_that_cannot_be_looked_into_is_refused_by_default():
    """Else its first layer, the patch embedding, would stand for all of it."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 8, 8, name="patches")(inputs)
    x = OpaqueEncoder()(ClassToken()(layers.Reshape((16, 16), name="tokens")(x)))
    clf = load(keras.Model(inputs, layers.Dense(2)(x[:, 0])))
    with pytest.raises(ValueError, match="cannot be looked into"):
        explain.grad_cam(clf, photo((32, 32)))
    assert explain.grad_cam(clf, photo((32, 32)), 0, "tokens").values.shape == (4, 4)


def test_grad_cam_of_tokens_is_equations_1_and_2_without_the_class_token():
    model, image = vit(), photo((32, 32))
    clf = load_classifier(model, verbose=False)
    head = model.get_layer("head")
    tokens, features = (
        model.get_layer(name).output for name in ("block1_norm1", "norm")
    )
    x = tf.constant(image[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        a, end = keras.Model(model.input, [tokens, features])(x, training=False)
        score = (end[:, 0] @ head.kernel + head.bias)[:, 2]
    gradient = tape.gradient(score, a)[0, 1:].numpy()
    activations = a[0, 1:].numpy()
    expected = np.maximum(activations @ gradient.mean(axis=0), 0).reshape(4, 4)
    attribution = explain.grad_cam(clf, image, 2, "block1_norm1")
    assert attribution.values == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert "those that belong to no patch left out" in attribution.description
    assert "attention has mixed the patches" in attribution.description


def test_expected_gradients_at_tokens_add_up_with_the_class_token():
    clf = load_classifier(vit(), verbose=False)
    others = np.stack([photo((32, 32), seed) for seed in range(3, 7)])
    options = {"layer": "block0_add2", "samples": 300}
    attribution = explain.expected_gradients(clf, photo((32, 32)), others, 1, **options)
    checks = attribution.checks
    assert attribution.values.shape == (4, 4, 16)
    gap = abs(checks["sum"] - checks["score difference"])
    assert gap < 4 * checks["standard error"]


def test_a_random_copy_keeps_the_names_of_operations_and_blocks():
    model = model_with([BlockLayer("first")], pooled_logits(3), SIZE)
    clf = load(model)
    copy = metrics.randomise_layers(clf, "first_conv")
    assert [la.name for la in copy.layers()] == [la.name for la in clf.layers()]
    assert copy.layer("first").name == "first.add"
    assert not np.allclose(copy.logits(photo(SIZE)), clf.logits(photo(SIZE)))
    above = metrics.randomise_layers(clf, "first.add")  # what lies above the sum
    inside, head = "first_conv", clf.model.layers[-1].name
    for name, is_same in ((inside, True), (head, False)):
        weights = [c.model.get_layer(name).get_weights()[0] for c in (clf, above)]
        assert np.array_equal(*weights) == is_same


def test_a_layer_that_cannot_be_copied_is_refused():
    class Unknown(layers.Layer):
        def __init__(self, size):
            super().__init__()
            self.conv = layers.Conv2D(size(), 3)

        def call(self, x):
            return tf.nn.relu(self.conv(x))

    clf = load(model_with([Unknown(lambda: 3)], pooled_logits(2), SIZE))
    with pytest.raises(ValueError, match=r"no get_config\(\)"):
        metrics.randomise_layers(clf, clf.model.layers[-1].name)
