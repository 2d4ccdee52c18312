"""The graph of a Keras model: which operation is called on which tensors.

An operation is a layer, or what ``x + y`` and ``keras.ops`` put into a graph. Keras has
no public interface for this, so this file reads private attributes. They may occur here
and nowhere else; ``tests/engine/test_keras_graph.py`` names each of them and says what
breaks without it.
"""

from collections.abc import Callable
from typing import NamedTuple

from .tensorflow import keras


class Call(NamedTuple):
    """One call of an operation in a model's graph."""

    operation: keras.Operation
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]
    key: int  # the same for the same call, whichever tensor led to it
    args: tuple  # of the call, tensors and others
    kwargs: dict

    @property
    def kind(self) -> str:
        """The class of the operation: "Conv2D", "Add", …"""
        return type(self.operation).__name__

    @property
    def variables(self) -> list[keras.Variable]:
        """The weights of the layer, and those that it is called on."""
        used = keras.tree.flatten([*self.args, *self.kwargs.values()])
        own = getattr(self.operation, "weights", [])
        return [*own, *(value for value in used if isinstance(value, keras.Variable))]


def _call(node) -> Call:
    args, kwargs = node.arguments.args, node.arguments.kwargs
    return Call(
        node.operation, node.input_tensors, node.outputs, id(node), args, kwargs
    )


def calls(model: keras.Model) -> list[Call]:
    """All calls of the model's graph, in an order in which they can be computed.

    If each layer is called once, this is the order of ``model.layers``.
    """
    by_depth = model._nodes_by_depth  # depth 0 holds the last calls
    place = {id(operation): k for k, operation in enumerate(model.operations)}
    return [
        _call(node)
        for depth in sorted(by_depth)[::-1]
        for node in sorted(by_depth[depth], key=lambda n: place[id(n.operation)])
    ]


def producer(tensor: keras.KerasTensor) -> Call:
    """The call that outputs this tensor."""
    operation, number, _ = tensor._keras_history
    return _call(operation._inbound_nodes[number])


def is_first(call: Call) -> bool:
    """Whether its operation was never called before."""
    return id(call.operation._inbound_nodes[0]) == call.key


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


def rebuild(model: keras.Model, inputs: list, call: Callable):
    """The graph once more, on other input tensors; returns the output tensors.

    ``call(operation, *args, **kwargs)`` does what the operation does.
    """
    return model._run_through_graph(inputs, call_fn=call)


def is_builtin(function_or_class) -> bool:
    """Whether it is a part of Keras itself."""
    return str(function_or_class.__module__).split(".")[0] == "keras"


def is_own_layer(operation: keras.Operation) -> bool:
    """Whether it is a layer that somebody wrote, and not one of Keras."""
    return isinstance(operation, keras.Layer) and not is_builtin(type(operation))


def is_composite(operation: keras.Operation) -> bool:
    """A nested model, or a block: a layer of somebody's own with layers in it."""
    if isinstance(operation, keras.Model):
        return True
    return is_own_layer(operation) and has_layers_inside(operation)


def has_layers_inside(layer: keras.Layer) -> bool:
    """Whether it calls layers of its own, as MultiHeadAttention does."""
    return bool(layer._flatten_layers(include_self=False))


def has_builtin_activation(layer) -> bool:
    """Whether the layer has no activation function, or one of Keras's own."""
    activation = getattr(layer, "activation", None)
    is_layer = isinstance(activation, keras.Layer)  # which may look at neighbours
    return not activation or (is_builtin(activation) and not is_layer)


def twin(layer: keras.Operation, **attributes) -> keras.Operation:
    """The same layer, its variables shared, with other values of some attributes."""
    other = object.__new__(type(layer))
    other.__dict__.update(layer.__dict__, _inbound_nodes=[], _outbound_nodes=[])
    other.__dict__.update(attributes)
    return other
