"""Where a cell lies, whatever the operation: one pixel at a time tells."""

import numpy as np
import pytest
from toys import convolution, layers, unit
from vision_transformers import ClassToken

from xai_helpers import keras, load_classifier
from xai_helpers.engine.layouts import layouts

SIZE = 16, 24
ops = keras.ops
POSITIVE = keras.initializers.Constant(0.1)
FIRST = {"data_format": "channels_first"}


def conv(extent=3, stride=1, padding="valid", **options):
    options |= {"kernel_initializer": POSITIVE}
    return layers.Conv2D(2, extent, stride, padding, **options)


def dense(width):
    return layers.Dense(width, kernel_initializer=POSITIVE)


class PatchEmbedding(layers.Layer):
    """Tokens of patches, as a layer that does not show how; one more in front."""

    def build(self, shape):
        self.kernel = self.add_weight((4, 4, 3, 2), POSITIVE, name="kernel")

    def call(self, x):
        x = ops.reshape(ops.conv(x, self.kernel, 4), (-1, 24, 2))
        return ops.concatenate([0 * x[:, :1], x], axis=1)


class Mirror(layers.Layer):
    """Moves the cells, and does not show it."""

    def call(self, x):
        return ops.flip(x, axis=2)


class Latents(layers.Layer):
    """As many tokens as there are cells, which have nothing to do with them."""

    def build(self, shape):
        self.tokens = self.add_weight(shape[1:], "normal", name="tokens")

    def call(self, x):
        return ops.broadcast_to(self.tokens, ops.shape(x))


class OwnConvolution(layers.Layer):
    """With attributes that mean something else than those of Keras."""

    def __init__(self):
        super().__init__(name="own_convolution")
        self.kernel_size, self.padding, self.data_format = 3, "SAME", "NHWC"

    def build(self, shape):
        self.kernel = self.add_weight((3, 3, 3, 2), POSITIVE, name="kernel")

    def call(self, x):
        return ops.conv(x, self.kernel, 2, "same")


class PatchMerging(layers.Layer):
    """2 × 2 tokens to one, with the size of the batch: a graph knows no size then."""

    def build(self, shape):
        self.kernel = self.add_weight((8, 2), POSITIVE, name="kernel")

    def call(self, x):
        count = ops.shape(x)[0]
        x = ops.reshape(x, (count, 2, 2, 3, 2, 2))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (count, -1, 8))
        return ops.matmul(x, self.kernel)

    def compute_output_shape(self, shape):
        return shape[0], None, 2


def tokens(x):
    return layers.Reshape((24, 2))(conv(4, 4)(x))


CHAINS = {
    "channels first": lambda x: layers.AveragePooling2D(2, **FIRST)(
        conv(3, 2, "same", **FIRST)(layers.Permute((3, 1, 2))(x))
    ),
    "channels first, padded": lambda x: conv(3, 2, **FIRST)(
        layers.ZeroPadding2D(((2, 1), (3, 0)), **FIRST)(ops.transpose(x, (0, 3, 1, 2)))
    ),
    "rows and columns exchanged": lambda x: conv((3, 2), (3, 2))(
        layers.Permute((2, 1, 3))(x)
    ),
    "axes exchanged": lambda x: conv((3, 2), (2, 3))(ops.swapaxes(x, 1, 2)),
    "an axis moved": lambda x: conv(3, 2, **FIRST)(ops.moveaxis(x, -1, 1)),
    "mirrored": lambda x: conv(3, 2)(ops.flip(x, axis=2)),
    "upside down": lambda x: ops.flip(conv(4, 3)(x), axis=(1, -1)),
    "operations": lambda x: ops.max_pool(
        ops.conv(x, np.full((3, 3, 3, 2), 0.1, "float32"), 2, "same"), 2
    ),
    "depthwise operation": lambda x: ops.depthwise_conv(
        x, np.full((3, 5, 3, 1), 0.1, "float32"), 2, "valid"
    ),
    "a slice": lambda x: conv(2, 2)(x[:, 3:, 1::2]),
    "a slice from the end": lambda x: conv(2)(x[..., ::-1][:, ::-2, :-4]),
    "padded by an operation": lambda x: conv(3, 3)(
        ops.pad(x, ((0, 0), (2, 1), (3, 0), (0, 0)))
    ),
    "resized by an operation": lambda x: conv(2)(
        ops.image.resize(conv(2, 2)(x), (4, 6))
    ),
    "a sum": lambda x: conv(3, 1, "same")(x)[..., :1] + x * 2,
    "channels joined": lambda x: ops.concatenate([conv(4, 4)(x), x[:, 1::4, 1::4]], -1),
    "gated": lambda x: (
        conv(2, 2)(x) * dense(2)(ops.mean(x, axis=(1, 2), keepdims=True))
    ),
    "tokens": tokens,
    "tokens after a class token": lambda x: ClassToken()(tokens(x)),
    "tokens before others": lambda x: ops.concatenate(
        [tokens(x), tokens(x)[:, :1] * 0], axis=1
    ),
    "tokens before others, and a layer": lambda x: dense(2)(
        ops.concatenate([tokens(x), tokens(x)[:, :1] * 0], axis=1)
    ),
    "tokens without the class token": lambda x: ops.concatenate(
        [tokens(x)[:, :3] * 0, tokens(x)], axis=1
    )[:, 2:],
    "tokens as a grid again": lambda x: conv(2)(
        layers.Reshape((4, 6, 2))(dense(2)(tokens(x)))
    ),
    "tokens, channels first": lambda x: ops.transpose(
        layers.Reshape((2, 24))(conv(4, 4, **FIRST)(layers.Permute((3, 1, 2))(x))),
        (0, 2, 1),
    ),
    "patches cut by an operation": lambda x: dense(2)(
        layers.Reshape((24, 48))(ops.image.extract_patches(x, 4))
    ),
    "patches cut by a layer of one's own": lambda x: PatchEmbedding()(x),
    "merged by a layer of one's own": lambda x: PatchMerging()(tokens(x)),
    "attention": lambda x: layers.Add()([t := tokens(x), 0 * attention(t)]),
}  # fmt: skip


def attention(x):
    return layers.MultiHeadAttention(2, 4)(x, x)


def loaded(chain):
    """The chain under a dense layer; its layer, and that layer's layout."""
    inputs = keras.Input((*SIZE, 3))
    x = chain(inputs)
    if None in x.shape[1:]:  # a size that shows only in a run
        y = layers.Dense(2)(ops.mean(x, axis=1))
    else:
        y = layers.Dense(2)(layers.Flatten()(x))
    clf = load_classifier(keras.Model(inputs, y), preprocess=unit, verbose=False)
    layer = clf.layers()[-1]
    return clf, layer, layouts(clf.model)[id(clf.layer_tensor(layer))]


@pytest.mark.parametrize("name", CHAINS)
def test_a_cell_lies_at_the_centre_of_the_pixels_that_reach_it(name):
    """Light one pixel at a time, and see which cells answer."""
    clf, layer, layout = loaded(CHAINS[name])
    pixels = np.zeros((*SIZE, *SIZE, 3), "float32")
    for row, column in np.ndindex(*SIZE):
        pixels[row, column, row, column] = 1
    pixels = pixels.reshape(-1, *SIZE, 3)
    model = clf.submodel_to(layer.name)
    answers = model.predict(pixels, batch_size=128, verbose=0)
    answers = answers - model.predict(pixels[:1] * 0, verbose=0)
    maps = np.asarray(clf.to_maps(layer, answers))
    assert maps.shape[1:] == layer.shape
    reached = np.abs(maps).max(axis=-1).reshape(*SIZE, *layer.shape[:2]) > 1e-6
    if name == "gated":  # a mean of the whole picture reaches every cell, a little
        size = np.abs(maps).max(axis=-1).reshape(reached.shape)
        reached = size > 0.5 * size.max(axis=(0, 1))
    fields = {
        cell: [np.flatnonzero(reached[:, :, *cell].any(axis=a)) for a in (1, 0)]
        for cell in np.ndindex(*layer.shape[:2])
    }
    extents = np.array(
        [[np.ptp(s) if len(s) else -1 for s in pair] for pair in fields.values()]
    )
    inside = (extents == extents.max(axis=0)).all(axis=1)  # not cut off by the border
    assert inside.sum() >= 4
    for (cell, pair), is_whole in zip(fields.items(), inside, strict=True):
        if is_whole:
            middle = [(side[0] + side[-1]) / 2 for side in pair]
            assert layout.first + layout.step * cell == pytest.approx(middle)


NO_MAPS = {
    "tokens of their own": lambda x: Latents()(tokens(x)),
    "latents that ask the tokens": lambda x: layers.MultiHeadAttention(2, 4)(
        Latents()(tokens(x)), tokens(x)
    ),
    "attention weights": lambda x: layers.Softmax()(
        ops.matmul(t := tokens(x), ops.transpose(t, (0, 2, 1)))
    ),
    "heads of tokens": lambda x: ops.transpose(
        layers.Reshape((24, 2, 1))(tokens(x)), (0, 2, 1, 3)
    ),
    "rows taken for channels": lambda x: layers.Conv2D(2, 3, **FIRST)(x),
    "a dense layer along the columns": lambda x: layers.Dense(2)(
        layers.Permute((3, 1, 2))(x)
    ),
    "a mean of all cells": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
    "a global pool": lambda x: layers.GlobalMaxPooling2D(keepdims=True)(x),
    "one row": lambda x: x[:, 3],
    "one token": lambda x: tokens(x)[:, 0:1],
    "windows": lambda x: layers.Reshape((4, 4, 6, 4, 3))(x),
    "pictures exchanged": lambda x: ops.flip(x, axis=0),
    "a stack": lambda x: ops.stack([x, x], axis=1),
}


@pytest.mark.parametrize("name", NO_MAPS)
def test_what_is_no_map_of_the_picture_is_none(name):
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, NO_MAPS[name](inputs))
    assert id(model.output) not in layouts(model)


def test_maps_come_out_with_rows_columns_and_channels_in_order():
    """The same weights, channels first and last: the same maps, in NumPy's order."""
    keras.utils.set_random_seed(0)
    first = conv(3, **FIRST, name="first")
    inputs = keras.Input((*SIZE, 3))
    x = first(layers.Permute((3, 1, 2))(inputs))
    head = layers.Dense(2)(layers.GlobalAveragePooling2D(**FIRST)(x))
    clf = load_classifier(keras.Model(inputs, head), preprocess=unit, verbose=False)
    assert clf.layer("first").shape == (14, 22, 2)
    values = np.arange(2 * 14 * 22).reshape(1, 2, 14, 22)
    assert np.array_equal(clf.to_maps("first", values), np.moveaxis(values, 1, -1))


def test_tokens_are_laid_out_row_by_row_without_the_class_token():
    clf, layer, layout = loaded(CHAINS["tokens after a class token"])
    assert layout.is_tokens and layout.extra == 1 and layer.shape == (4, 6, 2)
    values = np.arange(50).reshape(1, 25, 2)
    expected = np.arange(2, 50).reshape(1, 4, 6, 2)
    assert np.array_equal(clf.to_maps(layer, values), expected)


def shifted(shape, dtype=None):
    """A matrix that gives each token the one before it."""
    return np.roll(np.eye(shape[0], dtype="float32"), 1, axis=1)


GUESSED = {
    "roll": lambda x: ops.roll(x, 3, axis=1),
    "rot90": lambda x: ops.rot90(x[:, :, :16], axes=(1, 2)),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "patch_embedding": CHAINS["patches cut by a layer of one's own"],
    "mirror": lambda x: Mirror()(x),
    "lambda": lambda x: layers.Lambda(lambda y: y[:, :, ::-1], name="lambda")(x),
    "einsum_dense": lambda x: layers.EinsumDense(
        "btc,ts->bsc", (24, 2), kernel_initializer=shifted, name="einsum_dense"
    )(tokens(x)),
    "own_convolution": lambda x: OwnConvolution()(x),
    "patch_merging": CHAINS["merged by a layer of one's own"],
    "average": lambda x: layers.Average(name="average")([x, ops.flip(x, axis=2)]),
}


@pytest.mark.parametrize("name", GUESSED)
def test_what_is_not_certain_is_said(name):
    clf, layer, _ = loaded(GUESSED[name])
    note = clf.upsampling(layer).note
    assert name in note and ("guess" in note or "different places" in note)


CERTAIN = [n for n in CHAINS if "own" not in n and n != "tokens after a class token"]


@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_certain_has_no_guess_beside_it(name):
    clf, layer, layout = loaded(CHAINS[name])
    note = clf.upsampling(layer).note
    assert "guess" not in note and "places" not in note.replace("own place", "")
    assert layout.is_tokens == ("tokens of a transformer" in note)


def test_weights_on_the_way_are_noticed():
    inputs = keras.Input((*SIZE, 3))
    scaled = layers.Rescaling(1 / 255)(inputs)
    learned = layers.ReLU()(convolution()(layers.BatchNormalization()(scaled)))
    model = keras.Model(inputs, [scaled, learned])
    known = layouts(model)
    assert not known[id(scaled)].learned and known[id(learned)].learned
