"""From a name, a file or a ``keras.Model`` to what a ``Classifier`` is made of."""

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import weights
from .checks import check_pair
from .data import imagenet_classes
from .keras_files import compiled_loss, load_keras_file, loss_name
from .keras_graph import calls
from .labels import to_classes
from .precision import check_precision, in_precision
from .tensorflow import keras, tf
from .wrapping import logits_model

PREPROCESSING = {
    "vgg16": keras.applications.vgg16.preprocess_input,  # BGR minus the ImageNet mean
    "xception": keras.applications.xception.preprocess_input,  # −1 to 1
    "none": tf.identity,  # 0 to 255: the model rescales by itself
    "unit": lambda pixels: pixels / 255,  # 0 to 1
}
SIDES = {"vgg16": 224, "xception": 299}  # pixels, as published
LEAST_SIDES = {"vgg16": 32, "xception": 71}  # else a layer has no cells left
MAX_SCALED = 20  # a larger value at the first kernel has not been rescaled
MIN_SCALED, MAX_PIXEL = 0.02, 300  # beyond: rescaled twice, or not as it was trained


def load_model(model, kind, preprocess, labels, input_size, output, precision) -> tuple:
    """The arguments of ``Classifier``, from those of ``load_classifier``."""
    precision = check_precision(precision)
    name, network, *rest = _load(model, kind, preprocess, labels, input_size, output)
    if precision != "float32":
        rest[4] += f"; computed in {precision}"  # how the outputs are understood
        network = in_precision(network, precision)
    return name, network, *rest


def _load(model, kind, preprocess, labels, input_size, output) -> tuple:
    own, loss = {"preprocess": preprocess, "labels": labels, "output": output}, ""
    if isinstance(model, os.PathLike) or (isinstance(model, str) and _is_path(model)):
        model, loss = load_keras_file(model), compiled_loss(model)
    if isinstance(preprocess, str) and preprocess not in PREPROCESSING:
        names = ", ".join(PREPROCESSING)
        raise ValueError(f"preprocess is {names} or a function, not {preprocess!r}.")
    if isinstance(model, str):
        if any(value is not None for value in own.values()):
            raise ValueError(
                f"{', '.join(own)} belong to {model!r} already; they are for a "
                "keras.Model of your own."
            )
        return _named(model.lower(), kind, input_size)
    if isinstance(model, keras.Model):
        if kind is not None:
            raise ValueError("weights is for the named networks; yours has its own.")
        loss = loss or loss_name(getattr(model, "loss", None))
        return _from_keras_model(model, loss, input_size=input_size, **own)
    hint = ""
    if isinstance(model, keras.Layer):
        hint = (
            " A layer is no model; a SavedModel loaded as a TFSMLayer has no layers to "
            "look into. Give the model that it was made from."
        )
    raise ValueError(
        "model is 'vgg16', 'xception', a keras.Model or a .keras file, not "
        f"{type(model).__name__}.{hint}"
    )


def _is_path(name: str) -> bool:
    """Whether it is the name of a file or folder, not of a network."""
    return any(mark in name for mark in "./\\") or Path(name).exists()


def apply_preprocessing(preprocess: Callable, pixels, model_name: str) -> tf.Tensor:
    """float32 pixels 0–255 through the preprocessing, or a ValueError with advice."""
    try:  # on a tensor of its own, so that one that works in place spoils nothing
        return tf.cast(preprocess(tf.identity(tf.cast(pixels, tf.float32))), tf.float32)
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise ValueError(
            f"The preprocess of {model_name} cannot take a tensor ({error}). It is "
            "given float32 pixels (N, height, width, 3) and must return the same "
            "shape; write it with TensorFlow or keras.ops, without NumPy."
        ) from error


def _named(name: str, kind: str | None, input_size) -> tuple:
    title = weights.weights_record(name).title
    input_size = SIDES[name] if input_size is None else input_size
    size = check_pair("input_size", input_size)
    if min(size) < LEAST_SIDES[name]:
        raise ValueError(
            f"{title} takes pictures from {LEAST_SIDES[name]} pixels a side up, not "
            f"{size[0]} × {size[1]}."
        )
    if weights.resolve_kind(name, kind) == "imagenet":
        model = _published(name, size)
        description = "imagenet weights, base and classifier as published"
    else:
        model = _portable(name, size)
        description = "portable weights: published base, re-fitted head"
    _reset_auto_names(model)
    given = title, model, PREPROCESSING[name], imagenet_classes(), description
    return *given, "softmax", "softmax"


def _published(name: str, size: tuple[int, int]) -> keras.Model:
    """As Keras publishes it; Xception ends in a global pooling, so takes any size."""
    if size == (SIDES[name],) * 2:
        return weights.published_model(name)
    if name == "vgg16":
        raise ValueError(
            "VGG16 with its published classifier takes 224 × 224 pixels only, since "
            "fc1 has a weight for each cell; weights='portable' takes any input_size."
        )
    arrays = weights.published_model(name).get_weights()
    return _xception(arrays, size)


def _xception(arrays: list, size: tuple[int, int]) -> keras.Model:
    """Exactly the published architecture, ending in logits."""
    model = keras.applications.Xception(
        weights=None, input_shape=(*size, 3), classifier_activation=None
    )
    model.set_weights(arrays)
    return model


def _reset_auto_names(model: keras.Model) -> None:
    """``add`` to ``add_11`` at every load, though Keras counts on from load to load."""
    for layer_class in {type(layer) for layer in model.layers}:
        prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", layer_class.__name__).lower()
        pattern = re.compile(rf"{prefix}(?:_(\d+))?")
        matches = [(pattern.fullmatch(layer.name), layer) for layer in model.layers]
        numbered = [(int(m[1] or 0), layer) for m, layer in matches if m]
        for k, (_, layer) in enumerate(sorted(numbered, key=lambda pair: pair[0])):
            layer.name = f"{prefix}_{k}" if k else prefix


def _portable(name: str, size: tuple[int, int]) -> keras.Model:
    """The published base under the head in ``data/heads/``, ending in logits."""
    base_arrays = list(weights.portable_base(name).values())
    head, _ = weights.portable_head(name)
    if name == "xception":
        return _xception([*base_arrays, head["kernel"], head["bias"]], size)
    base = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(*size, 3)
    )
    base.set_weights(base_arrays)
    layers = keras.layers
    x = base.output  # block5_pool; from here on the head is this project's
    average = layers.GlobalAveragePooling2D(name="portable_average")(x)
    maximum = layers.GlobalMaxPooling2D(name="portable_maximum")(x)
    x = layers.Concatenate(name="portable_pool")([average, maximum])
    predictions = layers.Dense(len(head["bias"]), name="portable_predictions")
    model = keras.Model(base.input, predictions(x), name="vgg16_portable")
    predictions.set_weights([head["kernel"], head["bias"]])
    return model


def _from_keras_model(
    model, loss: str, *, preprocess, labels, input_size, output
) -> tuple:
    size = _checked_input_size(model, input_size)
    of_logits = logits_model(model, size, output, loss)
    count = of_logits.model.output_shape[-1]
    classes = to_classes(labels, count, yes_no=of_logits.is_yes_no)
    is_said, preprocess = preprocess is not None, preprocess or tf.identity
    preprocess = PREPROCESSING.get(preprocess, preprocess)
    blank = np.zeros((1, *size, 3), "float32")
    shape = tuple(apply_preprocessing(preprocess, blank, model.name).shape)
    if shape != blank.shape:
        raise ValueError(
            f"preprocess turns shape {blank.shape} into {shape}; it must keep it."
        )
    pair = np.stack([blank[0], blank[0] + 255])
    together = np.asarray(apply_preprocessing(preprocess, pair, model.name))
    alone = np.asarray(apply_preprocessing(preprocess, pair[:1], model.name))
    if not np.allclose(together[:1], alone, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise ValueError(
            "What preprocess makes of a picture depends on the others of its batch; "
            "take a mean or maximum over axis=(1, 2, 3), keepdims=True."
        )
    _warn_of_range(of_logits.model, preprocess, size, is_said)
    reading = f"{of_logits.activation}, {of_logits.reason}"
    if of_logits.is_yes_no:
        reading = f"one output, yes or no: {reading}"
    return (
        model.name, of_logits.model, preprocess, classes, "the model's own weights",
        of_logits.activation, reading, of_logits.blocks,
    )  # fmt: skip


def _warn_of_range(model: keras.Model, preprocess: Callable, size, is_said) -> None:
    """Where the values that reach the first kernel are far from what is usual."""
    fed, inside = value_ranges(model, preprocess, size)
    largest = max(map(abs, inside)) if inside else 1
    unscaled = inside and np.allclose(fed, inside) and largest > MAX_SCALED
    if unscaled and not is_said:
        fault = "nothing before its first weights rescales that"
    elif largest < MIN_SCALED or (largest > MAX_PIXEL and not is_said):
        fault = f"its first weights are given {inside[0]:.3g} to {inside[1]:.3g}"
    else:
        return
    warnings.warn(
        f"{model.name} is fed {fed[0]:.3g} to {fed[1]:.3g}, and {fault}. If it was "
        "trained on 0 to 1, say preprocess='unit'; on -1 to 1, preprocess='xception'; "
        "if on 0 to 255, or if it rescales by itself, preprocess='none'.",
        stacklevel=6,  # the caller of load_classifier
    )


def value_ranges(model: keras.Model, preprocess: Callable, size) -> tuple:
    """(lowest, highest) value that a model is fed, and that its first kernel is given.

    For a picture half black, half white; the second is None for a model of no kernels.
    """
    picture = np.zeros((1, *size, 3), "float32")
    picture[:, : size[0] // 2] = 255
    x = apply_preprocessing(preprocess, picture, model.name)
    fed, inside = (float(np.min(x)), float(np.max(x))), None
    for call in calls(model):
        if any(len(variable.shape) > 1 for variable in call.variables):
            entering = keras.Model(model.input, call.inputs[0])(x, training=False)
            inside = float(np.min(entering)), float(np.max(entering))
            break
    return fed, inside


def describe_input(model: keras.Model, preprocess: Callable, size) -> str:
    """ "fed 0 to 255, rescaled inside to -1 to 1": what a network is given."""
    fed, inside = value_ranges(model, preprocess, size)
    text = f"fed {fed[0]:.3g} to {fed[1]:.3g}"
    if inside and not np.allclose(fed, inside, rtol=0.05, atol=0.05):
        text += f", rescaled inside to {inside[0]:.3g} to {inside[1]:.3g}"
    return text


def _checked_input_size(model: keras.Model, input_size) -> tuple[int, int]:
    """The height and width that the model takes; refuses what is no RGB classifier."""
    if not getattr(model, "inputs", None):
        if input_size is not None:
            size = check_pair("input_size", input_size)
            if isinstance(model, keras.Sequential):  # else the first batch builds it
                model.build((None, *size, 3))
            return size
        raise ValueError(
            f"{model.name!r} does not say what it takes: it is a subclassed model, or "
            "a Sequential without an input. Say input_size=(height, width), or begin "
            "it with keras.Input(shape=(height, width, 3))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"Inputs: {len(model.inputs)}, outputs: {len(model.outputs)}. A classifier "
            "has one of each. Build a keras.Model around those you mean, other inputs "
            "held fixed: number = keras.ops.full_like(photo[:, 0, 0, :1], 40), then "
            "keras.Model(photo, model([photo, number]))."
        )
    shape = model.inputs[0].shape
    if len(shape) == 4 and shape[-1] == 1:
        size = ", ".join(map(str, shape[1:3]))
        raise ValueError(
            f"The model takes grey pictures, {tuple(shape)}. Put in front of it what "
            f"makes grey of RGB: rgb = keras.Input(({size}, 3)); grey = "
            "keras.ops.image.rgb_to_grayscale(rgb); then give keras.Model(rgb, "
            "model(grey))."
        )
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"The model takes input of shape {tuple(shape)}; expected (None, height, "
            "width, 3): RGB images, channels last."
        )
    fixed = tuple(shape[1:3])
    if None not in fixed and input_size not in (None, fixed, list(fixed)):
        raise ValueError(
            f"The model takes {fixed[0]} × {fixed[1]} pixels, and input_size is "
            f"{input_size!r}; leave it out."
        )
    if input_size is None and None not in fixed:
        return fixed
    if input_size is None:
        raise ValueError(
            "The model takes images of any size; say at which it was trained: "
            "input_size=(height, width)."
        )
    return check_pair("input_size", input_size)
