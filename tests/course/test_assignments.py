"""The learner's and nbgrader's notebooks: complete, and without the solutions."""

import ast
import re

import assignments
import nbformat
import pytest
import render_notebooks as render

SOLUTIONS = render.solutions()
IDS = [path.stem for path in SOLUTIONS]


@pytest.fixture(params=SOLUTIONS, ids=IDS)
def solutions(request):
    return request.param


@pytest.fixture
def both(solutions, tmp_path):
    assignments.write(render.topic_of(solutions), tmp_path)
    paths = (
        tmp_path / "learner" / solutions.name,
        tmp_path / "source" / solutions.stem / solutions.name,
    )
    return [nbformat.read(path, as_version=4) for path in paths]


def answers(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if render.tagged(cell, "solution"):
            yield cell.source.partition(render.YOUR_TURN)[2].strip()


def text(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def test_the_learner_gets_no_outputs_and_no_solutions(both, solutions):
    learner, _ = both
    assert all(not c.get("outputs") for c in learner.cells)
    for answer in answers(solutions):
        assert answer not in text(learner)


def test_the_teacher_gets_each_solution_between_the_marks(both, solutions):
    _, source = both
    for answer in answers(solutions):
        assert f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION" in text(source)


def test_no_link_leads_to_a_file_that_is_not_handed_out(both):
    for notebook in both:
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert not re.search(assignments.RELATIVE_LINK, cell.source)


def test_every_exercise_is_graded_once_by_a_check_or_by_hand(both):
    _, source = both
    graded = [c for c in source.cells if "nbgrader" in c.metadata]
    names = [c.metadata.nbgrader.grade_id for c in graded]
    assert len(set(names)) == len(names)
    tasks = {n.rpartition("-")[0] for n in names}
    points = [
        c.metadata.nbgrader.grade_id.rpartition("-")[0]
        for c in graded
        if c.metadata.nbgrader.grade
    ]
    assert sorted(points) == sorted(tasks)


def test_a_check_fails_the_cell_when_the_answer_is_wrong(both):
    _, source = both
    for cell in source.cells:
        roles = cell.metadata.get("nbgrader", {})
        if roles.get("grade") and not roles.get("solution"):
            verdict, assertion = ast.parse(cell.source).body
            assert ast.unparse(verdict.value.func) == "check"
            assert isinstance(assertion, ast.Assert)
            assert ast.unparse(assertion.test) == ast.unparse(verdict.targets[0])
