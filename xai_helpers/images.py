"""Any picture file → upright RGB ``uint8 (H, W, 3)``; the sample photos; backgrounds.

Everything else in the package holds images in this one form and no other.
"""

from __future__ import annotations

import http.client
import io
import os
import urllib.error
import urllib.parse
import urllib.request
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # a larger picture is refused: it may be a decompression bomb
MAX_BYTES = 100_000_000  # of a file or a download
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")


class ImageError(ValueError):
    """A picture that cannot be used, with a sentence that says why and what to do."""


def data_folder() -> Path:
    """The project's ``data/``: beside the package in a clone, inside it in a wheel."""
    inside = Path(__file__).parent / "data"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "data"


# --- reading --------------------------------------------------------------------------


def load_image(source) -> np.ndarray:
    """A photo as the rest of the package wants it.

    Parameters
    ----------
    source : path, URL, bytes, PIL image or array
        A file name or ``Path``; an ``http(s)://`` address; the bytes of a file; a
        ``PIL.Image``; or a ``uint8`` array of shape (H, W), (H, W, 1), (H, W, 3) or
        (H, W, 4). Files may be JPEG, PNG, GIF, WebP, BMP, TIFF, PPM or AVIF.

    Returns
    -------
    ndarray, uint8, shape (H, W, 3), range 0–255
        RGB and upright: the camera's EXIF orientation is applied, transparency is
        laid on white, 16 bits become 8, and of an animation the first frame is taken.
        Always a new array; the caller's is never shared or changed.

    Raises
    ------
    ImageError
        For anything that is not such a picture: the message says what was given and
        what is wanted. It is a ``ValueError``.
    FileNotFoundError, IsADirectoryError
        If a path leads nowhere or to a folder.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, f"the {source.mode} image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), "the bytes given")
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _from_bytes(_download(source), source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.path.expanduser(source))
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name one picture in it.")
        if not path.exists():
            raise FileNotFoundError(
                f"There is no file {path} (looked from {Path.cwd()})."
            )
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ImageError(
                f"{path} is no picture file, or larger than {MAX_BYTES // 10**6} MB."
            )
        return _from_bytes(path.read_bytes(), str(path))
    raise ImageError(
        f"Cannot make an image of {type(source).__name__}; give a path, a URL, bytes, "
        "a PIL image or a uint8 array of shape (height, width, 3)."
    )


def _download(url: str, timeout: float = 15) -> bytes:
    quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        request = urllib.request.Request(quoted, headers={"User-Agent": "xai_helpers"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            content = answer.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise ImageError(f"{url} answered {error.code} ({error.reason}).") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ImageError(
            f"{url} did not answer ({reason}). Check the address and the network, or "
            "save the picture and give its path."
        ) from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"{url} sends more than {MAX_BYTES // 10**6} MB.")
    return content


def _from_bytes(content: bytes, name: str) -> np.ndarray:
    if not content:
        raise ImageError(f"{name} is empty (0 bytes).")
    Image.init()  # registers the formats beyond the five that PIL knows at first
    known = [form for form in FORMATS if form in Image.OPEN]
    try:
        with warnings.catch_warnings():  # the size check below is stricter than PIL's
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=known)
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture in a format known here ({', '.join(FORMATS)}). "
            "A HEIC photo from a phone has to be exported as JPEG first."
        ) from error
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:
        raise ImageError(f"{name} is damaged: {error}.") from error
    with image:
        return _from_pil(image, name)


def _too_large(name: str) -> str:
    return (
        f"{name} has over {MAX_PIXELS // 10**6} megapixels and is refused unopened: "
        "scale it down first (the networks see 224 or 299 pixels a side)."
    )


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(name))
    if width * height == 0:
        raise ImageError(f"{name} has no pixels ({width} × {height}).")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
        raise ImageError(f"{name} is truncated or damaged: {error}.") from error
    try:
        image = ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        pass  # damaged EXIF beside intact pixels: taken as it lies
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(np.asarray(image), name)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))  # np.array copies; np.asarray would not


def _from_deep_grey(grey: np.ndarray, name: str) -> np.ndarray:
    """16-bit grey (PIL modes I;16 and I) scaled to 8 bits and copied to R, G and B."""
    known = grey.dtype == np.uint16 or (grey.min() >= 0 and 255 < grey.max() <= 65535)
    if grey.dtype.kind == "f" or not known:
        raise ImageError(
            f"{name} holds {grey.dtype} values from {grey.min():g} to {grey.max():g}, "
            "and what they mean is not known here; save it with 8 or 16 bits a channel."
        )
    grey = (grey.astype("float64") / 257).round().astype("uint8")
    return np.repeat(grey[..., None], 3, axis=2)


def _from_array(array: np.ndarray) -> np.ndarray:
    given = f"an array of dtype {array.dtype} and shape {array.shape}"
    wanted = "uint8 of shape (height, width, 3), RGB, 0–255"
    if array.dtype != np.uint8:
        hint = ""
        finite = array[np.isfinite(array)] if array.dtype.kind in "fiu" else array[:0]
        if finite.size:
            low, high = finite.min(), finite.max()
            given += f", values {low:g} to {high:g}"
            if array.dtype.kind == "f" and low >= 0 and high <= 1:
                hint = " If 1.0 is white, give (255 * x).round().astype('uint8')."
            elif array.dtype.kind == "f" and low >= -1 and high <= 1:
                hint = " If -1 is black and 1 white, give (127.5 * (x + 1)).round()"
                hint += ".astype('uint8')."
            elif low >= 0 and high <= 255:
                hint = " If these are pixels 0–255, give x.astype('uint8')."
        raise ImageError(f"Got {given}; wanted {wanted}.{hint}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = ""
        if array.ndim == 4 and len(array) == 1:
            hint = " A batch of one: give x[0]."
        elif array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " Channels first: give x.transpose(1, 2, 0)."
        raise ImageError(f"Got {given}; wanted {wanted}.{hint}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(_too_large("the array"))
    if array.shape[2] == 4:
        return _from_pil(Image.fromarray(array, "RGBA"), "the array")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3))).copy()


# --- the photos of the course ---------------------------------------------------------


def _sample_files() -> dict[str, Path]:
    folder = data_folder() / "photos"
    files = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
    return {p.stem: p for p in files}


def sample_images() -> dict[str, np.ndarray]:
    """All photos of the course, by name; see ``data/photos/ATTRIBUTION.md``.

    Returns
    -------
    dict of str to ndarray, uint8, shape (H, W, 3)
    """
    return {name: load_image(path) for name, path in _sample_files().items()}


def sample_image(name: str = "cat") -> np.ndarray:
    """One photo that comes with the course, ``uint8 (H, W, 3)``.

    Raises
    ------
    ValueError
        For a name that is not there; the message lists those that are.
    """
    files = _sample_files()
    if name not in files:
        raise ValueError(f"No sample photo {name!r}; there are {', '.join(files)}.")
    return load_image(files[name])


def background(
    n: int = 50,
    size: int | tuple[int, int] = 224,
    *,
    exclude=(),
    source: str = "photos",
    seed: int = 0,
) -> np.ndarray:
    """Photos for SHAP to compare with: what the network sees when the object is absent.

    Parameters
    ----------
    n : int
        How many.
    size : int or (int, int)
        Side of the square, or (height, width), in pixels.
    exclude : name, image, or a sequence of them
        Photos that must not appear: the one being explained. A name as in
        ``sample_image``, or the ``uint8`` array of the whole photo. A photo of one's
        own is in neither source, so it need not be excluded.
    source : "photos" or "imagenet50"
        Random crops of the sample photos (no network needed), or the 50 ImageNet
        photos that ``shap.datasets.imagenet50()`` downloads.
    seed : int

    Returns
    -------
    ndarray, uint8, shape (n, height, width, 3), range 0–255

    Raises
    ------
    ValueError
        If n < 1, nothing is left to choose from, or the source is unknown.
    ConnectionError
        If ``imagenet50`` cannot be downloaded.
    """
    height, width = (size, size) if np.ndim(size) == 0 else size
    if n < 1 or height < 1 or width < 1:
        raise ValueError(f"n and size must be at least 1, got n={n}, size={size}.")
    rng = np.random.default_rng(seed)
    if not isinstance(exclude, (list, tuple)):
        exclude = [exclude]
    if source == "imagenet50":
        exclude = [sample_image(e) if isinstance(e, str) else e for e in exclude]
        photos = _imagenet50()
        pool = photos[[not any(np.array_equal(p, e) for e in exclude) for p in photos]]
        if not len(pool):
            raise ValueError("Every photo is excluded; nothing is left to compare.")
        rows = rng.permutation(len(pool))[np.arange(n) % len(pool)]
        chosen = [Image.fromarray(pool[row]) for row in rows]
        boxes = [None] * n
    elif source == "photos":
        photos = _without(sample_images(), exclude)
        chosen = [Image.fromarray(photos[k % len(photos)]) for k in range(n)]
        boxes = [_random_box(image.size, width / height, rng) for image in chosen]
    else:
        raise ValueError(f"source is 'photos' or 'imagenet50', not {source!r}.")
    return np.stack(
        [
            np.asarray(image.resize((width, height), Image.BILINEAR, box=box))
            for image, box in zip(chosen, boxes, strict=True)
        ]
    )


def _without(photos: dict[str, np.ndarray], exclude) -> list[np.ndarray]:
    for item in exclude:
        if isinstance(item, str):
            if item not in photos:
                raise ValueError(f"No sample photo {item!r} to leave out.")
            photos = {k: v for k, v in photos.items() if k != item}
        else:
            photos = {k: v for k, v in photos.items() if not np.array_equal(v, item)}
    if not photos:
        raise ValueError("Every sample photo is excluded; nothing is left to compare.")
    return list(photos.values())


def _random_box(size: tuple[int, int], aspect: float, rng: np.random.Generator):
    """A random box of the wanted aspect covering half to all of the shorter side."""
    width, height = size
    scale = rng.uniform(0.5, 1) * min(width / aspect, height)
    w, h = scale * aspect, scale
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return (left, top, left + w, top + h)


def _imagenet50() -> np.ndarray:
    import shap

    try:
        images, _ = shap.datasets.imagenet50()
    except OSError as error:
        raise ConnectionError(
            "shap.datasets.imagenet50() could not be downloaded "
            f"({getattr(error, 'reason', error)}); background(source='photos') "
            "needs no network."
        ) from error
    return np.clip(np.round(images), 0, 255).astype("uint8")
