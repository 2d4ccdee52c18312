"""``load_classifier(...)`` → ``Classifier``: a network, its preprocessing, its labels.

This is the only place that preprocesses, and the only one that knows where a
network's logits are.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from . import weights
from ._tensorflow import keras, tf
from .images import data_folder, load_image
from .weights import saved_model


class Prediction(NamedTuple):
    """One class and how sure the network is of it."""

    index: int
    wnid: str  # WordNet id, "" if the labels have none
    label: str
    probability: float  # 0–1
    logit: float  # before the softmax

    def __str__(self) -> str:
        return f"{self.label:<20} {self.probability:4.0%}"


class Layer(NamedTuple):
    """A layer that a map can be drawn for."""

    index: int  # place in ``classifier.network.layers``
    name: str
    kind: str  # its Keras class
    shape: tuple[int, int, int]  # height, width, channels of what it puts out

    def __str__(self) -> str:
        height, width, channels = self.shape
        return f"{self.index:3d}  {self.name:<28} {height} × {width} × {channels}"


class Cut(NamedTuple):
    """Where the network's square lies in the caller's photo, in the photo's pixels."""

    top: int
    left: int
    height: int
    width: int


# --- classifier -----------------------------------------------------------------------


class Classifier:
    """A Keras model together with input size, preprocessing and labels.

    Made by ``load_classifier``. Callers hold ``uint8`` RGB images of any size and
    nothing else; they are cut, scaled and preprocessed in here, once.

    Attributes
    ----------
    name : str
    network : keras.Model
        (N, height, width, 3) preprocessed → (N, classes) **logits**. Shares its layers
        with the model it was made from; nested models are unfolded, so every layer is
        in ``network.layers``.
    input_size : (int, int)
        Height and width in pixels.
    classes : list of (wnid, label)
    weights : str
        Which weights are in use, in words.
    fit : "crop" or "squash"
        Photos that are not of the network's shape: cut the centre, or squeeze.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        preprocess: Callable,
        classes: Sequence[tuple[str, str]],
        *,
        weights: str,
        output: str = "softmax",
        fit: str = "crop",
        tensors: dict[str, keras.KerasTensor] | None = None,
    ):
        if fit not in ("crop", "squash"):
            raise ValueError(f"fit is 'crop' or 'squash', not {fit!r}.")
        if len(classes) != network.output_shape[-1]:
            raise ValueError(
                f"{len(classes)} labels for a model with {network.output_shape[-1]} "
                "outputs; give one label for each."
            )
        self.name, self.network, self.weights, self.fit = name, network, weights, fit
        self._tensors = tensors or {
            layer.name: layer.output for layer in network.layers
        }
        self.input_size = tuple(network.input_shape[1:3])
        self.classes = [tuple(c) for c in classes]
        self.output = output
        self._scale = preprocess
        self._functions: dict = {}
        self._placements: dict = {}
        self._background: dict = {}  # what explain.shap_gradients keeps of the last one
        self._forward = self.compiled(
            "forward", lambda: partial(self.network, training=False)
        )

    def __repr__(self) -> str:
        height, width = self.input_size
        return (
            f"<Classifier {self.name}: {height} × {width} px → "
            f"{len(self.classes)} classes; {self.weights}>"
        )

    # --- from photo to network input ---

    def cut(self, image) -> tuple[np.ndarray, Cut]:
        """The square that the network sees, still as a picture, and where it was.

        Parameters
        ----------
        image : anything that ``load_image`` takes

        Returns
        -------
        ndarray, uint8, shape (height, width, 3)
        Cut
        """
        image = load_image(image)
        height, width = self.input_size
        place = Cut(0, 0, *image.shape[:2])
        if self.fit == "crop":
            scale = min(place.height / height, place.width / width)
            h, w = max(1, round(height * scale)), max(1, round(width * scale))
            place = Cut((place.height - h) // 2, (place.width - w) // 2, h, w)
        rows = slice(place.top, place.top + place.height)
        columns = slice(place.left, place.left + place.width)
        square = Image.fromarray(np.ascontiguousarray(image[rows, columns]))
        return np.array(square.resize((width, height), Image.BILINEAR)), place

    def preprocess(self, images) -> np.ndarray:
        """What the network is fed: float32 (N, height, width, 3) in its own range.

        Parameters
        ----------
        images : one image, a sequence of images, or a uint8 array (N, H, W, 3)
            Each as ``load_image`` takes it, of any size. They are not changed.

        Raises
        ------
        ImageError
            For an image that is not ``uint8`` RGB: one that has been preprocessed
            already, for example.
        """
        return self.scale(np.stack([self.cut(image)[0] for image in _as_list(images)]))

    def scale(self, pixels):
        """Pixel values 0–255 at the network's size → the network's own range.

        The arithmetic alone, differentiable, for code that works on pixels: an array
        or a tensor (N, height, width, 3), RGB, 0–255, any float or uint8.

        Returns
        -------
        float32, an array for an array and a tensor for a tensor; never the same object.
        """
        try:
            scaled = self._scale(tf.identity(tf.cast(pixels, tf.float32)))
            scaled = tf.cast(scaled, tf.float32)
        except (NotImplementedError, AttributeError, TypeError) as error:
            raise ValueError(
                f"The preprocess of {self.name} cannot take a tensor ({error}). It is "
                "given float32 pixels (N, height, width, 3) and must return the same "
                "shape; write it with TensorFlow or keras.ops, without NumPy."
            ) from error
        return scaled if tf.is_tensor(pixels) else np.asarray(scaled)

    # --- from network input to answers ---

    def logits(self, images, batch_size: int = 16) -> np.ndarray:
        """Scores before the softmax, float32 (N, classes); images as ``preprocess``."""
        images = _as_list(images)
        batches = [
            self._forward(self.preprocess(images[start : start + batch_size])).numpy()
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate(batches).astype("float32")

    def probabilities(self, images, batch_size: int = 16) -> np.ndarray:
        """float32 (N, classes), range 0–1. Images as in ``preprocess``."""
        return self._normalised(self.logits(images, batch_size))

    def _normalised(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(keras.activations.get(self.output)(tf.constant(logits)))

    def top(self, image, k: int = 5) -> list[Prediction]:
        """The k classes that the network is surest of, best first.

        Parameters
        ----------
        image : one image, as ``load_image`` takes it
        k : int, 1 to the number of classes
        """
        if not 1 <= k <= len(self.classes):
            raise ValueError(f"k is 1 to {len(self.classes)}, not {k}.")
        logits = self.logits([image])[0]
        best = np.argsort(-logits, kind="stable")[:k]
        return [self._prediction(i, logits) for i in best]

    def _prediction(self, index: int, logits: np.ndarray) -> Prediction:
        probability = self._normalised(logits[None])[0, index]
        wnid, label = self.classes[index]
        return Prediction(
            int(index), wnid, label, float(probability), float(logits[index])
        )

    # --- look-ups ---

    def index(self, target: str | int) -> int:
        """The class index of a label ("tabby"), a WordNet id, an index, a Prediction.

        Digits as text are a label if there is one, else an index.

        Raises
        ------
        ValueError
            If nothing, or more than one class, answers to it; the message names close
            labels or the WordNet ids to choose from.
        """
        if isinstance(target, Prediction):
            target = target.index
        if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
            if not 0 <= target < len(self.classes):
                raise ValueError(
                    f"Class index {target} is outside 0 to {len(self.classes) - 1}."
                )
            return int(target)
        wanted = str(target).strip().lower().replace(" ", "_")
        found = [
            i
            for i, (wnid, label) in enumerate(self.classes)
            if wanted and wanted in (wnid.lower(), label.lower().replace(" ", "_"))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            ids = " or ".join(self.classes[i][0] or str(i) for i in found)
            raise ValueError(f"{len(found)} classes are called {target!r}: give {ids}.")
        if wanted.isdecimal() and wanted.isascii():  # an index, as text
            return self.index(int(wanted))
        raise ValueError(f"No class {target!r}. {self._close_labels(wanted)}")

    def _close_labels(self, wanted: str) -> str:
        labels = [label for _, label in self.classes]
        lower = {label.lower(): label for label in labels}
        close = [label for key, label in lower.items() if wanted and wanted in key][:5]
        close += [
            lower[key]
            for key in difflib.get_close_matches(wanted, lower, n=5, cutoff=0.6)
            if lower[key] not in close
        ]
        if close:
            return f"Close labels: {', '.join(close)}."
        return f"Labels are such as {', '.join(labels[:3])}; see classifier.classes."

    def label(self, target: str | int) -> str:
        """The label of a class, looked up as in ``index``."""
        return self.classes[self.index(target)][1]

    def layers(self) -> list[Layer]:
        """The layers that a map can be drawn for, in network order.

        Those that put out a stack of maps (height, width, channels): convolutions,
        pools, activations, normalisations. ``Layer.index`` is the place in
        ``network.layers``, so VGG16's "layer 7" of the article is index 7 here.
        """
        return list(self._layers)

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        found = []
        for index, layer in enumerate(self.network.layers):
            if isinstance(layer, keras.layers.InputLayer):
                continue
            tensor = self._tensors.get(layer.name)
            if isinstance(tensor, keras.KerasTensor) and len(tensor.shape) == 4:
                kind, shape = type(layer).__name__, tensor.shape[1:]
                found.append(Layer(index, layer.name, kind, shape))
        return tuple(found)

    def layer(self, layer: str | int) -> Layer:
        """One of ``layers()``, by name or by its index in ``network.layers``.

        Raises
        ------
        ValueError
            If there is no such layer, or it puts out no maps; the message lists those
            that do.
        """
        for known in self._layers:
            if layer in (known, known.name, known.index) and layer is not True:
                return known
        usable = ", ".join(f"{known.index} {known.name}" for known in self._layers)
        usable = usable or "none, the network has no layer with maps"
        names = [known.name for known in self.network.layers]
        exists = layer in names or (isinstance(layer, int) and 0 <= layer < len(names))
        why = (
            "puts out no maps (height, width, channels)" if exists else "does not exist"
        )
        raise ValueError(f"Layer {layer!r} of {self.name} {why}. Usable: {usable}.")

    def up_to(self, *layers: str | int) -> keras.Model:
        """The network from its input to what these layers put out, one output for each.

        For a model with nested parts this is the way to an inner layer: the layer's own
        ``.output`` belongs to the graph that it was first built in.
        """
        found = [self._tensors[self.layer(layer).name] for layer in layers]
        return keras.Model(self.network.input, found[0] if len(found) == 1 else found)

    def with_logits(self, *layers: str | int) -> keras.Model:
        """As ``up_to``, with the logits as the last output: a list, of at least two."""
        found = [self._tensors[self.layer(layer).name] for layer in layers]
        return keras.Model(self.network.input, [*found, self.network.output])

    def after(self, layer: str | int) -> keras.Model:
        """The rest of the network, from what this layer puts out to the logits.

        Raises
        ------
        ValueError
            If a connection leads around the layer, so that what follows does not depend
            on it alone; the message lists the layers that everything passes through.
        """
        name = self.layer(layer).name
        if name not in self.bottlenecks:
            raise ValueError(
                f"A skip connection leads around {name!r}, so what follows does not "
                "depend on it alone. Everything passes through: "
                f"{', '.join(self.bottlenecks)}."
            )
        return keras.Model(self._tensors[name], self.network.output)

    @cached_property
    def bottlenecks(self) -> tuple[str, ...]:
        """Names of the layers with maps that every path through the network passes."""
        by_depth = self.network._nodes_by_depth  # of the calls; 0 is the last
        calls = [call for depth in sorted(by_depth)[::-1] for call in by_depth[depth]]
        place = {id(call): k for k, call in enumerate(calls)}
        last = [0] * len(calls)  # how far on what a call puts out is used
        for k, call in enumerate(calls):
            for tensor in call.input_tensors:
                layer, number, _ = tensor._keras_history
                last[place[id(layer._inbound_nodes[number])]] = k
        farthest = np.maximum.accumulate([0, *last])  # of all calls before k
        users = [call.operation.name for call in calls]
        passed = []
        for known in self._layers:
            layer, number, _ = self._tensors[known.name]._keras_history
            k = place.get(id(layer._inbound_nodes[number]))
            if k is not None and farthest[k] <= k and users.count(known.name) == 1:
                passed.append(known.name)
        return tuple(passed)

    def compiled(self, key, build: Callable, signature=None) -> Callable:
        """``build()`` as a TensorFlow graph, made for this key once.

        signature : the ``tf.TensorSpec`` of each argument, or None
            Without, a graph is made for the first shapes and one more for all others.

        ``build`` returns a function of tensors. Wrapped in a partial, since TensorFlow
        tells functions apart by their code, and would warn that one for each layer is
        one function compiled over and over.
        """
        if key not in self._functions:
            self._functions[key] = tf.function(
                partial(build()),
                input_signature=signature,
                reduce_retracing=True,
                autograph=False,
            )
        return self._functions[key]


def _as_list(images) -> list:
    """One image, a sequence of them or an (N, H, W, 3) array → a list of images."""
    many = isinstance(images, (list, tuple))
    if not many and not (isinstance(images, np.ndarray) and images.ndim == 4):
        return [images]
    if not len(images):
        raise ValueError("No images given.")
    return list(images)


# --- loading --------------------------------------------------------------------------


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, label) of the 1000 ImageNet classes, in Keras's order."""
    table = json.loads((data_folder() / "imagenet_class_index.json").read_text("utf-8"))
    return tuple(tuple(table[str(i)]) for i in range(len(table)))


_SCALE = {
    "vgg16": keras.applications.vgg16.preprocess_input,  # BGR minus the ImageNet mean
    "xception": keras.applications.xception.preprocess_input,  # −1 to 1
    "none": tf.identity,  # 0 to 255: the model rescales by itself
    "unit": lambda pixels: pixels / 255,  # 0 to 1
}


def load_classifier(
    model: str | os.PathLike | keras.Model = "xception",
    *,
    weights: str | None = None,
    preprocess: Callable | str | None = None,
    labels: Sequence | None = None,
    input_size: tuple[int, int] | None = None,
    fit: str = "crop",
    verbose: bool = True,
) -> Classifier:
    """A classifier, ready to be asked and explained.

    Parameters
    ----------
    model : "vgg16", "xception", a keras.Model, or the path of a ``.keras`` file
        A model of one's own takes (N, height, width, 3) and gives (N, classes),
        softmax or sigmoid at the end or not; it may hold nested models. A file is
        loaded safely: one that holds code (a Lambda layer) is refused.
    weights : "imagenet", "portable" or None
        For the two named networks. None: as ``XAI_WEIGHTS`` says, else ``imagenet`` if
        Keras has downloaded it before, else ``portable``.
    preprocess : callable or name, for a model of one's own
        Tensor (N, height, width, 3), float32 RGB 0–255 → what the model was trained on;
        or "xception" (−1 to 1), "vgg16" (BGR minus the ImageNet mean), "unit" (0 to 1).
        None or "none" if the model does its own rescaling.
    labels : sequence of str, for a model of one's own
        One for each output; or pairs (WordNet id, label).
    input_size : (height, width), for a model of one's own with a flexible input
    fit : "crop" or "squash"
        What to do with photos of another shape than the network's.
    verbose : bool
        Print one line that says which weights are in use.

    Raises
    ------
    ValueError
        For an unknown network or kind of weights, or a model that cannot be used.
    WeightsError
        If the weights are not to be had, or a file is refused; the message names the
        way out.
    """
    if isinstance(model, os.PathLike) or (isinstance(model, str) and "." in model):
        model = saved_model(model)
    if isinstance(preprocess, str):
        if preprocess not in _SCALE:
            names = ", ".join(_SCALE)
            raise ValueError(
                f"preprocess is {names} or a function, not {preprocess!r}."
            )
        if not isinstance(model, str):
            preprocess = _SCALE[preprocess]
    if isinstance(model, str):
        if not (preprocess is None and labels is None and input_size is None):
            raise ValueError(
                f"preprocess, labels and input_size belong to {model!r} already; "
                "they are for a keras.Model of your own."
            )
        classifier = _load_named(model.lower(), weights, fit)
    elif isinstance(model, keras.Model):
        if weights is not None:
            raise ValueError("weights is for the named networks; yours has its own.")
        classifier = _wrap(model, preprocess, labels, input_size, fit)
    else:
        raise ValueError(
            "model is 'vgg16', 'xception', a keras.Model or a .keras file, not "
            f"{type(model).__name__}."
        )
    if verbose:
        print(f"{classifier.name}: {classifier.weights}")
    return classifier


def _load_named(name: str, kind: str | None, fit: str) -> Classifier:
    record = weights.network(name)
    if weights.choose(name, kind) == "imagenet":
        network = weights.published_model(name)
        said = "imagenet weights, base and classifier as published"
    else:
        network, said = (
            _portable(name),
            "portable weights: published base, re-fitted head",
        )
    _count_from_zero(network)
    classes = imagenet_classes()
    return Classifier(
        record.title, network, _SCALE[name], classes, weights=said, fit=fit
    )


def _count_from_zero(network: keras.Model) -> None:
    """Xception's sums are ``add`` to ``add_11`` at every load.

    Keras counts layers without a name through the whole process: loaded a second time,
    the same network would have ``add_12`` to ``add_23``.
    """
    for kind in {type(layer) for layer in network.layers}:
        prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
        counted = re.compile(rf"{prefix}(?:_(\d+))?")
        found = [(counted.fullmatch(layer.name), layer) for layer in network.layers]
        found = [(int(m[1] or 0), layer) for m, layer in found if m]
        for k, (_, layer) in enumerate(sorted(found, key=lambda pair: pair[0])):
            layer.name = f"{prefix}_{k}" if k else prefix


def _portable(name: str) -> keras.Model:
    """The published base under the head in ``data/heads/``, ending in logits."""
    base_arrays = list(weights.portable_base(name).values())
    head, _ = weights.portable_head(name)
    if name == "xception":  # exactly the published architecture
        network = keras.applications.Xception(weights=None, classifier_activation=None)
        network.set_weights([*base_arrays, head["kernel"], head["bias"]])
        return network
    base = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    base.set_weights(base_arrays)
    layers = keras.layers
    x = base.output  # block5_pool, 7 × 7 × 512; from here on the head is this project's
    x = layers.Concatenate(name="portable_pool")(
        [
            layers.GlobalAveragePooling2D(name="portable_average")(x),
            layers.GlobalMaxPooling2D(name="portable_maximum")(x),
        ]
    )
    predictions = layers.Dense(len(head["bias"]), name="portable_predictions")
    network = keras.Model(base.input, predictions(x), name="vgg16_portable")
    predictions.set_weights([head["kernel"], head["bias"]])
    return network


# --- models of one's own --------------------------------------------------------------


def _wrap(model, preprocess, labels, input_size, fit) -> Classifier:
    if not getattr(model, "inputs", None) or not hasattr(model, "layers"):
        raise ValueError(
            f"{model.name!r} has no graph to look into: it is a subclassed model, or a "
            "Sequential that does not know its input yet. Build it with the functional "
            "API, or begin it with keras.Input(shape=(height, width, 3))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"The model has {len(model.inputs)} inputs and "
            f"{len(model.outputs)} outputs; a classifier has one of each. Build a "
            "keras.Model around those you mean."
        )
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"The model takes input of shape {tuple(shape)}; wanted (None, height, "
            "width, 3): RGB images, channels last."
        )
    if len(model.outputs[0].shape) != 2:
        raise ValueError(
            f"The model puts out shape {tuple(model.outputs[0].shape)}; wanted "
            "(None, classes)."
        )
    height, width = input_size or shape[1:3]
    if height is None or width is None:
        raise ValueError(
            "The model takes images of any size; say at which it was trained: "
            "input_size=(height, width)."
        )
    unfolded, tensors, last, before = _unfold(model, (height, width))
    network, output = _logits_network(unfolded, last, before)
    if labels is None:
        labels = [f"class {i}" for i in range(network.output_shape[-1])]
    classes = [
        tuple(c) if isinstance(c, (tuple, list)) else ("", str(c)) for c in labels
    ]
    _check_twin(model, network, output, stripped=network is not unfolded)
    classifier = Classifier(
        model.name,
        network,
        preprocess or tf.identity,
        classes,
        weights="the model's own weights",
        output=output,
        fit=fit,
        tensors=tensors | {network.layers[-1].name: network.output},
    )
    given = np.zeros((1, *classifier.input_size, 3), "float32")
    found = tuple(classifier.scale(tf.constant(given)).shape)
    if found != given.shape:
        raise ValueError(
            f"preprocess turns shape {given.shape} into {found}; it must keep it."
        )
    return classifier


def _unfold(model: keras.Model, size: tuple[int, int]):
    """The same layers on one level: nested models replaced by what is in them.

    The layers are shared, not copied. Unfolded, every inner layer has its place in one
    graph, so maps can be drawn for a base nested in a transfer-learned model.

    Returns the model; by layer name, what each layer puts out in this graph (a shared
    layer's ``.output`` is that of another graph); the last layer; what goes into it.
    """
    nested, tensors, made_by = True, {}, {}

    def call(layer, *args, **kwargs):
        nonlocal nested
        if isinstance(layer, keras.Model):
            nested = True
            return layer.call(*args, **kwargs)
        inputs = args or tuple(kwargs.values())
        if "training" in inspect.signature(layer.call).parameters:
            kwargs["training"] = False  # augmentation layers are on if nobody says so
        output = tensors[layer.name] = layer(*args, **kwargs)
        made_by[id(output)] = layer, inputs[0]
        return output

    while nested:  # each round opens one level of nesting
        nested = False
        tensors.clear()
        _check_names(model)
        model = keras.models.clone_model(
            keras.Model(model.inputs[0], model.outputs[0], name=model.name),
            input_tensors=keras.Input((*size, 3), name="pixels"),
            clone_function=lambda layer: layer,
            call_function=call,
        )
    return model, tensors, *made_by[id(model.output)]


def _check_names(model: keras.Model) -> None:
    """Unfolded, all layers stand in one graph, where a name can be used once."""
    names = [layer.name for layer in _all_layers(model)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Several layers of {model.name!r} and its nested models are called "
            f"{', '.join(twice)}; give the new ones names of their own, as in "
            "Dense(3, name='my_dense')."
        )


def _all_layers(model: keras.Model) -> list:
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _all_layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            found.append(layer)
    return found


def _check_twin(model, network, output: str, *, stripped: bool) -> None:
    """Ask both for two noise pictures; a twin that answers otherwise is refused."""
    shape = (2, *network.input_shape[1:])
    x = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    theirs = np.asarray(model(x, training=False), "float32")
    logits = np.asarray(network(x, training=False), "float32")
    ours = np.asarray(keras.activations.get(output)(tf.constant(logits)))
    ends_in_logits = not stripped and np.allclose(theirs, logits, rtol=1e-3, atol=1e-3)
    shares = (theirs >= 0).all() and np.allclose(theirs.sum(axis=1), 1, atol=1e-3)
    if ends_in_logits and (shares or _stays_in_0_1(model, x)):
        raise ValueError(
            "The model's outputs look like probabilities, but its last layer shows no "
            "softmax or sigmoid; let it end in Dense(..., 'softmax') or 'sigmoid', or "
            "in a keras.layers.Activation."
        )
    if not ends_in_logits and not np.allclose(theirs, ours, rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"{model.name!r} does something that its layers do not show (a call() of "
            "its own, for example), so its logits cannot be found."
        )


def _stays_in_0_1(model: keras.Model, x: np.ndarray) -> bool:
    """Logits leave 0–1 when the input grows a thousandfold; a sigmoid does not."""
    answers = [np.asarray(model(k * x, training=False)) for k in (1, 1000, -1000)]
    return all(((a >= 0) & (a <= 1)).all() for a in answers) and np.ptp(answers) > 0


class PreActivation(keras.layers.Layer):
    """A Dense layer without its activation, sharing its variables."""

    def __init__(self, dense: keras.layers.Dense, **kwargs):
        kwargs = {"dtype": dense.dtype_policy} | kwargs
        super().__init__(name=f"{dense.name}_logits", **kwargs)
        self.dense = dense

    def call(self, x):
        x = keras.ops.matmul(x, self.dense.kernel)
        return x if self.dense.bias is None else x + self.dense.bias

    def copy(self) -> PreActivation:
        """One with variables of its own; their values are not copied."""
        dense = type(self.dense).from_config(self.dense.get_config())
        dense.build((None, self.dense.kernel.shape[0]))
        return PreActivation(dense)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.dense.units)


def _logits_network(model, last, before) -> tuple[keras.Model, str]:
    """The twin that ends before the softmax, and the activation that was left out."""
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.input, before), "softmax"
    output = getattr(getattr(last, "activation", None), "__name__", "linear")
    if output == "linear":
        return model, "sigmoid" if model.output_shape[-1] == 1 else "softmax"
    if output not in ("softmax", "sigmoid"):
        raise ValueError(
            f"The model ends in {last.name!r} with activation {output!r}; a classifier "
            "ends in softmax, sigmoid or none (logits)."
        )
    if isinstance(last, keras.layers.Activation):
        return keras.Model(model.input, before), output
    if isinstance(last, keras.layers.Dense):
        return keras.Model(model.input, PreActivation(last)(before)), output
    raise ValueError(
        f"The model ends in a {type(last).__name__} with {output}; put the activation "
        "into a layer of its own, keras.layers.Activation."
    )
