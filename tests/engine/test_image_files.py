"""load_image takes every kind of picture and refuses the rest with a sentence."""

import base64
import http.server
import io
import os
import struct
import threading
import urllib.parse
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai_helpers.engine import image_files
from xai_helpers.engine.image_files import ImageError, load_image, short_name

# A 2 × 3 picture whose corners have four colours, so that every turn shows.
CORNERS = np.array(
    [[[255, 0, 0], [9, 9, 9], [0, 255, 0]], [[0, 0, 255], [9, 9, 9], [255, 255, 0]]],
    dtype=np.uint8,
)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


# --- what is taken --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_very_pixels(form):
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(Image.fromarray(CORNERS), form, **options)
    assert np.array_equal(load_image(content), CORNERS)


# What a camera that was turned stores, and the EXIF orientation it notes.
TURNED = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS, 1),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_undone(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation]))
    content = encoded(stored, "PNG", exif=exif)
    assert np.array_equal(load_image(content), CORNERS)


def test_path_bytes_pil_and_array_agree(tmp_path):
    path = tmp_path / "a photo with spaces.png"
    path.write_bytes(encoded(Image.fromarray(CORNERS), "PNG"))
    for source in (path, str(path), path.read_bytes(), Image.open(path), CORNERS):
        assert np.array_equal(load_image(source), CORNERS)


def test_grey_becomes_three_equal_channels():
    grey = np.array([[0, 128], [200, 255]], np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(load_image(grey), expected)
    assert np.array_equal(load_image(grey[..., None]), expected)
    assert np.array_equal(load_image(Image.fromarray(grey)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(mode):
    image = Image.new(mode, (3, 1), 0)  # black: clear, half, opaque
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (0, 0, 0, alpha) if mode == "RGBA" else (0, alpha))
    pixels = load_image(encoded(image, "PNG"))[0, :, 0].astype(int)
    assert list(pixels) == [255, 127, 0]
    if mode == "RGBA":
        assert np.array_equal(load_image(np.asarray(image))[0, :, 0], pixels)


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = load_image(encoded(image, "GIF", transparency=0))
    assert pixels.tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_sixteen_bit_grey_is_scaled_not_clipped():
    deep = np.array([[0, 257, 25700, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        pixels = load_image(encoded(Image.fromarray(deep), form))
        assert pixels[0, :, 0].tolist() == [0, 1, 100, 255]


DARK = np.array([[0, 100, 128, 129, 255]])  # of 65535: almost black
DARK_GREY = [0, 0, 0, 1, 1]  # value / 257, rounded


def tiff(values, order):
    """A grey TIFF of 16 bits, written out by hand; order "<" or ">"."""
    data = values.astype(f"{order}u2").tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(data))]
    body = struct.pack(f"{order}H", len(tags))
    for tag, value in tags:
        body += struct.pack(f"{order}HHII", tag, 4, 1, value)
    mark = b"II" if order == "<" else b"MM"
    entries_at = struct.pack(f"{order}HI", 42, 8 + len(data))
    return mark + entries_at + data + body + b"\0\0\0\0"


@pytest.mark.parametrize("order", "<>")
def test_dark_sixteen_bit_pictures(order, tmp_path):
    """No value tells the depth; the file does."""
    height, width = DARK.shape
    content = DARK.astype(f"{order}u2").tobytes()
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (width, height), content)
    path = tmp_path / "dark.tif"
    path.write_bytes(tiff(DARK, order))
    forms = [image, tiff(DARK, order), path, encoded(image, "PNG"), Image.open(path)]
    for source in [*forms, encoded(image, "TIFF")]:
        pixels = load_image(source)
        assert pixels.dtype == np.uint8 and pixels.shape == (height, width, 3)
        assert pixels.tolist() == [[[value] * 3 for value in DARK_GREY]]


def test_a_dark_sixteen_bit_pgm():
    """Its numbers are big-endian; the header says the largest."""
    header = f"P5 {DARK.shape[1]} {DARK.shape[0]} %d\n".encode()
    content = DARK.astype(">u2").tobytes()
    assert load_image(header % 65535 + content)[0, :, 0].tolist() == DARK_GREY
    expected = (DARK * 255 / 1000).round()[0].tolist()
    assert load_image(header % 1000 + content)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("order", "<>")
def test_sixteen_bits_of_both_orders_are_scaled(order):
    deep = np.array([[0, 257, 25700], [65535, 128, 129]])
    pixels = load_image(tiff(deep, order))
    assert pixels[..., 0].tolist() == [[0, 1, 100], [255, 0, 1]]


def test_integers_of_unknown_depth_are_refused():
    shallow = Image.fromarray(np.array([[0, 100, 255]], np.uint8)).convert("I")
    with pytest.raises(ImageError, match="8 or 16 bits"):
        load_image(shallow)


def test_cmyk_is_close_to_its_rgb():
    rgb = np.zeros((8, 8, 3), np.uint8) + np.array([200, 80, 30], np.uint8)
    content = encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=98)
    assert np.abs(load_image(content).astype(int) - rgb).max() <= 4


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if form == "WEBP" else {}
        content = encoded(
            frames[0], form, save_all=True, append_images=frames[1:], **options
        )
        assert load_image(content)[0, 0].tolist() == [255, 0, 0], form


@pytest.mark.parametrize("shape", [(1, 900, 3), (900, 1, 3), (1, 1, 3)])
def test_any_aspect(shape):
    array = np.full(shape, 7, np.uint8)
    assert load_image(encoded(Image.fromarray(array), "PNG")).shape == shape


def test_the_callers_array_is_neither_shared_nor_changed():
    for given in (CORNERS.copy(), CORNERS[..., :1].copy(), CORNERS[..., 0].copy()):
        kept = given.copy()
        loaded = load_image(given)
        loaded[:] = 0
        assert np.array_equal(given, kept)


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (CORNERS / 255, r"float64.*\(255 \* x\)\.round\(\)"),
        (CORNERS / 127.5 - 1, r"127\.5 \* \(x \+ 1\)"),
        (CORNERS.astype("float32") * 3, "float32.*0 to 765"),
        (CORNERS.astype("int64"), "astype"),
        (CORNERS > 0, "bool"),
        (CORNERS[None], r"x\[0\]"),
        (np.zeros((3, 8, 9), np.uint8), "transpose"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros(3, np.uint8), r"\(3,\)"),
        (np.full((2, 2, 3), np.nan), "float64"),
        (np.zeros((2, 2, 3), object), "object"),
        (np.array(None), "object"),
    ],
)
def test_arrays_that_are_not_images(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


def test_damaged_files(tmp_path):
    whole = encoded(Image.fromarray(np.tile(CORNERS, (40, 40, 1))), "JPEG")
    cases = {
        "truncated.jpg": (whole[: len(whole) // 2], "truncated"),
        "text.jpg": (b"this is no picture", "not a picture"),
        "empty.jpg": (b"", "empty"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImageError, match=message) as caught:
            load_image(path)
        assert name in str(caught.value)


def test_a_huge_or_special_file_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as sparse:
        sparse.truncate(image_files.MAX_BYTES + 1)
    with pytest.raises(ImageError, match="larger than"):
        load_image(path)
    if os.path.exists("/dev/zero"):
        with pytest.raises(ImageError, match="no picture file"):
            load_image("/dev/zero")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_damage_anywhere_gives_an_image_or_an_image_error(form):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if form == "GIF" else {"exif": exif}
    try:
        whole = encoded(Image.fromarray(np.tile(CORNERS, (20, 20, 1))), form, **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {form}")
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 4):
            damaged[position] = rng.integers(256)
        try:
            assert load_image(bytes(damaged)).dtype == np.uint8
        except ImageError:
            pass


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(IsADirectoryError, match="folder"):
        load_image(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.jpg"):
        load_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="NoneType"):
        load_image(None)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing: a decompression bomb."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return (
            struct.pack(">I", len(body))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 14_000, 60_000])
def test_more_than_100_megapixels_is_refused_unopened(side, recwarn):
    with pytest.raises(ImageError, match="100 megapixels"):
        load_image(png_header(side, side))
    assert not recwarn.list


def test_float_tiff_is_refused():
    content = encoded(Image.fromarray(np.ones((2, 2), "float32")), "TIFF")
    with pytest.raises(ImageError, match="8 or 16 bits"):
        load_image(content)


# --- addresses that hold the picture --------------------------------------------------


PNG = encoded(Image.fromarray(CORNERS), "PNG")
BASE64 = base64.b64encode(PNG).decode()
DATA = {
    "plain": f"data:image/png;base64,{BASE64}",
    "no kind": f"data:;base64,{BASE64}",
    "another kind": f"data:text/plain;charset=utf-8;base64,{BASE64}",
    "upper case": f"DATA:IMAGE/PNG;BASE64,{BASE64}",
    "no padding": f"data:image/png;base64,{BASE64.rstrip('=')}",
    "lines": f"data:image/png;base64,\n{BASE64[:50]}\n{BASE64[50:]}\n",
    "quoted base64": f"data:image/png;base64,{urllib.parse.quote(BASE64, safe='')}",
    "percent": f"data:image/png,{urllib.parse.quote_from_bytes(PNG, safe='')}",
    "every byte": "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
}


@pytest.mark.parametrize("form", DATA)
def test_data_addresses_are_pictures(form):
    assert np.array_equal(load_image(DATA[form]), CORNERS)


def test_padding_of_every_length():
    """PNG files may be longer than their end; so each remainder occurs."""
    for extra in range(3):
        text = base64.b64encode(PNG + b"\0" * extra).decode()
        for given in (text, text.rstrip("=")):
            assert np.array_equal(load_image(f"data:;base64,{given}"), CORNERS)


@pytest.mark.parametrize(
    "address",
    [
        "data:", "data:,", "data:image/png;base64", "data:image/png;base64,",
        "data:image/png;base64,!!!!", "data:image/png;base64,A",
        "data:image/svg+xml,%3Csvg%2F%3E" + 5000 * "%20",
        f"data:image/png;base64,{BASE64[:60] + 'A' * 5000}",
        f"data:image/png;base64,{'A' * 5001}",
        f"data:image/png,{BASE64}",  # it does not say that it is base64
    ],
)  # fmt: skip
def test_data_addresses_without_a_picture_are_refused_in_short(address):
    with pytest.raises(ImageError, match="damaged") as caught:
        load_image(address)
    assert str(caught.value).startswith(address[:30]) and len(str(caught.value)) < 400


def test_data_addresses_have_the_limit_of_files(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_BYTES", len(PNG))
    assert np.array_equal(load_image(DATA["percent"]), CORNERS)
    monkeypatch.setattr(image_files, "MAX_BYTES", len(PNG) - 1)
    for form in ("plain", "percent"):
        with pytest.raises(ImageError, match="holds more than"):
            load_image(DATA[form])


LONG = "a" * 100 + "MIDDLE" + "b" * 5000 + "/photo.png"


@pytest.mark.parametrize(
    "source", [LONG, f"http://127.0.0.1:1/{LONG}", f"data:{LONG}", Path(LONG)]
)
def test_errors_name_at_most_80_characters_of_a_source(source):
    with pytest.raises((ImageError, FileNotFoundError)) as caught:
        load_image(source)
    message = str(caught.value)
    assert "MIDDLE" not in message and "photo.png" in message
    assert str(source)[:20] in message and "…" in message
    names = [word for word in message.split() if "…" in word]
    assert all(len(name) <= 80 for name in names) and len(message) < 500


def test_errors_of_long_paths_that_exist(tmp_path, monkeypatch):
    folder = tmp_path / ("f" * 200)
    folder.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        load_image(folder)
    assert len(str(caught.value)) < 130
    path = folder / ("x" * 180 + ".png")
    path.write_bytes(PNG[:50])
    with pytest.raises(ImageError, match="truncated") as caught:
        load_image(path)
    assert str(path) not in str(caught.value) and "x.png" in str(caught.value)

    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ImageError, match="cannot be read") as caught:
        load_image(path)
    assert len(str(caught.value)) < 130


def test_a_short_name_is_left_as_it_is():
    assert short_name("photo.png") == "photo.png"
    assert short_name(Path("a") / "b.png") == str(Path("a") / "b.png")
    assert short_name("x" * 80) == "x" * 80
    assert len(short_name("x" * 81)) <= 80


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        exists = self.path == "/photo.png"
        self.send_response(200 if exists else 404)
        self.end_headers()
        if exists:
            self.wfile.write(encoded(Image.fromarray(CORNERS), "PNG"))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_url(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert np.array_equal(load_image(f"{server}/photo.png"), CORNERS)
    with pytest.raises(ImageError, match="404"):
        load_image(f"{server}/a photo é.png")
    with pytest.raises(ImageError, match="404"):
        load_image(f"{server}/other.png")
    monkeypatch.setattr(image_files, "MAX_BYTES", 20)
    with pytest.raises(ImageError, match="more than"):
        load_image(f"{server}/photo.png")


def test_url_that_does_not_answer():
    with pytest.raises(ImageError, match="did not answer"):
        load_image("http://127.0.0.1:1/photo.png")
