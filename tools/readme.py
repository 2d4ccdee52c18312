"""The README's table of techniques, made from the registry.

    python tools/readme.py

``make readme`` also writes the tables of what was measured. Each has two marks in the
README; what stands between them is generated.
"""

from __future__ import annotations

from pathlib import Path

from xai_helpers import explain

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- techniques, by tools/readme.py -->", "<!-- end of techniques -->"


def replace_between(text: str, begin: str, end: str, *parts: str) -> str:
    """The text with these paragraphs between the two marks, which stay."""
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"The README needs each of these marks once: {begin} {end}")
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


def readme(text: str) -> str:
    """The README with the table of today's techniques."""
    return replace_between(text, BEGIN, END, techniques_table())


def rewrite(function) -> None:
    """Write ``function(text)`` of the README's text back."""
    README.write_text(function(README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    rewrite(readme)
