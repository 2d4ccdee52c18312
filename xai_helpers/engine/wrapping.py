"""From any Keras classifier to one flat graph that ends in logits, of shared layers."""

import inspect

import numpy as np

from .tensorflow import keras, tf


def logits_model(model: keras.Model, size: tuple[int, int]):
    """The model flattened, without its final activation, and compared with the given.

    Returns it, (N, height, width, 3) → (N, classes); what each layer outputs in it, by
    name; and the activation that was left out, "softmax" or "sigmoid".
    """
    flat, tensors, last_layer, last_input = _flatten_nested(model, size)
    logits, activation = _remove_final_activation(flat, last_layer, last_input)
    _check_same_outputs(model, logits, activation, ends_in_logits=logits is flat)
    tensors[logits.layers[-1].name] = logits.output
    return logits, tensors, activation


def _flatten_nested(model: keras.Model, size: tuple[int, int]):
    """Nested models replaced by what is in them, one level of nesting at a time.

    Returns the model, what each layer outputs in it, the last layer, and its input.
    """
    has_nested, tensors, made_by = True, {}, {}

    def call(layer, *args, **kwargs):
        nonlocal has_nested
        if isinstance(layer, keras.Model):
            has_nested = True
            return layer.call(*args, **kwargs)
        inputs = args or tuple(kwargs.values())
        if "training" in inspect.signature(layer.call).parameters:
            kwargs["training"] = False  # augmentation layers are on if nobody says so
        output = tensors[layer.name] = layer(*args, **kwargs)
        made_by[id(output)] = layer, inputs[0]
        return output

    while has_nested:
        has_nested = False
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
    """In one graph, a name can be used once."""
    layers, names = list(model.layers), []
    for layer in layers:  # the list grows by what is in nested models
        if isinstance(layer, keras.Model):
            layers += layer.layers
        elif not isinstance(layer, keras.layers.InputLayer):
            names.append(layer.name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Several layers of {model.name!r} and its nested models are called "
            f"{', '.join(twice)}; give the new ones names of their own, as in "
            "Dense(3, name='my_dense')."
        )


class LogitsDense(keras.layers.Layer):
    """A Dense layer without its activation, sharing its variables."""

    def __init__(self, dense: keras.layers.Dense):
        super().__init__(name=f"{dense.name}_logits", dtype=dense.dtype_policy)
        self.dense = dense

    def call(self, x):
        x = keras.ops.matmul(x, self.dense.kernel)
        return x if self.dense.bias is None else x + self.dense.bias

    def get_config(self) -> dict:
        return {"dense": self.dense.get_config(), "inputs": self.dense.kernel.shape[0]}

    @classmethod
    def from_config(cls, config: dict) -> "LogitsDense":
        """One with variables of its own; their values are not copied."""
        dense = keras.layers.Dense.from_config(config["dense"])
        dense.build((None, config["inputs"]))
        return cls(dense)


def _remove_final_activation(model: keras.Model, last_layer, last_input):
    """The model that ends before the softmax or sigmoid, and which of the two it is."""
    activation = getattr(getattr(last_layer, "activation", None), "__name__", "linear")
    if isinstance(last_layer, keras.layers.Softmax):
        return keras.Model(model.input, last_input), "softmax"
    if activation == "linear":
        return model, "sigmoid" if model.output_shape[-1] == 1 else "softmax"
    if activation not in ("softmax", "sigmoid"):
        raise ValueError(
            f"The model ends in {last_layer.name!r} with activation {activation!r}; a "
            "classifier ends in softmax, sigmoid or none (logits)."
        )
    if isinstance(last_layer, keras.layers.Activation):
        return keras.Model(model.input, last_input), activation
    if isinstance(last_layer, keras.layers.Dense):
        return keras.Model(model.input, LogitsDense(last_layer)(last_input)), activation
    raise ValueError(
        f"The model ends in a {type(last_layer).__name__} with {activation}; put the "
        "activation into a layer of its own, keras.layers.Activation."
    )


def _check_same_outputs(model, without, activation: str, *, ends_in_logits: bool):
    """Give both models two noise pictures, and refuse a model that differs."""
    shape = (2, *without.input_shape[1:])
    x = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    expected = np.asarray(model(x, training=False), "float32")
    logits = np.asarray(without(x, training=False), "float32")
    outputs = np.asarray(keras.activations.get(activation)(tf.constant(logits)))
    same_logits = ends_in_logits and np.allclose(expected, logits, 1e-3, 1e-3)
    sums_to_1 = np.allclose(expected.sum(axis=1), 1, atol=1e-3)
    bounded = ((expected >= 0).all() and sums_to_1) or _outputs_bounded(model, x)
    if same_logits and bounded:
        raise ValueError(
            "The model's outputs look like probabilities, but its last layer shows no "
            "softmax or sigmoid; let it end in Dense(..., 'softmax') or 'sigmoid', or "
            "in a keras.layers.Activation."
        )
    if not same_logits and not np.allclose(expected, outputs, rtol=1e-2, atol=1e-3):
        raise ValueError(
            f"{model.name!r} does something that its layers do not show (a call() of "
            "its own, for example), so its logits cannot be found."
        )


def _outputs_bounded(model: keras.Model, x: np.ndarray) -> bool:
    """Logits leave 0–1 when the input grows a thousandfold; a sigmoid does not."""
    outputs = [np.asarray(model(k * x, training=False)) for k in (1, 1000, -1000)]
    return all(((y >= 0) & (y <= 1)).all() for y in outputs) and np.ptp(outputs) > 0


def randomised_copy(model: keras.Model, stop_layer: str, seed: int) -> keras.Model:
    """A copy whose kernels, from the output down to ``stop_layer``, are normal noise.

    Of the standard deviation of each kernel; biases and normalisations stay.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    rng = np.random.default_rng(seed)
    names = [layer.name for layer in model.layers]
    for layer in copy.layers[names.index(stop_layer) :]:
        arrays = layer.get_weights()
        for k, kernel in enumerate(arrays):
            if kernel.ndim > 1:
                noise = rng.normal(0, kernel.std(), kernel.shape)
                arrays[k] = noise.astype(kernel.dtype)
        layer.set_weights(arrays)
    return copy
