"""A network computed in half precision, where the machine is faster at it."""

from pathlib import Path

from .keras_graph import (
    Call,
    calls,
    has_builtin_activation,
    has_layers_inside,
    is_builtin,
    rebuild,
    twin,
)
from .tensorflow import keras, tf

PRECISIONS = "float32", "bfloat16", "float16"
FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86 processors, and of ARM


def check_precision(precision: str | None) -> str:
    """The precision, "float32" for None; a ValueError where it would not be faster."""
    precision = precision or "float32"
    if precision not in PRECISIONS:
        names = ", ".join(PRECISIONS)
        raise ValueError(f"precision is one of {names}, not {precision!r}.")
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "float16" and not has_gpu:
        raise ValueError("float16 is for graphics cards; a processor is slower in it.")
    if precision == "bfloat16" and not has_gpu and not has_fast_bfloat16():
        raise ValueError(
            "This processor has no instructions for bfloat16 (or does not say so), so "
            "that it would be slower than float32: leave out precision='bfloat16'."
        )
    return precision


def has_fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux lists the instructions among those of the processor."""
    try:
        return bool(FAST_BFLOAT16 & {*cpuinfo.read_text("utf-8").split()})
    except OSError:
        return False


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """The same graph, of twins that share the weights and compute in this precision.

    Twins are made of Keras's own layers, from the first to the last convolution (or
    attention): what comes before and after is computed in float32, so that neither the
    preprocessing nor the logits are rounded. A ValueError if there are none.
    """
    order, policy = calls(model), keras.DTypePolicy(f"mixed_{precision}")
    places = [k for k, call in enumerate(order) if _has_kernel_of_maps(call)] or [0]
    inside = [call.operation for call in order[places[0] : places[-1] + 1]]
    halved = {id(layer): twin(layer) for layer in inside if _can_be_halved(layer)}
    if not any(len(w.shape) > 2 for layer in halved.values() for w in layer.weights):
        raise ValueError(
            f"{model.name!r} has no convolution of Keras's own in float32, which alone "
            "can be computed in another precision: leave out precision."
        )
    for layer in halved.values():
        layer.dtype_policy = policy

    def call_twin(operation, *args, **kwargs):
        return halved.get(id(operation), operation)(*args, **kwargs)

    pixels = keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    try:
        logits = keras.tree.flatten(rebuild(model, [pixels], call_twin))[0]
    except (TypeError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"{model.name!r} cannot be computed in {precision} ({reason}): leave out "
            "precision."
        ) from error
    if logits.dtype != "float32":
        logits = keras.ops.cast(logits, "float32")
    return keras.Model(pixels, logits, name=model.name)


def _has_kernel_of_maps(call: Call) -> bool:
    return any(len(variable.shape) > 2 for variable in call.variables)


def _can_be_halved(operation) -> bool:
    """Whether it is a layer of Keras in float32, and holds nobody's code or layers."""
    return (
        isinstance(operation, keras.Layer)
        and operation.dtype_policy.name == "float32"
        and is_builtin(type(operation))
        and not isinstance(operation, keras.layers.Lambda)
        and has_builtin_activation(operation)
        and not has_layers_inside(operation)
    )
