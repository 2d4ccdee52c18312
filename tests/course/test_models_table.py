"""The table of all architectures, and that its checks can fail."""

import inspect
import math

import model_checks
import models
import numpy as np
import pytest

from xai_helpers import explain, keras

TABLE = models.read()
CELLS = {
    (row["model"], column): cell
    for row in TABLE["rows"]
    for column, cell in row["cells"].items()
}
REFUSED = set()  # (model, technique) of which the page says why


# --- the committed table --------------------------------------------------------------


def test_the_table_names_every_architecture_and_every_technique():
    """`python tools/models.py --missing` computes the rows of new architectures."""
    builders = [
        name
        for name in dir(keras.applications)
        if inspect.isfunction(getattr(keras.applications, name))
    ]
    assert len(builders) >= 40
    transformers = list(model_checks.transformers())
    assert len(transformers) == 5
    assert [row["model"] for row in TABLE["rows"]] == builders + transformers
    columns = {"loads", "default layer", *explain.TECHNIQUES}
    for row in TABLE["rows"]:
        assert row["cells"].keys() == columns, row["model"]


def test_every_cell_is_equal_or_a_refusal_that_is_known():
    for place, cell in CELLS.items():
        if place in REFUSED:
            assert cell["verdict"] == "refused" and cell["says"].endswith("."), place
            continue
        assert cell["verdict"] == "equal", (place, cell)
        by_64_bits = "in 64 bits" in cell
        found = cell["in 64 bits" if by_64_bits else "distance"]
        limit = 1e-5 if by_64_bits else 1e-4
        assert math.isfinite(found) and 0 <= found <= limit, (place, cell)
    assert CELLS.keys() >= REFUSED


def test_the_page_is_made_from_the_table():
    assert models.PAGE.read_text("utf-8") == models.page(TABLE), "run --page"


@pytest.mark.parametrize("name", model_checks.architectures())
def test_a_smaller_input_is_refused_by_keras(name):
    size = model_checks.CASES[name].size
    build = model_checks.architectures()[name]
    with pytest.raises(ValueError, match=f"at least {size}x{size}"):
        build(weights=None, classes=10, input_shape=(size - 1, size - 1, 3))


# --- the checks -----------------------------------------------------------------------


def tiny():
    """A sum that is an operation, nothing pooled yet when it ends."""
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", name="one")(inputs)
    x = keras.layers.Activation("tanh", name="bent")(keras.layers.MaxPooling2D()(x))
    y = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="two")(x)
    x = keras.layers.GlobalAveragePooling2D()(x + y)
    outputs = keras.layers.Dense(10, activation="softmax", name="head")(x)
    return keras.Model(inputs, outputs)


TINY = model_checks.Case(tiny, 12)


@pytest.fixture(scope="module")
def trial():
    return model_checks.Trial(TINY)


def verdict(column, trial):
    checks = model_checks.BEFORE | model_checks.CHECKS
    return model_checks.checked(checks[column], trial)["verdict"]


def test_every_technique_has_a_check():
    assert model_checks.CHECKS.keys() == explain.TECHNIQUES.keys()


def test_a_sound_model_is_equal_in_every_column():
    row = model_checks.measure("tiny", TINY)
    assert len(row["cells"]) == 2 + len(explain.TECHNIQUES)
    assert {cell["verdict"] for cell in row["cells"].values()} == {"equal"}, row
    assert row["grid"] == [6, 6, 6]


def test_the_answers_of_the_random_model_differ_between_photos(trial):
    logits = trial.truth.scores(model_checks.photos(8, 12, 5), slice(None))
    assert np.isfinite(logits).all()
    assert (logits.std(axis=0) > 0.2).all()
    assert len(set(logits.argmax(axis=1))) > 1


def with_fault(monkeypatch, name, change):
    """``explain.NAME`` with values that were changed."""
    function = explain.TECHNIQUES[name].function

    def faulty(*arguments, **options):
        result = function(*arguments, **options)
        result.values = change(result.values)
        return result

    monkeypatch.setitem(vars(explain), name, faulty)


FAULTS = {
    "one percent more": lambda values: values * np.float32(1.01),
    "mirrored": lambda values: values[:, ::-1],
    "not finite": lambda values: values / np.float32(0.0),
    "rows lost": lambda values: values[1:],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_a_planted_fault_differs(name, fault, trial, monkeypatch):
    with np.errstate(all="ignore"):
        with_fault(monkeypatch, name, FAULTS[fault])
        assert verdict(name, trial) == "differs"
    monkeypatch.undo()
    assert verdict(name, trial) == "equal"


@pytest.mark.parametrize("name", ["activations", "grad_cam", "layer_cam"])
def test_the_branch_in_place_of_the_sum_differs(name, trial, monkeypatch):
    """The same grid, but without what skips the convolution."""
    function = explain.TECHNIQUES[name].function
    wrong = lambda *arguments: function(*arguments, layer="two")  # noqa: E731
    monkeypatch.setitem(vars(explain), name, wrong)
    assert verdict(name, trial) == "differs"


def test_a_wrong_default_layer_and_wrong_weights_differ():
    other = model_checks.Trial(TINY)
    vars(other.clf)["default_layer"] = other.clf.layer("two")
    assert verdict("default layer", other) == "differs"
    assert verdict("grad_cam", other) == "differs"
    assert verdict("loads", other) == "equal"
    head = keras.models.clone_model(other.model)
    head.set_weights([weights * 1.01 for weights in other.model.get_weights()])
    other.clf = model_checks.load_classifier(head, preprocess=other.feed, verbose=False)
    assert verdict("loads", other) == "differs"


def test_an_error_is_no_difference_of_rounding_with_64_bits(monkeypatch):
    with_fault(monkeypatch, "gradients", FAULTS["one percent more"])
    cell = model_checks.measure("tiny", TINY)["cells"]["gradients"]
    assert cell["verdict"] == "differs"
    assert cell["in 64 bits"] == pytest.approx(0.01, rel=0.01)
    assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"


def test_refusals_and_errors_are_told_apart(trial):
    def refuse(trial):
        raise ValueError("No, because of this.")

    def stumble(trial):
        raise KeyError("name")

    refused = {"verdict": "refused", "says": "No, because of this."}
    assert model_checks.checked(refuse, trial) == refused
    assert model_checks.checked(stumble, trial)["verdict"] == "fails"


def test_a_model_that_is_not_equal_stands_under_the_table():
    cells = {name: {"verdict": "equal", "distance": 2e-6} for name in models.TITLES}
    cells |= {"rise": {"verdict": "refused", "says": "No, because of this."}}
    cells |= {"grad_cam": {"verdict": "differs", "distance": 0.4, "in 64 bits": 0.4}}
    row = {"model": "A", "size": 32, "seconds": 60, "layers": 3, "cells": cells}
    machine = {"processor": "p", "cores": 2, "tensorflow": "2"}
    table = {"rows": [row], "keras": "3", "machine": machine}
    text = models.page(table)
    first = text.splitlines()[2]
    assert first.startswith("Of 11 cells (1 models × 11 columns) 1 differ")
    assert "1 are refused, 9 are equal" in first
    assert "* A, RISE: refused: No, because of this.\n" in text
    assert "* A, Grad-CAM: differs" in text and "**differs** 4e-01 (4e-01)" in text
