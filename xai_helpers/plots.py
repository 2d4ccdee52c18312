"""Figures from images and what the networks say of them; the only home of colour maps.

Every function returns a ``Picture``: it shows itself in a notebook, and its text says
what can be seen, for readers who cannot see it and for the notebook check.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .images import load_image

DPI = 90
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # safe for the colour-blind
POSITIVE = "viridis"  # 0 and more: perceptually uniform
SIGNED = "PuOr_r"  # below and above zero: orange above, purple below, zero white
ARROW = {"arrowstyle": "->", "color": GREY}

matplotlib.rcParams["svg.hashsalt"] = "xai_helpers"


class Picture:
    """A matplotlib figure that shows itself once and says in words what is in it.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Made outside pyplot, so nothing shows twice and nothing has to be closed.
    text : str
        What the figure shows: its alternative text, and what nbval compares.
    photographic : bool
        Shown as a JPEG, a quarter of the size, where photos or noise fill the figure.
    """

    def __init__(self, figure: Figure, text: str, photographic: bool = False):
        self.figure, self.text, self.photographic = figure, text, photographic

    def __repr__(self) -> str:
        return self.text

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()

    def jpeg(self) -> bytes:
        """The picture as the bytes of a JPEG file, colours in full resolution."""
        buffer = io.BytesIO()
        image = Image.open(io.BytesIO(self.png())).convert("RGB")
        image.save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        kind = "image/jpeg" if self.photographic else "image/png"
        content = self.jpeg() if self.photographic else self.png()
        return {kind: content, "text/plain": self.text}, {kind: {"alt": self.text}}

    def save(self, path) -> None:
        """Write the figure to a file; the ending (png, svg, pdf) decides the format."""
        self.figure.savefig(path, dpi=DPI)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def _bare(axes, title: str = "", **style) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, **({"fontsize": 9, "parse_math": False} | style))
    for spine in axes.spines.values():
        spine.set_visible(False)


def _pretty(label: str) -> str:
    return label.replace("_", " ")


# --- photos ---------------------------------------------------------------------------


def photos(images: dict[str, np.ndarray], columns: int = 4, title: str = "") -> Picture:
    """Photos with their names, in a grid.

    Parameters
    ----------
    images : dict of name to uint8 array (H, W, 3)
    """
    rows = -(-len(images) // columns)
    figure = _figure(2.3 * columns, 2.0 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (name, image) in zip(axes.flat, images.items(), strict=False):
        ax.imshow(image)
        ax.set_title(name, fontsize=9, parse_math=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    names = ", ".join(images)
    return Picture(figure, f"{title or 'Photos'}: {names}.")


def predictions(
    classifiers: Sequence, images: dict[str, np.ndarray], k: int = 5, title: str = ""
) -> Picture:
    """Each photo as the networks see it, and the k classes that each is surest of.

    Parameters
    ----------
    classifiers : sequence of Classifier
    images : dict of name to uint8 array (H, W, 3)
    k : int
    """
    columns = 1 + len(classifiers)
    figure = _figure(2.2 + 3.4 * len(classifiers), 1.45 * len(images) + 0.5)
    grid = figure.add_gridspec(
        len(images), columns, width_ratios=[1.0, *[2.4] * len(classifiers)]
    )
    said = []
    for row, (name, image) in enumerate(images.items()):
        ax = figure.add_subplot(grid[row, 0])
        ax.imshow(classifiers[0].cut(image)[0])
        _bare(ax, name)
        for column, classifier in enumerate(classifiers, start=1):
            best = classifier.top(image, k)
            ax = figure.add_subplot(grid[row, column])
            _bars(ax, best)
            if row == 0:
                ax.set_title(classifier.name, fontsize=10, loc="left")
            said.append(f"{name}, {classifier.name}: {_pretty(best[0].label)}")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    return Picture(figure, "First choices. " + "; ".join(said) + ".")


def _bars(ax, best: Sequence) -> None:
    """Horizontal bars, one a class, the label written over the bar."""
    heights = np.arange(len(best))[::-1]
    ax.barh(heights, [p.probability for p in best], color=BLUE, alpha=0.35, height=0.85)
    for height, p in zip(heights, best, strict=True):
        ax.text(0.01, height, _pretty(p.label), va="center", fontsize=8)
        ax.text(
            0.99, height, f"{p.probability:.0%}", va="center", ha="right", fontsize=8
        )
    ax.set(xlim=(0, 1), ylim=(-0.6, len(best) - 0.4), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)


# --- attributions ---------------------------------------------------------------------


def limit(attributions: Sequence) -> float:
    """The value at which the colours of these maps end; at least a tiny positive one.

    The largest size that occurs; of maps with over 1,000 cells, where single cells
    stand out far, the size that 99.5 % of them do not exceed.
    """
    found = 0.0
    for attribution in attributions:
        sizes = np.abs(attribution.map)
        top = np.percentile(sizes, 99.5) if sizes.size > 1000 else sizes.max()
        found = max(found, float(top or sizes.max()))
    return found or 1.0


def _reach(attribution, limit: float) -> str:
    """Where the colours end, "±0.31"; "and more" if values lie beyond."""
    more = " and more" if np.abs(attribution.map).max() > limit * 1.001 else ""
    return f"{'±' if attribution.signed else '0–'}{_short(limit)}{more}"


def _short(value: float) -> str:
    """Three digits, in full from a thousandth to a million."""
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def scale(attribution) -> str:
    """In words, where the colours of the map end."""
    return f"Colours: {_reach(attribution, limit([attribution]))} {attribution.unit}."


def _colours(attribution, limit: float) -> dict:
    """For ``imshow``: zero is white on signed maps and dark on those from zero up."""
    if attribution.signed:
        return {"cmap": SIGNED, "vmin": -limit, "vmax": limit}
    return {"cmap": POSITIVE, "vmin": 0, "vmax": limit}


def blend(attribution, opacity: float = 0.6, limit: float | None = None) -> np.ndarray:
    """The map over its photo in grey, uint8 (H, W, 3), pixel on pixel.

    Parameters
    ----------
    attribution : Attribution
    opacity : float, 0 (only the photo, then in its own colours) to 1 (only the map)
    limit : float or None
        The value at which the colours end; None: the map's own ``plots.limit``.
    """
    return _mix(attribution.image, attribution.heatmap(), attribution, opacity, limit)


def on_photo(attribution, photo, opacity: float = 0.6) -> np.ndarray:
    """The map over the caller's whole photo, uint8, of the photo's own size.

    What the network did not see (outside the cut) is left in grey, without colours.

    Parameters
    ----------
    attribution : Attribution
    photo : as ``load_image`` takes it
        The photo that the attribution was made of.
    opacity : float, 0 to 1

    Raises
    ------
    ValueError
        For a photo of another size.
    """
    photo = load_image(photo)
    if photo.shape[:2] != tuple(attribution.photo_size):
        raise ValueError(
            f"The map was made of a photo of {attribution.photo_size} pixels, height "
            f"and width; this one has {photo.shape[:2]}."
        )
    whole = _mix(photo, attribution.on_photo(), attribution, opacity, None)
    outside = np.ones(photo.shape[:2], bool)
    top, left, height, width = attribution.cut
    outside[top : top + height, left : left + width] = False
    if opacity:
        whole[outside] = photo[outside].mean(axis=1, keepdims=True).round()
    return whole


def _mix(photo, heat, attribution, opacity: float, limit: float | None) -> np.ndarray:
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is 0 to 1, not {opacity!r}.")
    style = _colours(attribution, limit or globals()["limit"]([attribution]))
    scale = matplotlib.colors.Normalize(style["vmin"], style["vmax"], clip=True)
    colours = 255 * matplotlib.colormaps[style["cmap"]](scale(heat))[..., :3]
    photo = photo.astype("float32")
    if opacity:
        photo = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    return np.round((1 - opacity) * photo + opacity * colours).astype("uint8")


def _over(ax, attribution, limit: float, opacity: float, title: str) -> None:
    """One panel: over the photo; a map as fine as the photo covers it."""
    if attribution.map.shape == attribution.image.shape[:2]:
        opacity = 1
    ax.imshow(blend(attribution, opacity, limit))
    if not attribution.map.any():
        box = {"facecolor": "white", "edgecolor": GREY}
        where = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "zero everywhere", fontsize=8, bbox=box, **where)
    _bare(ax, title)


def _bar(figure, axes, attribution, limit: float, *, label: str = "") -> None:
    """A colour bar for one panel or several; pointed where values lie beyond it."""
    style = _colours(attribution, limit)
    scale = matplotlib.colors.Normalize(style["vmin"], style["vmax"])
    beyond = np.abs(attribution.map).max() > limit * 1.001
    ends = ("both" if attribution.signed else "max") if beyond else "neither"
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(scale, style["cmap"]),
        ax=axes,
        extend=ends,
        shrink=0.85,
        aspect=18,
        pad=0.02,
    )
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=5)
    bar.set_label(label or attribution.unit, fontsize=8)


def attribution(attribution, *, opacity: float = 0.6, title: str = "") -> Picture:
    """Photo, the map in its own cells, and the map over the photo.

    A map as fine as the photo is shown once, beside it. Activations are shown as a grid
    of channels instead.

    Parameters
    ----------
    attribution : Attribution
    opacity : float, 0 to 1, of the map over the photo
    """
    if attribution.target is None and attribution.values.ndim == 3:
        return feature_maps(attribution, title=title)
    cells = attribution.map
    fine = cells.shape == attribution.image.shape[:2]
    figure = _figure(6.6 if fine else 9.2, 3.1)
    first, *others = figure.subplots(1, 2 if fine else 3)
    first.imshow(attribution.image)
    _bare(first, "what the network saw")
    top = limit([attribution])
    if not fine:
        others[0].imshow(cells, interpolation="nearest", **_colours(attribution, top))
        _bare(others[0], f"the map: {cells.shape[0]} × {cells.shape[1]} cells")
    over = "the map" if fine else "placed over the photo"
    _over(others[-1], attribution, top, opacity, over)
    _bar(figure, others[-1], attribution, top)
    figure.suptitle(title or attribution.name, fontsize=11, parse_math=False)
    return Picture(figure, attribution.text, photographic=True)


def overlay(attribution, *, opacity: float = 0.6, title: str = "") -> Picture:
    """One panel: the photo with the map over it, and the colour bar."""
    figure = _figure(4.4, 3.8)
    ax, top = figure.subplots(), limit([attribution])
    _over(ax, attribution, top, opacity, title or attribution.name)
    _bar(figure, ax, attribution, top)
    return Picture(figure, attribution.text, photographic=True)


def grid(
    rows: dict[str, Sequence],
    *,
    names: Sequence[str] = (),
    shared: bool = True,
    opacity: float = 0.6,
    title: str = "",
) -> Picture:
    """Images × classes (or layers, or settings): one row a photo, one map a column.

    Parameters
    ----------
    rows : dict of name to sequence of Attribution
        Left of each row stands the photo of its first map; once, if it is the same in
        all of them.
    names : titles of the columns; the targets' labels if not given
    shared : bool
        One scale for each row, with a colour bar; else, or if a row mixes units, each
        map has its own, whose end stands in its title.
    opacity : float, 0 to 1
    """
    if not rows or not all(len(row) for row in rows.values()):
        raise ValueError("Give at least one row, with at least one map in each.")
    kinds = [{(one.unit, one.signed) for one in row} for row in rows.values()]
    shared = shared and all(len(kind) == 1 for kind in kinds)
    columns = max(len(row) for row in rows.values())
    size = min(9.2 / (columns + 1 + 0.35 * shared), 2.2)
    figure = _figure(9.2, (size + 0.3) * len(rows) + 0.4)
    axes = figure.subplots(len(rows), columns + 1, squeeze=False)
    said = []
    pictures = [row[0].image for row in rows.values()]
    one_photo = len(rows) > 1 and all(np.array_equal(p, pictures[0]) for p in pictures)
    for r, (panels, (name, row)) in enumerate(zip(axes, rows.items(), strict=True)):
        if one_photo:  # shown once; the rows' names stand beside the maps
            panels[1].set_ylabel(name, fontsize=9, parse_math=False)
        if one_photo and r:
            panels[0].axis("off")
        else:
            panels[0].imshow(row[0].image)
            _bare(panels[0], "" if one_photo else name)
        together = limit(row)
        for k, (ax, one) in enumerate(zip(panels[1:], row, strict=False)):
            top = together if shared else limit([one])
            head = names[k] if len(names) else _pretty(one.label)
            head += "" if shared else f"\n{_reach(one, top)}"
            _over(ax, one, top, opacity, head)
            said.append(f"{name}: {one.text}")
        for ax in panels[len(row) + 1 :]:
            ax.axis("off")
        if shared:
            widest = max(row, key=lambda one: (one.signed, np.abs(one.map).max()))
            _bar(figure, list(panels), widest, together)
    figure.suptitle(title, fontsize=11, parse_math=False)
    text = f"{title}. " * bool(title) + " ".join(said)
    return Picture(figure, text, photographic=True)


def techniques(
    networks: dict[str, dict[str, object]], *, opacity: float = 0.6, title: str = ""
) -> Picture:
    """One photo: a row of maps for each network, a column for each technique.

    Each map has its own scale, whose end stands above it.

    Parameters
    ----------
    networks : dict of network to dict of technique to Attribution
        All rows have the same techniques; the photo stands on the left.
    """
    columns = 1 + max(len(row) for row in networks.values())
    size = 11.2 / columns
    figure = _figure(11.2, (size + 0.45) * len(networks) + 0.4)
    axes = figure.subplots(len(networks), columns, squeeze=False)
    said = []
    for panels, (network, row) in zip(axes, networks.items(), strict=True):
        panels[0].imshow(next(iter(row.values())).image)
        _bare(panels[0], network)
        for ax, (name, one) in zip(panels[1:], row.items(), strict=True):
            top = limit([one])
            _over(ax, one, top, opacity, f"{name}\n{_reach(one, top)}")
            ax.title.set_fontsize(8)
            said.append(one.text)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return Picture(
        figure, f"{title}. " * bool(title) + " ".join(said), photographic=True
    )


def layer_strip(
    attributions: Sequence, *, columns: int = 7, opacity: float = 0.6, title: str = ""
) -> Picture:
    """The same question at several layers, in network order, each on its own scale.

    Parameters
    ----------
    attributions : sequence of Attribution, of one photo
    """
    if not len(attributions):
        raise ValueError("Give at least one map.")
    columns = min(columns, len(attributions))
    rows = -(-len(attributions) // columns)
    size = min(9.4 / columns, 2.6)
    figure = _figure(size * columns, (size + 0.35) * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, one in zip(axes.flat, attributions, strict=False):
        top = limit([one])
        reach = _reach(one, top) if one.map.any() else "zero"
        height, width = one.map.shape
        _over(ax, one, top, opacity, f"{one.layer}\n{height} × {width}, {reach}")
        ax.title.set_fontsize(7)
    figure.suptitle(title, fontsize=11, parse_math=False)
    said = " ".join(one.text for one in attributions)
    return Picture(figure, f"{title}. " * bool(title) + said, photographic=True)


def strongest(attribution, count: int) -> list[int]:
    """The channels with the largest mean size, strongest first."""
    means = np.abs(attribution.values).mean(axis=(0, 1))
    return np.argsort(-means, kind="stable")[:count].tolist()


def feature_maps(
    attribution, *, count: int = 16, columns: int = 8, title: str = ""
) -> Picture:
    """The strongest channels of a layer, each on its own scale, with their numbers.

    Parameters
    ----------
    attribution : Attribution with values (h, w, channels)
    count : int
        How many channels, those with the largest mean size.
    """
    if attribution.values.ndim != 3:
        raise ValueError(f"{attribution.technique} has one map and no channels.")
    channels = strongest(attribution, count)
    picture = maps(
        [attribution.values[..., channel] for channel in channels],
        [f"channel {channel}" for channel in channels],
        columns=columns,
        signed=attribution.signed,
        title=title or f"{attribution.name}: the {len(channels)} strongest channels",
    )
    return Picture(picture.figure, attribution.text, picture.photographic)


def tiles(attribution, *, count: int = 16, side: int = 112) -> np.ndarray:
    """The same as a plain picture, uint8 (H, W, 3), for a slider that has to be quick.

    Four tiles a row, the longer edge ``side`` pixels, a white line between them; the
    cells where they lie on the photo.
    """
    found, (height, width) = [], attribution.image.shape[:2]
    edges = [round(side * edge / max(height, width)) for edge in (height, width)]
    style = _colours(attribution, 1.0)
    scale = matplotlib.colors.Normalize(style["vmin"], style["vmax"])
    colours = matplotlib.colormaps[style["cmap"]]
    for channel in strongest(attribution, count):
        values = attribution.place(attribution.values[..., channel])
        top = float(np.abs(values).max()) or 1.0
        tile = Image.fromarray(colours(scale(values / top), bytes=True))
        tile = tile.convert("RGB").resize((edges[1] - 2, edges[0] - 2), Image.BILINEAR)
        found.append(np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=255))
    blank = np.full((*edges, 3), 255, "uint8")
    found += [blank] * (-len(found) % 4)
    return np.vstack([np.hstack(found[k : k + 4]) for k in range(0, len(found), 4)])


def png(picture: np.ndarray, side: int | None = None) -> bytes:
    """A uint8 picture (H, W, 3) as a PNG, its longer edge ``side`` pixels if given."""
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if side:
        factor = side / max(image.size)
        size = tuple(max(1, round(factor * edge)) for edge in image.size)
        image = image.resize(size, Image.BILINEAR)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def save(picture: np.ndarray, path) -> None:
    """A uint8 picture (H, W, 3) as a file; the ending (png, jpg) decides the format."""
    Image.fromarray(picture).save(path, quality=92, subsampling=0)


# --- maps and filters -----------------------------------------------------------------


def maps(
    stack: Sequence[np.ndarray],
    names: Sequence[str] = (),
    *,
    columns: int = 8,
    signed: bool | Sequence[bool | None] | None = False,
    title: str = "",
) -> Picture:
    """A row or grid of maps, each with the colours that its sign asks for.

    Every map has its own scale, from zero to its own extreme, which stands beneath it.

    Parameters
    ----------
    stack : sequence of n float arrays, (h, w), not necessarily of one size
    names : n titles
    signed : bool or None, or n of them
        False: from 0 up, dark to bright. True: white is zero, orange above, purple
        below, symmetric. None: the grey values 0–255 of a photo.
    """
    stack = [np.asarray(values, "float32") for values in stack]
    signs = signed if isinstance(signed, (list, tuple)) else [signed] * len(stack)
    if not stack or len(signs) != len(stack):
        raise ValueError(f"{len(stack)} maps and {len(signs)} values of signed.")
    if not all(np.isfinite(values).all() for values in stack):
        raise ValueError("A map holds NaN or infinity; mend it before it is drawn.")
    for values, sign in zip(stack, signs, strict=True):
        if sign is False and values.min() < 0:
            raise ValueError("A map has values below zero: draw it with signed=True.")
    columns = min(columns, len(stack))
    rows = -(-len(stack) // columns)
    size = min(9.6 / columns, 3.0)
    figure = _figure(size * columns, (size + 0.3) * rows + 0.35)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for k, (ax, values, sign) in enumerate(zip(axes.flat, stack, signs, strict=False)):
        limit = 255.0 if sign is None else float(np.abs(values).max())
        ax.imshow(
            values,
            cmap={True: SIGNED, False: POSITIVE, None: "gray"}[sign],
            vmin=-(limit or 1) if sign else 0,
            vmax=limit or 1,  # an all-zero map is drawn as zero, not as noise
            interpolation="nearest",
        )
        name = names[k] if len(names) else ""
        reach = (
            f"{'±' if sign else '0–'}{_short(limit)}" if limit else "zero everywhere"
        )
        ax.set_title(f"{name}\n{reach}" if name else reach, fontsize=8)
    figure.suptitle(title, fontsize=11, parse_math=False)
    empty = sum(not values.any() for values in stack)
    text = f"{title or 'Maps'}: {', '.join(names) if len(names) else len(stack)}"
    text += f"; {empty} zero everywhere." if empty else "."
    fine = max(values.size for values in stack) > 5000
    return Picture(figure, text, photographic=fine)


def filters(kernels: np.ndarray, *, columns: int = 16, title: str = "") -> Picture:
    """First-layer kernels as small RGB pictures; mid-grey is a weight of zero.

    Parameters
    ----------
    kernels : float array, (h, w, 3, n), channels in RGB order
    """
    count = kernels.shape[-1]
    rows = -(-count // columns)
    figure = _figure(9.6, 9.6 / columns * rows + 0.4)
    for k, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        ax.axis("off")
        if k < count:
            kernel = kernels[..., k]
            ax.imshow(
                0.5 + 0.5 * kernel / np.abs(kernel).max(), interpolation="nearest"
            )
    figure.suptitle(title, fontsize=11, parse_math=False)
    size = f"{kernels.shape[0]} × {kernels.shape[1]}"
    return Picture(figure, f"{title or 'Filters'}: {count} kernels of {size} pixels.")


def boxes(
    image: np.ndarray, sides: dict[str, int], centre: tuple[int, int], title: str = ""
) -> Picture:
    """Squares of growing size around one point of a photo: receptive fields.

    Parameters
    ----------
    image : uint8 array (H, W, 3)
    sides : dict of name to side in pixels
    centre : (row, column)
    """
    figure = _figure(7.2, 4.6)
    ax = figure.subplots()
    ax.imshow(image)
    colours = matplotlib.colormaps["plasma"](np.linspace(0, 0.95, len(sides)))
    row, column = centre
    for (name, side), colour in zip(sides.items(), colours, strict=True):
        corner = (column - side / 2, row - side / 2)
        style = {"fill": False, "edgecolor": colour, "linewidth": 2}
        style["label"] = f"{name}: {side} px"
        ax.add_patch(matplotlib.patches.Rectangle(corner, side, side, **style))
    _bare(ax)
    ax.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11, parse_math=False)
    said = ", ".join(f"{name} {side} px" for name, side in sides.items())
    return Picture(figure, f"{title}: {said}.")


def crops(rows: dict[str, dict[str, Sequence[np.ndarray]]], title: str = "") -> Picture:
    """Cut-outs of photos in rows, and in each row in groups, all drawn at one size.

    Parameters
    ----------
    rows : dict of row name to dict of group name to sequence of uint8 arrays (h, w, 3)
        Every row has as many groups, and every group as many images.
    """
    groups = [len(images) for images in next(iter(rows.values())).values()]
    widths = [w for count in groups for w in [*[1.0] * count, 0.15]][:-1]
    size = 9.4 / sum(widths)
    figure = _figure(9.6, (size + 0.28) * len(rows) + 0.4)
    grid = figure.add_gridspec(len(rows), len(widths), width_ratios=widths)
    for r, (name, row) in enumerate(rows.items()):
        column = 0
        for group, images in row.items():
            for k, image in enumerate(images):
                ax = figure.add_subplot(grid[r, column + k])
                ax.imshow(image, interpolation="nearest")
                ax.axis("off")
                if k == 0:
                    start = f"{name}, {image.shape[0]} px" if column == 0 else ""
                    ax.set_title(f"{start}\n{group}", fontsize=8, loc="left")
            column += len(images) + 1
    figure.suptitle(title, fontsize=11, parse_math=False)
    said = f"{len(rows)} rows of {sum(groups)}: {', '.join(rows)}"
    return Picture(figure, f"{title}: {said}.")


# --- architecture ---------------------------------------------------------------------


def blocks(rows: Sequence[Sequence[dict]], title: str = "") -> Picture:
    """A network's blocks as boxes in rows, with arrows; skip connections as arcs.

    Parameters
    ----------
    rows : sequence of rows, each a sequence of blocks
        A block is a dict with ``name``, ``lines`` (what is in it, a few short strings),
        ``shape`` (height, width, channels it puts out), ``skip`` ("", "identity" or
        "1 × 1 convolution") and ``colour``.
    """
    step, tall = 1.28, 2.35
    columns = max(len(row) for row in rows)
    figure = _figure(step * columns * 0.9, tall * len(rows) * 0.75 + 0.5)
    ax = figure.subplots()
    for r, row in enumerate(rows):
        y = -r * tall
        for c, block in enumerate(row):
            _block(ax, c * step, y, block, linked=c > 0)
        if r:  # from the end of the row above to the start of this one
            end, middle = (len(rows[r - 1]) - 1) * step + 0.5, y + tall / 2 - 0.05
            path = [(end, y + tall - 0.75), (end, middle), (-0.22, middle), (-0.22, y)]
            ax.plot(*zip(*path, strict=True), color=GREY, lw=1)
            ax.annotate("", (0.02, y), (-0.22, y), arrowprops=ARROW)
    ax.set(xlim=(-0.3, columns * step), ylim=(-(len(rows) - 1) * tall - 0.8, 1.2))
    ax.axis("off")
    figure.suptitle(title, fontsize=11, parse_math=False)
    said = "; ".join(
        f"{b['name']} {' × '.join(map(str, b['shape']))}" for row in rows for b in row
    )
    return Picture(figure, f"{title}: {said}.")


def _block(ax, x: float, y: float, block: dict, *, linked: bool) -> None:
    box = matplotlib.patches.FancyBboxPatch(
        (x + 0.05, y - 0.7),
        0.9,
        1.4,
        boxstyle="round,pad=0.04",
        facecolor=(*matplotlib.colors.to_rgb(block["colour"]), 0.2),
        edgecolor=GREY,
    )
    ax.add_patch(box)
    centred = {"ha": "center", "va": "center"}
    ax.text(x + 0.5, y + 0.55, block["name"], weight="bold", fontsize=9, **centred)
    ax.text(x + 0.5, y, "\n".join(block["lines"]), fontsize=7.5, **centred)
    size = " × ".join(map(str, block["shape"]))
    ax.text(x + 0.5, y - 0.58, size, fontsize=7, color=BLUE, **centred)
    if linked:
        ax.annotate("", (x + 0.02, y), (x - 0.28, y), arrowprops=ARROW)
    if block["skip"]:
        style = {"ls": "-" if block["skip"] == "identity" else "--", "color": ORANGE}
        style["connectionstyle"] = "arc3,rad=-0.35"
        start, end = (x - 0.1, y + 0.76), (x + 1.1, y + 0.76)
        ax.annotate("", end, start, arrowprops=ARROW | style)


def bars(
    values: dict[str, tuple[float, float]],
    legend: tuple[str, str],
    *,
    title: str = "",
    unit: str = "",
) -> Picture:
    """Two bars for each name, side by side, on one labelled axis.

    Parameters
    ----------
    values : dict of name to two numbers
    legend : what the first and the second number are
    """
    figure = _figure(8.0, 0.28 * len(values) + 1.2)
    ax = figure.subplots()
    heights = np.arange(len(values))[::-1]
    for k, (colour, name) in enumerate(zip((BLUE, ORANGE), legend, strict=True)):
        lengths = [pair[k] for pair in values.values()]
        ax.barh(heights + 0.2 - 0.4 * k, lengths, 0.4, color=colour, label=name)
    ax.set_yticks(heights, list(values), fontsize=8)
    ax.set_xlabel(unit)
    ax.legend(fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return Picture(figure, f"{title}: {', '.join(values)}.")


# --- curves and spreads ---------------------------------------------------------------


def lines(
    curves: dict[str, tuple[Sequence[float], Sequence[float]]],
    axes: tuple[str, str],
    *,
    bands: dict[str, Sequence[float]] | None = None,
    level: tuple[str, float] | None = None,
    log: str = "",
    title: str = "",
) -> Picture:
    """Curves on one pair of axes, told apart by colour and by dash.

    Parameters
    ----------
    curves : dict of name to (x, y)
    axes : what x and y are
    bands : dict of name to half widths
        Drawn as error bars around the curve of that name.
    level : (name, y)
        A horizontal line: the value to be reached.
    log : "", "x", "y" or "xy"
    """
    figure = _figure(7.4, 3.6)
    ax = figure.subplots()
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
    said = []
    for k, (name, (x, y)) in enumerate(curves.items()):
        style = {"color": colours[k], "ls": ("-", "--", ":", "-.")[k % 4]}
        style["marker"] = "o" if len(x) < 16 else ""
        if bands and name in bands:
            ax.errorbar(x, y, bands[name], capsize=3, label=name, **style)
        else:
            ax.plot(x, y, label=name, **style)
        said.append(f"{name} from {_short(y[0])} to {_short(y[-1])}")
    if level:
        ax.axhline(level[1], color=ORANGE, lw=1, label=level[0])
        said.append(f"{level[0]} {_short(level[1])}")
    ax.set(
        xlabel=axes[0],
        ylabel=axes[1],
        xscale="log" if "x" in log else "linear",
        yscale="log" if "y" in log else "linear",
    )
    for text in ax.legend(fontsize=8).get_texts():
        text.set_parse_math(False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return Picture(figure, f"{title}: {'; '.join(said)}.")


def dots(
    groups: dict[str, dict[str, Sequence[float]]],
    *,
    level: tuple[str, float] | None = None,
    unit: str = "",
    title: str = "",
) -> Picture:
    """Every value as a dot, the mean as a bar: one row a name, one panel a group.

    Parameters
    ----------
    groups : dict of panel to dict of row to values
        All panels have the same rows.
    level : (name, value)
        A vertical line: what chance would give.
    """
    names = list(next(iter(groups.values())))
    figure = _figure(9.2, 0.3 * len(names) + 1.3)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    said = []
    for ax, (group, rows) in zip(panels, groups.items(), strict=True):
        for place, name in enumerate(names):
            values = np.asarray(rows[name], float)
            shifted = place + np.linspace(-0.2, 0.2, len(values))
            ax.plot(values, shifted, "o", color=BLUE, ms=3, alpha=0.5)
            ax.plot(
                [values.mean()] * 2, [place - 0.35, place + 0.35], color=ORANGE, lw=3
            )
            said.append(f"{group}, {name} {values.mean():.2f}")
        if level:
            ax.axvline(level[1], color=GREY, lw=1, ls=":")
        ax.set_title(group, fontsize=9, parse_math=False)
        ax.set_xlabel(f"{unit}; dotted: {level[0]}" if level else unit, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    panels[0].invert_yaxis()
    figure.suptitle(title, fontsize=11, parse_math=False)
    return Picture(figure, f"{title}. Means: {'; '.join(said)}.")
