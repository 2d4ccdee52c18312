"""From photos of any shape to one square: what a network takes, or a mosaic."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from .image_files import load_image


class CropBox(NamedTuple):
    """Where the network's square lies in the photo, in the photo's pixels."""

    top: int
    left: int
    height: int
    width: int


def crop_to_size(
    photo: np.ndarray, size: tuple[int, int], fit: str = "crop"
) -> tuple[np.ndarray, CropBox]:
    """The part of the photo that the network sees, uint8 (height, width, 3); its place.

    fit : for a photo of another shape: "crop" takes its centre, "squash" squeezes it
    """
    height, width = size
    box = CropBox(0, 0, *photo.shape[:2])
    if fit == "crop":
        factor = min(box.height / height, box.width / width)
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        box = CropBox((box.height - h) // 2, (box.width - w) // 2, h, w)
    part = photo[box.top : box.top + box.height, box.left : box.left + box.width]
    image = Image.fromarray(np.ascontiguousarray(part))
    return np.array(image.resize((width, height), Image.BILINEAR)), box


def mosaic(photos: Sequence, side: int, columns: int = 2) -> np.ndarray:
    """Photos as equal tiles of one square, uint8 (side, side, 3), row by row.

    Each photo, given as ``load_image`` takes it, keeps its shape and loses what does
    not fit into its tile. Two photos in two columns are two halves; four are quarters.
    Böhle et al. (2021) call the game that is played on it the grid pointing game.
    """
    _check_rows(len(photos), columns)
    whole = np.zeros((side, side, 3), np.uint8)
    for tile, photo in enumerate(photos):
        part = whole[tile_slices((side, side), tile, len(photos), columns)]
        image = Image.fromarray(load_image(photo))
        part[:] = ImageOps.fit(image, part.shape[1::-1], Image.BILINEAR)
    return whole


def tile_slices(size, tile: int, photos: int, columns: int) -> tuple[slice, slice]:
    """Rows and columns of a tile of the mosaic, counted row by row."""
    _check_rows(photos, columns)
    if not 0 <= tile < photos:
        raise ValueError(f"There is no tile {tile} among {photos}.")
    slices, counts = [], (photos // columns, columns)
    for side, count, place in zip(size, counts, divmod(tile, columns), strict=True):
        edges = np.linspace(0, side, count + 1).round().astype(int)
        slices.append(slice(edges[place], edges[place + 1]))
    return tuple(slices)


def _check_rows(photos: int, columns: int) -> None:
    """Refuse a mosaic whose last row is not full."""
    if columns < 1 or photos < 1 or photos % columns:
        raise ValueError(f"{photos} photos do not fill rows of {columns}.")
