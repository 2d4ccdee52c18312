"""Occlusion, computing again only what a patch can reach.

A patch changes only the cells whose window touches it. So the picture's maps are kept,
and for each patch only the changed part of each map is computed: the same answer from a
fraction of the multiplications (the exact half of Nakandala, Kumar, Papakonstantinou:
Incremental and approximate inference for faster occlusion-based deep CNN explanations,
2019). It works along a plain chain of convolutions, pools and pointwise functions, such
as VGG16; where the chain ends, the rest of the network is computed whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .batches import max_batch_size
from .keras_graph import Call, calls, has_builtin_activation, twin
from .layouts import window_geometry
from .tensorflow import keras, tf

MIN_SPEEDUP = 1.5  # in multiplications; with less, pictures are computed whole
MAX_PATCHES = 32  # in a batch; more are hardly faster

AXES = 0, 1  # down, across
layers = keras.layers
POOLS = layers.MaxPooling2D, layers.AveragePooling2D
SPATIAL_LAYERS = layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, *POOLS
POINTWISE_LAYERS = (
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Activation,
    layers.BatchNormalization, layers.Dropout, layers.SpatialDropout2D,
)  # fmt: skip


class ChainLayer(NamedTuple):
    """A layer of the chain, and how its cells see those of the map before."""

    layer: layers.Layer
    before: keras.KerasTensor  # (1, height, width, channels)
    after: keras.KerasTensor
    key: int  # of the call
    extent: np.ndarray  # of a cell's window in the map before (down, across)
    stride: np.ndarray
    padding: np.ndarray  # cells outside the map that the first window begins with

    @property
    def is_spatial(self) -> bool:
        """Whether a cell sees more than the one cell at its own place."""
        return self.extent.max() > 1 or self.stride.max() > 1


class ChangedRange(NamedTuple):
    """Along one axis of a map, for N patches: which cells change, which to compute."""

    low: np.ndarray  # (N,): the first that changes
    high: np.ndarray  # (N,): after the last that changes
    start: np.ndarray  # (N,): the first that is computed,
    width: int  # and how many are: as many for each patch, so that they fit a batch

    def select(self, part: slice) -> "ChangedRange":
        return ChangedRange(*(cells[part] for cells in self[:3]), self.width)


def sequential_prefix(model: keras.Model) -> list[ChainLayer]:
    """The layers from the input on, as long as one supported layer follows another."""
    all_calls, tensor, chain = calls(model), model.input, []
    while True:
        users = [c for c in all_calls if any(tensor is t for t in c.inputs)]
        if len(users) != 1 or not _is_supported(users[0]):
            return chain
        layer, after = users[0].operation, users[0].outputs[0]
        geometry = np.ones(2, int), np.ones(2, int), np.zeros(2, int)
        if isinstance(layer, SPATIAL_LAYERS):
            sizes = np.array(tensor.shape[1:3]), np.array(after.shape[1:3])
            geometry = window_geometry(layer, *sizes)
        chain.append(ChainLayer(layer, tensor, after, users[0].key, *geometry))
        tensor = after


def _is_supported(call: Call) -> bool:
    layer = call.operation
    if len(call.inputs) != 1 or len(call.outputs[0].shape) != 4:
        return False
    if type(layer) not in SPATIAL_LAYERS + POINTWISE_LAYERS:
        return False
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    if type(layer) is layers.AveragePooling2D and layer.padding != "valid":
        return False  # it divides by less at the border
    if type(layer) is layers.BatchNormalization and layer.axis not in (-1, 3):
        return False
    return has_builtin_activation(layer)  # another may look at neighbours


def propagate(changed: ChangedRange, step: ChainLayer, axis: int) -> ChangedRange:
    """Which cells of the map after a layer see a cell that changes in the map before.

    Cell $o$ sees the cells from $o s - p$ to $o s - p + e - 1$ ($e$ extent, $s$ stride,
    $p$ padding).
    """
    e, s, p = step.extent[axis], step.stride[axis], step.padding[axis]
    size = step.after.shape[1 + axis]
    low = np.clip((changed.low + p - e) // s + 1, 0, size)
    high = np.clip(-(-(changed.high + p) // s), low, size)  # rounded up
    width = max(1, int((high - low).max()))
    return ChangedRange(low, high, np.minimum(low, size - width), width)


def changed_ranges(chain: list[ChainLayer], positions: np.ndarray, patch) -> list:
    """(down, across) for the picture and for what each layer outputs, as ChangedRange.

    positions : int array (N, 2), the patches' first row and column; patch : their size.
    """
    corners = zip(positions.T, patch, strict=True)
    ranges = [tuple(ChangedRange(first, first + n, first, n) for first, n in corners)]
    for step in chain:
        ranges.append(tuple(propagate(ranges[-1][a], step, a) for a in AXES))
    return ranges


def multiply_adds(model: keras.Model, positions, patch) -> list[tuple[str, int, int]]:
    """Multiplications of each layer: (name, for a whole picture, for one patch).

    Patches are computed in batches, so each costs what the most expensive does. After
    the chain's end the whole map is computed.
    """
    chain = sequential_prefix(model)
    ranges = changed_ranges(chain, np.asarray(positions), patch)[1:]
    changed_cells = {
        step.key: down.width * across.width
        for step, (down, across) in zip(chain, ranges, strict=True)
    }
    rows = []
    for call in calls(model):
        shapes = [weight.shape for weight in getattr(call.operation, "weights", [])]
        per_cell = sum(int(np.prod(shape)) for shape in shapes if len(shape) > 1)
        if per_cell:
            cells = int(np.prod(call.outputs[0].shape[1:-1]))
            changed = changed_cells.get(call.key, cells)
            rows.append((call.operation.name, per_cell * cells, per_cell * changed))
    return rows


def plan(
    model: keras.Model, preprocess: Callable, cached_function: Callable,
    square: np.ndarray, positions, patch: tuple[int, int], colour: np.ndarray,
) -> "IncrementalForward | None":  # fmt: skip
    """The short way for patches of a colour, uint8 (3,), on a square, uint8 (h, w, 3).

    None if too little would be saved, or if the preprocessing of a pixel depends on the
    others, so that a patch changes more than itself.

    preprocess : pixels (N, h, w, 3) → what the model takes, as NumPy
    positions : int (N, 2), first row and column of each patch; patch : (height, width)
    """
    positions, (height, width) = np.asarray(positions), square.shape[:2]
    rows = multiply_adds(model, positions, patch)
    if sum(full for _, full, _ in rows) <= MIN_SPEEDUP * sum(row[2] for row in rows):
        return None
    painted = np.broadcast_to(colour, square.shape).astype("uint8")
    picture, paint = preprocess(np.stack([square, painted]))
    y, x, _ = np.ogrid[:height, :width, :1]
    left, chessboard = x + 0 * y < width // 2, (y // 16 + x // 16) % 2 == 0
    for mask in (left, ~left, chessboard, ~chessboard):
        mixed = preprocess(np.where(mask, painted, square)[None])[0]
        if not np.allclose(mixed, np.where(mask, paint, picture), 1e-5, 1e-5):
            return None
    return IncrementalForward(model, cached_function, picture, paint, positions, patch)


class IncrementalForward:
    """A picture whose maps are kept, and its logits with a patch painted over.

    picture, paint (the colour all over) : float32 (height, width, 3), preprocessed
    """

    def __init__(self, model, cached_function, picture, paint, positions, patch):
        self.chain = chain = sequential_prefix(model)
        self.ranges = changed_ranges(chain, positions, patch)
        self.painted = [
            paint[row : row + patch[0], column : column + patch[1]]
            for row, column in positions
        ]
        keys = {step.key for step in chain}
        beyond = [c for c in calls(model) if c.inputs and c.key not in keys]
        whole = [chain[-1].after, *(call.outputs[0] for call in beyond)]
        self.shapes = [tensor.shape[1:] for tensor in whole if len(tensor.shape) == 4]
        for step, (down, across) in zip(chain, self.ranges[1:], strict=True):
            self.shapes.append((down.width, across.width, step.after.shape[-1]))
        keep = cached_function("kept maps", lambda: _keep_maps(model, chain))
        self.kept = keep(tf.constant(picture[None]))
        signature = [
            tf.TensorSpec((None, None, None, 3)),
            [tf.TensorSpec(cells.shape, cells.dtype) for cells in self.kept],
            [tf.TensorSpec((None, None, None), "int32")] * len(self.kept),
        ]
        self.run = cached_function(
            "patches", lambda: _compute_patches(model, chain), signature
        )

    @property
    def batch_size(self) -> int:
        """How many patches at a time stay within the memory."""
        return max_batch_size(self.shapes, backward=False, most=MAX_PATCHES)

    def logits(self, part: slice) -> np.ndarray:
        """float32 (N, classes), for a part of the positions."""
        ranges = [tuple(axis.select(part) for axis in pair) for pair in self.ranges]
        indices = []
        for before, after, step in zip(ranges, ranges[1:], self.chain, strict=False):
            if step.is_spatial:
                extent, stride, padding = step[4:]
                firsts = [after[a].start * stride[a] - padding[a] for a in AXES]
                sides = [(after[a].width - 1) * stride[a] + extent[a] for a in AXES]
                indices.append(_gather_indices(before, firsts, sides, step.before))
        end = self.chain[-1].after  # of which the whole map is needed
        whole = np.zeros((2, 1), int), end.shape[1:3]
        indices.append(_gather_indices(ranges[-1], *whole, end))
        painted = tf.constant(np.stack(self.painted[part]))
        return self.run(painted, self.kept, indices).numpy()


def _gather_indices(changed, firsts, sides, maps: keras.KerasTensor) -> np.ndarray:
    """Where the cells of N windows are to be taken from, int32 (N, *sides).

    Up to h·w − 1: from the kept map, row by row; h·w: from the one cell for all that
    lies outside of it; from h·w + 1 on: from the windows just computed, in a row.
    """
    (height, width), (down, across) = maps.shape[1:3], changed
    outside = height * width
    y = firsts[0][:, None, None] + np.arange(sides[0])[None, :, None]
    x = firsts[1][:, None, None] + np.arange(sides[1])[None, None, :]
    beyond = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    indices = np.where(beyond, outside, y * width + x)

    y, x = y - down.start[:, None, None], x - across.start[:, None, None]
    computed = (y >= 0) & (y < down.width) & (x >= 0) & (x < across.width)
    patch_number = np.arange(len(down.start))[:, None, None]
    cell_number = (patch_number * down.width + y) * across.width + x
    return np.where(computed, outside + 1 + cell_number, indices).astype("int32")


def _keep_maps(model: keras.Model, chain: list[ChainLayer]) -> Callable:
    """The picture → what goes into the spatial layers, and the chain's end.

    Each as (h · w + 1, channels): the cells, and one more for what lies outside.
    """
    spatial = [step for step in chain if step.is_spatial]
    tensors = [*(step.before for step in spatial), chain[-1].after]
    kept = keras.Model(model.input, tensors)
    padding = [-np.inf if isinstance(s.layer, POOLS) else 0 for s in spatial] + [0]

    def keep(picture):
        tables, outputs = [], tf.nest.flatten(kept(picture, training=False))
        for maps, outside in zip(outputs, padding, strict=True):
            cells = tf.reshape(maps, (-1, maps.shape[-1]))
            tables.append(tf.pad(cells, [[0, 1], [0, 0]], constant_values=outside))
        return tables

    return keep


def _compute_patches(model: keras.Model, chain: list[ChainLayer]) -> Callable:
    """(painted patches, tables of kept maps, indices into them) → logits."""
    after_chain = keras.Model(chain[-1].after, model.output)
    steps = [twin(s.layer, padding="valid") if s.is_spatial else s.layer for s in chain]

    def run(windows, kept, indices):
        tables = iter(zip(kept, indices, strict=True))  # one for each spatial layer

        def gather(windows):
            table, index = next(tables)
            computed = tf.cast(tf.reshape(windows, (-1, table.shape[-1])), table.dtype)
            return tf.gather(tf.concat([table, computed], 0), index)

        for step, layer in zip(chain, steps, strict=True):
            windows = layer(gather(windows) if step.is_spatial else windows)
        return after_chain(gather(windows), training=False)

    return run
