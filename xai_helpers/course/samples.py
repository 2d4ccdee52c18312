"""What comes with the course: its photos, backgrounds made of them, measured tables."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.checks import check_count, check_pair
from ..engine.data import data_folder
from ..engine.image_files import load_image


def sample_images() -> dict[str, np.ndarray]:
    """All photos of the course by name; see ``data/photos/ATTRIBUTION.md``."""
    return {name: load_image(path) for name, path in _files("photos").items()}


def sample_image(name: str = "cat") -> np.ndarray:
    """One photo of the course, ``uint8 (H, W, 3)``; ``ValueError`` for another name."""
    return load_image(_file("photos", name))


def table(name: str) -> list[dict[str, str]]:
    """The rows of ``data/tables/NAME.csv``, all values text; see its ``README.md``."""
    with open(_file("tables", name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _files(folder: str) -> dict[str, Path]:
    paths = sorted((data_folder() / folder).iterdir())
    return {p.stem: p for p in paths if p.suffix in (".jpg", ".png", ".csv")}


def _file(folder: str, name: str) -> Path:
    files = _files(folder)
    if name not in files:
        raise ValueError(f"No {name!r} in {folder}; there are {', '.join(files)}.")
    return files[name]


def background(
    count: int = 50, size: int | tuple[int, int] = 224, *,
    exclude=(), source: str = "photos", seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Photos to compare with: what the network sees when the object is absent.

    Parameters
    ----------
    count, seed : int
    size : int, the side of a square, or (height, width), in pixels
    exclude : name as in ``sample_image``, uint8 image, or a list or tuple of them
        The photo being explained must not appear. Your own is in neither source.
    source : "photos" or "imagenet50"
        Random crops of the sample photos (no network needed), or the 50 ImageNet
        photos that ``shap.datasets.imagenet50()`` downloads.

    Returns
    -------
    ndarray, uint8, shape (count, height, width, 3), range 0–255

    Raises
    ------
    ValueError, ConnectionError
        If a number or the source makes no sense, no photo is left, or no network.
    """
    count, (height, width) = check_count("count", count), check_pair("size", size)
    if source not in ("photos", "imagenet50"):
        raise ValueError(f"source is 'photos' or 'imagenet50', not {source!r}.")
    cropped = source == "photos"  # the others are squares of one size
    exclude = exclude if isinstance(exclude, (list, tuple)) else [exclude]
    exclude = [sample_image(e) if isinstance(e, str) else e for e in exclude]
    photos = sample_images().values() if cropped else _imagenet50()
    photos = [p for p in photos if not any(np.array_equal(p, e) for e in exclude)]
    if not photos:
        raise ValueError("Every photo is excluded; nothing is left to compare.")
    rng = np.random.default_rng(seed)
    order = range(len(photos)) if cropped else rng.permutation(len(photos))
    crops = np.empty((count, height, width, 3), "uint8")
    for k in range(count):
        photo = Image.fromarray(photos[order[k % len(photos)]])
        box = _random_box(photo.size, width / height, rng) if cropped else None
        crops[k] = photo.resize((width, height), Image.BILINEAR, box=box)
    return crops


def _random_box(size: tuple[int, int], aspect: float, rng: np.random.Generator):
    """A random box of the given aspect covering half to all of the shorter side."""
    width, height = size
    box_height = rng.uniform(0.5, 1) * min(width / aspect, height)
    box_width = box_height * aspect
    left, top = rng.uniform(0, width - box_width), rng.uniform(0, height - box_height)
    return left, top, left + box_width, top + box_height


def _imagenet50() -> np.ndarray:
    import shap

    try:
        images, _ = shap.datasets.imagenet50()
    except OSError as error:
        raise ConnectionError(
            f"shap.datasets.imagenet50() could not be downloaded ({error}); "
            "background(source='photos') needs no network."
        ) from error
    return np.clip(np.round(images), 0, 255).astype("uint8")
