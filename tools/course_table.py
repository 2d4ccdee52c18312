"""How long each notebook is: the table at the end of docs/teaching.md.

    python tools/course_table.py

Minutes of reading: 180 words of prose a minute, 20 seconds for a code cell. A formula
counts as one word. Exercises are not included; a column of their own counts them.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import render_notebooks as render
from nbformat import NotebookNode
from readme import ROOT, replace_between, rewrite

TEACHING = ROOT / "docs" / "teaching.md"
BEGIN = "<!-- length, by tools/course_table.py -->"
END = "<!-- end of length -->"
WORDS_PER_MINUTE, SECONDS_PER_CODE_CELL = 180, 20
MOST_MINUTES = 45
HEADER = (
    "| notebook | words | reading | of which must | code cells | figures | exercises "
    "| checks |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def words(markdown: str) -> int:
    """Words of prose: no tags, no targets of links, no marks; a formula is one word."""
    text = re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", " formula ", markdown, flags=re.S)
    text = re.sub(r"<[^>]+>|(?<=\])\([^)]*\)", " ", text)
    return sum(any(c.isalnum() for c in word) for word in text.split())


def is_lesson(cell: NotebookNode) -> bool:
    return not any(render.tagged(cell, tag) for tag in ("navigation", "exercise"))


def minutes(cells: list[NotebookNode]) -> float:
    """Of reading, for these cells."""
    prose = sum(words(c.source) for c in cells if c.cell_type == "markdown")
    code = sum(c.cell_type == "code" for c in cells)
    return prose / WORDS_PER_MINUTE + code * SECONDS_PER_CODE_CELL / 60


def figures(cells: list[NotebookNode]) -> int:
    """Pictures among the outputs."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kinds = {"image/png", "image/jpeg"}
    return sum(bool(kinds & output.get("data", {}).keys()) for output in outputs)


def measured(path: Path) -> dict[str, float]:
    """The numbers of one notebook, by column."""
    cells = nbformat.read(path, as_version=4).cells
    lesson = [cell for cell in cells if is_lesson(cell)]
    tasks = [c for c in cells if render.tagged(c, "exercise")]
    return {
        "words": sum(words(c.source) for c in lesson if c.cell_type == "markdown"),
        "reading": minutes(lesson),
        "must": minutes([cell for cell in lesson if render.tagged(cell, "must")]),
        "code cells": sum(cell.cell_type == "code" for cell in lesson),
        "figures": figures(lesson),
        "exercises": sum(c.source.startswith("### ") for c in tasks),
        "checks": sum(render.tagged(cell, "check") for cell in tasks),
    }


def course_table() -> str:
    """One line for each notebook, and the sums."""
    rows = {
        f"[{render.title(path)}](../notebooks/{path.name})": measured(path)
        for path in render.topics()
    }
    columns = next(iter(rows.values()))
    rows["all"] = {key: sum(row[key] for row in rows.values()) for key in columns}
    lines = [HEADER]
    for name, row in rows.items():
        cells = [
            f"{row[key]:.0f} min" if key in ("reading", "must") else f"{row[key]:,}"
            for key in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def teaching(text: str) -> str:
    """docs/teaching.md with the table of the notebooks as they are."""
    return replace_between(text, BEGIN, END, course_table())


if __name__ == "__main__":
    rewrite(TEACHING, teaching)
