"""A network in half precision: what is rounded, what is not, and what is refused."""

import numpy as np
import pytest
from toys import (
    convolution,
    layers,
    linear,
    model_with,
    nested,
    photo,
    photos,
    pooled_logits,
    relative_distance,
    unit,
)

from xai_helpers import explain, keras, load_classifier, metrics, tf
from xai_helpers.engine import precision
from xai_helpers.engine.precision import has_fast_bfloat16, in_precision

SIZE = (24, 28)
LEADING_BITS = {"bfloat16": 8, "float16": 11}


@pytest.fixture(autouse=True)
def fast_machine(monkeypatch):
    """As if it had bfloat16 instructions: without them, it is only slower."""
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)


@pytest.fixture
def graphics_card(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])


def load(model, half=None, preprocess=unit):
    return load_classifier(model, preprocess=preprocess, precision=half, verbose=False)


def network(*extra, size=SIZE):
    """Two convolutions with a normalisation, and what else is given; four classes."""
    keras.utils.set_random_seed(3)
    inner = [
        layers.Conv2D(8, 3, name="one"),
        layers.BatchNormalization(name="normal"),
        layers.ReLU(name="relu"),
        *extra,
        layers.Conv2D(8, 3, 2, activation="relu", name="two"),
    ]
    return model_with(inner, pooled_logits(4, name="logits"), size)


def dtypes(clf):
    return {layer.name: clf.layer_tensor(layer).dtype for layer in clf.layers()}


# --- what is rounded ------------------------------------------------------------------


@pytest.mark.parametrize("half", LEADING_BITS)
def test_a_convolution_is_rounded_and_the_mean_and_the_logits_are_not(
    half, graphics_card
):
    """By hand: f is so near to 1 that a kernel of f is rounded to 1.

    One pixel of 64 is 65 and the others are 64, which half precision has, but not their
    mean.
    """
    f, mean = 1 + 2.0 ** -LEADING_BITS[half], 64 + 1 / 64
    square = np.full((8, 8, 3), 64, "uint8")
    square[3, 5] = 65
    one = layers.Conv2D(1, 1, use_bias=False)
    model = model_with([one], pooled_logits(2, use_bias=False), (8, 8))
    one.set_weights([np.reshape([f, 0, 0], (1, 1, 3, 1))])
    model.layers[-1].set_weights([np.array([[f, -f]])])
    logits = load(model, half, "none").logits(square)
    assert logits.dtype == np.float32
    assert logits[0].tolist() == [mean * f, -mean * f]
    exact = load(model, None, "none").logits(square)
    assert exact[0, 0] == pytest.approx(mean * f * f, rel=1e-6)


def test_only_what_lies_between_the_convolutions_is_rounded():
    """Neither a rescaling inside the model, nor what follows the last one."""
    before = layers.Rescaling(1 / 255, name="rescaling")
    after = layers.MaxPooling2D(name="pool")
    inner = [before, convolution(), layers.ReLU(name="relu")]
    inner += [convolution(name="two"), after]
    clf = load(model_with(inner, pooled_logits(2)), "bfloat16", "none")
    assert dtypes(clf) == {
        "rescaling": "float32",
        "one": "bfloat16",
        "relu": "bfloat16",
        "two": "bfloat16",
        "pool": "float32",
    }


class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * tf.constant(2.0)  # of two different types it is an error


@pytest.mark.parametrize(
    "extra",
    [
        lambda: Doubled(name="own"),
        lambda: layers.Lambda(lambda x: x * tf.constant(2.0), name="own"),
        lambda: layers.Activation(lambda x: x * tf.constant(2.0), name="own"),
    ],
    ids=["layer", "lambda", "activation"],
)
def test_code_of_your_own_is_given_float32(extra):
    model = network(extra())
    exact, half = load(model), load(model, "bfloat16")
    rounded = dtypes(half)
    assert rounded["own"] == "float32"
    assert rounded["one"] == rounded["two"] == "bfloat16"
    assert half.logits(photo(SIZE)) == pytest.approx(
        exact.logits(photo(SIZE)), rel=0.02, abs=0.01
    )


def test_attention_is_left_in_float32_and_what_surrounds_it_is_not():
    """Its inner layers belong to the model that it was made for."""
    entry = keras.Input((*SIZE, 3))
    patches = layers.Conv2D(8, 4, 4, name="patches")(entry)
    tokens = layers.Reshape((42, 8))(patches)
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    mixed = layers.Dense(8, name="dense")(attention(tokens, tokens))
    again = layers.MultiHeadAttention(2, 4, name="again")(mixed, mixed)
    logits = layers.Dense(3)(layers.GlobalAveragePooling1D()(again))
    model = keras.Model(entry, logits)
    exact, half = load(model), load(model, "bfloat16")
    tensors = dtypes(half)
    assert tensors["patches"] == tensors["dense"] == "bfloat16"
    assert tensors["attention"] == tensors["again"] == "float32"
    assert half.logits(photo(SIZE)) == pytest.approx(
        exact.logits(photo(SIZE)), rel=0.02, abs=0.01
    )


# --- what stays as it is --------------------------------------------------------------


def test_the_model_that_was_given_is_not_changed():
    model, square = network(), photo(SIZE)
    x = square[None] / np.float32(255)
    before = model(x, training=False).numpy()
    clf = load(model, "bfloat16")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert np.array_equal(model(x, training=False), before)
    assert not np.array_equal(clf.logits(square), before)
    shared = {id(variable) for variable in model.weights}
    assert {id(variable) for variable in clf.model.weights} == shared
    assert {variable.dtype for variable in clf.model.weights} == {"float32"}


def check_same_layers(half, exact):
    assert half.layers() == exact.layers()
    assert half.default_layer == exact.default_layer
    assert half.bottlenecks == exact.bottlenecks
    assert half.blocks == exact.blocks
    name = exact.layers()[0].name
    assert half.names_from(name) == exact.names_from(name)
    for layer in exact.layers():
        for ours, theirs in zip(
            half.receptive_field_grid(layer),
            exact.receptive_field_grid(layer),
            strict=True,
        ):
            assert np.array_equal(ours, theirs)


def branched():
    """A skip connection, a layer that is called twice, and keras.ops."""
    entry = keras.Input((*SIZE, 3))
    twice = layers.Conv2D(4, 3, padding="same", activation="relu", name="twice")
    first = layers.Conv2D(4, 3, padding="same", name="first")(entry)
    x = layers.Add()([first, twice(twice(first))])
    x = keras.ops.concatenate([x, keras.ops.abs(first) + 1], axis=-1)
    x = layers.SeparableConv2D(6, 3, name="separable")(x)
    return keras.Model(entry, pooled_logits(3)(x))


MODELS = {
    "plain": network,
    "nested": lambda: nested(layers.Dense(3)),
    "yes or no": lambda: nested(layers.Dense(1, "sigmoid")),
    "branched": branched,
}


@pytest.mark.parametrize("name", MODELS)
def test_layers_places_and_blocks_are_the_same(name):
    exact = load(MODELS[name]())
    half = exact.with_model(in_precision(exact.model, "bfloat16"))
    check_same_layers(half, exact)
    square = photo(exact.input_size)
    assert half.logits(square) == pytest.approx(
        exact.logits(square), rel=0.02, abs=0.02
    )


def test_a_randomised_network_is_computed_in_the_same_precision():
    model = network()
    exact, half = load(model), load(model, "bfloat16")
    noisy = [metrics.randomise_layers(clf, "two") for clf in (exact, half)]
    check_same_layers(noisy[1], noisy[0])
    assert dtypes(noisy[1]) == dtypes(half) != dtypes(exact)
    logits = [clf.logits(photo(SIZE)) for clf in noisy]
    assert logits[1] == pytest.approx(logits[0], rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_every_technique_gives_nearly_the_same_map_in_float32(name):
    """Fed the same noise and the same masks."""
    technique, model = explain.TECHNIQUES[name], network()
    options = technique.quick(min(SIZE)) | {"background": photos(2, SIZE)}
    maps = [
        technique.call(load(model, half), photo((40, 60)), **options).values
        for half in (None, "bfloat16")
    ]
    assert maps[1].dtype == np.float32
    assert 0 < relative_distance(maps[1], maps[0]) < 0.1


# --- the published networks -----------------------------------------------------------

# Of gradients on the cat; of SmoothGrad with 8 samples. Measured with two heads: 0.09
# and 0.39; 0.06 to 0.10 and 0.27.
MOST_CHANGE = {"vgg16": (0.15, 0.15), "xception": (0.5, 0.35)}


@pytest.fixture(scope="module")
def half_networks():
    return {}


@pytest.fixture
def pair(network_name, half_networks, request):
    """The network in float32, and in bfloat16."""
    if network_name not in half_networks:
        half_networks[network_name] = load_classifier(
            network_name, precision="bfloat16", verbose=False
        )
    return request.getfixturevalue(network_name), half_networks[network_name]


def test_the_published_networks_keep_their_layers_and_answers(pair, cat):
    exact, half = pair
    check_same_layers(half, exact)
    assert half.logits(cat) == pytest.approx(exact.logits(cat), abs=0.2)
    assert half.top(cat, 1)[0].index == exact.top(cat, 1)[0].index


def test_maps_move_by_less_than_by_another_seed(pair, network_name, cat):
    exact, half = pair
    grad_cam = [explain.grad_cam(clf, cat, "tabby").values for clf in pair]
    assert relative_distance(*grad_cam[::-1]) < 0.02
    most, most_smoothed = MOST_CHANGE[network_name]
    gradients = [explain.gradients(clf, cat, "tabby").values for clf in pair]
    assert 0 < relative_distance(*gradients[::-1]) < most

    def smoothgrad(clf, seed):
        return explain.smoothgrad(clf, cat, "tabby", samples=8, seed=seed).values

    smoothed, other_seed = smoothgrad(exact, 0), smoothgrad(exact, 1)
    change = relative_distance(smoothgrad(half, 0), smoothed)
    assert change < most_smoothed < relative_distance(other_seed, smoothed) / 2


# --- what is said and refused ---------------------------------------------------------


def test_the_load_line_says_it(capsys):
    for half, ending in (
        (None, "else say output='sigmoid'"),
        ("float32", "else say output='sigmoid'"),
        ("bfloat16", "else say output='sigmoid'; computed in bfloat16"),
    ):
        clf = load_classifier(network(), preprocess=unit, precision=half)
        assert capsys.readouterr().out.strip().endswith(ending)
        assert ("computed in bfloat16" in repr(clf)) == (half == "bfloat16")
        renamed = clf.with_model(clf.model, name="another")
        assert renamed.description == clf.description


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="float32, bfloat16, float16, not 'half'"):
        load(network(), "half")


def test_what_would_be_slower_is_refused(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(ValueError, match="float16 is for graphics cards"):
        load(network(), "float16")
    assert load(network(), "bfloat16")
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    with pytest.raises(ValueError, match=r"no instructions.*leave out precision="):
        load(network(), "bfloat16")
    assert load(network(), "float32") and load(network())


def test_a_graphics_card_has_both(graphics_card, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    for half in LEADING_BITS:
        assert set(dtypes(load(network(), half)).values()) == {half}


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("model name\t: EPYC\nflags\t\t: fpu avx512f avx512_bf16 clzero\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx512f avx2\n", False),
        ("Features\t: fp asimd\n", False),
    ],
)
def test_the_instructions_of_the_processor(text, fast, tmp_path):
    (tmp_path / "cpuinfo").write_text(text, "utf-8")
    assert has_fast_bfloat16(tmp_path / "cpuinfo") == fast
    assert not has_fast_bfloat16(tmp_path / "none")


def test_a_network_without_a_convolution_is_refused():
    model = linear(SIZE)[0].model
    with pytest.raises(ValueError, match="no convolution of Keras's own"):
        load(model, "bfloat16")


class OwnConvolution(keras.layers.Conv2D):
    pass


def test_a_network_of_own_convolutions_is_refused_and_can_be_used_without():
    model = model_with([OwnConvolution(4, 3)], pooled_logits(2), SIZE)
    with pytest.raises(ValueError, match=r"no convolution.*leave out precision"):
        load(model, "bfloat16")
    assert load(model)


def test_what_keras_cannot_compute_in_half_precision_is_refused():
    """An operation of somebody's own that holds numbers in float32."""

    class Shifted(keras.Operation):
        def call(self, x):
            return x + tf.ones((), "float32")

        def compute_output_spec(self, x):
            if x.dtype != "float32":
                raise TypeError("of two types")
            return keras.KerasTensor(x.shape, x.dtype)

    entry = keras.Input((*SIZE, 3))
    x = Shifted()(layers.Conv2D(4, 3)(entry))
    model = keras.Model(entry, pooled_logits(2)(layers.Conv2D(4, 3)(x)))
    with pytest.raises(ValueError, match=r"in bfloat16 \(.*Shifted\.call.*\): leave"):
        load(model, "bfloat16")
    assert load(model)
