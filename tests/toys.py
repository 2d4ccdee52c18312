"""Toy models and photos that the tests share, and NumPy that knows their answers.

A toy is small enough for its scores, maps and gradients to be derived without the
package: by hand, or in NumPy with 64 bits.
"""

import numpy as np

from xai_helpers import keras, load_classifier

layers = keras.layers

LAST_LAYERS = {"vgg16": "block5_conv3", "xception": "block14_sepconv2_act"}


# --- photos ---------------------------------------------------------------------------


def photo(size=(40, 50), seed=0):
    """Noise, uint8 (height, width, 3), different for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def photos(count, size, first_seed=1):
    """Noise photos of one size, uint8 (count, height, width, 3)."""
    return np.stack([photo(size, first_seed + k) for k in range(count)])


def unit(pixels):
    """A preprocessing: 0 to 1."""
    return pixels / 255


def minus_one_to_one(pixels):
    """A preprocessing: −1 to 1, as Xception's."""
    return pixels / 127.5 - 1


# --- toy classifiers ------------------------------------------------------------------


def toy(size=(12, 14), seed=0, activation="relu", preprocess=minus_one_to_one):
    """Two convolutions and a dense layer over 4 classes, random weights."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Conv2D(4, 3, activation=activation, name="one"),
            layers.Conv2D(5, 3, 2, "same", activation=activation, name="two"),
            layers.Flatten(name="flat"),
            layers.Dense(4, name="logits"),
        ]
    )
    return load_classifier(model, preprocess=preprocess, verbose=False)


def pooled_toy(seed=0, labels=("cat", "dog", "cup"), side=32):
    """Convolutions and a pool under an average, random weights; named labels."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(4, 3, activation="relu", name="one"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(20, 3, activation="relu", name="two"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(labels)),
        ],
        name=f"toy{seed}",
    )
    return load_classifier(model, preprocess=unit, labels=labels, verbose=False)


def linear(size=(20, 28), seed=0):
    """logit k = sum(weights[..., k] * pixels) + k: everything is known about it.

    Returns the classifier and its weights, float32 (height, width, 3, 3).
    """
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(*size, 3, 3)).astype("float32") / 255
    model = keras.Sequential(
        [keras.Input((*size, 3)), layers.Flatten(), layers.Dense(3, name="logits")]
    )
    model.layers[-1].set_weights([weights.reshape(-1, 3), np.arange(3.0)])
    return load_classifier(model, preprocess="none", verbose=False), weights


def detector(weights):
    """logit "spot" = sum(weights * pixels) / 255, logit "other" = 0."""
    model = keras.Sequential(
        [
            keras.Input(weights.shape),
            layers.Flatten(),
            layers.Dense(2, use_bias=False),
        ]
    )
    kernel = np.zeros((weights.size, 2), "float32")
    kernel[:, 1] = weights.ravel() / 255
    model.layers[-1].set_weights([kernel])
    labels = ["other", "spot"]
    return load_classifier(model, preprocess="none", labels=labels, verbose=False)


def sum_of_squares(size, factor=1.0):
    """logit 0 = factor · Σ (pixel / 255)², logit 1 the same below zero."""
    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            layers.Flatten(),
            layers.Lambda(
                lambda x: factor * keras.ops.sum(x**2, axis=1, keepdims=True)
            ),
            layers.Lambda(lambda x: keras.ops.concatenate([x, -x], axis=1)),
        ]
    )
    return load_classifier(model, preprocess=unit, verbose=False)


def saturating(side=8):
    """logit 1 = Σ min(pixel / 255, 0.02): from black, all of it in the first steps."""
    model = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.ReLU(max_value=0.02),
            layers.Flatten(),
            layers.Dense(2, use_bias=False),
        ]
    )
    kernel = np.zeros((side * side * 3, 2), "float32")
    kernel[:, 1] = 1
    model.layers[-1].set_weights([kernel])
    return load_classifier(model, preprocess=unit, verbose=False)


# --- toy models, not loaded yet -------------------------------------------------------


def model_with(inner, head, size=(32, 32)):
    """A functional model: layers one after the other, then ``head(tensor)``."""
    x = entry = keras.Input((*size, 3))
    for layer in inner:
        x = layer(x)
    return keras.Model(entry, head(x))


def convolution(**options):
    """The one convolution of many toy models."""
    return layers.Conv2D(4, 3, **({"activation": "relu", "name": "one"} | options))


def pooled_logits(count, **options):
    """A head: average over the cells, then a dense layer without an activation."""
    return lambda x: layers.Dense(count, **options)(layers.GlobalAveragePooling2D()(x))


def base(size=32):
    """What a transfer-learned model is built on: a convolution and a pool."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="inner_conv")(inputs)
    return keras.Model(inputs, layers.MaxPooling2D(name="inner_pool")(x), name="base")


def nested(ending):
    """A transfer-learned model: augmentation, rescaling, a nested base, a head."""
    inputs = keras.Input((32, 32, 3))
    x = layers.RandomFlip()(inputs)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base()(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, ending(x), name="mine")


def saveable(*extra):
    """A model for a ``.keras`` file: rescaling, a convolution, a softmax over 3."""
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            layers.Rescaling(1 / 255, name="rescaling"),
            *extra,
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )


# --- the toy's answers in NumPy -------------------------------------------------------


def convolve(x, kernel, bias, stride=1, same=False):
    """A convolution written out in NumPy, float64: (h, w, c) → (h', w', m)."""
    k = kernel.shape[0]
    if same:
        pads = []
        for side in x.shape[:2]:
            total = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, (*pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(0, 1))
    windows = windows[::stride, ::stride]  # (h', w', c, k, k)
    return np.einsum("hwcij,ijcm->hwm", windows, kernel) + bias


def toy_first_maps(clf, pixels):
    """What the toy's layer "one" outputs for pixels 0–255, float64."""
    kernel, bias = map(np.float64, clf.model.layers[1].get_weights())
    return np.maximum(convolve(minus_one_to_one(pixels), kernel, bias), 0)


def toy_logits_from(clf, first_maps):
    """The toy's logits from what its layer "one" outputs, float64."""
    _, two, _, dense = clf.model.layers[1:]
    second = convolve(first_maps, *map(np.float64, two.get_weights()), 2, True)
    kernel, bias = map(np.float64, dense.get_weights())
    return np.maximum(second, 0).reshape(-1) @ kernel + bias


def softmax(logits):
    """Over the last axis, in the precision of the logits."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


SCORES_OF_CLASS_2 = {"logit": lambda z: z[2], "probability": lambda z: softmax(z)[2]}


def difference_quotients(function, x, step=1e-6):
    """Central differences of a scalar function at every element of x."""
    gradient = np.empty_like(x)
    for element in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[element] += step
        down[element] -= step
        gradient[element] = (function(up) - function(down)) / (2 * step)
    return gradient


def relative_distance(values, expected):
    """The norm of the difference, as a share of the norm of what is expected."""
    return np.linalg.norm(values - expected) / np.linalg.norm(expected)
