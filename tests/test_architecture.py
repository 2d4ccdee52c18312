"""The house has three storeys, imports go downwards, and its rooms stay small."""

import ast
from pathlib import Path

import architecture
import pytest
from lines import code_lines, count_lines, technique_lengths

import xai_helpers

PACKAGE = Path(xai_helpers.__file__).parent
FILES = {
    ".".join(("xai_helpers", *file.relative_to(PACKAGE).with_suffix("").parts)): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {
    name.removesuffix(".__init__"): ast.parse(file.read_text("utf-8"))
    for name, file in FILES.items()
}
PACKAGES = {name.removesuffix(".__init__") for name in FILES if "__init__" in name}
STOREYS = {"engine": 0, "core": 1, "course": 2, "survey": 2, "exercises": 3}
FRONT_DOOR = {"xai_helpers", "xai_helpers.__main__"}  # above all storeys


def storey_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in STOREYS else None


def imported_from(module: str, node: ast.ImportFrom) -> str:
    """The absolute name of what ``from … import`` names."""
    if not node.level:
        return node.module or ""
    package = module.split(".")
    package = package if module in PACKAGES else package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, node.module] if node.module else package)


def imports(module: str, *, top_level_only: bool = False) -> dict[str, int]:
    """Modules of this package that a module imports, also inside functions; lines."""
    tree, result = MODULES[module], {}
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = imported_from(module, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in names]
        result |= {name: node.lineno for name in names if name in MODULES}
    return result


def test_every_module_stands_on_one_of_the_storeys():
    for module in MODULES:
        assert module in FRONT_DOOR or storey_of(module), (
            f"{module} stands on no storey: move it to engine (machinery), core (what "
            "a learner reads), course (figures, sliders, command line) or survey "
            "(data sets)."
        )


@pytest.mark.parametrize("module", sorted(MODULES.keys() - FRONT_DOOR))
def test_imports_go_downwards_only(module):
    for imported, line in imports(module).items():
        upwards = storey_of(imported) is None or (
            STOREYS[storey_of(imported)] > STOREYS[storey_of(module)]
        )
        assert not upwards or imported == module, (
            f"{module}, line {line}, imports {imported}: imports go downwards only, "
            "from course and survey to core to engine. Move what is needed down a "
            "storey, or hand it over as an argument."
        )


def test_the_engine_knows_no_classifier():
    """It takes models, arrays and functions."""
    for module, tree in MODULES.items():
        if storey_of(module) == "engine":
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert "Classifier" not in names, f"{module} names Classifier."


def test_no_circle_of_imports():
    """Modules in an order in which each imports earlier ones only."""
    waiting = {
        name: set(imports(name)) - {name} for name in MODULES.keys() - FRONT_DOOR
    }
    while waiting:
        ready = {name for name, needed in waiting.items() if not needed & set(waiting)}
        assert ready, (
            f"These modules import each other in a circle: {sorted(waiting)}. What two "
            "of them share belongs into a third, below."
        )
        waiting = {
            name: needed for name, needed in waiting.items() if name not in ready
        }


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_private_name_of_another_module_is_used(module):
    """Neither ``from .other import _name`` nor ``other._name``."""
    tree = MODULES[module]
    modules_here = set()  # the names under which other modules of the package are known
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = imported_from(module, node)
            for alias in node.names:
                if base.startswith("xai_helpers"):
                    assert not is_private(alias.name), (
                        f"{module}, line {node.lineno}, imports {alias.name} from "
                        f"{base}: make it public there, or do without."
                    )
                if f"{base}.{alias.name}" in MODULES:
                    modules_here.add(alias.asname or alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            foreign = node.value.id in modules_here and is_private(node.attr)
            assert not foreign, (
                f"{module}, line {node.lineno}, uses {ast.unparse(node)}: make it "
                "public in its module, or do without."
            )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_private_attribute_of_an_object_is_used_from_outside(module):
    """``clf._tensors`` belongs to the class; Keras's own stand in one file."""
    if (
        module == "xai_helpers.engine.keras_graph"
    ):  # see tests/engine/test_keras_graph.py
        return
    defined = {
        node.attr
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    }
    defined |= {
        node.name
        for node in ast.walk(MODULES[module])
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    special = {"_replace", "_asdict", "_fields"}  # public in a NamedTuple
    special |= {"_repr_mimebundle_", "_repr_html_", "_repr_png_"}  # of IPython
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            assert node.attr in defined | special, (
                f"{module}, line {node.lineno}, uses {ast.unparse(node)}, which no "
                "class of this module defines: ask for something public."
            )


# --- sizes ----------------------------------------------------------------------------


def test_a_technique_reads_like_its_paper():
    for name, length in technique_lengths().items():
        assert length <= 30, (
            f"explain.{name} has {length} code lines, 30 are allowed: at least half of "
            "them should be the paper's equations. What surrounds them belongs into "
            "core/query.py, core/layer_maps.py or the engine."
        )


def test_the_core_can_be_read_in_an_hour():
    lines = count_lines(PACKAGE / "core")
    assert lines <= 1700, (
        f"xai_helpers/core has {lines} lines, docstrings included, and 1,700 are "
        "allowed: it is what a learner reads in an hour. Machinery belongs into the "
        "engine; and what is there twice is needed once."
    )


def test_the_house_stays_small():
    """Without the techniques' and the exercises' files, so that more have a place."""
    growing = PACKAGE / "core" / "techniques", PACKAGE / "exercises", PACKAGE / "survey"
    lines = count_lines(PACKAGE) - sum(map(count_lines, growing))
    assert lines <= 6450, (
        f"xai_helpers without techniques, exercises and surveys has {lines} lines, and "
        "6,450 are allowed: does a library do it, or is it there already?"
    )


def test_the_surveys_stay_small():
    lines = count_lines(PACKAGE / "survey")
    assert lines <= 2300, (
        f"xai_helpers/survey has {lines} lines, and 2,300 are allowed: Dask, pandas, "
        "scikit-learn and Jinja may do it already."
    )


def test_code_lines_are_counted_without_docstring_comments_and_blank_lines():
    source = """def f(
    a,
):
    '''One.

    Two.'''
    # why
    x = 1

    return (
        x
    )
"""
    assert code_lines(ast.parse(source).body[0], source) == 7


def test_the_picture_of_the_storeys_is_that_of_today():
    made = architecture.picture()
    assert architecture.PICTURE.read_text("utf-8") == made, "run `make readme`"
    for folder in ("survey", "course", "core", "core/techniques", "engine"):
        for module in architecture.modules(folder):
            assert f">{module}</text>" in made
