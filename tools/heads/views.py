"""The crops from which the portable heads are fitted.

Shared by the two processes that must see the very same pixels: the teacher (PyTorch)
and the two networks (TensorFlow). A round shows every photo once; what it shows depends
on the round's number and the seed alone, so both processes and every restart agree.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 320  # pixels; every consumer scales this square down to its own input size
SEED = 20260101


def photo_files(folder: str | Path) -> list[Path]:
    """The photos of a folder in sorted order (for ImageNet samples: class order)."""
    files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() == ".jpg")
    if not files:
        raise SystemExit(f"no .jpg photos in {folder}")
    return files


@lru_cache(maxsize=2048)
def _photo(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((512, 512), Image.BILINEAR)  # keeps 1000 photos within 600 MB
    return image


def _centre(image: Image.Image) -> np.ndarray:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.BILINEAR, box=box))


def _random_crop(
    image: Image.Image, rng: np.random.Generator, smallest: float
) -> np.ndarray:
    width, height = image.size
    for _ in range(10):
        area = rng.uniform(smallest, 1) * width * height
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = (area * ratio) ** 0.5, (area / ratio) ** 0.5
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            box = (left, top, left + w, top + h)
            view = np.asarray(image.resize((SIDE, SIDE), Image.BILINEAR, box=box))
            return view[:, ::-1] if rng.random() < 0.5 else view
    return _centre(image)


def kind_of_round(number: int) -> str:
    """Round 0 is the centre crop; then two of crops and one of mixtures, in turn."""
    if number == 0:
        return "centre"
    return "mixture" if number % 3 == 0 else "crop"


def views(files: list[Path], number: int) -> np.ndarray:
    """One round: uint8 (len(files), 320, 320, 3), the k-th row a view of photo k.

    A mixture pastes a rectangle of another photo's crop into the crop (CutMix) or
    blends the two (mixup); the teacher then says what it sees in the result.
    """
    kind = kind_of_round(number)
    if kind == "centre":
        return np.stack([_centre(_photo(f)) for f in files])
    rng = np.random.default_rng([SEED, number])
    crops = np.stack([_random_crop(_photo(f), rng, 0.2) for f in files])
    if kind == "crop":
        return crops
    others = crops[rng.permutation(len(files))]
    mixed = crops.copy()
    for k in range(len(files)):
        share = rng.uniform(0.2, 0.8)
        if rng.random() < 0.5:
            mixed[k] = (share * crops[k] + (1 - share) * others[k]).round()
        else:
            h, w = (int(SIDE * share**0.5) for _ in range(2))
            top, left = rng.integers(0, SIDE - h), rng.integers(0, SIDE - w)
            patch = (slice(top, top + h), slice(left, left + w))
            mixed[k][patch] = others[k][patch]
    return mixed


def resized(batch: np.ndarray, side: int) -> np.ndarray:
    """The views at another size: uint8 (n, side, side, 3)."""
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(v).resize(size, Image.BILINEAR)) for v in batch]
    )
