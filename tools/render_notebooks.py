"""Execute the notebooks: write their committed outputs, or copies for `make run`.

    python tools/render_notebooks.py                  every notebook, in place
    python tools/render_notebooks.py --only 03        those whose names start so
    python tools/render_notebooks.py --no-execute     links and exercises only
    python tools/render_notebooks.py --frames         only the frames of the sliders
    python tools/render_notebooks.py --into build/run copies, for tools/make_book.py

In place, it also writes what is generated: the links between notebooks; the exercise
cells, which come from the notebooks in `notebooks/solutions/`; and the frames of the
book's sliders (tools/frames.py). A cell tagged `readme-NAME` gives the README its
figure docs/NAME.png, or NAME.jpg.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import time
from pathlib import Path

import frames
import nbformat
from ipykernel.ipkernel import IPythonKernel
from nbformat import NotebookNode
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
YOUR_TURN = "# your turn"
# What JupyterLab writes into a notebook that is opened. One that has all of it already
# is not marked as changed; but for the version of Python, if that is another one.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": IPythonKernel.language_info | {"version": "3.11.7"},
}
MAKE_FRAMES = """\
import sys
sys.path.append({!r})
import frames
frames.write({!r}, globals())
"""


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


def execute(notebook: NotebookNode, path: Path, with_frames: bool) -> float:
    """Run all cells in the notebook's folder; returns the seconds that it took.

    With the frames of the notebook's sliders, made at its end from its own variables.
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    start = time.time()
    resources = {"metadata": {"path": str(path.parent)}}
    if with_frames:
        source = MAKE_FRAMES.format(str(Path(__file__).parent), path.name[:2])
        notebook.cells.append(nbformat.v4.new_code_cell(source))
    NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        coalesce_streams=True,
        resources=resources,
        # Else the kernel warns, amid the bars, that others might read along.
        config=Config(KernelManager={"transport_encryption": "auto"}),
    ).execute()
    if with_frames:
        notebook.cells.pop()
    return time.time() - start


def tidied(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from machine to machine: times, versions, widget state."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata = nbformat.from_dict(METADATA)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="NN")
    parser.add_argument("--no-execute", action="store_true")
    parser.add_argument("--frames", action="store_true")
    parser.add_argument("--into", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    every = [*topics(), *solutions(), *appendices()]
    if args.frames:
        every = [path for path in topics() if path.name[:2] in frames.SLIDERS]
    todo = [path for path in every if path.name.startswith(args.only)]
    bar = tqdm(todo, unit="notebook")
    for path in bar:
        name = path.relative_to(NOTEBOOKS)
        bar.set_description(str(name))
        notebook = with_generated_parts(path)
        if not args.no_execute:
            has_sliders = path.parent == NOTEBOOKS and path.name[:2] in frames.SLIDERS
            seconds = execute(notebook, path, has_sliders and not args.into)
            bar.write(f"{name}: {seconds:.0f} s, of which some 10 to start TensorFlow")
        if args.frames:
            continue
        target = (args.into or NOTEBOOKS) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(tidied(notebook), target)
        if not args.into:
            for figure, content in readme_figures(notebook).items():
                figure.parent.mkdir(exist_ok=True)
                figure.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
