"""Occlusion the short way: the same logits as with every picture computed whole."""

import numpy as np
import pytest

from xai_helpers import explain, keras, load_classifier, metrics, tf
from xai_helpers.explain import incremental
from xai_helpers.explain.occluding import cover, starts

layers = keras.layers
SIZE = (41, 46)


@pytest.fixture
def always(monkeypatch):
    """The short way even where it saves nothing, as in most of these small models."""
    monkeypatch.setattr(incremental, "PAYS", 0)


def classifier(*inner, size=SIZE, preprocess="unit", seed=0):
    """Random weights, also of the normalisations."""
    keras.utils.set_random_seed(seed)
    x = entry = keras.Input((*size, 3))
    for layer in (*inner, layers.Flatten(), layers.Dense(5)):
        x = layer(x)
    model = keras.Model(entry, x)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            rng = np.random.default_rng(seed)
            layer.set_weights([rng.uniform(0.5, 1.5, shape) for _ in range(4)])
    return load_classifier(model, preprocess=preprocess, verbose=False)


def photo(size=SIZE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def places_of(size, patch, stride):
    rows, columns = (
        starts(*sides) for sides in zip(size, patch, (stride, stride), strict=True)
    )
    return np.array([(row, column) for row in rows for column in columns])


def whole(clf, square, places, patch, colour):
    """Every covered picture computed whole, by the network itself."""
    covered = np.stack([cover(square, place, patch, colour) for place in places])
    return clf.logits(covered)


def distance(found, expected):
    """The largest difference, as a share of the largest value."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


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
    "cell by cell first": lambda: [
        layers.BatchNormalization(),
        layers.Conv2D(4, 3, padding="same"),
    ],
    "only cell by cell": lambda: [layers.Conv2D(4, 1), layers.ReLU()],
    "gaps": lambda: [layers.MaxPooling2D(2, 5), layers.Conv2D(4, 2)],
    "twice the same layer": lambda: [layers.Conv2D(3, 3, padding="same", name="a")] * 2,
}


@pytest.mark.parametrize("patch", [(6, 6), (1, 9), (41, 46), (30, 2)])
@pytest.mark.parametrize("kind", CHAINS)
def test_the_logits_are_those_of_the_whole_network(kind, patch, always):
    inner = CHAINS[kind]()
    clf = classifier(*inner)
    square, places = photo(), places_of(SIZE, patch, 7)
    short = incremental.prepare(clf, square, places, patch, (10, 200, 90))
    assert len(short.steps) == len(inner)
    found = short.logits(slice(0, len(places)))
    expected = whole(clf, square, places, patch, (10, 200, 90))
    assert distance(found, expected) < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-3 or len(places) == 1


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_and_patches(seed, always):
    rng = np.random.default_rng(seed)

    def some():
        size, stride = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        padding = str(rng.choice(["same", "valid"]))
        if rng.random() < 0.3:
            return layers.MaxPooling2D(size, stride, padding)
        return layers.Conv2D(int(rng.integers(2, 6)), size, stride, padding)

    size = tuple(rng.integers(60, 80, 2).tolist())
    clf = classifier(*(some() for _ in range(3)), size=size, seed=seed)
    patch = tuple(rng.integers(1, 30, 2).tolist())
    places = rng.integers(0, np.array(size) - patch, (20, 2), endpoint=True)
    square, colour = photo(size, seed), rng.integers(0, 256, 3)
    short = incremental.prepare(clf, square, places, patch, colour)
    expected = whole(clf, square, places, patch, colour)
    found = short.logits(slice(0, 20))
    assert distance(found, expected) < 1e-5


def test_the_windows_are_what_changes_and_no_more():
    """Random weights without ReLU: whatever a patch can change, it does change."""
    clf = classifier(
        layers.Conv2D(4, 3, padding="same", name="a"),
        layers.AveragePooling2D(2, name="b"),
        layers.Conv2D(4, 5, 2, "same", name="c"),
        layers.Conv2D(4, 3, name="d"),
    )
    square, patch = photo(), (5, 8)
    places = places_of(SIZE, patch, 3)
    steps = incremental.chain(clf)
    maps = incremental.spans(steps, places, patch)
    covered = np.stack([cover(square, p, patch, (255, 0, 9)) for p in places])
    model = clf.up_to(*"abcd")
    before = model(clf.preprocess(square))
    after = model(clf.preprocess(covered))
    for k in range(4):
        changed = np.any(after[k].numpy() != before[k].numpy(), axis=-1)
        for axis, span in enumerate(maps[k + 1]):
            lines = changed.any(axis=2 - axis)  # (patches, rows or columns)
            assert np.array_equal(span.low, lines.argmax(1))
            assert np.array_equal(span.high, lines.shape[1] - lines[:, ::-1].argmax(1))
            assert (span.start <= span.low).all()
            assert (span.high <= span.start + span.width).all()
            assert span.width == (span.high - span.low).max()


@pytest.mark.parametrize("side", [14, 28])
def test_vgg16_gives_the_same_logits(vgg16, side):
    from xai_helpers import sample_image

    square = vgg16.cut(sample_image("cat"))[0]
    end = 224 - side
    places = np.array([(0, 0), (0, end), (end, 63), (end, end), (97, 98), (51, 7)])
    short = incremental.prepare(vgg16, square, places, (side, side), 127)
    expected = whole(vgg16, square, places, (side, side), 127)
    assert np.abs(short.logits(slice(0, 6)) - expected).max() < 1e-3
    assert np.ptp(expected, axis=0).max() > 1


def test_vgg16_takes_the_short_way_and_xception_does_not(vgg16, xception, monkeypatch):
    taken = []
    logits = incremental.Patches.logits
    monkeypatch.setattr(
        incremental.Patches,
        "logits",
        lambda self, part: taken.append(part.stop - part.start) or logits(self, part),
    )
    square = photo((224, 224))
    patch = {"patch": 100, "stride": 124}
    short = explain.occlusion(vgg16, square, 3, **patch)
    assert taken == [4]
    long = explain.occlusion(vgg16, square, 3, exhaustive=True, **patch)
    assert taken == [4]
    assert np.abs(short.values - long.values).max() < 1e-3
    assert explain.occlusion(xception, photo((299, 299)), 3, patch=280).values.size == 4
    assert taken == [4]


def test_the_multiplications_of_vgg16():
    """15.3 thousand millions without the head, as reviews of networks have it; and for
    a patch in the middle the windows by hand: each 3 × 3 adds a cell on each side,
    each pool halves."""
    model = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(224, 224, 3), pooling="avg"
    )
    clf = load_classifier(model, preprocess="vgg16", verbose=False)
    rows = {name: (all_, part) for name, all_, part in
            explain.savings(clf, [(96, 96)], (32, 32))}  # fmt: skip
    assert sum(row[0] for row in rows.values()) == 15_346_630_656
    sides = [34, 36, 20, 22, 14, 16, 18]  # pixels 94 to 130, then 45 to 67
    names = [f"block{b}_conv{c}" for b, c in
             ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3))]  # fmt: skip
    for name, side in zip(names, sides, strict=True):
        shape = clf.network.get_layer(name).kernel.shape
        assert rows[name][1] == side * side * np.prod(shape), name


def two_paths():
    x = entry = keras.Input((*SIZE, 3))
    x = layers.Conv2D(3, 3, padding="same", name="first")(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(3, 3, padding="same")(x)
    x = layers.Add()([x, y])
    x = layers.Conv2D(3, 3)(x)
    return keras.Model(entry, layers.Dense(5)(layers.Flatten()(x)))


class Mine(keras.layers.Conv2D):
    """A convolution that does more than it says."""

    def call(self, x):
        x = super().call(x)
        return x - keras.ops.mean(x, (1, 2, 3), keepdims=True)


ENDS = {
    "average at the border": [
        layers.Conv2D(3, 3),
        layers.AveragePooling2D(3, 2, "same"),
    ],
    "a layer of one's own": [layers.Conv2D(3, 3), Mine(4, 3)],
    "neighbours in a normalisation": [layers.Conv2D(3, 3), layers.LayerNormalization()],
    "axis": [layers.Conv2D(3, 3), layers.BatchNormalization(axis=1)],
}


@pytest.mark.parametrize("kind", [*ENDS, "skip connection"])
def test_the_chain_ends_where_it_must_and_the_rest_is_whole(kind, always):
    if kind == "skip connection":
        clf = load_classifier(two_paths(), preprocess="unit", verbose=False)
        count = 2
    else:
        clf, count = classifier(*ENDS[kind]), 1
    assert len(incremental.chain(clf)) == count
    places = places_of(SIZE, (9, 9), 11)
    short = incremental.prepare(clf, photo(), places, (9, 9), 0)
    expected = whole(clf, photo(), places, (9, 9), 0)
    found = short.logits(slice(0, len(places)))
    assert distance(found, expected) < 1e-5


def standardise(x):
    return (x - tf.reduce_mean(x, (1, 2, 3), keepdims=True)) / 60


def blur(x):
    return tf.nn.avg_pool2d(x, 3, 1, "SAME") / 255


@pytest.mark.parametrize("preprocess", [standardise, blur])
def test_a_preprocessing_that_looks_at_neighbours_is_noticed(preprocess, always):
    clf = classifier(layers.Conv2D(3, 3), preprocess=preprocess)
    places = places_of(SIZE, (9, 9), 11)
    assert incremental.prepare(clf, photo(), places, (9, 9), 0) is None
    found = explain.occlusion(clf, photo(), 1, patch=9, stride=11)
    logits = whole(clf, photo(), places, (9, 9), 127)[:, 1]
    expected = clf.logits(photo())[0, 1] - logits
    assert found.values.ravel() == pytest.approx(expected, abs=1e-5)


def test_vgg16s_channels_may_change_places(always):
    clf = classifier(layers.Conv2D(3, 3), preprocess="vgg16")
    places = places_of(SIZE, (9, 9), 11)
    assert incremental.prepare(clf, photo(), places, (9, 9), (0, 99, 200)) is not None


def test_new_weights_are_used_at_once(always):
    clf = classifier(layers.Conv2D(3, 3, name="conv"), layers.MaxPooling2D())
    places = places_of(SIZE, (9, 9), 11)

    def difference():
        short = incremental.prepare(clf, photo(), places, (9, 9), 0)
        expected = whole(clf, photo(), places, (9, 9), 0)
        return distance(short.logits(slice(0, len(places))), expected), expected

    first, before = difference()
    conv = clf.network.get_layer("conv")
    conv.set_weights([3 - w for w in conv.get_weights()])
    second, after = difference()
    assert max(first, second) < 1e-5
    assert np.abs(after - before).max() > 0.1


def test_one_graph_for_all_images_and_patches(always):
    clf = classifier(layers.Conv2D(3, 3), layers.MaxPooling2D())
    for seed, side in enumerate((5, 9, 12)):
        explain.occlusion(clf, photo(seed=seed), 1, patch=side)
    assert clf._functions["patches"].experimental_get_tracing_count() == 1


def test_the_memory_decides_how_many_at_once(always, monkeypatch):
    clf = classifier(layers.Conv2D(8, 3))
    places = places_of(SIZE, (9, 9), 4)
    short = incremental.prepare(clf, photo(), places, (9, 9), 0)
    assert short.at_once() == incremental.AT_ONCE
    monkeypatch.setattr(explain.engine, "MEMORY", 0)
    assert short.at_once() == 1
    few = explain.occlusion(clf, photo(), 1, patch=9, stride=4).values
    monkeypatch.undo()
    many = explain.occlusion(clf, photo(), 1, patch=9, stride=4, exhaustive=True).values
    assert few == pytest.approx(many, abs=1e-5)


def test_a_network_of_noise_has_a_short_way_too(vgg16):
    noisy = metrics.randomised(vgg16, "portable_predictions")
    square = photo((224, 224))
    places = np.array([(0, 0), (100, 60)])
    short = incremental.prepare(noisy, square, places, (28, 28), 0)
    expected = whole(noisy, square, places, (28, 28), 0)
    assert short.logits(slice(0, 2)) == pytest.approx(expected, abs=1e-3)


def test_half_precision(always):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        clf = classifier(
            layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D(3, 2, "same")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    places = places_of(SIZE, (9, 9), 11)
    short = incremental.prepare(clf, photo(), places, (9, 9), 0)
    expected = whole(clf, photo(), places, (9, 9), 0)
    found = short.logits(slice(0, len(places)))
    assert distance(found, expected) < 0.02


def test_a_preprocessing_that_depends_on_the_place(always):
    """Caffe's mean image: the patch is another one at each place."""
    mean = np.random.default_rng(1).uniform(0, 255, (*SIZE, 3)).astype("float32")
    clf = classifier(layers.Conv2D(3, 3), preprocess=lambda x: x - mean)
    places = places_of(SIZE, (9, 9), 11)
    short = incremental.prepare(clf, photo(), places, (9, 9), 90)
    expected = whole(clf, photo(), places, (9, 9), 90)
    assert distance(short.logits(slice(0, len(places))), expected) < 1e-5


def test_a_preprocessing_by_the_brightest_pixel_is_noticed(always):
    def brightest(x):
        return x / tf.maximum(tf.reduce_max(x, (1, 2, 3), keepdims=True), 1)

    clf = classifier(layers.Conv2D(3, 3), preprocess=brightest)
    for column in (3, 40):
        square = photo() // 2
        square[20, column] = 255
        assert incremental.prepare(clf, square, [(0, 0)], (9, 9), 0) is None


@pytest.mark.parametrize("where", ["layer", "convolution"])
def test_an_activation_of_ones_own_ends_the_chain(where):
    def centred(x):
        return x - keras.ops.mean(x, (1, 2), keepdims=True)

    inner = [layers.Conv2D(3, 3), layers.Activation(centred)]
    if where == "convolution":
        inner = [layers.Conv2D(3, 3), layers.Conv2D(3, 3, activation=centred)]
    assert len(incremental.chain(classifier(*inner))) == 1


def test_what_comes_after_the_chain_counts_for_the_memory(always, monkeypatch):
    x = entry = keras.Input((*SIZE, 3))
    x = layers.Conv2D(2, 3)(x)
    wide = layers.Conv2D(400, 3)(x)
    x = layers.Flatten()(layers.Add()([wide, layers.Conv2D(400, 3)(x)]))
    model = keras.Model(entry, layers.Dense(2)(x))
    clf = load_classifier(model, preprocess="unit", verbose=False)
    short = incremental.prepare(clf, photo(), [(0, 0)], (5, 5), 0)
    monkeypatch.setattr(explain.engine, "MEMORY", 4 * 4 * 4 * 400 * 37 * 42)
    assert short.at_once() == 4
