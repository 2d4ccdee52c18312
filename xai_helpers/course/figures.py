"""Figures that one or two notebooks need: curves, bars, boxes; each a ``Picture``."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import FancyBboxPatch, Rectangle

from .plots import BLUE, GREY, ORANGE, Picture, draw_panel, format_number, panel_grid

ARROW = {"arrowstyle": "->", "color": GREY}


def line_plot(
    curves: dict, axis_labels: tuple, *, bands=None, level=None, log="", title=""
) -> Picture:
    """Curves on one pair of axes, told apart by colour and by dash.

    ``curves`` map name to (x, y), ``bands`` to half widths of error bars; ``level`` is
    a horizontal line's (name, y), ``log`` "x", "y" or "xy", ``axis_labels`` a pair.
    """
    figure, [[axes]] = panel_grid(1, 1, (7.4, 3.6), title, axes=True)
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
    sentences = []
    for k, (name, (x, y)) in enumerate(curves.items()):
        style = {"color": colours[k], "ls": ("-", "--", ":", "-.")[k % 4]}
        style |= {"marker": "o" if len(x) < 16 else "", "label": name}
        if bands and name in bands:
            axes.errorbar(x, y, bands[name], capsize=3, **style)
        else:
            axes.plot(x, y, **style)
        sentences.append(f"{name} from {format_number(y[0])} to {format_number(y[-1])}")
    if level:
        axes.axhline(level[1], color=ORANGE, lw=1, label=level[0])
        sentences.append(f"{level[0]} {format_number(level[1])}")
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.set(**{f"{axis}scale": "log" for axis in log})
    for text in axes.legend(fontsize=8).get_texts():
        text.set_parse_math(False)
    return Picture(figure, f"{title}: {'; '.join(sentences)}.")


def strip_plot(groups: dict[str, dict], *, level=None, unit="", title="") -> Picture:
    """Every value as a dot, the mean as a bar: one row a name, one panel a group.

    ``groups`` map panel to row to floats; ``level`` is a vertical line's (name, value).
    """
    names = list(next(iter(groups.values())))
    size = (9.2, 0.3 * len(names) + 1.3)
    figure, [panels] = panel_grid(1, len(groups), size, title, axes=True, sharey=True)
    means = []
    for panel, (group, rows) in zip(panels, groups.items(), strict=True):
        for height, name in enumerate(names):
            values = np.asarray(rows[name], float)
            heights = height + np.linspace(-0.2, 0.2, len(values))
            panel.plot(values, heights, "o", color=BLUE, ms=3, alpha=0.5)
            mean, ends = values.mean(), [height - 0.35, height + 0.35]
            panel.plot([mean, mean], ends, color=ORANGE, lw=3)
            means.append(f"{group}, {name} {mean:.2f}")
        if level:
            panel.axvline(level[1], color=GREY, lw=1, ls=":")
        panel.set_title(group, fontsize=9, parse_math=False)
        panel.set_xlabel(f"{unit}; dotted: {level[0]}" if level else unit, fontsize=8)
    panels[0].set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    panels[0].invert_yaxis()
    return Picture(figure, f"{title}. Means: {'; '.join(means)}.")


def paired_bars(values: dict, legend: tuple, *, title="", unit="") -> Picture:
    """Two bars for each name: ``values`` are pairs, ``legend`` says what both are."""
    figure, [[axes]] = panel_grid(1, 1, (8, 0.28 * len(values) + 1.2), title, axes=True)
    heights, pairs = np.arange(len(values))[::-1], np.array(list(values.values()))
    axes.barh(heights + 0.2, pairs[:, 0], 0.4, color=BLUE, label=legend[0])
    axes.barh(heights - 0.2, pairs[:, 1], 0.4, color=ORANGE, label=legend[1])
    axes.set_yticks(heights, list(values), fontsize=8)
    axes.set_xlabel(unit)
    axes.legend(fontsize=8)
    return Picture(figure, f"{title}: {', '.join(values)}.")


def filters(kernels: np.ndarray, *, columns=16, title="") -> Picture:
    """First-layer kernels, float (h, w, RGB, n), as pictures; mid-grey is zero."""
    height, width, _, count = kernels.shape
    rows = math.ceil(count / columns)
    figure, panels = panel_grid(rows, columns, (9.6, 9.6 / columns * rows + 0.4), title)
    for panel, kernel in zip(panels.flat, np.moveaxis(kernels, -1, 0), strict=False):
        image = 0.5 + 0.5 * kernel / np.abs(kernel).max()
        draw_panel(panel, image, interpolation="nearest")
    text = f"{count} kernels of {height} × {width} pixels"
    return Picture(figure, f"{title or 'Filters'}: {text}.")


def receptive_field_boxes(image, sides: dict, centre: tuple, title="") -> Picture:
    """Squares, sides in pixels, around a (row, column) of a photo, uint8 (H, W, 3)."""
    figure, [[panel]] = panel_grid(1, 1, (7.2, 4.6), title)
    draw_panel(panel, image)
    colours = colormaps["plasma"](np.linspace(0, 0.95, len(sides)))
    for (name, side), colour in zip(sides.items(), colours, strict=True):
        corner = (centre[1] - side / 2, centre[0] - side / 2)
        box = Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=2)
        panel.add_patch(box).set_label(f"{name}: {side} px")
    panel.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    panel.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=9)
    labels = [f"{name} {side} px" for name, side in sides.items()]
    return Picture(figure, f"{title}: {', '.join(labels)}.")


def crop_grid(rows: dict[str, dict[str, list]], title: str = "") -> Picture:
    """Rows of groups of photo cut-outs, uint8 (h, w, 3), as many in every row."""
    counts = [len(images) for images in next(iter(rows.values())).values()]
    ratios = [ratio for count in counts for ratio in [*[1.0] * count, 0.15]][:-1]
    size = (9.6, (9.4 / sum(ratios) + 0.28) * len(rows) + 0.4)
    figure, lines = panel_grid(len(rows), len(ratios), size, title, width_ratios=ratios)
    for line, (name, row) in zip(lines, rows.items(), strict=True):
        column = 0
        for group, images in row.items():
            if column:
                line[column - 1].remove()  # the gap between two groups
            for panel, image in zip(line[column:], images, strict=False):
                draw_panel(panel, image, interpolation="nearest")
            start = "" if column else f"{name}, {images[0].shape[0]} px"
            line[column].set_title(f"{start}\n{group}", fontsize=8, loc="left")
            column += len(images) + 1
    text = f"{len(rows)} rows of {sum(counts)}: {', '.join(rows)}"
    return Picture(figure, f"{title}: {text}.")


def architecture(rows: list[list[dict]], title: str = "") -> Picture:
    """A network's blocks as boxes in rows, with arrows; skip connections as arcs.

    A block is a dict: ``name``, ``lines`` (a few short strings), ``shape`` (height,
    width, channels), ``skip`` ("", "identity" or "1 × 1 convolution") and ``colour``.
    """
    texts, step, tall = [], 1.28, 2.35
    columns = max(map(len, rows))
    size = (step * columns * 0.9, tall * len(rows) * 0.75 + 0.5)
    figure, [[panel]] = panel_grid(1, 1, size, title)
    for r, row in enumerate(rows):
        y = -r * tall
        texts += [_draw_block(panel, c * step, y, block) for c, block in enumerate(row)]
        if r:  # from the end of the row above to the start of this one
            end, middle = (len(rows[r - 1]) - 1) * step + 0.5, y + tall / 2 - 0.05
            path = [(end, y + tall - 0.75), (end, middle), (-0.22, middle), (-0.22, y)]
            panel.plot(*zip(*path, strict=True), color=GREY, lw=1)
            panel.annotate("", (0.02, y), (-0.22, y), arrowprops=ARROW)
    panel.set(xlim=(-0.3, columns * step), ylim=(-(len(rows) - 1) * tall - 0.8, 1.2))
    return Picture(figure, f"{title}: {'; '.join(texts)}.")


def _draw_block(panel, x: float, y: float, block: dict) -> str:
    """A block's box, its skip connection and the arrow to it; its name and shape."""
    style = {"boxstyle": "round,pad=0.04", "facecolor": (block["colour"], 0.2)}
    panel.add_patch(FancyBboxPatch((x + 0.05, y - 0.7), 0.9, 1.4, ec=GREY, **style))
    middle, centred = x + 0.5, {"ha": "center", "va": "center"}
    shape = " × ".join(map(str, block["shape"]))
    panel.text(middle, y + 0.55, block["name"], weight="bold", fontsize=9, **centred)
    panel.text(middle, y, "\n".join(block["lines"]), fontsize=7.5, **centred)
    panel.text(middle, y - 0.58, shape, fontsize=7, color=BLUE, **centred)
    if x:  # not the first of its row
        panel.annotate("", (x + 0.02, y), (x - 0.28, y), arrowprops=ARROW)
    if block["skip"]:
        arc = ARROW | {"color": ORANGE, "connectionstyle": "arc3,rad=-0.35"}
        arc["ls"] = "-" if block["skip"] == "identity" else "--"
        panel.annotate("", (x + 1.1, y + 0.76), (x - 0.1, y + 0.76), arrowprops=arc)
    return f"{block['name']} {shape}"
