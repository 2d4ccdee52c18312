"""The photos of a survey: which there are, where, and how one is read.

Places are fsspec's: a folder on this machine, or an address such as ``s3://bucket/x``.
"""

import hashlib
from pathlib import PurePosixPath
from typing import NamedTuple

import fsspec
import numpy as np
import pandas as pd

from ..engine.cropping import crop_to_size
from ..engine.image_files import MAX_BYTES, ImageError, decode_image

ENDINGS = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
ENDINGS |= {".avif", ".heic"}  # HEIC cannot be read, and its row says so
STAMPS = ("ETag", "mtime", "LastModified", "created")  # as file systems call them
COLUMNS = ["path", "location", "label", "bytes", "stamp"]


def list_photos(source) -> tuple[str, pd.DataFrame]:
    """All photos of a folder or of a CSV file, sorted by path, and the root's address.

    Parameters
    ----------
    source : str or Path
        A folder, searched with all its subfolders: the first subfolder on a photo's
        path is its label. Or a CSV file with the columns ``path`` (relative to the
        file's folder) and, optionally, ``label``. Hidden files are left out.

    Returns
    -------
    str, DataFrame
        Columns: ``path`` relative to the root, ``location`` for fsspec, ``label`` (or
        None), ``bytes`` (−1: no regular file), ``stamp`` (changes with the file).

    Raises
    ------
    ValueError, FileNotFoundError
        If there is no such place, no photo in it, or no column ``path``.
    """
    files, place = fsspec.url_to_fs(str(source))
    if not files.exists(place):
        raise FileNotFoundError(f"There is no folder or file {source}.")
    if files.isdir(place):
        root, records = place, _records_of_folder(files, place)
    else:
        root, records = parent(place), _records_of_csv(files, place)
    table = pd.DataFrame(records, columns=COLUMNS, dtype=object)
    table = table.sort_values("path", kind="stable")
    if not len(table):
        raise ValueError(
            f"There are no photos in {source}: {', '.join(sorted(ENDINGS))}."
        )
    if (twice := table.path[table.path.duplicated()]).size:
        raise ValueError(f"{source} lists {twice.iloc[0]} more than once.")
    return files.unstrip_protocol(root), table.reset_index(drop=True)


def _records_of_folder(files, root: str) -> list[tuple]:
    records = []
    for location, details in files.find(root, detail=True).items():
        path = PurePosixPath(location.replace("\\", "/")).relative_to(root.rstrip("/"))
        hidden = any(part.startswith(".") for part in path.parts)
        if path.suffix.lower() in ENDINGS and not hidden:
            label = path.parts[0] if len(path.parts) > 1 else None
            records.append(_record(path.as_posix(), location, label, details))
    return records


def _records_of_csv(files, place: str) -> list[tuple]:
    with files.open(place, "r", encoding="utf-8-sig", newline="") as file:
        rows = pd.read_csv(
            file, dtype=str, keep_default_na=False, skipinitialspace=True
        )
    if "path" not in rows.columns:
        raise ValueError(f"{place} has no column named path, but {list(rows.columns)}.")
    records, folder = [], parent(place)
    labels = rows.label if "label" in rows.columns else [""] * len(rows)
    for path, label in zip(rows.path, labels, strict=True):
        location = str(PurePosixPath(folder, path))
        try:
            details = files.info(location)
        except OSError:  # it gets a row that says so
            details = {"type": "absent", "size": 0}
        records.append(_record(path, location, label or None, details))
    return records


def _record(path: str, location: str, label: str | None, details: dict) -> tuple:
    size = details["size"] if details["type"] == "file" else -1
    stamp = next((str(details[name]) for name in STAMPS if name in details), "")
    return printable(path), location, label and printable(label), size or 0, stamp


def parent(place: str) -> str:
    """The folder of a file."""
    return place.replace("\\", "/").rpartition("/")[0]


def printable(text: str) -> str:
    """A name without bytes that are no UTF-8, which no table can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class PhotoRead(NamedTuple):
    """A photo, cropped to the network's size, or the reason why it cannot be had."""

    sha256: str | None  # of the file's bytes
    size: tuple[int, int] | None  # height and width of the whole photo
    square: np.ndarray | None  # uint8 (height, width, 3), what the network is given
    error: str | None


def file_bytes(files, location: str, size: int) -> bytes:
    """The content of a photo's file; an ``ImageError`` if it is none, or too large."""
    if size < 0:
        raise ImageError("There is no regular file of this name.")
    if size > MAX_BYTES:
        raise ImageError(f"The file has more than {MAX_BYTES // 10**6} MB.")
    with files.open(location, "rb") as file:
        return file.read(MAX_BYTES + 1)


def read_photo(files, photo, input_size: tuple[int, int], fit: str) -> PhotoRead:
    """A photo of the table as the network is given it. Never raises for a bad file."""
    sha256 = None
    try:
        content = file_bytes(files, photo.location, photo.bytes)
        sha256 = hashlib.sha256(content).hexdigest()
        image = decode_image(content, PurePosixPath(photo.path).name)
        square, _ = crop_to_size(image, input_size, fit)
    except (OSError, ValueError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        return PhotoRead(sha256, None, None, printable(reason))
    return PhotoRead(sha256, image.shape[:2], square, None)
