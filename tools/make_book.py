"""Make the book, pages for reading with sliders that move: Sphinx, after `make book`.

    python tools/make_book.py                        from the committed notebooks
    python tools/make_book.py --notebooks build/run  from executed copies (`make run`)

Nothing is executed, and no network or weights are needed. The pages are gathered in
build/book-source, where every figure becomes a short alternative text with a
description, and every explorer a slider over the frames in docs/frames. A link that
leads nowhere is an error.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import json
import re
import shutil
import sys
from pathlib import Path

import frames
import nbformat
import render_notebooks as render
from nbformat import NotebookNode
from PIL import Image
from sphinx.cmd.build import main as sphinx

ROOT = render.ROOT
SOURCE, BOOK = ROOT / "build" / "book-source", ROOT / "build" / "book"
LONGEST_ALT = 150  # characters
FIGURES = "figures"  # folder of the book, beside its pages
DATA = "data/*/*.md", "data/tables/*.json"  # what the documents link to
BEFOREHAND = """<p>The pictures of this page were computed beforehand. In the notebook,
the photo, the network, the class and every option can be changed as well.</p>"""
WIDGET = "application/vnd.jupyter.widget-view+json"


def alternative_text(text: str) -> str:
    """The beginning of a figure's text: its first sentence, or what fits of it."""
    text = " ".join(text.split())
    sentence = re.match(r".+?(?<!\be\.g)[.?!](?= [^a-z]|$)|.+", text)[0]
    if len(sentence) <= LONGEST_ALT:
        return sentence
    part = sentence[: LONGEST_ALT - 1]
    ends = [part.rfind(sign) for sign in ("; ", ": ", ", ")]
    end = next((end for end in ends if end > LONGEST_ALT // 3), part.rfind(" "))
    return f"{part[:end]}."


class Page:
    """Where a page lies, for the links from it to figures and frames."""

    def __init__(self, book: Path, path: str):
        self.book, self.up = book, "../" * path.count("/")

    def figure(self, picture: bytes, ending: str, text: str) -> str:
        """The markup of a picture, whose file is named after its content."""
        name = f"{hashlib.sha256(picture).hexdigest()[:16]}.{ending}"
        (self.book / FIGURES / name).write_bytes(picture)
        alt, text = alternative_text(text), " ".join(text.split())
        attributes = f'src="{self.up}{FIGURES}/{name}" alt="{html.escape(alt)}"'
        if ending != "svg":
            with Image.open(self.book / FIGURES / name) as image:
                attributes += ' width="{}" height="{}"'.format(*image.size)
        description = ""
        if alt != text:
            attributes += f' aria-describedby="text-{name[:16]}"'
            description = (
                f"<details><summary>Description</summary>"
                f'<p id="text-{name[:16]}">{html.escape(text)}</p></details>'
            )
        return f'<figure class="picture"><img {attributes}>{description}</figure>'

    def slider(self, number: str, place: int, slider: dict) -> str:
        """The markup of a range input and the frames behind it; book.js moves it."""
        shown = [
            {
                "src": f"{self.up}frames/{number}/{frame['file']}",
                "label": frame["label"],
                "alt": alternative_text(frame["text"]),
                "text": frame["text"],
            }
            for frame in slider["frames"]
        ]
        first, key = shown[slider["start"]], f"slider-{number}-{place}"
        size = f'width="{slider["width"]}" height="{slider["height"]}"'
        data = json.dumps(shown, ensure_ascii=False).replace("</", "<\\/")
        label, alt, text = (html.escape(first[k]) for k in ("label", "alt", "text"))
        return (
            f'<figure class="frames">'
            f"<figcaption>{html.escape(slider['caption'])}</figcaption>"
            f'<p class="control"><label for="{key}">{slider["control"]}</label> '
            f'<input type="range" id="{key}" min="0" max="{len(shown) - 1}" step="1"'
            f' value="{slider["start"]}" aria-valuetext="{label}" autocomplete="off"> '
            f'<output for="{key}">{label}</output></p>'
            f'<img src="{first["src"]}" alt="{alt}" {size}>'
            f'<p class="text">{text}</p>'
            f'<script type="application/json">{data}</script></figure>'
        )

    def sliders(self, number: str) -> str:
        file = frames.FOLDER / number / frames.FILE
        if not file.exists():
            return "<p>The slider is in the notebook.</p>"
        sliders = json.loads(file.read_text("utf-8"))
        figures = [self.slider(number, k, each) for k, each in enumerate(sliders)]
        return "\n".join([BEFOREHAND, *figures])

    def markdown(self, text: str, folder: Path) -> str:
        """A document's text, its pictures as figures."""

        def figure(match: re.Match) -> str:
            picture = folder / match[2]
            return self.figure(picture.read_bytes(), picture.suffix[1:], match[1])

        return re.sub(r"!\[([^\]]+)\]\(([^)]+)\)", figure, text)

    def notebook(self, notebook: NotebookNode, path: Path) -> NotebookNode:
        """A notebook for Sphinx, which makes the links to the pages beside it."""
        cells = notebook.cells[1:]  # the first is a line of links, above the title
        if path.parent == render.NOTEBOOKS:
            cells = [cell for cell in cells if not render.tagged(cell, "navigation")]
        if path.parent.name == "solutions":  # headings as in the topic
            for cell in cells:
                cell.source = re.sub("^### ", "## ", cell.source)
        notebook.cells = cells
        for output in [output for cell in cells for output in cell.get("outputs", [])]:
            data = output.get("data", {})
            if WIDGET in data:
                output.data = {"text/html": self.sliders(path.name[:2])}
            for kind, ending in (("image/png", "png"), ("image/jpeg", "jpg")):
                if kind in data:
                    picture = base64.b64decode(data[kind])
                    figure = self.figure(picture, ending, data["text/plain"])
                    output.data = {"text/html": figure}
        return notebook


def gather(notebooks: Path, source: Path, book: Path) -> None:
    """Everything that Sphinx reads, below ``source``; the pictures into the book."""
    for folder in (source, book):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "book", source)
    shutil.copytree(frames.FOLDER, book / "frames")
    (book / FIGURES).mkdir()
    for path in [*render.topics(), *render.solutions(), *render.appendices()]:
        inside = path.relative_to(render.NOTEBOOKS)
        page = Page(book, f"notebooks/{inside.as_posix()}")
        notebook = nbformat.read(notebooks / inside, as_version=4)
        target = source / "notebooks" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page.notebook(notebook, path), target)
    for path in [*ROOT.glob("docs/*.md"), *(p for d in DATA for p in ROOT.glob(d))]:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text("utf-8")
        if path.suffix == ".md":
            page = Page(book, path.relative_to(ROOT).as_posix())
            text = page.markdown(text, path.parent)
        target.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=render.NOTEBOOKS)
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--book", type=Path, default=BOOK)
    args = parser.parse_args()
    gather(args.notebooks, args.source, args.book)
    options = ["-q", "-W", "--keep-going", "-j", "auto", "-b", "html"]
    code = sphinx([*options, str(args.source), str(args.book)])
    if not code:
        print(f"The book is in {args.book}; open {args.book / 'index.html'}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
