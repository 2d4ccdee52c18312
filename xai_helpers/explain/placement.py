"""Where a map's cells lie on the picture: the way from (h, w) back to (H, W).

A layer's cell sees a patch of pixels, its receptive field. Stretching the map over the
picture would put the cell's value beside that patch, not on it: 11 px off at the border
of Xception's last layer. So each cell goes to the centre of its receptive field, and
between centres the value is interpolated linearly.

Both directions are matrices: ``heatmap = rows @ map @ columns.T``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._tensorflow import keras
from ..models import Classifier


class Placement(NamedTuple):
    """Two matrices whose rows sum to 1, and what is not certain about them."""

    rows: np.ndarray  # (H, h)
    columns: np.ndarray  # (W, w)
    note: str = ""


def of_layer(classifier: Classifier, layer: str | int) -> Placement:
    """The placement of what a layer puts out on the network's square."""
    name = classifier.layer(layer).name
    if name not in classifier._placements:
        tensor = classifier._tensors[name]
        first, step = centres(tensor)
        matrices = [
            _between(first[axis], step[axis], tensor.shape[1 + axis], size)
            for axis, size in enumerate(classifier.input_size)
        ]
        guessed = [
            known.name for known, *sizes in _path(tensor) if _unknown(known, *sizes)
        ]
        note = (
            f"Where its cells lie is a guess: {guessed[0]} moves them."
            if guessed
            else ""
        )
        classifier._placements[name] = Placement(*matrices, note)
    return classifier._placements[name]


def centres(tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centre of the receptive field of cell (0, 0), and the step to the next, in px.

    Two arrays (row, column); pixel 0's centre is at 0. Follows the graph from the input
    to the tensor; where branches join, along the first that has maps of the same size.
    """
    first, step = np.zeros(2), np.ones(2)
    for layer, before, after in _path(tensor):
        if len(before) == len(after) == 2:
            offset, stride = _window(layer, np.array(before), np.array(after))
            first, step = first + step * offset, step * stride
    return first, step


def _path(tensor) -> list[tuple]:
    """(layer, size before, size after) from the input to the tensor."""
    path = []
    while not isinstance(tensor._keras_history[0], keras.layers.InputLayer):
        layer, node, _ = tensor._keras_history
        sources = layer._inbound_nodes[node].input_tensors
        sources = [s for s in sources if len(s.shape) == 4] or sources
        source = next(
            (s for s in sources if s.shape[:3] == tensor.shape[:3]), sources[0]
        )
        path.append((layer, source.shape[1:3], tensor.shape[1:3]))
        tensor = source
    return path[::-1]


def _window(layer, before, after) -> tuple[np.ndarray, np.ndarray]:
    """Where the layer's first window has its centre, and its stride, in its input."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return -np.array([side[0] for side in layer.padding]), np.ones(2)
    if isinstance(layer, keras.layers.Cropping2D):
        return np.array([side[0] for side in layer.cropping]), np.ones(2)
    if isinstance(layer, keras.layers.CenterCrop) and (before >= after).all():
        return (before - after) // 2, np.ones(2)
    windowed = hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")
    if not windowed or "Transpose" in type(layer).__name__:
        stride = before / after  # stretched evenly
        if getattr(layer, "crop_to_aspect_ratio", False):
            stride = np.full(2, stride.min())
        elif getattr(layer, "pad_to_aspect_ratio", False):
            stride = np.full(2, stride.max())
        return (before - after * stride + stride - 1) / 2, stride
    reach, stride, padding = window(layer, before, after)
    return (reach - 1) / 2 - padding, stride


def window(layer, before, after) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a convolution or a pool, in its input's cells, each (down, across): how far a
    window reaches, the stride, and how many cells of padding come before the first.
    """
    size = getattr(layer, "kernel_size", None) or layer.pool_size
    stride = np.array(layer.strides)
    reach = (np.array(size) - 1) * np.array(getattr(layer, "dilation_rate", 1)) + 1
    padding = np.zeros(2, int)
    if layer.padding == "same":  # as TensorFlow pads: the odd one goes to the end
        padding = np.maximum((after - 1) * stride + reach - before, 0) // 2
    return reach, stride, padding


KNOWN = "ZeroPadding2D Cropping2D CenterCrop Resizing UpSampling2D".split()


def _unknown(layer, before, after) -> bool:
    """Whether the layer moves maps about in a way that ``_window`` does not know."""
    kind = type(layer).__name__
    if kind in ("Permute", "Transpose", "Flip", "Roll", "Rot90"):
        return True
    window = hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")
    return before != after and kind not in KNOWN and not window


def _between(first: float, step: float, count: int, size: int) -> np.ndarray:
    """(size, count): linear interpolation between cells, constant beyond the ends."""
    cell = np.clip((np.arange(size) - first) / step, 0, count - 1)
    low = np.minimum(cell.astype(int), max(count - 2, 0))
    weights = np.zeros((size, count), "float32")
    weights[np.arange(size), low] = 1 - (cell - low)
    if count > 1:
        weights[np.arange(size), low + 1] = cell - low
    return weights


def of_patches(starts: np.ndarray, length: int, size: int) -> np.ndarray:
    """(size, patches): each pixel gets the mean of the patches that cover it, or 0."""
    pixels = np.arange(size)[:, None]
    covers = (pixels >= starts) & (pixels < starts + length)
    return (covers / np.maximum(covers.sum(axis=1, keepdims=True), 1)).astype("float32")
