"""From a name, a file or a ``keras.Model`` to what a ``Classifier`` is made of."""

import os
import re
from collections.abc import Callable

import numpy as np

from . import weights
from .data import imagenet_classes
from .keras_files import load_keras_file
from .tensorflow import keras, tf
from .wrapping import logits_model

PREPROCESSING = {
    "vgg16": keras.applications.vgg16.preprocess_input,  # BGR minus the ImageNet mean
    "xception": keras.applications.xception.preprocess_input,  # −1 to 1
    "none": tf.identity,  # 0 to 255: the model rescales by itself
    "unit": lambda pixels: pixels / 255,  # 0 to 1
}


def load_model(model, kind, preprocess, labels, input_size) -> tuple:
    """The arguments of ``Classifier``, from those of ``load_classifier``."""
    if isinstance(model, os.PathLike) or (isinstance(model, str) and "." in model):
        model = load_keras_file(model)
    if isinstance(preprocess, str) and preprocess not in PREPROCESSING:
        names = ", ".join(PREPROCESSING)
        raise ValueError(f"preprocess is {names} or a function, not {preprocess!r}.")
    if isinstance(model, str):
        if not (preprocess is None and labels is None and input_size is None):
            raise ValueError(
                f"preprocess, labels and input_size belong to {model!r} already; "
                "they are for a keras.Model of your own."
            )
        return _named(model.lower(), kind)
    if isinstance(model, keras.Model):
        if kind is not None:
            raise ValueError("weights is for the named networks; yours has its own.")
        if isinstance(preprocess, str):
            preprocess = PREPROCESSING[preprocess]
        return _from_keras_model(model, preprocess or tf.identity, labels, input_size)
    raise ValueError(
        "model is 'vgg16', 'xception', a keras.Model or a .keras file, not "
        f"{type(model).__name__}."
    )


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


def _named(name: str, kind: str | None) -> tuple:
    title = weights.weights_record(name).title
    if weights.resolve_kind(name, kind) == "imagenet":
        model = weights.published_model(name)
        description = "imagenet weights, base and classifier as published"
    else:
        model = _portable(name)
        description = "portable weights: published base, re-fitted head"
    _reset_auto_names(model)
    return title, model, PREPROCESSING[name], imagenet_classes(), description


def _reset_auto_names(model: keras.Model) -> None:
    """``add`` to ``add_11`` at every load, though Keras counts on from load to load."""
    for layer_class in {type(layer) for layer in model.layers}:
        prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", layer_class.__name__).lower()
        pattern = re.compile(rf"{prefix}(?:_(\d+))?")
        matches = [(pattern.fullmatch(layer.name), layer) for layer in model.layers]
        numbered = [(int(m[1] or 0), layer) for m, layer in matches if m]
        for k, (_, layer) in enumerate(sorted(numbered, key=lambda pair: pair[0])):
            layer.name = f"{prefix}_{k}" if k else prefix


def _portable(name: str) -> keras.Model:
    """The published base under the head in ``data/heads/``, ending in logits."""
    base_arrays = list(weights.portable_base(name).values())
    head, _ = weights.portable_head(name)
    if name == "xception":  # exactly the published architecture
        model = keras.applications.Xception(weights=None, classifier_activation=None)
        model.set_weights([*base_arrays, head["kernel"], head["bias"]])
        return model
    base = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    base.set_weights(base_arrays)
    layers = keras.layers
    x = base.output  # block5_pool, 7 × 7 × 512; from here on the head is this project's
    average = layers.GlobalAveragePooling2D(name="portable_average")(x)
    maximum = layers.GlobalMaxPooling2D(name="portable_maximum")(x)
    x = layers.Concatenate(name="portable_pool")([average, maximum])
    predictions = layers.Dense(len(head["bias"]), name="portable_predictions")
    model = keras.Model(base.input, predictions(x), name="vgg16_portable")
    predictions.set_weights([head["kernel"], head["bias"]])
    return model


def _from_keras_model(model, preprocess, labels, input_size) -> tuple:
    size = _checked_input_size(model, input_size)
    logits, tensors, activation = logits_model(model, size)
    if labels is None:
        labels = [f"class {i}" for i in range(logits.output_shape[-1])]
    classes = [c if isinstance(c, (tuple, list)) else ("", str(c)) for c in labels]
    blank = np.zeros((1, *size, 3), "float32")
    shape = tuple(apply_preprocessing(preprocess, blank, model.name).shape)
    if shape != blank.shape:
        raise ValueError(
            f"preprocess turns shape {blank.shape} into {shape}; it must keep it."
        )
    description = "the model's own weights"
    return model.name, logits, preprocess, classes, description, activation, tensors


def _checked_input_size(model: keras.Model, input_size) -> tuple[int, int]:
    """The height and width that the model takes; refuses what is no RGB classifier."""
    if not getattr(model, "inputs", None) or not hasattr(model, "layers"):
        raise ValueError(
            f"{model.name!r} has no graph to look into: it is a subclassed model, or a "
            "Sequential that does not know its input yet. Build it with the functional "
            "API, or begin it with keras.Input(shape=(height, width, 3))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"The model has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs; a classifier has one of each. Build a keras.Model around those "
            "you mean."
        )
    shape, output_shape = model.inputs[0].shape, tuple(model.outputs[0].shape)
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"The model takes input of shape {tuple(shape)}; expected (None, height, "
            "width, 3): RGB images, channels last."
        )
    if len(output_shape) != 2:
        raise ValueError(
            f"The model outputs shape {output_shape}; expected (None, classes)."
        )
    height, width = input_size or shape[1:3]
    if height is None or width is None:
        raise ValueError(
            "The model takes images of any size; say at which it was trained: "
            "input_size=(height, width)."
        )
    return height, width
