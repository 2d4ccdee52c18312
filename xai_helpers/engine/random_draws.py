"""What the sampled techniques draw: not quite at random, and so nearer to the mean.

Each draw by itself has the distribution that the paper asks for, so that the mean over
them is unbiased. Together they are spread more evenly than chance would spread them.
"""

import math
from collections.abc import Callable

import numpy as np

from .upsampling import interpolation_matrix


def stratified_pairs(n: int, photos: int, rng: np.random.Generator) -> tuple:
    """n background photos and places on the way from them: int (n,), float32 (n,).

    Every photo has its turn before one comes again, in a new order; and each n-th of
    the way from 0 to 1 has one place. So each photo is asked near the beginning, in the
    middle and near the end, and no chance decides how often. Photos and places are
    still uniform, so that the mean over the samples is unbiased.

    Examples
    --------
    >>> rows, alpha = stratified_pairs(6, 3, np.random.default_rng(0))
    >>> sorted(rows[:3]), [int(6 * a) for a in alpha]
    ([0, 1, 2], [0, 1, 2, 3, 4, 5])
    """
    rows = [rng.permutation(photos) for _ in range(math.ceil(n / photos))]
    rows, alpha = np.concatenate(rows)[:n], np.float32(np.arange(n) + rng.random(n)) / n
    # Whole turns in the photos' order: then the k-th pairs of two such draws have the
    # same photo and stretch of the way, and what they differ by is chance alone.
    order, whole = np.arange(n), n - n % photos
    order[:whole] = np.lexsort((rows, order // photos))[:whole]
    return rows[order], alpha[order]


def mask_pairs(cells: int, visible: float, size, seed: int) -> Callable:
    """n → the next n pairs of masks of RISE, float32 (2, n, height, width), 0–1.

    As section 3.2 of Petsiuk et al. (2018): random grids, enlarged by linear
    interpolation to a cell more than the picture, and cropped at a random place. A cell
    is visible where a number u, uniform on 0 to 1, is below ``visible``; in the second
    mask of a pair, where 1 - u is. With half of the cells visible, it shows exactly
    what the first one hides.
    """
    if not 0 < visible < 1:
        raise ValueError(f"visible is a share between 0 and 1, not {visible!r}.")
    rng = np.random.default_rng(seed)
    (height, width), cell = size, [math.ceil(side / cells) for side in size]
    step = (cells + 1) / cells * np.array(cell)
    rows, columns = (
        interpolation_matrix((s - 1) / 2, s, cells, (cells + 1) * side)
        for s, side in zip(step, cell, strict=True)
    )

    def enlarged(grid, down, across):
        return rows[down : down + height] @ grid @ columns[across : across + width].T

    def draw(n: int) -> np.ndarray:
        masks = np.empty((2, n, height, width), "float32")
        for k in range(n):
            u, place = rng.random((cells, cells)), rng.integers(0, cell)
            for mask, share in zip(masks[:, k], (u, 1 - u), strict=True):
                mask[:] = enlarged((share < visible).astype("float32"), *place)
        return masks

    return draw
