"""Which photos a survey finds, where, and what it makes of files that are none."""

import hashlib
import os

import fsspec
import numpy as np
import pytest
from PIL import Image
from toys import photo

from xai_helpers.survey.photos import list_photos, read_photo


def test_the_first_subfolder_is_the_label(photo_folder):
    (photo_folder / "cat" / "deep").mkdir()
    Image.fromarray(photo()).save(photo_folder / "cat" / "deep" / "x.JPG", "JPEG")
    Image.fromarray(photo()).save(photo_folder / "loose.png")
    (photo_folder / "cat" / "notes.txt").write_text("no photo")
    (photo_folder / "cat" / "._x.jpg").write_text("hidden")
    _, table = list_photos(photo_folder)
    labels = dict(zip(table.path, table.label, strict=True))
    assert len(table) == 26 and labels["cat/deep/x.JPG"] == "cat"
    assert labels["loose.png"] is None and table.path.is_monotonic_increasing


def test_a_csv_gives_paths_and_labels(photo_folder):
    csv = photo_folder / "list.csv"
    csv.write_text("path,label\ndog/001.png,puppy\ncat/000.png,\ncat/gone.png,x\n")
    root, table = list_photos(csv)
    assert table.path.tolist() == ["cat/000.png", "cat/gone.png", "dog/001.png"]
    assert table.label.tolist() == [None, "x", "puppy"]
    files, _ = fsspec.url_to_fs(root)
    reads = [read_photo(files, row, (8, 8), "crop") for row in table.itertuples()]
    assert [read.error is None for read in reads] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file\na.png\n", "no column named path"),
        ("path\na.png\na.png\n", "more than once"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        list_photos(tmp_path / "list.csv")


def test_a_place_without_photos(tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        list_photos(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_photos(tmp_path / "nowhere")


def test_addresses_of_fsspec(photo_folder):
    memory = fsspec.filesystem("memory")
    memory.pipe("/pets/cat/a.png", (photo_folder / "cat" / "000.png").read_bytes())
    root, table = list_photos("memory://pets")
    files, _ = fsspec.url_to_fs(root)
    [read] = [read_photo(files, row, (40, 40), "crop") for row in table.itertuples()]
    assert table.path.tolist() == ["cat/a.png"] and table.label.tolist() == ["cat"]
    assert np.array_equal(read.square, photo((40, 50), 0)[:, 5:45])


def test_a_photo_is_read_with_its_hash_and_is_not_changed(photo_folder):
    path = photo_folder / "cat" / "000.png"
    before = path.read_bytes()
    root, table = list_photos(photo_folder)
    files, _ = fsspec.url_to_fs(root)
    read = read_photo(files, next(table.itertuples()), (40, 40), "crop")
    assert read.sha256 == hashlib.sha256(before).hexdigest() and read.size == (40, 50)
    assert path.read_bytes() == before


def test_names_that_are_no_text(tmp_path):
    folder = os.fsencode(tmp_path / "cat")
    os.mkdir(folder)
    Image.fromarray(photo()).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", os.path.join(folder, b"\xff\n<b>.png"))
    root, table = list_photos(tmp_path)
    files, _ = fsspec.url_to_fs(root)
    [row] = table.itertuples()
    assert row.path.encode("utf-8") and "\\udcff" in row.path
    assert read_photo(files, row, (8, 8), "crop").error is None
