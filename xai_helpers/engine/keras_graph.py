"""The graph of a Keras model: which layer is called on which tensors.

Keras has no public interface for this, so this file reads private attributes. They may
occur here and nowhere else; ``tests/engine/test_keras_graph.py`` names each of them and
says what breaks without it.
"""

from typing import NamedTuple

from .tensorflow import keras


class Call(NamedTuple):
    """One call of a layer, or of another operation, in a model's graph."""

    layer: keras.Operation
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    key: int  # the same for the same call, whichever tensor led to it


def _call(node) -> Call:
    return Call(node.operation, node.input_tensors, node.outputs, id(node))


def calls(model: keras.Model) -> list[Call]:
    """All calls of the model's graph, in an order in which they can be computed."""
    by_depth = model._nodes_by_depth  # depth 0 holds the last calls
    return [_call(node) for depth in sorted(by_depth)[::-1] for node in by_depth[depth]]


def producer(tensor: keras.KerasTensor) -> Call:
    """The call that outputs this tensor."""
    layer, number, _ = tensor._keras_history
    return _call(layer._inbound_nodes[number])


def bottlenecks(model: keras.Model) -> list[Call]:
    """The calls that every path from the input to the output passes through."""
    order = calls(model)
    last_use = {}  # of what a call outputs, by the call's key
    for k, call in enumerate(order):
        last_use |= {producer(tensor).key: k for tensor in call.inputs}
    passed, latest = [], 0  # latest: where the tensors made so far are last used
    for k, call in enumerate(order):
        if latest <= k:  # all that uses earlier tensors comes before, or is this call
            passed.append(call)
        latest = max(latest, last_use.get(call.key, 0))
    return passed


def has_builtin_activation(layer) -> bool:
    """Whether the layer has no activation function, or one of Keras's own."""
    activation = getattr(layer, "activation", None)
    return not activation or activation.__module__.startswith("keras.src.activations")


def with_valid_padding(layer):
    """The same layer, its variables shared, for input that includes the padding."""
    unpadded = object.__new__(type(layer))
    unpadded.__dict__.update(layer.__dict__, padding="valid")
    return unpadded
