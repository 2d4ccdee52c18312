"""Where a map's cells lie on the picture: the way from (h, w) back to (H, W).

Each cell goes to the centre of its receptive field, and between centres the value is
interpolated linearly. (Stretching the map would be 11 px off at the border of
Xception's last layer.) Both directions are matrices: ``rows @ map @ columns.T``.
"""

from typing import NamedTuple

import numpy as np

from .layouts import Layout


class Upsampling(NamedTuple):
    """Two matrices whose rows sum to 1, and what is not certain about them."""

    rows: np.ndarray  # (H, h)
    columns: np.ndarray  # (W, w)
    note: str = ""


def layer_upsampling(layout: Layout, size: tuple[int, int], note: str) -> Upsampling:
    """From the cells of a tensor to pixels (height, width)."""
    axes = zip(layout.first, layout.step, layout.grid, size, strict=True)
    return Upsampling(*(interpolation_matrix(*axis) for axis in axes), note)


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
