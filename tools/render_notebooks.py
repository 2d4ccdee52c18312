"""Execute the notebooks: write their committed outputs, or pages for `make run`.

    python tools/render_notebooks.py                  every notebook, in place
    python tools/render_notebooks.py --only 03        those whose names start so
    python tools/render_notebooks.py --no-execute     links and exercises only
    python tools/render_notebooks.py --html build/html

In place, it also writes what is generated: the links between notebooks, and the
exercise cells, which come from the notebooks in `notebooks/solutions/`. A cell tagged
`readme-NAME` gives the README its figure docs/NAME.png, or NAME.jpg.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
YOUR_TURN = "# your turn"
DOCUMENTS = "glossary", "teaching", "installation"  # that notebooks lead to


def topics() -> list[Path]:
    """The notebooks of the course, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def solutions() -> list[Path]:
    """The notebooks with the solutions; each is named as the topic it belongs to."""
    return sorted((NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb"))


def appendices() -> list[Path]:
    """What a topic leaves out: engineering, further cases; named after the topic."""
    return sorted((NOTEBOOKS / "appendix").glob("[0-9][0-9]_*.ipynb"))


def topic_of(path: Path) -> Path:
    """The notebook that solutions or an appendix belong to."""
    [topic] = NOTEBOOKS.glob(f"{path.name[:2]}_*.ipynb")
    return topic


def tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def title(path: Path) -> str:
    """The first heading of a notebook, "02 · Inside Xception"."""
    for cell in nbformat.read(path, as_version=4).cells:
        if heading := re.match(r"# (.+)", cell.source):
            return heading[1]
    raise SystemExit(f"{path} has no title")


def navigation(path: Path) -> str:
    """The line of links at the top and the bottom of a notebook."""
    if path.parent != NOTEBOOKS:
        topic = topic_of(path)
        return f"[↑ {title(topic)}](../{topic.name})"
    order = topics()
    place = order.index(path)
    links = []
    if place > 0:
        before = order[place - 1]
        links.append(f"[← {title(before)}]({before.name})")
    if place > 1:
        links.append(f"[Start]({order[0].name})")
    if place + 1 < len(order):
        after = order[place + 1]
        links.append(f"[{title(after)} →]({after.name})")
    return " · ".join(links)


def exercises(solution: NotebookNode) -> list[NotebookNode]:
    """The exercise cells of a topic, made from its solutions.

    A task is a markdown cell tagged `exercise`; of the code cell after it, tagged
    `solution`, the lines up to "# your turn" remain. A cell tagged `check` that calls
    `check("05-2", answer)` is taken as it is.
    """
    cells = []
    for cell in solution.cells:
        if tagged(cell, "exercise"):
            source = cell.source.replace("](../../", "](../")  # from one folder up
            made = nbformat.v4.new_markdown_cell(source)
        elif tagged(cell, "solution"):
            kept = cell.source.partition(YOUR_TURN)[0] + YOUR_TURN
            made = nbformat.v4.new_code_cell(kept)
        elif tagged(cell, "check"):
            made = nbformat.v4.new_code_cell(cell.source)
        else:
            continue
        made.id = f"exercise-{len(cells)}"
        made.metadata["tags"] = ["exercise"]
        if tagged(cell, "check"):
            made.metadata["tags"].append("check")
        cells.append(made)
    return cells


def with_generated_parts(path: Path) -> NotebookNode:
    """The notebook with its links and exercise cells brought up to date."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if tagged(cell, "navigation"):
            cell.source = navigation(path)
    solution = NOTEBOOKS / "solutions" / path.name
    if path.parent == NOTEBOOKS and solution.exists():
        new = exercises(nbformat.read(solution, as_version=4))
        before = {cell.id: cell for cell in notebook.cells}
        for cell in new:  # an unchanged exercise keeps its outputs
            kept = before.get(cell.id)
            if kept is not None and kept.source == cell.source and "outputs" in cell:
                cell.execution_count, cell.outputs = kept.execution_count, kept.outputs
        cells = [cell for cell in notebook.cells if not tagged(cell, "exercise")]
        starts = [c.source.startswith("## Exercises") for c in cells]
        if True not in starts:
            raise SystemExit(f"{path} has no cell that begins with '## Exercises'")
        start = starts.index(True) + 1
        notebook.cells = cells[:start] + new + cells[start:]
    return notebook


def execute(notebook: NotebookNode, path: Path) -> float:
    """Run all cells in the notebook's folder; returns the seconds that it took."""
    from nbclient import NotebookClient

    start = time.time()
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        coalesce_streams=True,
        resources=resources,
    ).execute()
    return time.time() - start


def tidied(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from machine to machine: times, versions, widget state."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata = NotebookNode(
        kernelspec={
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    nbformat.validate(notebook)
    return notebook


def readme_figures(notebook: NotebookNode) -> dict[Path, bytes]:
    """File and content of each figure that the README shows."""
    figures = {}
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("readme-"):
                (data,) = (o.data for o in cell.outputs if "data" in o)
                ending = "png" if "image/png" in data else "jpg"
                content = data.get("image/png") or data["image/jpeg"]
                path = ROOT / "docs" / f"{tag.removeprefix('readme-')}.{ending}"
                figures[path] = base64.b64decode(content)
    return figures


def without_markup(notebook: NotebookNode) -> tuple[NotebookNode, dict[str, str]]:
    """The notebook with tokens for formulas and folded boxes, and the HTML of each.

    Browsers draw MathML themselves, where TeX needs a script from the web. The HTML is
    put in after the conversion, whose clean-up would take it apart, and which closes a
    `<details>` before its first paragraph.
    """
    from latex2mathml.converter import convert

    tokens = {}

    def token(markup: str) -> str:
        key = f"markup{len(tokens):03d}end"
        tokens[key] = markup
        return key

    def formula(match: re.Match) -> str:
        display = "block" if match[1] else "inline"
        return token(convert(match[1] or match[2], display=display))

    def box(match: re.Match) -> str:
        return f"\n\n{token(match[0])}\n\n"

    copied = nbformat.from_dict(notebook)
    for cell in copied.cells:
        if cell.cell_type == "markdown":
            pattern = r"\$\$(.+?)\$\$|\$([^$\n]+)\$"
            cell.source = re.sub(pattern, formula, cell.source, flags=re.S)
            pattern = r"<details><summary>[^<]*</summary>|</details>"
            cell.source = re.sub(pattern, box, cell.source)
    return copied, tokens


def document(path: Path) -> NotebookNode:
    """A markdown file as a notebook of one cell."""
    cell = nbformat.v4.new_markdown_cell(path.read_text("utf-8"))
    return nbformat.v4.new_notebook(cells=[cell])


LINKS = {  # between notebooks and documents → between their pages
    r'href="((?:\.\./|solutions/|appendix/)?\d\d_\w+)\.ipynb': r'href="\1.html',
    r'href="\.\./notebooks/((?:\w+/)?\d\d_\w+)\.ipynb': r'href="../\1.html',
    r'href="((?:\.\./)*)\.\./docs/(\w+)\.md': r'href="\1docs/\2.html',
    rf'href="({"|".join(DOCUMENTS)})\.md': r'href="\1.html',
}
STYLE = "<style>summary { display: list-item; cursor: pointer }</style>"


def github_anchor(match: re.Match) -> str:
    """An anchor as GitHub writes it: lower case, without punctuation."""
    return re.sub(r"[^\w-]", "", unquote(match[0])).lower()


def write_page(notebook: NotebookNode, target: Path) -> None:
    """One HTML page that needs nothing else, its links leading to the other pages."""
    from nbconvert import HTMLExporter

    notebook, tokens = without_markup(notebook)
    exporter = HTMLExporter(template_name="classic", embed_images=True)
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    exporter.mermaid_js_url = ""
    page, _ = exporter.from_notebook_node(
        notebook, resources={"metadata": {"name": target.stem}}
    )
    for key, markup in tokens.items():
        page = page.replace(f"<p>{key}</p>", markup).replace(key, markup)
    for link, link_of_page in LINKS.items():
        page = re.sub(link, link_of_page, page)
    if target.stem in DOCUMENTS:
        page = re.sub(r'(?<=<h[1-6] id=")[^"]+|(?<=href="#)[^"]+', github_anchor, page)
    page = page.replace("</head>", f"{STYLE}</head>", 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="NN")
    parser.add_argument("--no-execute", action="store_true")
    parser.add_argument("--html", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    every = [*topics(), *solutions(), *appendices()]
    todo = [path for path in every if path.name.startswith(args.only)]
    bar = tqdm(todo, unit="notebook")
    for path in bar:
        name = str(path.relative_to(NOTEBOOKS))
        bar.set_description(name)
        notebook = with_generated_parts(path)
        if not args.no_execute:
            seconds = execute(notebook, path)
            bar.write(f"{name}: {seconds:.0f} s, of which some 10 to start TensorFlow")
        if args.html:
            page = args.html / path.relative_to(NOTEBOOKS).with_suffix(".html")
            write_page(notebook, page)
        else:
            nbformat.write(tidied(notebook), path)
            for figure, content in readme_figures(notebook).items():
                figure.parent.mkdir(exist_ok=True)
                figure.write_bytes(content)
    if args.html:
        for name in DOCUMENTS:
            page = args.html / "docs" / f"{name}.html"
            write_page(document(ROOT / "docs" / f"{name}.md"), page)
        print(f"The pages are in {args.html}; begin with 00_start_here.html.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
