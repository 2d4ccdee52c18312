"""Private names of Keras stand in one file; what breaks without each is said here."""

import ast
import inspect
from functools import cache
from pathlib import Path

import pytest
from toys import convolution, layers, model_with, pooled_logits

import xai_helpers
from xai_helpers import keras
from xai_helpers.engine import keras_graph

PACKAGE = Path(xai_helpers.__file__).parent
ONLY_PLACE = Path(keras_graph.__file__)
PRIVATE = (
    "_nodes_by_depth",
    "_keras_history",
    "_inbound_nodes",
    "_outbound_nodes",
    "_run_through_graph",
    "_flatten_layers",
)


@cache
def strings_and_names(file: Path) -> set[str]:
    """Attribute names, dotted names and string constants, without the docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and ast.get_docstring(node)
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names |= {node.attr, ast.unparse(node)}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.keyword):
            names.add(node.arg or "")
        elif isinstance(node, ast.Constant) and node not in docstrings:
            names.add(str(node.value))
    return names


@pytest.mark.parametrize("private", PRIVATE)
def test_a_private_name_of_keras_occurs_in_one_file_only(private):
    for file in PACKAGE.rglob("*.py"):
        uses = [name for name in strings_and_names(file) if private in name]
        if file == ONLY_PLACE:
            assert uses, f"{private} is no longer used: take it off this list."
        else:
            assert not uses, (
                f"{file.relative_to(PACKAGE)} uses {uses}, a private name of Keras: "
                "ask engine/keras_graph.py, and add a function there if need be."
            )


def test_all_private_names_that_the_file_uses_are_listed_here():
    private = {
        name
        for name in strings_and_names(ONLY_PLACE)
        if name.startswith("_") and not name.startswith("__") and name.isidentifier()
    }
    assert private == {name for name in PRIVATE if name.startswith("_")}


@pytest.fixture(scope="module")
def model():
    return model_with([convolution(), layers.ReLU(name="end")], pooled_logits(2))


def test_keras_still_numbers_the_calls_of_a_model_by_depth(model):
    assert hasattr(model, "_nodes_by_depth"), (
        "keras.Model has no _nodes_by_depth any more. keras_graph.calls() reads the "
        "order of computation from it: without it neither bottlenecks (expected "
        "gradients at a layer) nor incremental occlusion work."
    )
    depths = model._nodes_by_depth
    assert sorted(depths) == list(range(5))
    (last,) = depths[0]
    assert last.outputs[0] is model.output, (
        "Depth 0 of _nodes_by_depth no longer holds the last call: calls() would give "
        "them in the wrong order."
    )


def test_a_tensor_still_knows_the_call_that_made_it(model):
    assert hasattr(model.output, "_keras_history"), (
        "A KerasTensor has no _keras_history any more. keras_graph.producer() finds "
        "the call behind a tensor with it: without it no map can be placed on its "
        "photo (receptive fields), and bottlenecks are unknown."
    )
    history = model.output._keras_history
    assert len(history) == 3 and history[0] is model.layers[-1], (
        "_keras_history is no longer (layer, number of the call, number of the output)."
    )
    assert hasattr(model.layers[-1], "_inbound_nodes"), (
        "A layer has no _inbound_nodes any more. keras_graph.producer() looks up there "
        "which call of a shared layer made a tensor."
    )
    node = model.layers[-1]._inbound_nodes[history[1]]
    for name in ("operation", "input_tensors", "outputs"):
        assert hasattr(node, name), (
            f"A call in Keras's graph has no {name} any more: keras_graph.Call is made "
            "of it."
        )
    assert node.operation is model.layers[-1]


def test_keras_still_keeps_its_activations_where_they_are_looked_for():
    for name in ("relu", "softmax", "silu", "linear"):
        module = keras.activations.get(name).__module__
        assert module.startswith("keras."), (
            f"Keras's own {name} now stands in {module}. is_builtin() tells by that "
            "whether an activation is Keras's own: incremental occlusion would take "
            "the long way for every network."
        )


def test_a_layer_still_reads_its_padding_when_it_is_called():
    """``twin`` makes a twin of a layer by copying its attributes."""
    layer = layers.Conv2D(3, 3, padding="same")
    x = keras.random.normal((1, 8, 8, 3), seed=0)
    same = layer(x)
    valid = keras_graph.twin(layer, padding="valid")(x)
    assert valid.shape == (1, 6, 6, 3), (
        "A convolution no longer takes its padding from an attribute: incremental "
        "occlusion computes windows that hold their padding already."
    )
    assert keras.ops.all(keras.ops.isclose(valid, same[:, 1:-1, 1:-1], atol=1e-5))
    assert layer.padding == "same"
    assert layer(x).shape == same.shape


# --- what is built on them ------------------------------------------------------------


def test_calls_come_in_an_order_in_which_they_can_be_computed():
    entry = keras.Input((8, 8, 3))
    first = layers.Conv2D(3, 3, padding="same", name="first")
    x = first(entry)
    y = layers.Conv2D(3, 3, padding="same", name="branch")(x)
    end = layers.Dense(2, name="end")(layers.Flatten()(first(layers.Add()([x, y]))))
    model = keras.Model(entry, end)
    computed = set()
    order = keras_graph.calls(model)
    for call in order:
        assert {id(tensor) for tensor in call.inputs} <= computed
        computed |= {id(tensor) for tensor in call.outputs}
    names = [call.operation.name for call in order]
    assert names.count("first") == 2 and len(order) == 7
    assert len({call.key for call in order}) == 7
    for call in order:
        for tensor in call.outputs:
            assert keras_graph.producer(tensor).key == call.key
    passed = [call.operation.name for call in keras_graph.bottlenecks(model)]
    assert "branch" not in passed and passed[-1] == "end"
    assert passed.count("first") == 2  # before the branches, and after


@pytest.mark.parametrize(
    ("layer", "builtin"),
    [
        (lambda: layers.Conv2D(3, 3), True),
        (lambda: layers.Conv2D(3, 3, activation="relu"), True),
        (lambda: layers.MaxPooling2D(), True),
        (lambda: layers.Activation(lambda x: x - keras.ops.mean(x)), False),
    ],
)
def test_an_activation_of_your_own_is_told_from_those_of_keras(layer, builtin):
    assert keras_graph.has_builtin_activation(layer()) == builtin


def built_attention():
    attention, tokens = layers.MultiHeadAttention(2, 4), keras.Input((6, 8))
    attention(tokens, tokens)
    return attention


@pytest.mark.parametrize(
    ("layer", "inside"),
    [
        (built_attention, True),
        (lambda: layers.Conv2D(3, 3, activation=layers.ReLU()), True),
        (lambda: layers.Conv2D(3, 3, activation="relu"), False),
        (lambda: layers.SeparableConv2D(3, 3), False),
        (lambda: layers.BatchNormalization(), False),
    ],
)
def test_layers_inside_a_layer_are_found(layer, inside):
    assert keras_graph.has_layers_inside(layer()) == inside


def test_the_file_promises_this_test():
    assert "tests/engine/test_keras_graph.py" in inspect.getdoc(keras_graph)
