"""The photos from which the portable heads are fitted, and the crops of them.

Shared by the two processes that must see the very same pixels: the teachers (PyTorch)
and the two networks (TensorFlow). A round shows every photo of a set once; what it
shows depends on the set, the round's number and the seed alone, so both processes and
every restart agree.
"""

from __future__ import annotations

import zlib
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 320  # pixels; every consumer scales this square down to its own input size
SEED = 20260101
TRAINING = ("one_per_class", "common", "birds_fish", "caltech101")
MEASURING = ("selection", "kept_out", "imagenet50")


def photo_sets(data: Path) -> dict[str, list[Path]]:
    """The photos by use, each set sorted; TRAINING are fitted on, MEASURING never.

    The folder `imagenet200` has three or four photos of each category: the first goes
    to `selection`, the second to `kept_out`, the others are fitted on (`common`).
    """

    def photos(folder: str) -> list[Path]:
        files = sorted((data / folder).glob("*.jpg"))
        if not files:
            raise SystemExit(f"no .jpg photos in {data / folder}; see CONTRIBUTING.md")
        return files

    by_category = groupby(photos("imagenet200"), lambda file: file.name.split("_")[0])
    categories = [list(files) for _, files in by_category]
    return {
        "one_per_class": photos("imagenet-samples"),
        "common": [file for files in categories for file in files[2:]],
        "birds_fish": photos("imagenet-birds-fish"),
        "caltech101": photos("caltech101"),
        "selection": [files[0] for files in categories],
        "kept_out": [files[1] for files in categories],
        "imagenet50": photos("imagenet50"),
    }


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


def views(name: str, files: list[Path], number: int) -> np.ndarray:
    """One round of a set: uint8 (photos, 320, 320, 3), row k a view of photo k.

    A mixture pastes a rectangle of another photo's crop into the crop (CutMix) or
    blends the two (mixup); the teachers then say what they see in the result.
    """
    photos = (_opened(file) for file in files)
    kind = kind_of_round(number)
    if kind == "centre":
        return np.stack([_centre(photo) for photo in photos])
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), number])
    crops = np.stack([_random_crop(photo, rng, 0.2) for photo in photos])
    if kind == "crop":
        return crops
    others = crops[rng.permutation(len(files))]
    return np.stack([_mixture(a, b, rng) for a, b in zip(crops, others, strict=True)])


def _opened(file: Path) -> Image.Image:
    image = Image.open(file).convert("RGB")
    image.thumbnail((512, 512), Image.BILINEAR)
    return image


def _mixture(view: np.ndarray, other: np.ndarray, rng) -> np.ndarray:
    share = rng.uniform(0.2, 0.8)
    if rng.random() < 0.5:
        return (share * view + (1 - share) * other).round().astype("uint8")
    mixed = view.copy()
    side = int(SIDE * share**0.5)
    top, left = rng.integers(0, SIDE - side, 2)
    patch = (slice(top, top + side), slice(left, left + side))
    mixed[patch] = other[patch]
    return mixed


def resized(batch: np.ndarray, side: int) -> np.ndarray:
    """The views at another size: uint8 (n, side, side, 3)."""
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(v).resize(size, Image.BILINEAR)) for v in batch]
    )


def rounds_of(sets: dict[str, list[Path]], rounds: int, caltech_rounds: int):
    """All (set, round) to compute, the measuring sets first, then round by round."""
    jobs = [(name, 0) for name in MEASURING]
    for number in range(max(rounds, caltech_rounds)):
        for name in TRAINING:
            if number < (caltech_rounds if name == "caltech101" else rounds):
                jobs.append((name, number))
    return jobs


def stored_file(cache: Path, content: str, name: str, number: int) -> Path:
    """Where a round's features or answers are kept."""
    return cache / f"{content}-{name}-{number:02d}.npz"


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Written whole or not at all, so that a stopped run leaves no torn file."""
    scratch = path.with_suffix(".tmp")
    with open(scratch, "wb") as file:
        np.savez(file, **arrays)
    scratch.replace(path)
