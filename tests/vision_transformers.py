"""Vision transformers with random weights, small enough for tests.

In functional Keras; with blocks that are layers with layers in them (KerasHub); with
windows cut by ``keras.ops`` (Swin). Pixels 0–255 come in, probabilities go out.
"""

from functools import partial, reduce

from xai_helpers import keras

layers, ops = keras.layers, keras.ops


class ClassToken(layers.Layer):
    """One learned token in front of the others: (N, t, width) → (N, t + 1, width)."""

    def build(self, input_shape):
        self.token = self.add_weight((1, 1, input_shape[-1]), "normal", name="token")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


class PositionEmbedding(layers.Layer):
    """A learned vector for each place, added: (N, t, width) → the same."""

    def build(self, input_shape):
        self.places = self.add_weight(input_shape[1:], "normal", name="places")

    def call(self, x):
        return x + self.places


def block_layers(width, heads, name):
    """The layers of a pre-norm block; their names begin with the block's."""
    spread = {"kernel_initializer": keras.initializers.VarianceScaling(1.5)}
    attention = partial(layers.MultiHeadAttention, heads, width // heads, **spread)
    kinds = {"norm1": layers.LayerNormalization, "attention": attention}
    kinds |= {"add1": layers.Add, "norm2": layers.LayerNormalization}
    kinds |= {"up": partial(layers.Dense, 4 * width, "gelu")}
    kinds |= {"down": partial(layers.Dense, width), "add2": layers.Add}
    return {part: kind(name=f"{name}_{part}") for part, kind in kinds.items()}


def through_block(x, parts):
    y = parts["norm1"](x)
    x = parts["add1"]([x, parts["attention"](y, y)])
    return parts["add2"]([x, parts["down"](parts["up"](parts["norm2"](x)))])


class Block(layers.Layer):
    def __init__(self, width, heads, name):
        super().__init__(name=name)
        self.parts = block_layers(width, heads, name)

    def call(self, x):
        return through_block(x, self.parts)


class Encoder(layers.Layer):
    def __init__(self, blocks, name):
        super().__init__(name=name)
        self.blocks, self.norm = blocks, layers.LayerNormalization(name="norm")

    def call(self, x):
        return self.norm(reduce(lambda y, block: block(y), self.blocks, x))


def vit(size=32, patch=8, width=16, heads=2, blocks=2, classes=3, class_token=True,
        as_layers=False):  # fmt: skip
    """A ViT of size × size pixels; its answer comes from the class token, or from the
    mean of all tokens. as_layers: one layer "encoder", which holds the blocks.
    """
    x = inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1, name="rescaling")(x)
    x = layers.Conv2D(width, patch, patch, name="patches")(x)
    x = layers.Reshape((-1, width), name="tokens")(x)
    x = ClassToken(name="class_token")(x) if class_token else x
    x = PositionEmbedding(name="positions")(x)
    names = [f"block{k}" for k in range(blocks)]
    if as_layers:
        x = Encoder([Block(width, heads, name) for name in names], "encoder")(x)
    else:  # the same, layer by layer
        parts = [block_layers(width, heads, name) for name in names]
        x = layers.LayerNormalization(name="norm")(reduce(through_block, parts, x))
    x = x[:, 0] if class_token else layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(inputs, head(classes)(x), name="vit")


def vit_of_blocks(**options):
    """The same, and its weights in the same order, with blocks that are layers."""
    return vit(**options, as_layers=True)


def head(classes):
    spread = keras.initializers.VarianceScaling(9)
    return layers.Dense(classes, "softmax", kernel_initializer=spread, name="head")


def shifted_block(x, heads, side, shift, name):
    """Attention in windows on the rolled picture, without a mask at its border."""
    (_, h, w, c), parts = x.shape, block_layers(x.shape[-1], heads, name)
    y = ops.roll(parts["norm1"](x), (-shift, -shift), axis=(1, 2))
    y = ops.reshape(y, (-1, h // side, side, w // side, side, c))
    y = ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, side * side, c))
    y = parts["attention"](y, y)  # (N · windows, side², c)
    y = ops.reshape(y, (-1, h // side, w // side, side, side, c))
    y = ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, h, w, c))
    x = x + ops.roll(y, (shift, shift), axis=(1, 2))
    return x + parts["down"](parts["up"](parts["norm2"](x)))


def swin(size=32, patch=4, width=12, heads=2, window=2, stages=2, classes=3):
    """A small Swin; the first grid has size / patch cells a side, the next half."""
    x = inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1, name="rescaling")(x)
    x = layers.Conv2D(width, patch, patch, name="patches")(x)
    for stage in range(stages):
        if stage:
            x = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
            x = ops.concatenate(x, axis=-1)
            x = layers.Dense(x.shape[-1] // 2, name=f"merge{stage}")(x)
        for k, shift in enumerate((0, window // 2)):
            x = shifted_block(x, heads, window, shift, f"stage{stage}_block{k}")
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, head(classes)(x), name="swin")
