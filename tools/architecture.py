"""The picture of the package's storeys, docs/architecture.svg, made from its folders.

    python tools/architecture.py

``make readme`` runs it as well.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, LEFT, GAP, ROOM_HEIGHT = 800, 34, 6, 30
STOREYS = {  # folder → heading, subheading, colour
    "exercises": ("checks of answers", "a file for each notebook", "#e3efe0"),
    "survey": ("data sets", "all photos of a folder; course/cli starts it", "#ece3f2"),
    "course": ("course tools", "what notebooks, panel and command need", "#f6e8d8"),
    "core": ("to be read", "registry, classifier, query, attribution", "#dcecf7"),
    "core/techniques": ("", "one file for each technique, named after it", "#dcecf7"),
    "engine": ("engine room", "models, arrays, functions; no Classifier", "#e7e7e7"),
}
DOOR = ("front door", "__init__.py", "public names,", "loaded", "when used")
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
 font-family="DejaVu Sans, Verdana, sans-serif" role="img" aria-labelledby="title">
<title id="title">The storeys of xai_helpers: imports point downwards only</title>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9"
 markerHeight="9" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#333"/></marker>
</defs>
<rect width="{width}" height="{height}" fill="white"/>"""


def modules(folder: str) -> list[str]:
    """The names of a folder's modules."""
    return sorted(p.stem for p in (ROOT / "xai_helpers" / folder).glob("[a-z]*.py"))


def box(x, y, width, height, colour) -> str:
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect {place} rx="6" fill="{colour}" stroke="#444"/>'


def text(x, y, words, size=12, **style) -> str:
    more = "".join(f' {k.replace("_", "-")}="{v}"' for k, v in style.items())
    return f'<text x="{x}" y="{y}" font-size="{size}"{more}>{words}</text>'


def arrow(x1, y1, x2, y2) -> str:
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="#333" stroke-width="2" marker-end="url(#tip)"/>'


def rooms(names: list[str], y: int, a_row: int) -> tuple[list[str], int]:
    """The boxes of some modules, in rows; and where the last row ends."""
    width = (WIDTH - 2 * LEFT + GAP) // a_row - GAP
    parts = []
    for k, name in enumerate(names):
        x = LEFT + k % a_row * (width + GAP)
        top = y + k // a_row * (ROOM_HEIGHT + GAP)
        parts += [box(x, top, width, ROOM_HEIGHT, "white")]
        parts += [text(x + width / 2, top + 19, name, 11.5, text_anchor="middle")]
    return parts, top + ROOM_HEIGHT


def picture() -> str:
    """The whole SVG file."""
    parts, y, middles = [], 20, []
    for folder, (heading, subheading, colour) in STOREYS.items():
        inside = []
        start = y if heading else y - 5  # a part of the storey above
        if heading:
            title = f"{folder}/ · {heading}"
            inside += [text(LEFT, y + 24, title, 16, font_weight="bold")]
            y += 19
        path = "" if heading else f"{folder}/ · "
        inside += [text(LEFT, y + 24, path + subheading, fill="#333")]
        boxes, end = rooms(modules(folder), y + 33, 5 if "/" in folder else 6)
        y = end + 14
        if heading and middles:  # from the storey above
            parts += [arrow(400, start - 28, 400, start - 2)]
            parts += [text(412, start - 9, "imports")]
        parts += [box(20, start, WIDTH - 40, y - start, colour), *inside, *boxes]
        if heading:
            middles.append(start + 40)
        if folder != "core":
            y += 28
    height = y - 8
    parts += [box(WIDTH + 20, 20, 120, height - 40, "#e3f1e3")]
    for k, words in enumerate(DOOR):
        style = {"text_anchor": "middle", "font_weight": "normal" if k else "bold"}
        parts += [text(WIDTH + 80, height / 2 - 30 + 18 * k, words, 13, **style)]
    parts += [arrow(WIDTH + 20, middle, WIDTH - 17, middle) for middle in middles]
    head = HEAD.format(width=WIDTH + 160, height=height)
    return "\n".join([head, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
