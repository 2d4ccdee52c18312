"""The teacher's page: lengths that are true, plans that fit, a quiz with answers."""

import re

import course_table
import pytest
import render_notebooks as render

PAGE = course_table.TEACHING.read_text("utf-8")


def test_the_table_of_lengths_is_up_to_date():
    """`python tools/course_table.py` writes it."""
    assert course_table.teaching(PAGE) == PAGE, "run `make readme`"


@pytest.mark.parametrize("path", render.topics(), ids=lambda path: path.stem)
def test_no_notebook_takes_longer_than_a_lesson(path):
    assert course_table.measured(path)["reading"] <= course_table.MOST_MINUTES


def test_words_are_counted_as_a_reader_reads_them():
    text = (
        "Two **words**, a [link of four words](../docs/glossary.md#gradient) — and\n\n"
        "$$\\frac{1}{n} \\sum_k x_k$$\n\n<details><summary>a tag</summary></details>"
    )
    assert course_table.words(text) == 2 + 1 + 4 + 1 + 1 + 2


def test_minutes_are_those_of_prose_and_code():
    cells = [render.nbformat.v4.new_markdown_cell("word " * 360)]
    cells += [render.nbformat.v4.new_code_cell("1")] * 6
    assert course_table.minutes(cells) == pytest.approx(2 + 2)


def test_exercises_checks_and_figures_are_counted(tmp_path):
    new = render.nbformat.v4
    picture = new.new_output("display_data", {"image/png": ""})
    text = new.new_output("stream", text="1")
    cells = [
        new.new_markdown_cell("[next](b.ipynb)", metadata={"tags": ["navigation"]}),
        new.new_markdown_cell("# Two words", metadata={"tags": ["must"]}),
        new.new_code_cell("1", outputs=[picture, text]),
        new.new_markdown_cell("### Exercise", metadata={"tags": ["exercise"]}),
        new.new_code_cell("x = ...", metadata={"tags": ["exercise"]}),
        new.new_code_cell("check()", metadata={"tags": ["exercise", "check"]}),
    ]
    path = tmp_path / "01_a.ipynb"
    render.nbformat.write(new.new_notebook(cells=cells), path)
    assert course_table.measured(path) == {
        "words": 2,
        "reading": pytest.approx(2 / 180 + 1 / 3),
        "must": pytest.approx(2 / 180),
        "code cells": 1,
        "figures": 1,
        "exercises": 1,
        "checks": 1,
    }


@pytest.mark.parametrize("minutes", [90, 180])
def test_a_lesson_plan_has_no_gap_and_ends_in_time(minutes):
    plan = PAGE.partition(f"\n### {minutes} minutes")[2].partition("\n### ")[0]
    times = re.findall(r"^\| (\d+)–(\d+) \|", plan, re.M)
    starts, ends = zip(*[(int(a), int(b)) for a, b in times], strict=True)
    assert (starts[0], ends[-1]) == (0, minutes)
    assert starts[1:] == ends[:-1]


def test_a_day_has_six_hours():
    plan = PAGE.partition("\n### Two days")[2].partition("\n## ")[0]
    for day in plan.split("| day ")[1:]:
        rows = re.findall(r"^\| [^|]+ \| (\d+) \|", day, re.M)
        assert sum(map(int, rows)) == 360


def test_every_notebook_has_goals_for_the_teacher():
    for path in render.topics():
        number, _, name = render.title(path).partition(" · ")
        part = PAGE.partition(f"\n### {number} ")[2].partition("\n### ")[0]
        assert re.search(r"\*\*Goals?\.\*\*", part), name


def test_every_question_of_the_quiz_has_a_folded_answer():
    quiz = PAGE.partition("\n## Quiz")[2].partition("\n## ")[0]
    questions = re.findall(r"^\*\*(\d+)\.\*\*", quiz, re.M)
    assert questions == [str(k) for k in range(1, len(questions) + 1)]
    answers = re.findall(
        r"<details><summary>Answer</summary>\n\n.+?\n\n</details>", quiz, re.S
    )
    assert len(answers) == len(questions) >= 10
