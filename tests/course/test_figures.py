"""Figures of one or two notebooks: every value is drawn, and the words name it."""

import numpy as np

from xai_helpers import figures


def test_filters_show_zero_as_mid_grey():
    kernels = np.zeros((3, 3, 3, 2), "float32")
    kernels[0, 0, 0, 0], kernels[0, 0, 0, 1] = 2, -1
    picture = figures.filters(kernels)
    panels = [axes.images for axes in picture.figure.axes]
    (first,), (second,) = [[im.get_array() for im in ims] for ims in panels if ims]
    assert np.allclose(first[1, 1], 0.5)
    assert np.allclose(second[1, 1], 0.5)
    assert first[0, 0, 0] == 1
    assert second[0, 0, 0] == 0
    assert picture.description == "Filters: 2 kernels of 3 × 3 pixels."


def test_boxes_lie_around_the_centre():
    black = np.zeros((50, 60, 3), np.uint8)
    picture = figures.receptive_field_boxes(black, {"a": 10}, (20, 30))
    (box,) = picture.figure.axes[0].patches
    assert box.get_bbox().extents.tolist() == [25, 15, 35, 25]
    assert "a 10 px" in picture.description


def test_an_architecture_and_bars_say_their_names():
    block = {"name": "b", "lines": ["conv 3"], "shape": (1, 2, 3), "colour": "#ff0000"}
    plain, skipped = block | {"skip": ""}, block | {"skip": "identity"}
    picture = figures.architecture([[plain, skipped]], "Net")
    assert picture.description == "Net: b 1 × 2 × 3; b 1 × 2 × 3."
    picture = figures.paired_bars({"x": (1, 2)}, ("one", "two"), title="T")
    assert [bar.get_width() for bar in picture.figure.axes[0].patches] == [1, 2]


def test_every_crop_is_drawn_and_every_row_and_group_named():
    rng = np.random.default_rng(0)
    rows = {
        f"block {side}": {
            group: list(rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8))
            for group in ("channel 3", "channel 8")
        }
        for side in (4, 9)
    }
    picture = figures.crop_grid(rows, "Crops")
    panels = [axes for axes in picture.figure.axes if axes.images]
    crops = [crop for row in rows.values() for group in row.values() for crop in group]
    assert len(picture.figure.axes) == len(panels) == len(crops) == 8
    for panel, crop in zip(panels, crops, strict=True):
        assert np.array_equal(panel.images[0].get_array(), crop)
    titles = [panel.get_title(loc="left") for panel in panels]
    assert titles[:4] == ["block 4, 4 px\nchannel 3", "", "\nchannel 8", ""]
    assert picture.description == "Crops: 2 rows of 4: block 4, block 9."


def test_line_and_strip_plots_show_every_value_and_say_the_ends():
    x = [1, 10, 100]
    picture = figures.line_plot(
        {"one": (x, [3, 2, 1]), "two": (x, [0, 1, 0])},
        ("steps", "score"),
        bands={"one": [0.1, 0.1, 0.1]},
        level=("wanted", 1.5),
        log="x",
        title="Curves",
    )
    (axes,) = picture.figure.axes
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    assert axes.lines[-1].get_ydata()[0] == 1.5
    assert "one from 3 to 1; two from 0 to 0; wanted 1.5" in picture.description
    groups = {"net": {"a": [0.2, 0.4], "b": [1.0]}, "other": {"a": [0.0], "b": [0.5]}}
    level = ("chance", 0.5)
    picture = figures.strip_plot(groups, level=level, unit="share", title="Spread")
    first = picture.figure.axes[0]
    dots = sorted(
        value
        for line in first.lines
        if len(line.get_xdata()) == 2 and line.get_marker() == "o"
        for value in line.get_xdata()
    )
    assert dots == [0.2, 0.4]
    means = "net, a 0.30; net, b 1.00; other, a 0.00; other, b 0.50"
    assert means in picture.description
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["a", "b"]
