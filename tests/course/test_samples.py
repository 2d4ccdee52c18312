"""The photos, backgrounds and tables that come with the course."""

import numpy as np
import pytest

from xai_helpers.course.samples import (
    background,
    sample_image,
    sample_images,
    table,
)
from xai_helpers.engine import data
from xai_helpers.engine.data import data_folder, imagenet_classes


def test_every_photo_has_its_row_in_the_attribution():
    folder = data_folder() / "photos"
    text = (folder / "ATTRIBUTION.md").read_text("utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    listed = {row[1].strip(" `"): row for row in rows}
    present = {p.name for p in folder.iterdir()} - {"ATTRIBUTION.md"}
    assert listed.keys() == present
    for row in listed.values():
        assert all(cell.strip() for cell in row[1:7]), row
        assert any(free in row[5] for free in ("CC0", "CC BY", "public domain")), row


def test_sample_images():
    photos = sample_images()
    assert len(photos) >= 6
    for name, photo in photos.items():
        assert photo.dtype == np.uint8
        assert photo.shape[2] == 3
        assert np.array_equal(photo, sample_image(name))
    with pytest.raises(ValueError, match=r"'dgo'.*dogs"):
        sample_image("dgo")


def test_background_never_holds_the_photo_being_explained():
    photos = sample_images()
    others = [name for name in photos if name != "cat"]
    for exclude in (others, [photos[name] for name in others]):
        crops = background(6, 32, exclude=exclude)
        assert crops.shape == (6, 32, 32, 3)
        assert crops.dtype == np.uint8
    # Only the cat was left, so these are the cat's colours; without it they differ.
    cat = photos["cat"].mean(axis=(0, 1))
    without = background(7, 32, exclude="cat").mean(axis=(1, 2))
    assert np.abs(crops.mean(axis=(0, 1, 2)) - cat).max() < 30
    assert (np.abs(without - cat).max(axis=1) > 10).all()


def test_background_is_seeded_and_of_any_size():
    first = background(5, (20, 30), seed=3)
    assert first.shape == (5, 20, 30, 3)
    assert np.array_equal(first, background(5, (20, 30), seed=3))
    assert not np.array_equal(first, background(5, (20, 30), seed=4))


def test_background_refuses_nonsense():
    with pytest.raises(ValueError, match="count is a whole number from 1 up"):
        background(0)
    with pytest.raises(ValueError, match="size is a whole number from 1 up"):
        background(1, (5, 0))
    with pytest.raises(ValueError, match="nothing is left"):
        background(2, exclude=list(sample_images()))
    with pytest.raises(ValueError, match="'photos' or 'imagenet50'"):
        background(2, source="web")
    with pytest.raises(ValueError, match=r"'unicorn'.*dogs"):
        background(2, exclude="unicorn")


def test_imagenet50_without_a_network_names_the_way_out(monkeypatch):
    import shap

    def fail():
        raise OSError("no network")

    monkeypatch.setattr(shap.datasets, "imagenet50", fail)
    with pytest.raises(ConnectionError, match="source='photos'"):
        background(2, source="imagenet50")


def test_imagenet50_is_scaled_to_the_size(monkeypatch):
    import shap

    colours = np.arange(50, dtype="float32")[:, None, None, None]
    fake = np.broadcast_to(colours, (50, 224, 224, 3))
    monkeypatch.setattr(shap.datasets, "imagenet50", lambda: (fake, None))
    chosen = background(50, 10, source="imagenet50")
    assert chosen.shape == (50, 10, 10, 3)
    assert sorted(chosen[:, 0, 0, 0]) == list(range(50))
    seven = np.full((224, 224, 3), 7, np.uint8)
    without = background(50, 10, source="imagenet50", exclude=seven)
    assert set(without[:, 0, 0, 0]) == set(range(50)) - {7}
    with pytest.raises(ValueError, match="nothing is left"):
        background(2, 10, source="imagenet50", exclude=list(fake.astype(np.uint8)))


def test_background_pixels_stay_the_same():
    """Committed maps, tables and outputs depend on them."""
    colours = background(3, 16, exclude="cat").mean(axis=(1, 2))
    expected = [[137.6, 139.1, 130.2], [141.4, 59.6, 32.1], [129.9, 119.0, 110.4]]
    assert colours == pytest.approx(np.array(expected), abs=2)


def test_tables_are_read_by_name():
    rows = table("pointing")
    assert list(rows[0]) == ["network", "mosaic", "class", "technique", "share"]
    assert 0 <= float(rows[0]["share"]) <= 1
    assert {row["network"] for row in rows} == {"VGG16", "Xception"}
    with pytest.raises(ValueError, match=r"'points'.*completeness, curves, .*pointing"):
        table("points")


def test_the_data_lie_beside_the_package_or_in_a_wheel_inside(monkeypatch, tmp_path):
    module = tmp_path / "xai_helpers" / "engine" / "data.py"
    monkeypatch.setattr(data, "__file__", str(module))
    assert data_folder() == tmp_path / "data"
    (tmp_path / "xai_helpers" / "data").mkdir(parents=True)
    assert data_folder() == tmp_path / "xai_helpers" / "data"


def test_imagenet_classes():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert classes[281] == ("n02123045", "tabby")
