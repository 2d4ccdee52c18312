"""Incremental occlusion: the same logits as with every picture computed whole."""

from functools import cache

import numpy as np
import pytest
from toys import layers, model_with, photo, pooled_logits

from xai_helpers import explain, keras, load_classifier, metrics, sample_image, tf
from xai_helpers.core.techniques.occlusion import occlude, patch_positions
from xai_helpers.engine import incremental
from xai_helpers.engine.incremental import changed_ranges, sequential_prefix
from xai_helpers.engine.precision import in_precision

SIZE = (41, 46)


@pytest.fixture(autouse=True)
def seeded():
    """A layer draws its seed when it is made: before the model that it goes into."""
    keras.utils.set_random_seed(1)


@pytest.fixture
def always(monkeypatch):
    """The short way even where it saves nothing, as in most of these small models."""
    monkeypatch.setattr(incremental, "MIN_SPEEDUP", 0)


def flat_head(x):
    return layers.Dense(5)(layers.Flatten()(x))


def classifier(*inner, size=SIZE, preprocess="unit", seed=0):
    """Random weights, also of the normalisations."""
    keras.utils.set_random_seed(seed)
    model = model_with(inner, flat_head, size)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            rng = np.random.default_rng(seed)
            layer.set_weights([rng.uniform(0.5, 1.5, shape) for _ in range(4)])
    return load_classifier(model, preprocess=preprocess, verbose=False)


def positions_of(size, patch, stride):
    rows, columns = (
        patch_positions(*sides)
        for sides in zip(size, patch, (stride, stride), strict=True)
    )
    return np.array([(row, column) for row in rows for column in columns])


def plan(clf, square, positions, patch, colour):
    return incremental.plan(
        clf.model,
        clf.preprocess_tensor,
        clf.cached_function,
        square,
        positions,
        patch,
        colour,
    )


def incremental_logits(clf, square, positions, patch, colour):
    forward = plan(clf, square, positions, patch, colour)
    return forward.logits(slice(0, len(positions)))


def whole_logits(clf, square, positions, patch, colour):
    """Every occluded picture computed whole, by the network itself."""
    occluded = [occlude(square, position, patch, colour) for position in positions]
    return clf.logits(np.stack(occluded))


def distance(values, expected):
    """The largest difference, as a share of the largest value."""
    assert values.shape == expected.shape
    assert expected.any()  # no ReLU has silenced everything
    return np.abs(values - expected).max() / np.abs(expected).max()


CHAINS = {
    "valid": lambda: [layers.Conv2D(4, 3), layers.Conv2D(5, 3, activation="relu")],
    "same": lambda: [layers.Conv2D(4, 5, padding="same"), layers.MaxPooling2D()],
    "strides": lambda: [
        layers.Conv2D(4, 3, 2, "same", activation="relu"),
        layers.Conv2D(4, 4, 3, "same", activation="tanh"),
    ],
    "oblong": lambda: [
        layers.Conv2D(4, (1, 7), (2, 1), "same"),
        layers.MaxPooling2D((2, 3), (1, 2)),
    ],
    "dilated": lambda: [
        layers.Conv2D(3, 3, dilation_rate=(2, 3), padding="same"),
        layers.Conv2D(3, 3, dilation_rate=2),
    ],
    "pool with padding": lambda: [
        # all values below zero: padding with zeros would show
        layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-9)),
        layers.MaxPooling2D(3, 2, "same"),
        layers.MaxPooling2D(2, 1, "same"),
    ],
    "average": lambda: [layers.AveragePooling2D(3, 2), layers.Conv2D(4, 3)],
    "separable": lambda: [
        layers.SeparableConv2D(6, 3, 2, "same"),
        layers.DepthwiseConv2D(3, 1, "same", depth_multiplier=2),
    ],
    "between": lambda: [
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("silu"),
        layers.Dropout(0.5),
        layers.Conv2D(4, 1),
        layers.LeakyReLU(),
        layers.Conv2D(6, 3, 2, groups=2),
        layers.ReLU(),
    ],
    "pointwise first": lambda: [
        layers.BatchNormalization(),
        layers.Conv2D(4, 3, padding="same"),
    ],
    "only pointwise": lambda: [layers.Conv2D(4, 1), layers.ReLU()],
    "gaps": lambda: [layers.MaxPooling2D(2, 5), layers.Conv2D(4, 2)],
    "twice the same layer": lambda: [layers.Conv2D(3, 3, padding="same", name="a")] * 2,
}


@cache  # built and compiled once for all patches
def chain_and_length(kind):
    inner = CHAINS[kind]()
    return classifier(*inner), len(inner)


@pytest.mark.parametrize("patch", [(6, 6), (1, 9), (41, 46), (30, 2)])
@pytest.mark.parametrize("kind", CHAINS)
def test_the_logits_are_those_of_the_whole_network(kind, patch, always):
    clf, length = chain_and_length(kind)
    square, positions = photo(SIZE), positions_of(SIZE, patch, 7)
    forward = plan(clf, square, positions, patch, (10, 200, 90))
    assert len(forward.chain) == length
    logits = forward.logits(slice(0, len(positions)))
    expected = whole_logits(clf, square, positions, patch, (10, 200, 90))
    assert distance(logits, expected) < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-3 or len(positions) == 1


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_and_patches(seed, always):
    rng = np.random.default_rng(seed)

    def random_layer():
        size, stride = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        padding = str(rng.choice(["same", "valid"]))
        if rng.random() < 0.3:
            return layers.MaxPooling2D(size, stride, padding)
        return layers.Conv2D(int(rng.integers(2, 6)), size, stride, padding)

    size = tuple(rng.integers(60, 80, 2).tolist())
    clf = classifier(*(random_layer() for _ in range(3)), size=size, seed=seed)
    patch = tuple(rng.integers(1, 30, 2).tolist())
    positions = rng.integers(0, np.array(size) - patch, (20, 2), endpoint=True)
    square, colour = photo(size, seed), rng.integers(0, 256, 3)
    logits = incremental_logits(clf, square, positions, patch, colour)
    expected = whole_logits(clf, square, positions, patch, colour)
    assert distance(logits, expected) < 1e-5


def test_the_ranges_are_the_cells_that_change_and_no_more():
    """Random weights without ReLU: whatever a patch can change, it does change."""
    clf = classifier(
        layers.Conv2D(4, 3, padding="same", name="a"),
        layers.AveragePooling2D(2, name="b"),
        layers.Conv2D(4, 5, 2, "same", name="c"),
        layers.Conv2D(4, 3, name="d"),
    )
    square, patch = photo(SIZE), (5, 8)
    positions = positions_of(SIZE, patch, 3)
    ranges = changed_ranges(sequential_prefix(clf.model), positions, patch)
    occluded = np.stack([occlude(square, p, patch, (255, 0, 9)) for p in positions])
    model = clf.submodel_to(*"abcd")
    # In a batch as large, for another one is rounded otherwise on some processors.
    before = model(clf.preprocess(np.stack([square] * len(positions))))
    after = model(clf.preprocess(occluded))
    for k in range(4):
        changed = np.any(after[k].numpy() != before[k].numpy(), axis=-1)
        for axis, cells in enumerate(ranges[k + 1]):
            lines = changed.any(axis=2 - axis)  # (patches, rows or columns)
            assert np.array_equal(cells.low, lines.argmax(1))
            last = lines.shape[1] - lines[:, ::-1].argmax(1)
            assert np.array_equal(cells.high, last)
            assert (cells.start <= cells.low).all()
            assert (cells.high <= cells.start + cells.width).all()
            assert cells.width == (cells.high - cells.low).max()


@pytest.mark.parametrize("side", [14, 28])
def test_vgg16_gives_the_same_logits(vgg16, side):
    square = vgg16.crop(sample_image("cat"))[0]
    end = 224 - side
    positions = np.array([(0, 0), (0, end), (end, 63), (end, end), (97, 98), (51, 7)])
    logits = incremental_logits(vgg16, square, positions, (side, side), 127)
    expected = whole_logits(vgg16, square, positions, (side, side), 127)
    assert np.abs(logits - expected).max() < 1e-3
    assert np.ptp(expected, axis=0).max() > 1


def test_vgg16_takes_the_short_way_and_xception_does_not(vgg16, xception, monkeypatch):
    patches = []
    logits = incremental.IncrementalForward.logits
    monkeypatch.setattr(
        incremental.IncrementalForward,
        "logits",
        lambda self, part: patches.append(part.stop - part.start) or logits(self, part),
    )
    square = photo((224, 224))
    options = {"patch": 100, "stride": 124}
    short = explain.occlusion(vgg16, square, 3, **options)
    assert patches == [4]
    long = explain.occlusion(vgg16, square, 3, incremental=False, **options)
    assert patches == [4]
    assert np.abs(short.values - long.values).max() < 1e-3
    assert explain.occlusion(xception, photo((299, 299)), 3, patch=280).values.size == 4
    assert patches == [4]


@pytest.mark.real
def test_the_multiplications_of_vgg16():
    """15.3 thousand millions without the head, as reviews of networks have it; and for
    a patch in the middle the windows by hand: each 3 × 3 adds a cell on each side,
    each pool halves."""
    model = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(224, 224, 3), pooling="avg"
    )
    clf = load_classifier(model, preprocess="vgg16", verbose=False)
    rows = {
        name: (full, per_patch)
        for name, full, per_patch in explain.multiply_adds(clf, [(96, 96)], (32, 32))
    }
    assert sum(full for full, _ in rows.values()) == 15_346_630_656
    sides = [34, 36, 20, 22, 14, 16, 18]  # pixels 94 to 130, then 45 to 67
    blocks = (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)
    names = [f"block{block}_conv{number}" for block, number in blocks]
    for name, side in zip(names, sides, strict=True):
        shape = clf.model.get_layer(name).kernel.shape
        assert rows[name][1] == side * side * np.prod(shape), name


def two_paths():
    x = entry = keras.Input((*SIZE, 3))
    x = layers.Conv2D(3, 3, padding="same", name="first")(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(3, 3, padding="same")(x)
    x = layers.Add()([x, y])
    return keras.Model(entry, flat_head(layers.Conv2D(3, 3)(x)))


class CentredConv2D(keras.layers.Conv2D):
    """A convolution that does more than it says."""

    def call(self, x):
        x = super().call(x)
        return x - keras.ops.mean(x, (1, 2, 3), keepdims=True)


ENDS = {
    "average at the border": [
        layers.Conv2D(3, 3),
        layers.AveragePooling2D(3, 2, "same"),
    ],
    "a layer of your own": [layers.Conv2D(3, 3), CentredConv2D(4, 3)],
    "neighbours in a normalisation": [layers.Conv2D(3, 3), layers.LayerNormalization()],
    "axis": [layers.Conv2D(3, 3), layers.BatchNormalization(axis=1)],
}


@pytest.mark.parametrize("kind", [*ENDS, "skip connection"])
def test_the_chain_ends_where_it_must_and_the_remainder_is_computed_whole(kind, always):
    if kind == "skip connection":
        clf = load_classifier(two_paths(), preprocess="unit", verbose=False)
        count = 2
    else:
        clf, count = classifier(*ENDS[kind]), 1
    assert len(sequential_prefix(clf.model)) == count
    arguments = photo(SIZE), positions_of(SIZE, (9, 9), 11), (9, 9), 0
    logits = incremental_logits(clf, *arguments)
    assert distance(logits, whole_logits(clf, *arguments)) < 1e-5


def standardise(x):
    return (x - tf.reduce_mean(x, (1, 2, 3), keepdims=True)) / 60


def blur(x):
    return tf.nn.avg_pool2d(x, 3, 1, "SAME") / 255


@pytest.mark.parametrize("preprocess", [standardise, blur])
def test_a_preprocessing_that_looks_at_neighbours_is_noticed(preprocess, always):
    clf = classifier(layers.Conv2D(3, 3), preprocess=preprocess)
    positions = positions_of(SIZE, (9, 9), 11)
    assert plan(clf, photo(SIZE), positions, (9, 9), 0) is None
    attribution = explain.occlusion(clf, photo(SIZE), 1, patch=9, stride=11)
    logits = whole_logits(clf, photo(SIZE), positions, (9, 9), 127)[:, 1]
    expected = clf.logits(photo(SIZE))[0, 1] - logits
    assert attribution.values.ravel() == pytest.approx(expected, abs=1e-5)


def test_the_channels_of_vgg16_may_change_places(always):
    clf = classifier(layers.Conv2D(3, 3), preprocess="vgg16")
    positions = positions_of(SIZE, (9, 9), 11)
    assert plan(clf, photo(SIZE), positions, (9, 9), (0, 99, 200)) is not None


def test_new_weights_are_used_at_once(always):
    clf = classifier(layers.Conv2D(3, 3, name="conv"), layers.MaxPooling2D())
    arguments = photo(SIZE), positions_of(SIZE, (9, 9), 11), (9, 9), 0

    def distance_and_logits():
        expected = whole_logits(clf, *arguments)
        return distance(incremental_logits(clf, *arguments), expected), expected

    first, before = distance_and_logits()
    conv = clf.model.get_layer("conv")
    conv.set_weights([3 - w for w in conv.get_weights()])
    second, after = distance_and_logits()
    assert max(first, second) < 1e-5
    assert np.abs(after - before).max() > 0.1


def test_one_graph_for_all_images_and_patches(always, trace_count):
    clf = classifier(layers.Conv2D(3, 3), layers.MaxPooling2D())
    counts = []
    for seed, side in enumerate((5, 9, 12)):
        explain.occlusion(clf, photo(SIZE, seed), 1, patch=side)
        counts.append(trace_count())
    assert counts[0] == counts[1] == counts[2] > 0


def test_the_memory_decides_how_many_patches_at_once(always, monkeypatch):
    clf = classifier(layers.Conv2D(8, 3))
    positions = positions_of(SIZE, (9, 9), 4)
    forward = plan(clf, photo(SIZE), positions, (9, 9), 0)
    assert forward.batch_size == incremental.MAX_PATCHES
    monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))
    assert forward.batch_size == 1
    options = {"patch": 9, "stride": 4}
    few = explain.occlusion(clf, photo(SIZE), 1, **options).values
    monkeypatch.undo()
    many = explain.occlusion(clf, photo(SIZE), 1, incremental=False, **options).values
    assert few == pytest.approx(many, abs=1e-5)


def test_a_randomised_network_has_a_short_way_too(vgg16):
    last = vgg16.model.layers[-1].name
    noisy = metrics.randomise_layers(vgg16, last)
    arguments = photo((224, 224)), np.array([(0, 0), (100, 60)]), (28, 28), 0
    logits = incremental_logits(noisy, *arguments)
    assert logits == pytest.approx(whole_logits(noisy, *arguments), abs=1e-3)


def test_a_published_network_in_bfloat16_has_a_short_way_too(vgg16):
    """As far from float32 as whole pictures are: the same values are rounded."""
    half = vgg16.with_model(in_precision(vgg16.model, "bfloat16"))
    arguments = photo((224, 224)), np.array([(0, 0), (100, 60)]), (28, 28), 0
    logits, whole = (f(half, *arguments) for f in (incremental_logits, whole_logits))
    exact = whole_logits(vgg16, *arguments)
    assert 0 < distance(whole, exact) < 0.02
    assert distance(logits, whole) < distance(whole, exact) / 2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(always, policy):
    keras.config.set_dtype_policy(policy)
    try:
        clf = classifier(
            layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D(3, 2, "same")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    arguments = photo(SIZE), positions_of(SIZE, (9, 9), 11), (9, 9), 0
    logits = incremental_logits(clf, *arguments)
    assert distance(logits, whole_logits(clf, *arguments)) < 0.02


def test_a_preprocessing_that_depends_on_the_position(always):
    """Caffe's mean image: the patch is another one at each position."""
    mean = np.random.default_rng(1).uniform(0, 255, (*SIZE, 3)).astype("float32")
    clf = classifier(layers.Conv2D(3, 3), preprocess=lambda x: x - mean)
    arguments = photo(SIZE), positions_of(SIZE, (9, 9), 11), (9, 9), 90
    logits = incremental_logits(clf, *arguments)
    assert distance(logits, whole_logits(clf, *arguments)) < 1e-5


def test_a_preprocessing_by_the_brightest_pixel_is_noticed(always):
    def brightest(x):
        return x / tf.maximum(tf.reduce_max(x, (1, 2, 3), keepdims=True), 1)

    clf = classifier(layers.Conv2D(3, 3), preprocess=brightest)
    for column in (3, 40):
        square = photo(SIZE) // 2
        square[20, column] = 255
        assert plan(clf, square, [(0, 0)], (9, 9), 0) is None


@pytest.mark.parametrize("where", ["layer", "convolution"])
def test_an_activation_of_your_own_ends_the_chain(where):
    def centred(x):
        return x - keras.ops.mean(x, (1, 2), keepdims=True)

    inner = [layers.Conv2D(3, 3), layers.Activation(centred)]
    if where == "convolution":
        inner = [layers.Conv2D(3, 3), layers.Conv2D(3, 3, activation=centred)]
    assert len(sequential_prefix(classifier(*inner).model)) == 1


def test_what_comes_after_the_chain_counts_for_the_memory(always, monkeypatch):
    x = entry = keras.Input((*SIZE, 3))
    x = layers.Conv2D(2, 3)(x)
    wide = layers.Conv2D(400, 3)(x)
    x = layers.Flatten()(layers.Add()([wide, layers.Conv2D(400, 3)(x)]))
    model = keras.Model(entry, layers.Dense(2)(x))
    clf = load_classifier(model, preprocess="unit", verbose=False)
    forward = plan(clf, photo(SIZE), [(0, 0)], (5, 5), 0)
    monkeypatch.setenv("XAI_MEMORY_MB", str(4 * 4 * 4 * 400 * 37 * 42 / 2**20))
    assert forward.batch_size == 4


def test_no_short_way_where_too_little_is_saved():
    """A patch that covers everything changes everything."""
    clf = classifier(layers.Conv2D(8, 3), layers.MaxPooling2D())
    assert plan(clf, photo(SIZE), [(0, 0)], SIZE, 0) is None


def test_a_head_that_averages_is_computed_whole(always):
    model = model_with([layers.Conv2D(3, 3)], pooled_logits(2), SIZE)
    clf = load_classifier(model, preprocess="unit", verbose=False)
    arguments = photo(SIZE), positions_of(SIZE, (9, 9), 11), (9, 9), 0
    logits = incremental_logits(clf, *arguments)
    assert distance(logits, whole_logits(clf, *arguments)) < 1e-5
