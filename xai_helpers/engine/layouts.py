"""Where on the picture the values of each tensor in a model lie.

From the input on, every call is asked what it does to the place of a cell: a
convolution moves its centre and widens the step, a sum keeps it, a global pool ends it.
The answer is known by the operation's own numbers (strides, padding, axes, slices), for
either data format, and for the token sequences of vision transformers.
"""

import math
from typing import NamedTuple

import numpy as np

from .keras_graph import Call, calls, is_builtin, is_own_layer
from .tensorflow import keras, tf

PERMUTATIONS = "Permute Transpose Swapaxes Moveaxis".split()
RESHAPES = "Reshape Flatten Squeeze ExpandDims".split()
PRODUCTS = "Matmul Einsum Dot Tensordot".split()
ON_LAST_AXIS = "Dense Matmul".split()
SCATTERING = "Roll Rot90 Sort Take TakeAlongAxis Gather Cumsum Permutation".split()
MEASURED = [*PRODUCTS, "Lambda", "EinsumDense", "AffineTransform", "Map"]
MEASUREMENTS = 3  # cells that are changed, each in noise of its own
RESIZES = "ZeroPadding2D Cropping2D CenterCrop Resizing Resize UpSampling2D".split()
CONVOLUTIONS = "Conv DepthwiseConv SeparableConv".split()  # of ``keras.ops``
WINDOWS = [*CONVOLUTIONS, "MaxPool", "AveragePool", "ExtractPatches"]
GUESS = "Where its cells lie is a guess: {} moves them."
MAX_EXTRA_TOKENS = 8  # class, distillation and register tokens before those of cells


class Layout(NamedTuple):
    """The cells of a tensor, and the pixels at the centres of what they see."""

    axes: tuple[int, ...]  # of the tensor: (row, column, channel), or (token, channel)
    grid: tuple[int, int]  # rows and columns of cells
    first: np.ndarray  # (row, column) of cell (0, 0), in pixels; pixel 0's centre is 0
    step: np.ndarray  # to the next cell; below zero where the picture is mirrored
    extra: int = 0  # tokens before the first cell, such as a class token
    learned: bool = False  # whether weights were applied on the way
    note: str = ""  # what is not certain about it

    @property
    def is_tokens(self) -> bool:
        return len(self.axes) == 2

    def to_maps(self, values):
        """Values in the tensor's own shape → float32 (N, rows, columns, channels)."""
        values = tf.cast(values, tf.float32)
        if self.is_tokens:
            token, channel = self.axes
            values = tf.transpose(values, (0, token, channel))
            values = values[:, self.extra : self.extra + math.prod(self.grid)]
            return tf.reshape(values, (-1, *self.grid, values.shape[-1]))
        in_order = self.axes == (1, 2, 3)
        return values if in_order else tf.transpose(values, (0, *self.axes))

    def index_of(self, row: int, column: int) -> tuple:
        """Where the channels of a cell are in a tensor of one picture."""
        index = [0] + [slice(None)] * len(self.axes)
        index[self.axes[0]] = row
        index[self.axes[-2]] = column
        if self.is_tokens:
            index[self.axes[0]] = self.extra + row * self.grid[1] + column
        return tuple(index)

    def shape(self, tensor) -> tuple[int, int, int]:
        """Rows, columns and channels."""
        return *self.grid, tensor.shape[self.axes[-1]]

    def moved(self, offset, stride, grid, note: str = "") -> "Layout":
        """New cell $o$ has its centre at the old cell offset + stride · $o$."""
        first, step = self.first + self.step * offset, self.step * stride
        grid, note = tuple(map(int, grid)), self.note or note
        return self._replace(first=first, step=step, grid=grid, note=note)


def layouts(model: keras.Model) -> dict[int, Layout]:
    """The layout of each tensor that has one, by the ``id`` of the tensor."""
    zero, one = np.zeros(2), np.ones(2)
    known = {
        id(tensor): Layout((1, 2, 3), tuple(tensor.shape[1:3]), zero, one)
        for tensor in model.inputs
    }
    shapes = _shapes(model)
    for call in calls(model):
        sources = [t for t in call.inputs if id(t) in known]
        has_kernel = any(len(variable.shape) > 1 for variable in call.variables)
        for output in call.outputs if sources else ():
            layout = _output_layout(call, sources, known, shapes, shapes[id(output)])
            if layout is not None:
                learned = has_kernel or any(known[id(t)].learned for t in sources)
                known[id(output)] = layout._replace(learned=learned)
    return known


def _shapes(model: keras.Model) -> dict[int, tuple]:
    """Of all tensors, by ``id``; where a block hides its sizes, those of a run."""
    tensors = [tensor for call in calls(model) for tensor in call.outputs]
    shapes = {id(tensor): tuple(tensor.shape) for tensor in tensors}
    unknown = [tensor for tensor in tensors if None in tensor.shape[1:]]
    if unknown:
        blank = np.zeros((1, *model.input_shape[1:]), "float32")
        values = tf.nest.flatten(keras.Model(model.input, unknown)(blank))
        for tensor, value in zip(unknown, values, strict=True):
            shapes[id(tensor)] = (None, *value.shape[1:])
    return shapes


def _output_layout(call: Call, sources, known, shapes, after) -> Layout | None:
    """Where inputs meet, the layout of the first that has the output's cells."""
    pairs = []
    if "Attention" in call.kind and is_builtin(type(call.operation)):
        sources = [t for t in sources if t is call.inputs[0]]  # the queries' places
    for source in sources:
        layout = known[id(source)]
        moved = _moved_by(call, layout, source, shapes[id(source)], after)
        pairs += [(layout, moved)] * (moved is not None)
    if not pairs or (call.kind in PRODUCTS and len(call.inputs) > 1):
        return None
    if not _is_known(call) and not (pairs := _as_measured(call, sources, pairs)):
        return None
    same = [moved for before, moved in pairs if before.grid == moved.grid]
    same = same or [moved for _, moved in pairs]
    layout = min(same, key=lambda moved: bool(moved.note))  # the first that is certain
    if any((abs(m.first - layout.first) > abs(layout.step)).any() for m in same):
        note = f"{call.operation.name} joins maps whose cells lie at different places."
        return layout._replace(note=layout.note or note)
    return layout


def _is_known(call: Call) -> bool:
    """Whether it is a class of Keras whose way with places is not a matter of data."""
    return is_builtin(type(call.operation).call) and call.kind not in MEASURED


def _as_measured(call: Call, sources: list, pairs: list) -> list:
    """What a layer of somebody's own does: a cell of its input is changed, and that at
    the same place of its output must change. If another does, places are a guess; if
    none does, they have nothing to do with the input.
    """
    layout, moved = pairs[0]
    if layout.grid != moved.grid or layout.axes != moved.axes:
        return pairs  # a new grid is a guess already
    rng = np.random.default_rng(0)
    shapes = {id(t): [side or 1 for side in t.shape] for t in call.inputs}

    def run(changed=None):
        def number(value):
            is_symbolic = isinstance(value, keras.KerasTensor)
            return tf.cast(values[id(value)], value.dtype) if is_symbolic else value

        values = {key: value.copy() for key, value in noise.items()}
        if changed:
            cell = values[id(sources[0])]
            cell[changed] = rng.normal(0, 3, cell[changed].shape)
        args, kwargs = keras.tree.map_structure(number, (call.args, call.kwargs))
        output = keras.tree.flatten(call.operation(*args, **kwargs))[0]
        return np.asarray(moved.to_maps(output))[0]

    places, others = 0, 0
    try:
        for _ in range(MEASUREMENTS):
            noise = {key: rng.normal(size=shape) for key, shape in shapes.items()}
            row, column = (int(rng.integers(side)) for side in layout.grid)
            difference = run() != run(layout.index_of(row, column))
            places += difference[row, column].any()
            others += difference.any()
    except Exception:  # it is somebody's own code, and may want other numbers
        others = 1
    if not others:
        return []
    note = "" if places else GUESS.format(call.operation.name)
    return [(layout, moved._replace(note=moved.note or note))]


def _moved_by(call: Call, layout: Layout, source, before, after) -> Layout | None:
    """The layout of what a call outputs, from that of one of its inputs."""
    operation, kind = call.operation, call.kind
    channel_is_last = layout.axes[-1] == len(before) - 1
    if kind.startswith("Global") or (kind in ON_LAST_AXIS and not channel_is_last):
        return None
    if kind in PERMUTATIONS:
        return _permuted(layout, _permutation(operation, len(before)))
    if kind in RESHAPES:
        return _reshaped(layout, before, after)
    if kind == "GetItem":
        return _sliced(layout, [*call.args[1:], *call.kwargs.values()][0], before)
    if kind in ("Concatenate", "Stack"):
        return _concatenated(call, layout, source)
    if kind == "Flip":
        return _flipped(layout, operation.axis, before)
    if len(before) != len(after):
        return _tokens_of_patches(call, layout, after)
    if layout.is_tokens:
        return _same_tokens(call, layout, before, after)
    if hasattr(operation, "data_format") and is_builtin(type(operation).call):
        return _moved_by_layer(call, layout, before, after)
    grid = tuple(after[axis] for axis in layout.axes[:2])
    if kind == "Pad":
        offset = [-operation.pad_width[axis][0] for axis in layout.axes[:2]]
        return layout.moved(np.array(offset), 1, grid)
    note = GUESS.format(operation.name)
    if grid == layout.grid:
        return layout.moved(0, 1, grid, note if kind in SCATTERING else "")
    return _stretched(layout, grid, note)


def _moved_by_layer(call: Call, layout: Layout, before, after) -> Layout | None:
    """Convolutions, pools, padding: what tells rows from channels by a data format."""
    channels_first = call.operation.data_format == "channels_first"
    spatial = (2, 3) if channels_first else (1, 2)
    if set(layout.axes[:2]) != set(spatial):
        return None  # its rows or columns are taken for channels
    order = [spatial.index(axis) for axis in layout.axes[:2]]  # of rows and columns
    sizes = [np.array([shape[axis] for axis in spatial]) for shape in (before, after)]
    if not _has_window(call.operation):
        if (sizes[0] == sizes[1]).all():
            return layout
        if call.kind not in RESIZES:
            note = GUESS.format(call.operation.name)
            return _stretched(layout, sizes[1][order], note)
    offset, stride = _offset_and_stride(call, *sizes)
    return layout.moved(offset[order], stride[order], sizes[1][order])


def _stretched(layout: Layout, grid, note: str) -> Layout | None:
    """Cells of another number, spread evenly over the same place; None for one cell."""
    if None in tuple(grid) or math.prod(grid) == 1:  # one: a mean over all, or the like
        return None
    stride = np.array(layout.grid) / np.array(grid)
    return layout.moved((stride - 1) / 2, stride, grid, note)


def _offset_and_stride(call: Call, before, after) -> tuple[np.ndarray, np.ndarray]:
    """Where the first window has its centre, and its stride, in the call's input."""
    operation, kind = call.operation, call.kind
    if kind == "ZeroPadding2D":
        return -np.array([side[0] for side in operation.padding]), np.ones(2)
    if kind == "Cropping2D":
        return np.array([side[0] for side in operation.cropping]), np.ones(2)
    if kind == "CenterCrop" and (before >= after).all():
        return (before - after) // 2, np.ones(2)
    if not _has_window(operation) or "Transpose" in kind:
        stride = before / after  # stretched evenly
        if getattr(operation, "crop_to_aspect_ratio", False):
            stride = np.full(2, stride.min())
        elif getattr(operation, "pad_to_aspect_ratio", False):
            stride = np.full(2, stride.max())
        return (before - after * stride + stride - 1) / 2, stride
    kernel = call.args[1].shape[:2] if kind in CONVOLUTIONS else None
    extent, stride, padding = window_geometry(operation, before, after, kernel)
    return (extent - 1) / 2 - padding, stride


def _has_window(operation) -> bool:
    is_layer = hasattr(operation, "kernel_size") or hasattr(operation, "pool_size")
    return is_layer or type(operation).__name__ in WINDOWS


def window_geometry(operation, before, after, kernel=None):
    """Of a pool or convolution: extent, stride, padding before; int (down, across).

    kernel : its height and width, where the operation does not know them
    """
    names = "kernel_size", "pool_size", "size"
    sizes = [getattr(operation, name, None) for name in names]
    size = np.broadcast_to(next(s for s in (kernel, *sizes) if s is not None), 2)
    stride = np.broadcast_to(operation.strides or size, 2)
    extent = (size - 1) * np.broadcast_to(getattr(operation, "dilation_rate", 1), 2) + 1
    padding = np.zeros(2, int)
    if operation.padding == "same":  # as TensorFlow pads: the odd one goes to the end
        padding = np.maximum((after - 1) * stride + extent - before, 0) // 2
    return extent, stride, padding


# --- axes that change their places ----------------------------------------------------


def _permutation(operation, rank: int) -> tuple[int, ...]:
    """Which old axis becomes each new one."""
    kind, axes = type(operation).__name__, list(range(rank))
    if kind == "Permute":
        return (0, *operation.dims)
    if kind == "Transpose":
        return tuple(axis % rank for axis in operation.axes or axes[::-1])
    if kind == "Swapaxes":
        moves = [(operation.axis1, operation.axis2), (operation.axis2, operation.axis1)]
    else:
        ends = np.atleast_1d(operation.source), np.atleast_1d(operation.destination)
        moves = list(zip(*ends, strict=True))
    return tuple(np.moveaxis(np.empty(axes), *zip(*moves, strict=True)).shape)


def _permuted(layout: Layout, permutation: tuple[int, ...]) -> Layout | None:
    axes = tuple(permutation.index(axis) for axis in layout.axes)
    return layout._replace(axes=axes) if permutation[0] == 0 else None


def _reshaped(layout: Layout, before: tuple, after: tuple) -> Layout | None:
    """A grid that is laid out as tokens, row by row, or tokens as a grid."""
    if before == after:
        return layout
    start, count = layout.axes[0], math.prod(layout.grid)
    later = tuple(axis - 1 if axis > start else axis for axis in layout.axes)
    if layout.is_tokens:
        later = tuple(axis + (axis > start) for axis in layout.axes[1:])
        expected = before[:start] + layout.grid + before[start + 1 :]
        axes = (start, start + 1, *later)
        return layout._replace(axes=axes) if expected == after else None
    expected = (*before[:start], count, *before[start + 2 :])
    if layout.axes[1] != start + 1 or expected != after:
        return None
    return layout._replace(axes=(start, later[2]))


def _sliced(layout: Layout, key, before: tuple) -> Layout | None:
    """``x[key]``: rows, columns or tokens that are left out, axes that vanish."""
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    missing = [slice(None)] * (len(before) - sum(k not in (None, ...) for k in key))
    at = key.index(...) if ... in key else len(key)
    key[at : at + 1] = missing
    position, old_axis, places, taken = 0, 0, {}, {}
    for part in key:
        if isinstance(part, slice):
            places[old_axis], taken[old_axis] = position, part
        position += not isinstance(part, int)
        old_axis += part is not None
    if taken.get(0) != slice(None) or not set(layout.axes) <= set(places):
        return None  # a choice of pictures, or one row or channel of each
    layout_axes = tuple(places[axis] for axis in layout.axes)
    ranges = [range(before[axis])[taken[axis]] for axis in layout.axes[:-1]]
    if layout.is_tokens:
        end, tokens = layout.extra + math.prod(layout.grid), ranges[0]
        if tokens.step != 1 or tokens.start > layout.extra or tokens.stop < end:
            return None
        return layout._replace(axes=layout_axes, extra=layout.extra - tokens.start)
    offset, stride = np.transpose([(r.start, r.step) for r in ranges])
    grid = [len(r) for r in ranges]
    return layout.moved(offset, stride, grid)._replace(axes=layout_axes)


def _concatenated(call: Call, layout: Layout, source) -> Layout | None:
    """Channels beside channels, or tokens before and after those of the cells."""
    rank = len(source.shape)
    axis = getattr(call.operation, "axis", -1) % rank
    if call.kind == "Stack" or axis not in layout.axes:
        return None
    if axis == layout.axes[-1]:
        return layout
    parts = keras.tree.flatten(call.args[0])
    before = parts[: next(k for k, part in enumerate(parts) if part is source)]
    more = sum(part.shape[axis] for part in before)
    return layout._replace(extra=layout.extra + more) if layout.is_tokens else None


def _flipped(layout: Layout, axis, before) -> Layout | None:
    axes = [a % len(before) for a in np.atleast_1d(axis)] if axis is not None else [0]
    if layout.is_tokens or 0 in axes:
        return None
    mirrored = np.array([a in axes for a in layout.axes[:2]])
    offset = np.where(mirrored, np.array(layout.grid) - 1, 0)
    return layout.moved(offset, np.where(mirrored, -1, 1), layout.grid)


# --- tokens ---------------------------------------------------------------------------


def _same_tokens(call: Call, layout: Layout, before, after) -> Layout | None:
    """A layer on tokens: as many come out, or a coarser grid of them."""
    axis = layout.axes[0]
    has_window = _has_window(call.operation) and is_builtin(type(call.operation).call)
    if has_window or after[axis] is None:
        return None
    if before[axis] == after[axis]:
        note = GUESS.format(call.operation.name) if call.kind in SCATTERING else ""
        return layout._replace(note=layout.note or note)
    return _guessed_grid(call, layout, after[axis])


def _tokens_of_patches(call: Call, layout: Layout, after) -> Layout | None:
    """A layer of one's own that turns a picture (N, h, w, c) into tokens (N, T, c)."""
    is_own = is_own_layer(call.operation)
    if layout.is_tokens or len(after) != 3 or not is_own or after[1] is None:
        return None
    return _guessed_grid(call, layout._replace(axes=(1, 2)), after[1])


def _guessed_grid(call: Call, layout: Layout, total: int) -> Layout | None:
    """The grid of the picture's proportions that so many tokens fill, or None."""
    for extra in range(min(MAX_EXTRA_TOKENS + 1, total)):
        rows = round(math.sqrt((total - extra) * layout.grid[0] / layout.grid[1]))
        grid = rows, (total - extra) // max(rows, 1)
        is_even = rows and not any(np.remainder(layout.grid, grid))
        if is_even and math.prod(grid) == total - extra:
            size = f"{grid[0]} × {grid[1]}"
            name = call.operation.name
            note = f"That the {total} tokens of {name} lie on {size} cells is a guess."
            return _stretched(layout._replace(extra=extra), grid, note)
    return None
