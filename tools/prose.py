"""Spelling and style of everything that is read: ``make lint`` runs it.

    python tools/prose.py                 all documents, notebooks and code
    python tools/prose.py docs/speed.md   these only

codespell reads the documents, the notebooks' markdown and the code, proselint the
documents and the markdown. Which checks are on, and the words that are right all the
same, stands in pyproject.toml.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
SETTINGS = ROOT / "pyproject.toml"
DOCUMENTS = "*.md", "docs/*.md", "data/*/*.md", "paper/*.md"
NOTEBOOKS = "notebooks/[0-9]*.ipynb", "notebooks/*/[0-9]*.ipynb", "app/*.ipynb"
CODE = "xai_helpers", "tests", "tools", "Makefile", "pyproject.toml", "environment.yml"
CELL = "<!-- cell {} -->"  # before each, in the text of a notebook
NOT_PROSE = re.compile(
    r"^```.*?^```|<!--.*?-->|<[^>]+>|`[^`\n]+`|\$\$.+?\$\$|\$[^$\n]+\$"
    r"|(?<=\])\([^)\s]*\)|^#+ .*?$|^\|.*?$",
    re.M | re.S,
)


def files(patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def markdown(path: Path) -> str:
    """The text of a document, or of a notebook's markdown cells with their numbers."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(
        f"{CELL.format(number)}\n{cell.source}"
        for number, cell in enumerate(cells)
        if cell.cell_type == "markdown"
    )


def prose(text: str) -> str:
    """The sentences: what is code, formula, link, heading or table becomes blank."""
    return NOT_PROSE.sub(lambda match: re.sub(r"\S", " ", match[0]), text)


def place(path: Path, text: str, line: int) -> str:
    """Where a line is: in a document by its number, in a notebook by its cell."""
    inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    if path.suffix == ".md":
        return f"{inside}:{line}"
    before = "\n".join(text.splitlines()[:line])
    return f"{inside}, cell {re.findall(CELL.format(r'([0-9]+)'), before)[-1]}"


def spelling(paths: list[Path], code: list[Path]) -> list[str]:
    """What codespell finds; notebooks are given to it as their markdown."""
    with tempfile.TemporaryDirectory() as folder:
        given = {}
        for number, path in enumerate(paths):
            copy = Path(folder, f"{number}.md")
            copy.write_text(markdown(path), "utf-8")
            given[str(copy)] = path
        command = [sys.executable, "-m", "codespell_lib", "--toml", SETTINGS]
        command += [*given, *code]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    findings = []
    for line in run.stdout.splitlines():
        name, number, message = re.match(r"(.+?):(\d+): (.+)", line).groups()
        path = given.get(name)
        where = place(path, markdown(path), int(number)) if path else f"{name}:{number}"
        findings.append(f"{where}: {message}")
    if run.returncode and not findings:
        raise SystemExit(run.stderr)
    return findings


def style(paths: list[Path]) -> list[str]:
    """What proselint finds in the sentences."""
    from proselint.config import default
    from proselint.tools import lint

    off = tomllib.loads(SETTINGS.read_text("utf-8"))["tool"]["proselint"]["off"]
    findings = []
    for path in paths:
        text = markdown(path)
        for check, message, line, *_ in lint(prose(text), config=default):
            if check not in off:
                findings.append(f"{place(path, text, line + 1)}: {message} ({check})")
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    args = parser.parse_args()
    paths = [path.resolve() for path in args.paths]
    code = [] if paths else [ROOT / name for name in CODE]
    paths = paths or files(DOCUMENTS) + files(NOTEBOOKS)
    findings = spelling(paths, code) + style(paths)
    print(*findings, sep="\n", end="\n" if findings else "")
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
