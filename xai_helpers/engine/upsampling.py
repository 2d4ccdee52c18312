"""Where a map's cells lie on the picture: the way from (h, w) back to (H, W).

Each cell goes to the centre of its receptive field, and between centres the value is
interpolated linearly. (Stretching the map would be 11 px off at the border of
Xception's last layer.) Both directions are matrices: ``rows @ map @ columns.T``.
"""

from typing import NamedTuple

import numpy as np

from .keras_graph import producer
from .tensorflow import keras

RESHAPING_LAYERS = "ZeroPadding2D Cropping2D CenterCrop Resizing UpSampling2D".split()
MIXING_LAYERS = "Permute Transpose Flip Roll Rot90".split()


class Upsampling(NamedTuple):
    """Two matrices whose rows sum to 1, and what is not certain about them."""

    rows: np.ndarray  # (H, h)
    columns: np.ndarray  # (W, w)
    note: str = ""


def layer_upsampling(tensor, size: tuple[int, int]) -> Upsampling:
    """From the cells of a layer's output (a Keras tensor) to pixels (height, width)."""
    grid = zip(*receptive_field_grid(tensor), tensor.shape[1:3], size, strict=True)
    matrices = [interpolation_matrix(*axis) for axis in grid]
    for layer, before, after in _path_to_input(tensor):
        class_name = type(layer).__name__
        resized = before != after and class_name not in RESHAPING_LAYERS
        if class_name in MIXING_LAYERS or (resized and not _has_window(layer)):
            note = f"Where its cells lie is a guess: {layer.name} moves them."
            return Upsampling(*matrices, note)
    return Upsampling(*matrices)


def receptive_field_grid(tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centre of the receptive field of cell (0, 0), and the step to the next, in px.

    Two arrays (row, column); pixel 0's centre is at 0.
    """
    first, step = np.zeros(2), np.ones(2)
    for layer, before, after in _path_to_input(tensor):
        if len(before) == len(after) == 2:
            sizes = np.array(before), np.array(after)
            offset, stride = _layer_offset_and_stride(layer, *sizes)
            first, step = first + step * offset, step * stride
    return first, step


def _path_to_input(tensor) -> list[tuple]:
    """(layer, size before, size after) from the input to the tensor.

    Where branches join, along the first that has maps of the same size.
    """
    path = []
    while not isinstance((call := producer(tensor)).layer, keras.layers.InputLayer):
        maps = [t for t in call.inputs if len(t.shape) == 4] or call.inputs
        same_size = (t for t in maps if t.shape[:3] == tensor.shape[:3])
        source = next(same_size, maps[0])
        path.append((call.layer, source.shape[1:3], tensor.shape[1:3]))
        tensor = source
    return path[::-1]


def _layer_offset_and_stride(layer, before, after) -> tuple[np.ndarray, np.ndarray]:
    """Where the layer's first window has its centre, and its stride, in its input."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return -np.array([side[0] for side in layer.padding]), np.ones(2)
    if isinstance(layer, keras.layers.Cropping2D):
        return np.array([side[0] for side in layer.cropping]), np.ones(2)
    if isinstance(layer, keras.layers.CenterCrop) and (before >= after).all():
        return (before - after) // 2, np.ones(2)
    if not _has_window(layer) or "Transpose" in type(layer).__name__:
        stride = before / after  # stretched evenly
        if getattr(layer, "crop_to_aspect_ratio", False):
            stride = np.full(2, stride.min())
        elif getattr(layer, "pad_to_aspect_ratio", False):
            stride = np.full(2, stride.max())
        return (before - after * stride + stride - 1) / 2, stride
    extent, stride, padding = window_geometry(layer, before, after)
    return (extent - 1) / 2 - padding, stride


def _has_window(layer) -> bool:
    return hasattr(layer, "kernel_size") or hasattr(layer, "pool_size")


def window_geometry(layer, before, after) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a pool or convolution: extent, stride, padding before; each (down, across)."""
    size = getattr(layer, "kernel_size", None) or layer.pool_size
    stride = np.array(layer.strides)
    extent = (np.array(size) - 1) * np.array(getattr(layer, "dilation_rate", 1)) + 1
    padding = np.zeros(2, int)
    if layer.padding == "same":  # as TensorFlow pads: the odd one goes to the end
        padding = np.maximum((after - 1) * stride + extent - before, 0) // 2
    return extent, stride, padding


def interpolation_matrix(first: float, step: float, count: int, size: int):
    """float32 (size, count): linear between cells, constant beyond the outermost."""
    cell = (np.arange(size) - first) / step
    columns = [np.interp(cell, np.arange(count), unit) for unit in np.eye(count)]
    return np.stack(columns, axis=1).astype("float32")


def patch_upsampling(starts: np.ndarray, length: int, size: int) -> np.ndarray:
    """(size, patches): each pixel gets the mean of the patches that cover it, or 0."""
    pixels = np.arange(size)[:, None]
    covers = (pixels >= starts) & (pixels < starts + length)
    return (covers / np.maximum(covers.sum(axis=1, keepdims=True), 1)).astype("float32")
