"""How much there is to read: lines of each storey, and the longest technique.

make lines
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "xai_helpers"


def count_lines(folder: Path) -> int:
    """All lines of a folder's Python files, docstrings and blank lines included."""
    files = folder.rglob("*.py")
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def code_lines(function: ast.FunctionDef, source: str) -> int:
    """Lines from ``def`` to the end without docstring, blank lines and comments."""
    lines = {*range(function.lineno, function.end_lineno + 1)}
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= {*range(docstring.lineno, docstring.end_lineno + 1)}
    texts = [source.splitlines()[number - 1].strip() for number in lines]
    return sum(bool(text) and not text.startswith("#") for text in texts)


def technique_lengths() -> dict[str, int]:
    """The code lines of each technique's public function, by name."""
    lengths = {}
    for file in sorted((PACKAGE / "core" / "techniques").glob("[a-z]*.py")):
        source = file.read_text("utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == file.stem:
                lengths[node.name] = code_lines(node, source)
    return lengths


if __name__ == "__main__":
    for storey in ("core", "engine", "course", ""):
        print(f"{storey or 'the whole package':18}{count_lines(PACKAGE / storey):6,}")
    lengths = technique_lengths()
    longest = max(lengths, key=lengths.get)
    print(f"longest technique: explain.{longest}, {lengths[longest]} lines of code")
