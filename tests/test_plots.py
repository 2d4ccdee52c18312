"""Figures: the right scale, zero where zero is, and a text beside each picture."""

import io

import numpy as np
import pytest
from PIL import Image

from xai_helpers import plots


def drawn(picture):
    """(values, smallest, largest, colour map) of each image in the figure."""
    return [
        (np.asarray(im.get_array()), *im.get_clim(), im.get_cmap().name)
        for ax in picture.figure.axes
        for im in ax.images
    ]


def test_positive_maps_start_at_zero_each_with_its_own_top():
    stack = [np.full((2, 3), 0.5), np.array([[0.0, 4.0]])]
    for values, (data, low, high, _) in zip(
        stack, drawn(plots.maps(stack)), strict=True
    ):
        assert np.array_equal(data, values)
        assert (low, high) == (0, values.max())


def test_signed_maps_are_symmetric_and_zero_is_white():
    ((_, low, high, name),) = drawn(plots.maps([np.array([[-1.0, 3.0]])], signed=True))
    assert (low, high) == (-3, 3)
    middle = plots.matplotlib.colormaps[name](0.5)
    assert min(middle[:3]) > 0.95


def test_no_map_uses_a_rainbow():
    assert not {plots.POSITIVE, plots.SIGNED} & {"jet", "rainbow", "hsv", "RdYlGn"}


def test_a_map_of_zeros_is_said_and_drawn_as_zero():
    picture = plots.maps([np.zeros((3, 3)), np.ones((3, 3))], ["dead", "alive"])
    (_, low, high, _), _ = drawn(picture)
    assert (low, high) == (0, 1)
    assert "1 zero everywhere" in picture.text
    assert "zero everywhere" in picture.figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("stack", "signed"),
    [
        ([], False),
        ([-np.ones((2, 2))], False),
        ([np.full((2, 2), np.nan)], True),
        ([np.ones((2, 2))] * 2, [True]),
    ],
)
def test_maps_that_would_be_drawn_wrong_are_refused(stack, signed):
    with pytest.raises(ValueError, match=r"maps and|below zero|NaN"):
        plots.maps(stack, signed=signed)


def test_photo_values_keep_their_scale():
    ((_, low, high, name),) = drawn(plots.maps([np.full((2, 2), 9.0)], signed=None))
    assert (low, high, name) == (0, 255, "gray")


def test_filters_show_zero_as_mid_grey():
    kernels = np.zeros((3, 3, 3, 2), "float32")
    kernels[0, 0, 0, 0], kernels[0, 0, 0, 1] = 2, -1
    (first, *_), (second, *_) = drawn(plots.filters(kernels))
    assert np.allclose(first[1, 1], 0.5)
    assert np.allclose(second[1, 1], 0.5)
    assert first[0, 0, 0] == 1
    assert second[0, 0, 0] == 0


def test_boxes_lie_around_the_centre():
    picture = plots.boxes(np.zeros((50, 60, 3), np.uint8), {"a": 10}, (20, 30))
    (box,) = picture.figure.axes[0].patches
    assert box.get_bbox().extents.tolist() == [25, 15, 35, 25]
    assert "a 10 px" in picture.text


def test_a_picture_shows_itself_with_its_text_and_leaves_pyplot_alone():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    photo = np.zeros((8, 8, 3), np.uint8)
    picture = plots.photos({"night": photo, "fog": photo + 200}, title="Two photos")
    data, metadata = picture._repr_mimebundle_()
    assert plt.get_fignums() == before
    assert repr(picture) == data["text/plain"] == "Two photos: night, fog."
    assert metadata["image/png"]["alt"] == picture.text
    assert Image.open(io.BytesIO(data["image/png"])).format == "PNG"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    once, again = (plots.maps([np.eye(4)], ["x"]).png() for _ in range(2))
    assert once == again
    plots.maps([np.eye(4)]).save(tmp_path / "map.svg")
    assert (tmp_path / "map.svg").read_text("utf-8").lstrip().startswith("<?xml")


def test_predictions_name_the_first_choice(xception):
    photo = np.full((40, 40, 3), 120, np.uint8)
    best = xception.top(photo, k=1)[0]
    picture = plots.predictions([xception], {"grey": photo}, k=3)
    assert best.label.replace("_", " ") in picture.text
    bars = picture.figure.axes[1].patches
    expected = [p.probability for p in xception.top(photo, k=3)]
    assert [bar.get_width() for bar in bars] == pytest.approx(expected)


def test_blocks_and_bars_say_their_names():
    block = {"name": "b", "lines": ["conv 3"], "shape": (1, 2, 3), "colour": "#ff0000"}
    picture = plots.blocks(
        [[block | {"skip": ""}, block | {"skip": "identity"}]], "Net"
    )
    assert picture.text == "Net: b 1 × 2 × 3; b 1 × 2 × 3."
    picture = plots.bars({"x": (1, 2)}, ("one", "two"), title="T")
    assert [bar.get_width() for bar in picture.figure.axes[0].patches] == [1, 2]
