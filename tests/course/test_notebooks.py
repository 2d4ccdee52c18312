"""The form of the notebooks: what nbval cannot see and a reader would stumble over."""

import ast
import builtins
import re
from pathlib import Path

import nbformat
import pytest
import render_notebooks as render
from jupyter_client.kernelspec import KernelSpecManager

ROOT = Path(__file__).parent.parent.parent
ALL = [*render.topics(), *render.solutions(), *render.appendices()]
IDS = [str(path.relative_to(render.NOTEBOOKS)) for path in ALL]

NOT_COMPARED = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
VOLATILE = {
    "a path of this machine": r"/(root|home|Users|tmp|work)/|[A-Z]:\\\\",
    "an address": r"https?://(?!creativecommons)|localhost|127\.0\.0\.1",
    "an object's address": r"0x[0-9a-f]{6,}",
    "a time": r"\b\d+(\.\d+)? ?(s|ms|sec|seconds|min)\b|it/s|\d\d:\d\d:\d\d",
    "a progress bar": r"\d+%\|",
    "a warning": r"[Ww]arning|deprecat",
}


@pytest.fixture(params=ALL, ids=IDS)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    numbers = [path.name[:2] for path in render.topics()]
    assert numbers[:1] == ["00"]
    assert len(numbers) == len(set(numbers)) >= 3
    names = {path.name for path in render.topics()}
    assert {path.name for path in render.solutions()} <= names
    for path in render.appendices():
        topic = nbformat.read(render.topic_of(path), as_version=4)
        assert any(f"](appendix/{path.name})" in cell.source for cell in topic.cells)


def test_every_code_cell_was_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_errors_and_nothing_on_stderr(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in str(cell)
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("volatile", VOLATILE)
def test_outputs_hold_nothing_that_changes_from_run_to_run(notebook, volatile):
    for cell in code(notebook):
        for output in cell.outputs:
            texts = [
                output.get("text", ""),
                output.get("data", {}).get("text/plain", ""),
            ]
            for text in texts:
                assert not re.search(VOLATILE[volatile], text), text


def test_a_cell_that_is_not_compared_says_why(notebook):
    for cell in notebook.cells:
        if NOT_COMPARED & set(cell.metadata.get("tags", [])):
            assert "# not compared: " in cell.source or "# fails: " in cell.source


def test_every_figure_says_in_words_what_it_shows(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            for kind in {"image/png", "image/jpeg"} & data.keys():
                text = data["text/plain"]
                assert len(text) > 20
                assert not text.startswith("<")
                assert output.metadata[kind]["alt"] == text


def test_size(path):
    assert path.stat().st_size < 1_500_000


def test_cells_are_short(path, notebook):
    lengths = [len(cell.source.splitlines()) for cell in code(notebook)]
    assert max(lengths) <= 15
    if path.parent == render.NOTEBOOKS:
        assert sorted(lengths)[len(lengths) // 2] <= 7


def test_title_and_navigation(path, notebook):
    number, _, _ = path.stem.partition("_")
    title = render.title(path)
    beginnings = {"solutions": f"Solutions to {number} · "}
    beginnings["appendix"] = f"Appendix to {number} · "
    assert title.startswith(beginnings.get(path.parent.name, number))
    links = [c for c in notebook.cells if render.tagged(c, "navigation")]
    assert notebook.cells[0] is links[0]
    for cell in links:
        assert cell.source == render.navigation(path), "run tools/render_notebooks.py"


def test_every_link_leads_somewhere(path, notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", cell.source):
                if "://" not in target:
                    assert (path.parent / target).exists(), target


def test_the_index_lists_every_notebook():
    index = nbformat.read(render.topics()[0], as_version=4)
    text = "\n".join(cell.source for cell in index.cells)
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in render.topics()[1:]:
        link = f"[{render.title(path)}]"
        assert f"{link}({path.name})" in text
        assert f"{link}(notebooks/{path.name})" in readme


SKELETON = ["Parameters", "Predict first", "mislead", "Exercises", "References"]


@pytest.mark.parametrize("part", SKELETON)
def test_topics_follow_the_skeleton(part):
    for path in render.topics()[1:]:
        headings = re.findall(
            r"^## (.+)$",
            "\n".join(c.source for c in nbformat.read(path, as_version=4).cells),
            re.M,
        )
        assert any(part in heading for heading in headings), (path.name, part)


def test_exercises_are_those_of_the_solutions(path, notebook):
    """`python tools/render_notebooks.py --no-execute` brings them up to date."""
    made = render.with_generated_parts(path)
    assert [c.source for c in made.cells] == [c.source for c in notebook.cells]
    if path.parent.name == "solutions":
        topic = nbformat.read(render.NOTEBOOKS / path.name, as_version=4)
        tasks = [c.source for c in notebook.cells if render.tagged(c, "exercise")]
        shown = [c.source for c in topic.cells if render.tagged(c, "exercise")]
        shown = [s.replace("](../", "](../../") for s in shown if s.startswith("###")]
        assert tasks
        assert shown == tasks


def test_exercises_do_not_give_the_solution_away(path, notebook):
    if path.parent.name != "solutions":
        return
    topic = nbformat.read(render.NOTEBOOKS / path.name, as_version=4)
    shown = "\n".join(c.source for c in topic.cells)
    for cell in notebook.cells:
        if render.tagged(cell, "solution"):
            _, marker, answer = cell.source.partition(render.YOUR_TURN)
            assert marker, "a solution begins after the line '# your turn'"
            assert answer.strip() not in shown


def bound_and_loaded(cells) -> tuple[set, set]:
    """The names that code cells bind, and those that they read."""
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            bound.add(node.name)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {a.asname or a.name.partition(".")[0] for a in node.names}
    return bound, {node.id for node in names if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("solutions", render.solutions(), ids=lambda path: path.stem)
def test_a_solution_needs_no_more_than_the_topic_has(solutions):
    """A learner writes it into the topic, and nbgrader runs it there."""
    topic = code(nbformat.read(render.NOTEBOOKS / solutions.name, as_version=4))
    answers = nbformat.read(solutions, as_version=4).cells
    answers = [cell for cell in answers if render.tagged(cell, "solution")]
    there, _ = bound_and_loaded([*topic, *answers])
    _, needed = bound_and_loaded(answers)
    missing = needed - there - set(dir(builtins))
    assert not missing, f"{solutions.name}: import {sorted(missing)} in the topic"


def test_each_check_hints_before_the_solution_and_agrees_after_it(path, notebook):
    """The notebooks are a learner's: the topic without answers, the solutions with."""
    expected = "right." if path.parent.name == "solutions" else "not yet. Replace the"
    for cell in notebook.cells:
        if render.tagged(cell, "check"):
            number = path.name[:2]
            assert re.match(rf'check\("{number}-\d"', cell.source), cell.source
            [output] = cell.outputs
            assert expected in output.data["text/plain"], output.data["text/plain"]


def test_no_letter_is_the_answer_to_most_choices():
    """Or a learner stops reading the other claims."""
    letters = []
    for path in render.solutions():
        for cell in nbformat.read(path, as_version=4).cells:
            if render.tagged(cell, "solution"):
                answers = re.findall(r'^\w+ = "([a-dA-D])"$', cell.source, re.M)
                letters += [letter.lower() for letter in answers]
    assert len(letters) > 12
    assert max(map(letters.count, letters)) <= len(letters) / 2


def test_figures_of_the_readme_are_those_of_the_notebooks():
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = set(re.findall(r"!\[.+?\]\((docs/.+?)\)", readme))
    made = {}
    for path in render.topics():
        made |= render.readme_figures(nbformat.read(path, as_version=4))
    assert shown
    assert shown == {str(path.relative_to(ROOT).as_posix()) for path in made}
    for path, content in made.items():
        assert path.read_bytes() == content, "run `make render`"


def test_the_metadata_are_what_jupyterlab_writes(notebook):
    """But for the version, they are what a kernel says of itself."""
    assert notebook.metadata == render.METADATA
    app = nbformat.read(ROOT / "app" / "panel.ipynb", as_version=4)
    assert app.metadata.items() >= render.METADATA.items()
    spec = KernelSpecManager().get_kernel_spec("python3")
    kernelspec = {"display_name": spec.display_name, "language": spec.language}
    assert render.METADATA["kernelspec"] == kernelspec | {"name": "python3"}


def test_execution_writes_nothing_between_the_bars(tmp_path, capfd):
    """Not even that the kernel's messages are not encrypted: they are."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    render.execute(notebook, tmp_path / "00_sum.ipynb", with_frames=False)
    assert notebook.cells[0].outputs[0].data["text/plain"] == "2"
    assert capfd.readouterr() == ("", "")


def test_no_type_hints_and_no_secret_imports(notebook):
    for cell in code(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef):
                assert node.returns is None
                assert all(a.annotation is None for a in node.args.args)
            if isinstance(node, ast.ImportFrom):
                assert not any(part.startswith("_") for part in node.module.split("."))
