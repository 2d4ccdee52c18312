"""Any picture → upright RGB ``uint8 (H, W, 3)``, the only form inside the package."""

import base64
import http.client
import io
import os
import urllib.parse
import urllib.request
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000  # a larger picture is refused: it may be a decompression bomb
MAX_BYTES = 100_000_000  # of a file or a download
Image.init()  # registers the formats beyond the five that PIL starts with
KNOWN_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
FORMATS = [name for name in KNOWN_FORMATS if name in Image.OPEN]  # as Pillow was built
DAMAGE = (OSError, ValueError, SyntaxError, RuntimeError, EOFError)  # what PIL raises
CONVERSIONS = (  # lowest and highest value of an array, and how to make it uint8
    (0, 1, "If 1.0 is white, give (255 * x).round().astype('uint8')."),
    (-1, 1, "If -1 is black, give (127.5 * (x + 1)).round().astype('uint8')."),
    (0, 255, "If these are pixels 0–255, give x.astype('uint8')."),
)


class ImageError(ValueError):
    """A picture that cannot be used, with a sentence that says why and what to do."""


def load_image(source) -> np.ndarray:
    """A photo as the rest of the package wants it.

    Parameters
    ----------
    source : path, URL, bytes, PIL image or array
        A file name or ``Path``; an ``http(s)://`` or ``data:`` address; the bytes of a
        file; a ``PIL.Image``; or a ``uint8`` array of shape (H, W), (H, W, 1),
        (H, W, 3) or (H, W, 4). Files may be JPEG, PNG, GIF, WebP, BMP, TIFF, PPM or
        AVIF.

    Returns
    -------
    ndarray, uint8, shape (H, W, 3), range 0–255
        RGB and upright: the camera's EXIF orientation is applied, transparency is
        laid on white, 16 bits become 8, and of an animation the first frame is taken.
        Always a new array; the caller's is never shared or changed.

    Raises
    ------
    ImageError, FileNotFoundError, IsADirectoryError
        For anything else; the message says what was given and what is expected.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return decode_image(source, f"the {source.mode} image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode_image(bytes(source), "the bytes given")
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return decode_image(_download(source), short_name(source))
    if isinstance(source, str) and source.lower().startswith("data:"):
        return decode_image(_data_in(source), short_name(source))
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(os.path.expanduser(source)))
    raise ImageError(
        f"Cannot make an image of {type(source).__name__}; give a path, a URL, bytes, "
        "a PIL image or a uint8 array of shape (height, width, 3)."
    )


def short_name(source) -> str:
    """The name of a source for a message: what is beyond 80 characters is left out."""
    return _shorten(str(source), 80)


def _shorten(text: str, length: int) -> str:
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _from_file(path: Path) -> np.ndarray:
    name = short_name(path)
    if os.path.isdir(path):  # unlike path.is_dir(), for a name of any length
        raise IsADirectoryError(f"{name} is a folder; name one picture in it.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {name} (looked from {Path.cwd()}).")
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        size = f"{MAX_BYTES // 10**6} MB"
        raise ImageError(f"{name} is no picture file, or larger than {size}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name} cannot be read ({error.strerror}).") from error
    return decode_image(content, name)


def _data_in(address: str) -> bytes:
    """The bytes that a ``data:`` address holds, as base64 or with % before a code."""
    kind, _, data = address.partition(",")
    content = urllib.parse.unquote_to_bytes(data)
    if kind.rstrip().lower().endswith(";base64"):
        try:
            content = base64.b64decode(content + b"==")  # browsers ask for none either
        except ValueError as error:
            reason = f"{short_name(address)} is damaged: it is no base64 ({error})."
            raise ImageError(reason) from error
    if len(content) > MAX_BYTES:
        size = f"{MAX_BYTES // 10**6} MB"
        raise ImageError(f"{short_name(address)} holds more than {size}.")
    return content


def _download(url: str) -> bytes:
    name = short_name(url)
    quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        request = urllib.request.Request(quoted, headers={"User-Agent": "xai_helpers"})
        with urllib.request.urlopen(request, timeout=15) as response:
            content = response.read(MAX_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = _shorten(str(error).strip("<>"), 160)
        raise ImageError(
            f"{name} did not answer with a file ({reason}). Check the address and the "
            "network, or save the picture and give its path."
        ) from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name} sends more than {MAX_BYTES // 10**6} MB.")
    return content


def _from_array(array: np.ndarray) -> np.ndarray:
    pixels = array[..., 0] if array.shape[2:] == (1,) else array  # grey has no axis
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_image or not array.size:
        raise ImageError(
            f"Got an array of dtype {array.dtype} and shape {array.shape}; expected "
            f"uint8 of shape (height, width, 3), RGB, 0–255.{_advice(array)}"
        )
    return decode_image(Image.fromarray(pixels), "the array")


def _advice(array: np.ndarray) -> str:
    """How to convert an array that is no image, where its shape or range tells."""
    if array.dtype == np.uint8:
        if array.ndim == 4 and len(array) == 1:
            return " A batch of one: give x[0]."
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            return " Channels first: give x.transpose(1, 2, 0)."
    elif array.dtype.kind in "fiu" and np.isfinite(array).any():
        values = array[np.isfinite(array)]
        low, high = values.min(), values.max()
        fitting = [text for a, b, text in CONVERSIONS if a <= low and high <= b]
        return " ".join([f" Its values are {low:g} to {high:g}.", *fitting[:1]])
    return ""


def decode_image(source: bytes | Image.Image, name: str) -> np.ndarray:
    """What ``load_image`` returns; ``name`` begins the sentence of an error."""
    image = source
    try:
        if isinstance(source, bytes):
            with warnings.catch_warnings():  # our limit is stricter than PIL's
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(source), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if 0 in image.size:
            raise ValueError("no pixels")
        image.load()
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} has over {MAX_PIXELS // 10**6} megapixels and is refused; scale "
            "it down first (the networks see 224 or 299 pixels a side)."
        ) from error
    except DAMAGE as error:
        raise ImageError(
            f"{name} is empty, truncated, damaged, or not a picture in a format known "
            f"here: {', '.join(FORMATS)}. Export a HEIC photo from a phone as JPEG."
        ) from error
    is_16_bit = image.mode.startswith("I;16") or image.format == "PPM"  # PIL scales it
    with suppress(OSError, ValueError, SyntaxError, KeyError, TypeError):
        image = ImageOps.exif_transpose(image)  # damaged EXIF: taken as it lies
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(np.asarray(image), is_16_bit, name)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))  # np.array copies; np.asarray would not


def _from_deep_grey(grey: np.ndarray, is_16_bit: bool, name: str) -> np.ndarray:
    """16-bit grey (PIL modes I;16, I;16B, I) scaled to 8 bits, copied to R, G and B."""
    low, high = grey.min(), grey.max()
    is_16_bit = is_16_bit or (low >= 0 and 255 < high <= 65535)
    if grey.dtype.kind == "f" or not is_16_bit:
        raise ImageError(
            f"{name} holds {grey.dtype} values from {low:g} to {high:g}, and what they "
            "mean is not known here; save it with 8 or 16 bits a channel."
        )
    grey = (grey.astype("float64") / 257).round().astype("uint8")
    return np.repeat(grey[..., None], 3, axis=2)
