"""What a patch cannot reach is not computed again.

A cell of a layer sees a window of the layer before. Cover a patch of the picture, and
only the cells change whose window touches it; the others stay what they were. So the
picture is computed once without a patch and every map kept, and for each patch only the
changed part of each map: the same answer from a fraction of the multiplications.
Nakandala, Kumar, Papakonstantinou: Incremental and approximate inference for faster
occlusion-based deep CNN explanations (2019); this is the exact half of it.

It works along a plain chain of convolutions, pools and cell by cell functions, as VGG16
is one. Where the chain ends, the rest of the network is computed whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._tensorflow import keras, tf
from ..models import Classifier
from . import engine
from .placement import window

PAYS = 1.5  # times fewer multiplications; with less, pictures are computed whole
AT_ONCE = 32  # patches; more are hardly faster

AXES = 0, 1  # down, across
POOLS = keras.layers.MaxPooling2D, keras.layers.AveragePooling2D
WINDOWED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    *POOLS,
)
CELLWISE = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
)


class Step(NamedTuple):
    """A layer of the chain, and how its cells see those of the map before."""

    layer: keras.layers.Layer
    before: keras.KerasTensor  # (1, height, width, channels)
    after: keras.KerasTensor
    reach: np.ndarray  # a cell's window in the map before (down, across)
    stride: np.ndarray
    padding: np.ndarray  # cells outside the map that the first window begins with

    @property
    def mixes(self) -> bool:
        """Whether a cell sees more than the one cell at its own place."""
        return self.reach.max() > 1 or self.stride.max() > 1


class Span(NamedTuple):
    """Along one axis of a map, for N patches: which cells change, which to compute."""

    low: np.ndarray  # (N,): the first that changes
    high: np.ndarray  # (N,): after the last that changes
    start: np.ndarray  # (N,): the first that is computed,
    width: int  # and how many are: as many for each patch, so that they fit a batch

    def part(self, part: slice) -> Span:
        return Span(self.low[part], self.high[part], self.start[part], self.width)


# --- which layers, which cells --------------------------------------------------------


def chain(classifier: Classifier) -> list[Step]:
    """The layers from the input on, as long as one plain layer follows another."""
    calls = [c for calls in classifier.network._nodes_by_depth.values() for c in calls]
    tensor, steps = classifier.network.input, []
    while True:
        users = [c for c in calls if any(tensor is t for t in c.input_tensors)]
        if len(users) != 1 or len(users[0].input_tensors) != 1:
            return steps
        after = users[0].outputs[0]
        if not _plain(users[0].operation, after):
            return steps
        steps.append(_step(users[0].operation, tensor, after))
        tensor = after


def _plain(layer, after) -> bool:
    if type(layer) not in WINDOWED + CELLWISE or len(after.shape) != 4:
        return False
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    activation = getattr(layer, "activation", None)  # one's own may see neighbours
    if activation and not activation.__module__.startswith("keras.src.activations"):
        return False
    if type(layer) is keras.layers.AveragePooling2D:
        return layer.padding == "valid"  # else it divides by less at the border
    if type(layer) is keras.layers.BatchNormalization:
        return layer.axis in (-1, 3)
    return True


def _step(layer, before, after) -> Step:
    sees = np.ones(2, int), np.ones(2, int), np.zeros(2, int)
    if isinstance(layer, WINDOWED):
        sees = window(layer, np.array(before.shape[1:3]), np.array(after.shape[1:3]))
    return Step(layer, before, after, *sees)


def spread(span: Span, step: Step, axis: int) -> Span:
    """Which cells of the map after a step see a cell that changes in the map before.

    Cell $o$ sees the cells from $o s - p$ to $o s - p + r - 1$ ($r$ reach, $s$ stride,
    $p$ padding).
    """
    r, s, p = step.reach[axis], step.stride[axis], step.padding[axis]
    size = step.after.shape[1 + axis]
    low = np.clip((span.low + p - r) // s + 1, 0, size)
    high = np.clip(-(-(span.high + p) // s), low, size)
    return _fixed(low, high, size)


def _fixed(low, high, size: int) -> Span:
    width = max(1, int((high - low).max()))
    return Span(low, high, np.minimum(low, size - width), width)


def spans(steps: list[Step], places: np.ndarray, patch) -> list[tuple[Span, Span]]:
    """(down, across) for the picture and for what each step puts out.

    places : int array (N, 2), the patches' first row and column; patch : their size.
    """
    first = places[:, 0], places[:, 1]
    found = [
        tuple(Span(first[a], first[a] + patch[a], first[a], patch[a]) for a in AXES)
    ]
    for step in steps:
        found.append(tuple(spread(found[-1][a], step, a) for a in AXES))
    return found


def savings(classifier: Classifier, places, patch) -> list[tuple[str, int, int]]:
    """Multiplications of each layer: (name, for a whole picture, for one patch).

    places : int (N, 2), where the patches begin; patch : (height, width)
        Patches are computed in batches, so each costs what the most expensive does.
        After the chain's end the whole map is computed. A layer that is used twice
        counts once.
    """
    steps = chain(classifier)
    maps = spans(steps, np.asarray(places), patch)[1:]
    window = {
        step.layer.name: down.width * across.width
        for step, (down, across) in zip(steps, maps, strict=True)
    }
    rows = []
    for layer in classifier.network.layers:
        maps = classifier._tensors.get(layer.name)
        each = sum(int(np.prod(w.shape)) for w in layer.weights if len(w.shape) > 1)
        if each and isinstance(maps, keras.KerasTensor):
            cells = int(np.prod(maps.shape[1:-1]))
            part = window.get(layer.name, cells)
            rows.append((layer.name, each * cells, each * part))
    return rows


# --- the computation ------------------------------------------------------------------


def prepare(classifier: Classifier, square, places, patch, colour) -> Patches | None:
    """The short way for these patches, or None where there is none.

    None if too little would be saved, or if the preprocessing of a pixel depends on the
    others, so that a patch changes more than itself.
    """
    places = np.asarray(places)
    rows = savings(classifier, places, patch)
    if sum(row[1] for row in rows) <= PAYS * sum(row[2] for row in rows):
        return None
    painted = np.broadcast_to(colour, square.shape).astype("uint8")
    picture, paint = classifier.scale(np.stack([square, painted]))
    for part in _halves(*square.shape[:2]):
        mixed = classifier.scale(np.where(part, painted, square)[None])[0]
        if not np.allclose(mixed, np.where(part, paint, picture), 1e-5, 1e-5):
            return None
    return Patches(classifier, picture, paint, places, patch)


def _halves(height: int, width: int):
    """Left, right, and a chessboard in both colours: masks (height, width, 1)."""
    y, x = np.ogrid[:height, :width]
    left, white = x + 0 * y < width // 2, (y // 16 + x // 16) % 2 == 0
    return [mask[..., None] for mask in (left, ~left, white, ~white)]


class Patches:
    """A picture whose maps are kept, and its logits with a patch painted over.

    picture, paint : float32 (height, width, 3), preprocessed: the picture, and the
    patch's colour all over.
    """

    def __init__(self, classifier: Classifier, picture, paint, places, patch):
        self.steps = steps = chain(classifier)
        self.maps = spans(steps, places, patch)
        self.painted = [
            paint[row : row + patch[0], column : column + patch[1]]
            for row, column in places
        ]
        beyond = {step.layer.name for step in steps}
        self.rest = [la.shape for la in classifier.layers() if la.name not in beyond]
        keep = classifier.compiled("kept maps", lambda: _keeper(classifier, steps))
        self.kept = keep(tf.constant(picture[None]))
        several = tf.TensorSpec((None, None, None), "int32")
        self.run = classifier.compiled(
            "patches",
            lambda: _runner(classifier, steps),
            signature=[
                tf.TensorSpec((None, None, None, 3)),
                [tf.TensorSpec(cells.shape, cells.dtype) for cells in self.kept],
                [several] * len(self.kept),
            ],
        )

    def at_once(self) -> int:
        """How many patches at a time stay within the memory."""
        shapes = [
            (down.width, across.width, step.after.shape[-1])
            for step, (down, across) in zip(self.steps, self.maps[1:], strict=True)
        ]
        shapes += [self.steps[-1].after.shape[1:], *self.rest]  # those are whole
        largest = 4 * max(int(np.prod(shape)) for shape in shapes)
        return int(np.clip(engine.MEMORY // (4 * largest), 1, AT_ONCE))

    def logits(self, part: slice) -> np.ndarray:
        """float32 (N, classes), for a part of the places."""
        maps = [tuple(span.part(part) for span in pair) for pair in self.maps]
        wheres = [
            _where(before, *_needed(after, step), step.before.shape[1:3])
            for before, after, step in zip(maps, maps[1:], self.steps, strict=False)
            if step.mixes
        ]
        size = self.steps[-1].after.shape[1:3]
        wheres.append(_where(maps[-1], np.zeros((2, 1), int), size, size))
        painted = tf.constant(np.stack(self.painted[part]))
        return self.run(painted, self.kept, wheres).numpy()


def _needed(after: tuple[Span, Span], step: Step) -> tuple[list, list]:
    """What goes into a step: the windows' first cells (down, across), their sides."""
    firsts = [after[a].start * step.stride[a] - step.padding[a] for a in AXES]
    sides = [(after[a].width - 1) * step.stride[a] + step.reach[a] for a in AXES]
    return firsts, sides


def _where(spans: tuple[Span, Span], firsts, sides, size) -> np.ndarray:
    """Where the cells of N windows are to be found, int32 (N, *sides).

    Up to h · w: in the kept map; h · w: outside of it; from there on: among the
    windows that were just computed, one after the other.
    """
    down, across = spans
    y, x = firsts[0][:, None, None], firsts[1][:, None, None]
    y = y + np.arange(sides[0])[None, :, None]
    x = x + np.arange(sides[1])[None, None, :]
    outside = (y < 0) | (y >= size[0]) | (x < 0) | (x >= size[1])
    where = np.where(outside, size[0] * size[1], y * size[1] + x)

    y, x = y - down.start[:, None, None], x - across.start[:, None, None]
    changed = (y >= 0) & (y < down.width) & (x >= 0) & (x < across.width)
    window = np.arange(len(down.start))[:, None, None]
    number = (window * down.width + y) * across.width + x
    return np.where(changed, size[0] * size[1] + 1 + number, where).astype("int32")


def _keeper(classifier: Classifier, steps: list[Step]):
    """The picture → what goes into the steps that mix cells, and the chain's end.

    Each as (h · w + 1, channels): the cells, and one more for what lies outside.
    """
    mixing = [step for step in steps if step.mixes]
    tensors = [*(step.before for step in mixing), steps[-1].after]
    outside = [-np.inf if isinstance(step.layer, POOLS) else 0 for step in mixing] + [0]
    model = keras.Model(classifier.network.input, tensors)

    def cells(maps, outside):
        flat = tf.reshape(maps, (-1, maps.shape[-1]))
        return tf.pad(flat, [[0, 1], [0, 0]], constant_values=outside)

    def keep(picture):
        maps = tf.nest.flatten(model(picture, training=False))
        return [cells(*one) for one in zip(maps, outside, strict=True)]

    return keep


def _runner(classifier: Classifier, steps: list[Step]):
    """(painted patches, kept maps, where the cells come from) → logits."""
    rest = keras.Model(steps[-1].after, classifier.network.output)
    layers = [_unpadded(step.layer) if step.mixes else step.layer for step in steps]

    def run(changed, kept, wheres):
        sources = iter(zip(kept, wheres, strict=True))

        def windows(changed):
            cells, where = next(sources)
            changed = tf.reshape(changed, (-1, cells.shape[-1]))
            return tf.gather(tf.concat([cells, changed], 0), where)

        for step, layer in zip(steps, layers, strict=True):
            changed = layer(windows(changed) if step.mixes else changed)
        return rest(windows(changed), training=False)

    return run


def _unpadded(layer):
    """The same layer, variables shared, for windows that hold their padding already."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, padding="valid")
    return twin
