"""From any Keras classifier to one flat graph that ends in logits, of shared layers."""

import inspect
from collections import Counter
from typing import NamedTuple

import numpy as np

from .keras_graph import (
    Call,
    calls,
    is_builtin,
    is_composite,
    is_first,
    producer,
    rebuild,
    twin,
)
from .tensorflow import keras, retracing_unmentioned, tf

tree, TENSOR, LAYER = keras.tree, keras.KerasTensor, keras.layers.Layer
OUTPUTS = "softmax", "sigmoid"
REGRESSIONS = "squarederror absoluteerror mse mae huber logcosh poisson".split()


class LogitsModel(NamedTuple):
    """A classifier's graph, and what was understood of it."""

    model: keras.Model  # (N, height, width, 3) → (N, classes), float32 logits
    activation: str  # from logits to probabilities: "softmax" or "sigmoid"
    reason: str  # how that is known
    is_yes_no: bool  # one output, which became two classes
    blocks: dict[str, list[str]]  # see ``LayeredModel``


def logits_model(model: keras.Model, size, output: str | None, loss: str):
    """The model flattened, without its final activation, and compared with the given.

    output : "softmax", "sigmoid" or None: as the model's last activation or loss says
    loss : the name of the loss that it was trained with, or ""
    """
    flat, blocks = _flatten(model, size)
    shapes = [tuple(tensor.shape) for tensor in flat.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        shape = ", ".join(map(str, shapes))
        raise ValueError(f"The model outputs shape {shape}; expected (None, classes).")
    ending, logits = _without_activation(flat)
    activation, reason = _final_activation(ending, output, loss, flat)
    logits = logits if ending else flat
    _check_same_outputs(model, logits, activation, is_logits=not ending)
    is_yes_no = flat.output_shape[-1] == 1
    if is_yes_no and activation == "softmax":
        raise ValueError(
            "The model has one output under a softmax, which is always 1; a yes/no "
            "model ends in Dense(1, 'sigmoid')."
        )
    z = logits.output
    if z.dtype != "float32":  # the last layer computes in half precision
        z = keras.ops.cast(z, "float32")
    if is_yes_no:
        z = keras.ops.concatenate([-z, z], axis=-1)
    if z is not logits.output:
        logits = keras.Model(logits.input, z, name=logits.name)
    return LogitsModel(logits, activation, reason, is_yes_no, blocks)


# --- nested models and blocks become one graph ----------------------------------------


def _flatten(model: keras.Model, size) -> tuple[keras.Model, dict]:
    """One graph in place of nested ones, and what their names stand for."""
    pixels = keras.Input((*size, 3), name="pixels")
    first = flattening = _Flattening({})
    output = flattening.run(model, pixels)
    if names := first.names_that_tell_apart():
        flattening = _Flattening(names)
        output = flattening.run(model, pixels)
    outputs = tree.flatten(output)  # a list or dict of one is that one
    output = outputs[0] if len(outputs) == 1 else outputs
    flat = keras.Model(pixels, output, name=model.name)
    if any(call.kind == "TFSMLayer" for call in calls(flat)):
        raise ValueError(
            f"{model.name!r} holds a TFSMLayer, a compiled program without layers to "
            "look into. Load the model that was exported, or build it again, and give "
            "that keras.Model."
        )
    return flat, flattening.names_of_blocks(flat)


class _Flattening:
    """Calls every operation of a model once more, those in nested models as well."""

    def __init__(self, names: dict[int, str]):
        self.names = names  # of twins, by the ``id`` of the layer
        self.path: list[str] = []  # the models that the call is in, outermost first
        self.operations: dict[int, keras.Operation] = {}
        self.paths: dict[int, tuple[str, ...]] = {}
        self.twins: dict[int, keras.Operation] = {}
        self.numbers: Counter = Counter()
        self.outputs: dict[str, list] = {}  # of nested models and blocks
        self.reason = ""  # why the last block could not be unfolded

    def run(self, model: keras.Model, pixels) -> keras.KerasTensor:
        """What the model outputs for these pixels."""
        output = self._unfold(model, (pixels,), {})
        if output is None:
            raise ValueError(
                f"{model.name!r} cannot be written as a graph of layers, because its "
                "call() does more than call layers and keras.ops "
                f"({self.reason}). Build it with the functional API."
            )
        return output

    def call(self, operation: keras.Operation, *args, **kwargs):
        """What the operation outputs, as when the model predicts."""
        kwargs = _for_inference(operation, kwargs)
        if is_composite(operation):
            outputs = self._unfold(operation, args, kwargs)
            if outputs is not None:
                self.outputs.setdefault(operation.name, []).append(outputs)
                return outputs
        if type(operation).__name__ == "ConvertToTensor" and not kwargs:
            return args[0]  # what a nested model does to its input
        key = id(operation)
        self.operations[key] = operation
        self.paths.setdefault(key, (*self.path[1:], operation.name))
        if key in self.names:
            renamed = twin(operation, name=self.names[key])
            operation = self.twins.setdefault(key, renamed)
        return operation(*args, **kwargs)

    def _unfold(self, block, args, kwargs):
        """What a nested model outputs, its layers called one by one.

        None if that cannot be done, or is not the same.
        """
        try:
            graph, inputs = _graph_of(block, args, kwargs)
            inside = [call for call in calls(graph) if call.inputs]
            if not is_builtin(type(block).call):
                _check_same_block(block, graph, inside, args, kwargs)
        except Exception as error:  # whatever its author's code does with such tensors
            self.reason = (str(error).strip().splitlines() or [""])[0]
            return None
        if not is_builtin(type(block).call):  # operations made anew at every call
            for call in inside:
                self._name_operation(call, block.name)
        self.path.append(block.name)
        outputs = rebuild(graph, inputs, self.call)
        self.path.pop()
        return outputs

    def _name_operation(self, call: Call, block: str) -> None:
        """A name that does not count on from load to load: "block.add_1"."""
        if is_first(call) and not isinstance(call.operation, LAYER):
            name = f"{block}.{call.kind.lower()}"
            number, self.numbers[name] = self.numbers[name], self.numbers[name] + 1
            call.operation.name = f"{name}_{number}" if number else name

    def names_that_tell_apart(self) -> dict[int, str]:
        """Where layers share a name, that and as much of the path as is needed."""
        ends = Counter(
            path[-length:]
            for path in self.paths.values()
            for length in range(1, len(path) + 1)
        )
        names = {}
        for key, path in self.paths.items():
            if ends[path[-1:]] > 1:
                lengths = range(2, len(path) + 1)
                unique = [n for n in lengths if ends[path[-n:]] == 1]
                names[key] = ".".join(path[-min(unique, default=len(path)) :])
        return names

    def names_of_blocks(self, flat: keras.Model) -> dict[str, list[str]]:
        """What each block's name stands for: the calls that compute its output."""
        names: dict[int, str] = {}
        counts, number = Counter(c.operation.name for c in calls(flat)), Counter()
        for call in calls(flat):
            name = call.operation.name
            number[name] += 1
            suffix = f" (call {number[name]})" if counts[name] > 1 else ""
            names |= {id(tensor): name + suffix for tensor in call.outputs}
        return {
            block: [names[id(t)] for t in tree.flatten(tensors) if id(t) in names]
            for block, tensors in self.outputs.items()
        }


def _for_inference(operation, kwargs: dict) -> dict:
    """Dropout and augmentation off: some are on if nobody says so."""
    takes_training = isinstance(operation, LAYER) and (
        "training" in inspect.signature(operation.call).parameters
    )
    return kwargs | {"training": False} if takes_training else kwargs


def _graph_of(block, args, kwargs) -> tuple[keras.Model, list]:
    """A model of what a block's ``call`` does, and the tensors that go into it."""
    if is_builtin(type(block).call) and getattr(block, "inputs", None):
        is_sequence = isinstance(block, keras.Sequential)
        output = block.outputs[0] if is_sequence else block.output
        inputs = [t for t in tree.flatten((args, kwargs)) if hasattr(t, "shape")]
        return keras.Model(block.inputs, output), inputs
    inputs, places = [], []

    def place(value):
        if not isinstance(value, TENSOR):
            return value
        is_other_float = "float" in value.dtype and value.dtype != block.compute_dtype
        if is_other_float and block.autocast:
            value = keras.ops.cast(value, block.compute_dtype)
        inputs.append(value)
        places.append(keras.Input(batch_shape=value.shape, dtype=value.dtype))
        return places[-1]

    args, kwargs = tree.map_structure(place, (args, kwargs))
    return keras.Model(places, block.call(*args, **kwargs)), inputs


def _check_same_block(block, graph: keras.Model, inside: list[Call], args, kwargs):
    """An error if the graph of a block's ``call`` is not all that the block is.

    The call may use weights that belong to none of its layers, whose values would be
    frozen; or sizes that are not known yet, such as that of the batch.
    """
    layers = [call.operation for call in inside if isinstance(call.operation, LAYER)]
    used = {id(weight) for layer in layers for weight in layer.weights}
    if not {id(weight) for weight in block.weights} <= used:
        own = [weight.name for weight in block.weights if id(weight) not in used]
        raise ValueError(f"it has weights that are in no layer: {', '.join(own)}")
    rng = np.random.default_rng(0)

    def noise(value):
        if not isinstance(value, TENSOR):
            return value
        shape = [2 if side is None else side for side in value.shape]
        return tf.cast(rng.normal(size=shape), value.dtype)

    args, kwargs = tree.map_structure(noise, (args, kwargs))
    tensors = [t for t in tree.flatten((args, kwargs)) if tf.is_tensor(t)]
    expected = tree.flatten(block(*args, **kwargs))
    for value, right in zip(
        tree.flatten(graph(tensors, training=False)), expected, strict=True
    ):
        np.testing.assert_allclose(value, right, rtol=1e-2, atol=1e-3)


# --- the final activation -------------------------------------------------------------


def _without_activation(flat: keras.Model) -> tuple[str, keras.Model | None]:
    """The final activation and the model before it; "" and None if there is none."""
    tensor, later = flat.output, []
    while len((call := producer(tensor)).inputs) == 1:
        operation, before = call.operation, call.inputs[0]
        has_own = hasattr(operation, "activation")  # function; else it may be one
        kind = "linear"
        if not call.variables:
            kind = _activation_kind(operation, before.shape)
        elif has_own and operation.activation is not None:
            kind = _activation_kind(operation.activation, tensor.shape)
        if kind in OUTPUTS:
            logits = before
            if call.variables:  # the same layer without its activation
                linear, name = keras.activations.linear, f"{operation.name}_logits"
                logits = twin(operation, activation=linear, name=name)(before)
            for changes_no_value in reversed(later):
                logits = changes_no_value(logits)
            return kind, keras.Model(flat.input, logits, name=flat.name)
        if has_own and not kind:
            raise ValueError(
                f"The model ends in {operation.name!r}, whose activation is neither "
                "softmax nor sigmoid; a classifier ends in one of them or in none "
                "(logits)."
            )
        if call.variables or not kind:
            break
        later.append(operation)
        tensor = before
    return "", None


def _activation_kind(function, shape) -> str:
    """ "softmax", "sigmoid", "linear" or "": known by what it makes of numbers."""
    try:
        z = np.random.default_rng(0).normal(0, 2, (4, *shape[1:])).astype("float32")
        values = np.asarray(function(tf.constant(z)), "float32").reshape(len(z), -1)
    except Exception:  # a function of one's own may want anything else
        return ""
    z = z.reshape(len(z), -1)
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    kinds = {
        "linear": z,
        "sigmoid": 1 / (1 + np.exp(-z)),
        "softmax": powers / powers.sum(axis=1, keepdims=True),
    }
    same = [
        kind
        for kind, expected in kinds.items()
        if values.shape == expected.shape and np.allclose(values, expected, 1e-2, 1e-3)
    ]
    return same[0] if same else ""


def _final_activation(ending: str, output, loss: str, flat) -> tuple[str, str]:
    """What turns logits into probabilities, and how that is known."""
    if output not in (None, *OUTPUTS):
        raise ValueError(f"output is 'softmax', 'sigmoid' or None, not {output!r}.")
    if ending and output not in (None, ending):
        raise ValueError(f"output={output!r}, but the model ends in a {ending}.")
    if ending:
        return ending, "as its last activation"
    if output:
        return output, "as output= says"
    plain = loss.lower().replace("_", "")
    if "categorical" in plain:
        return "softmax", f"as its loss, {loss}"
    if "binary" in plain:
        return "sigmoid", f"as its loss, {loss}"
    if any(name in plain for name in REGRESSIONS):
        raise ValueError(
            f"The model was trained with {loss}, as for numbers and not for classes. "
            "If its outputs are logits all the same, say output='softmax' or "
            "output='sigmoid'."
        )
    if flat.output_shape[-1] == 1:
        return "sigmoid", "assumed for one output"
    return "softmax", "assumed; else say output='sigmoid'"


@retracing_unmentioned()
def _check_same_outputs(model, logits, activation: str, *, is_logits: bool):
    """Give both a bright and a dark picture of noise; refuse a model that differs."""

    def answers(pictures):
        (values,) = tree.flatten(model(pictures, training=False))
        return np.asarray(values, "float32")

    shape = (2, *logits.input_shape[1:])
    x = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    x[1] /= 255
    expected = answers(x)
    z = np.asarray(logits(x, training=False), "float32")
    outputs = np.asarray(keras.activations.get(activation)(tf.constant(z)))
    if not np.allclose(expected[1:], answers(x[1:]), rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"What {model.name!r} answers to a picture depends on the others of its "
            "batch (a mean or maximum over all?); take it over axis=(1, 2, 3), "
            "keepdims=True."
        )
    if is_logits and np.allclose(expected, z, 1e-3, 1e-3):
        sums = expected.sum(axis=1)
        shares = (expected >= 0).all() and np.allclose(sums, sums[0], rtol=1e-3)
        if (shares and sums[0] > 0 and expected.shape[1] > 1) or _outputs_bounded(
            answers, x
        ):
            raise ValueError(
                f"The outputs of {model.name!r} look like probabilities, but no "
                "softmax or sigmoid is found before them. If they add up to 1, give "
                "keras.Model(model.input, keras.ops.log(model.output)); else let the "
                "model end in Dense(..., 'softmax') or 'sigmoid'."
            )
    elif not np.allclose(expected, outputs, rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"{model.name!r} does something that its layers do not show (a call() of "
            "its own, for example), so its logits cannot be found."
        )


def _outputs_bounded(answers, x: np.ndarray) -> bool:
    """Logits leave 0–1 when the input grows a thousandfold; a sigmoid does not."""
    outputs = [answers(k * x) for k in (1, 1000, -1000)]
    return all(((y >= 0) & (y <= 1)).all() for y in outputs) and np.ptp(outputs) > 0


def randomised_copy(model: keras.Model, names: list[str], seed: int) -> keras.Model:
    """A copy whose kernels, in the layers of these names, are normal noise.

    Of the standard deviation of each kernel; biases and normalisations stay.
    """

    def copy_of(operation):
        if not isinstance(operation, LAYER):
            return operation
        return type(operation).from_config(operation.get_config())

    try:
        copy = keras.models.clone_model(model, clone_function=copy_of)
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"{model.name!r} cannot be copied: a layer of its own has no get_config() "
            f"that says how it is made ({str(error).splitlines()[0]})."
        ) from error
    copy.set_weights(model.get_weights())
    rng = np.random.default_rng(seed)
    for layer in copy.layers:
        arrays = layer.get_weights() if layer.name in names else []
        for k, kernel in enumerate(arrays):
            if kernel.ndim > 1:
                noise = rng.normal(0, kernel.std(), kernel.shape)
                arrays[k] = noise.astype(kernel.dtype)
        if arrays:
            layer.set_weights(arrays)
    return copy
