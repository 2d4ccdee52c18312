"""Pictures of photos and maps; the only home of colour maps.

Every function that draws returns a ``Picture``, whose description says what is in it,
for readers who cannot see it and for the notebook check. See also ``figures``.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image

from ..engine.image_files import load_image

DPI = 90
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # safe for the colour-blind
# Perceptually uniform from a dark zero; orange above and purple below a white zero.
COLOUR_MAPS = {"positive": "viridis", "signed": "PuOr_r", "grey": "gray"}
BEYOND = 1.001  # times the end of the colours: beyond it by more than rounding


@dataclass(eq=False, repr=False)
class Picture:
    """A matplotlib figure that shows itself once and says in words what is in it."""

    figure: Figure  # made outside pyplot: nothing shows twice or has to be closed
    description: str  # what it shows: its alternative text, and what nbval compares
    photographic: bool = False  # of photos or noise: a JPEG, a quarter of the size

    def __repr__(self) -> str:
        return self.description

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()

    def jpeg(self) -> bytes:
        """The picture as the bytes of a JPEG file, colours in full resolution."""
        buffer, image = io.BytesIO(), Image.open(io.BytesIO(self.png()))
        image.convert("RGB").save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        kind, encode = ("jpeg", self.jpeg) if self.photographic else ("png", self.png)
        data = {f"image/{kind}": encode(), "text/plain": self.description}
        return data, {f"image/{kind}": {"alt": self.description}}

    def save(self, path) -> None:
        """Write the figure to a file; the ending (png, svg, pdf) decides the format."""
        with mpl.rc_context({"svg.hashsalt": "xai_helpers"}):  # the same ids
            self.figure.savefig(path, dpi=DPI)


def panel_grid(rows: int, columns: int, size, title=None, axes=False, **options):
    """A figure of ``size`` inches and an array (rows, columns) of its panels.

    Without ``axes`` they hold images alone; the title None takes no room; the options
    are those of ``Figure.subplots``.
    """
    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    if title is not None:
        figure.suptitle(title, fontsize=11, parse_math=False)
    style = {} if axes else {"xticks": [], "yticks": [], "frame_on": False}
    panels = figure.subplots(rows, columns, squeeze=False, subplot_kw=style, **options)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def draw_panel(panel, image, title="", font_size=9, scale=None, **style) -> None:
    """An image in a panel with a title; with a colour scale, a map in its own cells."""
    if scale is not None:
        style |= {"norm": scale.norm, "cmap": scale.cmap, "interpolation": "nearest"}
    panel.imshow(image, **style)
    panel.set_title(title, fontsize=font_size, parse_math=False)


def format_number(value: float) -> str:
    """Three digits, in full from a thousandth to a million."""
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def photos(images: dict[str, np.ndarray], columns=4, title="") -> Picture:
    """Photos, uint8 arrays (H, W, 3), with their names, in a grid."""
    rows = math.ceil(len(images) / columns)
    figure, panels = panel_grid(rows, columns, (2.3 * columns, 2 * rows + 0.3), title)
    for panel, (name, image) in zip(panels.flat, images.items(), strict=False):
        draw_panel(panel, image, name)
    return Picture(figure, f"{title or 'Photos'}: {', '.join(images)}.")


def predictions(classifiers: Sequence, images: dict, k=5, title="") -> Picture:
    """Each photo, uint8 (H, W, 3), as the networks see it, and its top classes (k)."""
    ratios = [1.0, *[2.4] * len(classifiers)]
    size = (2.2 + 3.4 * len(classifiers), 1.45 * len(images) + 0.5)
    shape, title = (len(images), len(ratios)), title or None
    figure, panels = panel_grid(*shape, size, title, width_ratios=ratios)
    first_choices = []
    style = {"va": "center", "fontsize": 8, "parse_math": False}  # labels may have a $
    for row, (name, image) in zip(panels, images.items(), strict=True):
        draw_panel(row[0], classifiers[0].crop(image)[0], name)
        for panel, classifier in zip(row[1:], classifiers, strict=True):
            best = classifier.top(image, k)
            labels = [prediction.label.replace("_", " ") for prediction in best]
            lengths = [prediction.probability for prediction in best]
            panel.barh(range(len(best)), lengths, color=BLUE, alpha=0.35, height=0.85)
            for height, (label, length) in enumerate(zip(labels, lengths, strict=True)):
                panel.text(0.01, height, label, **style)
                panel.text(0.99, height, f"{length:.0%}", ha="right", **style)
            panel.set(xlim=(0, 1), ylim=(len(best) - 0.4, -0.6), frame_on=True)
            panel.spines.bottom.set_visible(False)
            first_choices.append(f"{name}, {classifier.name}: {labels[0]}")
    for panel, classifier in zip(panels[0, 1:], classifiers, strict=True):
        panel.set_title(classifier.name, fontsize=10, loc="left")
    return Picture(figure, f"First choices. {'; '.join(first_choices)}.")


def colour_limit(attributions: Sequence) -> float:
    """Where the colours of these maps end: at their largest size, but never at zero."""
    limit = 0.0
    for attribution in attributions:
        sizes = np.abs(attribution.map)  # in a fine map a few cells stand out far
        largest = np.percentile(sizes, 99.5) if sizes.size > 1000 else sizes.max()
        limit = max(limit, float(largest or sizes.max()))
    return limit or 1.0


def colour_range_text(attribution) -> str:
    """In words, where the colours of the map end."""
    label = _range_label(attribution.map, _scale_of(attribution))
    return f"Colours: {label} {attribution.unit}."


def _scale_of(attribution, limit: float | None = None) -> ScalarMappable:
    limit = limit or colour_limit([attribution])
    return _colour_scale("signed" if attribution.signed else "positive", limit)


def _colour_scale(kind: str, limit: float) -> ScalarMappable:
    norm = mpl.colors.Normalize(-limit if kind == "signed" else 0, limit, clip=True)
    return ScalarMappable(norm, COLOUR_MAPS[kind])


def _range_label(values: np.ndarray, scale: ScalarMappable) -> str:
    """Where the colours end, "±0.31"; "and more" if values lie beyond."""
    lowest, limit = scale.get_clim()
    more = " and more" if np.abs(values).max() > limit * BEYOND else ""
    return f"{'±' if lowest else '0–'}{format_number(limit)}{more}"


def _colour_bar(figure: Figure, panels, attributions: Sequence) -> None:
    """The colour bar of maps on one scale; pointed where values lie beyond it."""
    first, limit = attributions[0], colour_limit(attributions)
    beyond = max(np.abs(a.map).max() for a in attributions) > limit * BEYOND
    ends = ("both" if first.signed else "max") if beyond else "neither"
    style = {"extend": ends, "shrink": 0.85, "aspect": 18, "pad": 0.02}
    bar = figure.colorbar(_scale_of(first, limit), ax=panels, **style)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=5)
    bar.set_label(first.unit, fontsize=8)


def overlay_array(attribution, opacity=0.6, limit=None) -> np.ndarray:
    """The map over its photo in grey, uint8 (H, W, 3), pixel on pixel.

    ``opacity`` is 0 (only the photo, then in its own colours) to 1 (only the map); the
    colours end at ``limit``, which is ``colour_limit([attribution])`` if None.
    """
    scale = _scale_of(attribution, limit)
    return _blend(attribution.image, attribution.heatmap(), scale, opacity)


def overlay_on_original(attribution, photo, opacity=0.6) -> np.ndarray:
    """The map over the caller's whole photo, uint8, grey where the network saw nothing.

    ``photo`` is as for ``load_image``; one of another size is a ValueError.
    """
    photo = load_image(photo)
    if photo.shape[:2] != tuple(attribution.original_size):
        raise ValueError(
            f"The map was made of a photo of {attribution.original_size} pixels, height"
            f" and width; this one has {photo.shape[:2]}."
        )
    top, left, height, width = attribution.crop
    inside = np.zeros((*photo.shape[:2], 1), bool)
    inside[top : top + height, left : left + width] = True
    scale, heatmap = _scale_of(attribution), attribution.heatmap_on_original()
    return _blend(photo, heatmap, scale, opacity, inside)


def _blend(photo, heatmap, scale: ScalarMappable, opacity, inside=True) -> np.ndarray:
    """The coloured map over the photo, which turns grey; only where ``inside``."""
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is 0 to 1, not {opacity!r}.")
    if opacity:
        photo = photo.mean(axis=2, keepdims=True, dtype="float32")
    share, colours = opacity * inside, 255 * scale.to_rgba(heatmap)[..., :3]
    return np.round((1 - share) * photo + share * colours).astype("uint8")


def _draw_overlay(panel, attribution, limit, opacity, title, font_size=9) -> None:
    """The map over its photo; a map as fine as the photo covers it."""
    if attribution.map.shape == attribution.image.shape[:2]:
        opacity = 1
    draw_panel(panel, overlay_array(attribution, opacity, limit), title, font_size)
    if not attribution.map.any():
        style = {"transform": panel.transAxes, "ha": "center", "va": "center"}
        style["bbox"] = {"facecolor": "white", "edgecolor": GREY}
        panel.text(0.5, 0.5, "zero everywhere", fontsize=8, **style)


def show(attribution, *, opacity=0.6, title="") -> Picture:
    """Photo, the map in its own cells, and the map over the photo (opacity 0 to 1).

    A map as fine as the photo stands once, beside it; activations as a channel grid.
    """
    if attribution.target is None and attribution.values.ndim == 3:
        return feature_maps(attribution, title=title)
    fine = attribution.map.shape == attribution.image.shape[:2]
    columns, width = (2, 6.6) if fine else (3, 9.2)
    figure, [panels] = panel_grid(1, columns, (width, 3.1), title or attribution.title)
    draw_panel(panels[0], attribution.image, "what the network saw")
    if not fine:
        heading = "the map: {} × {} cells".format(*attribution.map.shape)
        draw_panel(panels[1], attribution.map, heading, scale=_scale_of(attribution))
    heading = "the map" if fine else "placed over the photo"
    _draw_overlay(panels[-1], attribution, None, opacity, heading)
    _colour_bar(figure, panels[-1], [attribution])
    return Picture(figure, attribution.description, photographic=True)


def attribution_grid(
    rows: dict, *, names=(), shared=True, wide=False, opacity=0.6, title=""
) -> Picture:
    """Images × classes (layers, settings, techniques): a photo a row, a map a column.

    Parameters
    ----------
    rows : dict of name to dict of title to Attribution, or to sequence of Attribution
    names : titles of the columns of sequences; the targets' labels if not given
    shared : one scale and colour bar a row; else, or for several units, each map's own
    wide : for many columns, a wider figure with smaller titles
    opacity : float, 0 (only the photo) to 1 (only the map)
    """
    if not rows or not all(len(row) for row in rows.values()):
        raise ValueError("Give at least one row, with at least one map in each.")
    table = [_columns(name, row, names) for name, row in rows.items()]
    maps = [[attribution for _, attribution, _ in row] for row in table]
    shared = shared and all(len({(a.unit, a.signed) for a in row}) == 1 for row in maps)
    width, gap, largest, font_size = (11.2, 0.45, 6, 8) if wide else (9.2, 0.3, 2.2, 9)
    columns = 1 + max(map(len, maps))
    side = min(width / (columns + 0.35 * shared), largest)
    size = (width, (side + gap) * len(rows) + 0.4)
    figure, panels = panel_grid(len(rows), columns, size, title)
    images = [row[0].image for row in maps]
    same_photo = len(rows) > 1 and all(np.array_equal(i, images[0]) for i in images)
    for r, (name, line) in enumerate(zip(rows, panels, strict=True)):
        if same_photo:  # shown once; the rows' names stand beside the maps
            line[1].set_ylabel(name, fontsize=9, parse_math=False)
        if r == 0 or not same_photo:
            draw_panel(line[0], images[r], "" if same_photo else name)
        limit = colour_limit(maps[r]) if shared else None
        for panel, (heading, attribution, _) in zip(line[1:], table[r], strict=False):
            if not shared:
                heading += "\n" + _range_label(attribution.map, _scale_of(attribution))
            _draw_overlay(panel, attribution, limit, opacity, heading, font_size)
        if shared:
            _colour_bar(figure, list(line), maps[r])
    sentences = [sentence for row in table for *_, sentence in row]
    return Picture(figure, " ".join([f"{title}."] * bool(title) + sentences), True)


def _columns(name: str, row, names: Sequence[str]) -> list[tuple]:
    """Title, map and sentence of each column of a row."""
    if isinstance(row, Mapping):
        return [(title, a, a.description) for title, a in row.items()]
    titles = names if len(names) else [a.label.replace("_", " ") for a in row]
    return [(titles[k], a, f"{name}: {a.description}") for k, a in enumerate(row)]


def strongest_channels(attribution, count: int) -> list[int]:
    """The channels with the largest mean size, strongest first."""
    means = np.abs(attribution.values).mean(axis=(0, 1))
    return np.argsort(-means, kind="stable")[:count].tolist()


def feature_maps(attribution, *, count=16, columns=8, title="") -> Picture:
    """The ``count`` strongest channels of a layer, each on its own scale, numbered."""
    if attribution.values.ndim != 3:
        raise ValueError(f"{attribution.technique} has one map and no channels.")
    channels = strongest_channels(attribution, count)
    maps = [attribution.values[..., channel] for channel in channels]
    names = [f"channel {channel}" for channel in channels]
    colours = "signed" if attribution.signed else "positive"
    title = title or f"{attribution.title}: the {len(channels)} strongest channels"
    picture = heatmaps(maps, names, columns=columns, colours=colours, title=title)
    return Picture(picture.figure, attribution.description, picture.photographic)


def channel_montage(attribution, *, count=16, side=112) -> np.ndarray:
    """The strongest channels as an array, uint8 (H, W, 3): quick, for sliders.

    Four tiles a row, longer edge ``side`` pixels; cells where they lie on the photo.
    """
    edges, scale = attribution.image.shape[:2], _scale_of(attribution, 1)
    height, width = (round(side * edge / max(edges)) for edge in edges)
    channels = strongest_channels(attribution, count)
    size = (4 * width, math.ceil(len(channels) / 4) * height)
    montage = Image.new("RGB", size, "white")
    for k, channel in enumerate(channels):
        values = attribution.upsample(attribution.values[..., channel])
        colours = scale.to_rgba(values / (np.abs(values).max() or 1), bytes=True)
        tile = Image.fromarray(colours[..., :3])
        tile = tile.resize((width - 2, height - 2), Image.BILINEAR)
        montage.paste(tile, (k % 4 * width, k // 4 * height))
    return np.array(montage)


def heatmaps(maps, names=(), *, columns=8, colours="positive", title="") -> Picture:
    """A row or grid of maps, float (h, w), each on its own scale from zero.

    The map's own extreme, the end of its scale, stands above it, under its name.
    ``colours``, one or as many as maps, are "positive" (from 0 up, dark to bright),
    "signed" (white is zero, orange above, purple below) or "grey" (a photo, 0–255).
    """
    maps = [np.asarray(values, "float32") for values in maps]
    kinds = [colours] * len(maps) if isinstance(colours, str) else list(colours)
    if not maps or len(kinds) != len(maps):
        raise ValueError(f"{len(maps)} maps and {len(kinds)} values of colours.")
    if not set(kinds) <= set(COLOUR_MAPS):
        raise ValueError(f"colours are {', '.join(COLOUR_MAPS)}, not {colours!r}.")
    if not all(np.isfinite(values).all() for values in maps):
        raise ValueError("A map holds NaN or infinity; mend it before it is drawn.")
    columns = min(columns, len(maps))
    rows, side = math.ceil(len(maps) / columns), min(9.6 / columns, 3.0)
    size = (side * columns, (side + 0.3) * rows + 0.35)
    figure, panels = panel_grid(rows, columns, size, title)
    for k, (values, kind) in enumerate(zip(maps, kinds, strict=True)):
        if kind == "positive" and values.min() < 0:
            raise ValueError('A map has values below zero: use colours="signed".')
        limit = 255.0 if kind == "grey" else float(np.abs(values).max())
        scale = _colour_scale(kind, limit or 1)  # zeros are drawn as zero, not as noise
        label = _range_label(values, scale) if limit else "zero everywhere"
        heading = f"{names[k]}\n{label}" if len(names) else label
        draw_panel(panels.flat[k], values, heading, 8, scale)
    empty = sum(not values.any() for values in maps)
    text = f"{title or 'Maps'}: {', '.join(names) if len(names) else len(maps)}"
    text += f"; {empty} zero everywhere." if empty else "."
    return Picture(figure, text, photographic=max(map(np.size, maps)) > 5000)


def png(picture: np.ndarray, side: int | None = None) -> bytes:
    """A uint8 picture (H, W, 3) as a PNG, its longer edge ``side`` pixels if given."""
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if side:
        size = [max(1, round(side * edge / max(image.size))) for edge in image.size]
        image = image.resize(size, Image.BILINEAR)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def save(picture: np.ndarray, path) -> None:
    """A uint8 picture (H, W, 3) as a file; the ending (png, jpg) decides the format."""
    Image.fromarray(picture).save(path, quality=92, subsampling=0)
