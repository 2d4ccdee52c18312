"""The notebooks as assignments: for learners, and for nbgrader.

    python tools/assignments.py                   all, into build/assignments
    python tools/assignments.py 05 --out FOLDER   those whose names start so

``learner/``  each notebook without outputs and solutions, to be handed out as it is
``source/``   the same with solutions, in nbgrader's form: its command
              `generate_assignment` takes them out, `autograde` runs the checks

With ``source/`` comes an ``nbgrader_config.py``: the folder is an nbgrader course. An
exercise with a ``check`` gives a point automatically; one without is graded by hand,
code or words.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat
import render_notebooks as render
from nbformat import NotebookNode

CONFIG = """c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "what-does-a-cnn-see"
c.ClearSolutions.code_stub = {"python": "# your code here"}
c.ExecutePreprocessor.timeout = 900
"""
RELATIVE_LINK = r"(?<!!)\[([^\]]+)\]\((?![a-z]+:)[^)]+\)"


def graded(cell: NotebookNode, name: str, **roles) -> NotebookNode:
    """With nbgrader's metadata; roles: solution, grade, points, locked."""
    metadata = {"grade": False, "solution": False, "locked": False, "task": False}
    cell.metadata["nbgrader"] = (
        metadata | roles | {"grade_id": name, "schema_version": 3}
    )
    return cell


def exercises(solutions: NotebookNode) -> list[list[NotebookNode]]:
    """The cells of each exercise: the task, the solution, the check if there is one."""
    groups = []
    for cell in solutions.cells:
        if render.tagged(cell, "exercise"):
            groups.append([])
        if any(render.tagged(cell, tag) for tag in ("exercise", "solution", "check")):
            groups[-1].append(cell)
    return groups


def source_cells(solutions: NotebookNode) -> list[NotebookNode]:
    """The exercises in nbgrader's form, their solutions between its marks."""
    cells = []
    for number, group in enumerate(exercises(solutions), 1):
        has_check = any(render.tagged(cell, "check") for cell in group)
        for part, cell in enumerate(group):
            name = f"exercise-{number}-{part}"
            if render.tagged(cell, "exercise"):
                task = nbformat.v4.new_markdown_cell(cell.source)
                cells.append(graded(task, name, locked=True))
            elif render.tagged(cell, "solution"):
                given, mark, answer = cell.source.partition(render.YOUR_TURN)
                marked = f"### BEGIN SOLUTION\n{answer.strip()}\n### END SOLUTION"
                code = nbformat.v4.new_code_cell(f"{given}{mark}\n{marked}")
                by_hand = {} if has_check else {"grade": True, "points": 1}
                cells.append(graded(code, name, solution=True, **by_hand))
            else:
                test = f"verdict = {cell.source.strip()}\nassert verdict, verdict"
                code = nbformat.v4.new_code_cell(test)
                cells.append(graded(code, name, grade=True, points=1, locked=True))
        if len(group) == 1:  # to be explained in words
            words = nbformat.v4.new_markdown_cell("*Your explanation.*")
            name = f"exercise-{number}-words"
            cells.append(graded(words, name, solution=True, grade=True, points=1))
    return cells


def assignment(path: Path, *, with_solutions: bool) -> NotebookNode:
    """A topic without outputs, its exercises as they are or in nbgrader's form."""
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if not render.tagged(c, "navigation")]
    if with_solutions:
        solutions = nbformat.read(
            render.NOTEBOOKS / "solutions" / path.name, as_version=4
        )
        kept = [c for c in cells if not render.tagged(c, "exercise")]
        start = [c.source.startswith("## Exercises") for c in kept].index(True) + 1
        cells = kept[:start] + source_cells(solutions) + kept[start:]
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = re.sub(RELATIVE_LINK, r"\1", cell.source)
    notebook.cells = cells
    nbformat.validate(notebook)
    return notebook


def write(path: Path, out: Path) -> None:
    targets = {
        out / "learner" / path.name: assignment(path, with_solutions=False),
        out / "source" / path.stem / path.name: assignment(path, with_solutions=True),
    }
    for target, notebook in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="?", default="", metavar="NN")
    parser.add_argument(
        "--out", type=Path, default=render.ROOT / "build" / "assignments"
    )
    args = parser.parse_args()
    topics = {path.name for path in render.solutions()}
    for path in render.topics():
        if path.name in topics and path.name.startswith(args.only):
            write(path, args.out)
    (args.out / "nbgrader_config.py").write_text(CONFIG)
    print(f"Written to {args.out}: learner/ to hand out, source/ for nbgrader.")


if __name__ == "__main__":
    main()
