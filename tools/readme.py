"""What is generated in README.md and docs/evaluation.md.

    python tools/readme.py

The README's table of techniques comes from the registry, the evaluation's table from
``data/tables``. ``make readme`` also writes the tables of docs/speed.md. Each has two
marks in its page; what stands between them is generated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from xai_helpers import explain
from xai_helpers.course.samples import table

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
EVALUATION, SPEED = ROOT / "docs" / "evaluation.md", ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- techniques, by tools/readme.py -->", "<!-- end of techniques -->"
BEGIN_SCORES, END_SCORES = (
    "<!-- scores, by tools/readme.py -->",
    "<!-- end of scores -->",
)


def replace_between(text: str, begin: str, end: str, *parts: str) -> str:
    """The text with these paragraphs between the two marks, which stay."""
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"The page needs each of these marks once: {begin} {end}")
    before, _, after = text.partition(begin)
    inside = "\n\n".join([begin, *parts, end])
    return before + inside + after.partition(end)[2]


def techniques_table() -> str:
    """One line for each technique: its title, which leads to its file; its question."""
    folder = "xai_helpers/core/techniques"
    rows = [
        f"| [{technique.title}]({folder}/{name}.py) | {technique.question} |"
        for name, technique in explain.TECHNIQUES.items()
    ]
    return "\n".join(["| technique | asks |", "| --- | --- |", *rows])


def pointing_table() -> str:
    """The mean share on the right photo, for each technique and network."""
    shares = {}
    for row in table("pointing"):
        of_technique = shares.setdefault(row["technique"], {})
        of_technique.setdefault(row["network"], []).append(float(row["share"]))
    counts = {name: len(cases) for name, cases in shares["Grad-CAM"].items()}
    heads = [f"{name}, {counts[name]} cases" for name in ("Xception", "VGG16")]
    lines = [f"| technique | {' | '.join(heads)} |", "| --- | --- | --- |"]
    for title, by_network in shares.items():
        cells = [
            f"{np.mean(by_network[name]):.2f} ± {np.std(by_network[name], ddof=1):.2f}"
            for name in ("Xception", "VGG16")
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def completeness() -> str:
    """In how many steps integrated gradients add up, and how far even steps miss it."""
    rows = table("completeness")
    steps = sorted(int(row["steps"]) for row in rows)
    even = sorted(100 * float(row["even gap"]) for row in rows)
    return (
        "Integrated gradients miss the score difference by less than 1 % on all eight "
        f"photos, in {steps[0]} to {steps[-1]} steps; 64 even steps miss it by "
        f"{even[0]:.0f} % to {even[-1]:.0f} %."
    )


def readme(text: str) -> str:
    """The README with the table of today's techniques."""
    return replace_between(text, BEGIN, END, techniques_table())


def evaluation(text: str) -> str:
    """docs/evaluation.md with the scores of data/tables."""
    spread = "Mean ± standard deviation over the cases."
    parts = pointing_table(), spread, completeness()
    return replace_between(text, BEGIN_SCORES, END_SCORES, *parts)


def rewrite(page: Path, function: Callable[[str], str]) -> None:
    """Write ``function(text)`` of the page's text back."""
    page.write_text(function(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    rewrite(README, readme)
    rewrite(EVALUATION, evaluation)
