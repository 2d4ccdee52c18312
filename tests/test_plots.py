"""Figures: the right scale, zero where zero is, and a text beside each picture."""

import io

import numpy as np
import pytest
from PIL import Image

from xai_helpers import explain, plots
from xai_helpers.models import Cut


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


# --- attributions ---------------------------------------------------------------------


def attribution(values, **more):
    """A map over a 20 × 30 photo whose cells lie side by side."""
    values = np.asarray(values, "float32")
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    rows, columns = (
        np.repeat(np.eye(count, dtype="float32"), size // count, axis=0)
        for count, size in zip(values.shape, (20, 30), strict=False)
    )
    about = {
        "technique": "occlusion", "unit": "drop", "model": "net", "target": 1,
        "label": "tea_cup", "score": "logit", "score_value": 3.0, "image": photo,
        "cut": (0, 0, 20, 30), "photo_size": (20, 30),
        "placement": explain.placement.Placement(rows, columns),
    }  # fmt: skip
    return explain.Attribution(values, **about | more)


STEP = np.array([[1.0, -2.0, 0], [0, 0, 4.0]])


def test_a_map_over_the_photo_is_aligned_to_the_pixel():
    picture = plots.blend(attribution(STEP), opacity=1)
    assert picture.shape == (20, 30, 3)
    colour = plots.matplotlib.colormaps[plots.SIGNED]
    for row, column in np.ndindex(20, 30):
        value = STEP[row // 10, column // 10]
        expected = 255 * np.array(colour((value + 4) / 8))[:3]
        assert picture[row, column] == pytest.approx(expected, abs=1)


def test_opacity_mixes_grey_photo_and_map():
    one = attribution(STEP)
    half, full = (plots.blend(one, opacity=k).astype(float) for k in (0.5, 1))
    grey = one.image.mean(axis=2, keepdims=True)
    assert half == pytest.approx((grey + full) / 2, abs=1)
    assert np.array_equal(plots.blend(one, opacity=0), one.image)
    with pytest.raises(ValueError, match="0 to 1"):
        plots.blend(one, opacity=1.2)


def test_positive_maps_go_from_zero_and_signed_ones_have_zero_in_the_middle():
    positive = attribution(np.abs(STEP), technique="Grad-CAM")
    assert not positive.signed
    zero = plots.blend(positive, 1)[0, 25]
    assert zero == pytest.approx(
        255 * np.array(plots.matplotlib.cm.viridis(0.0))[:3], abs=1
    )
    assert (plots.blend(attribution(STEP), 1)[0, 25] > 240).all()


def test_a_few_outliers_of_a_fine_map_do_not_decide_its_colours():
    fine = np.zeros((20, 30), "float32") + 1
    fine = np.repeat(np.repeat(fine, 2, 0), 2, 1)
    fine[0, 0] = 1000
    one = attribution(fine, image=np.zeros((40, 60, 3), np.uint8), placement=None)
    assert plots.limit([one]) == 1
    assert plots.limit([attribution(STEP)]) == 4
    assert plots.limit([attribution(0 * STEP)]) == 1
    bar = plots.overlay(one).figure.axes[-1]
    assert bar.get_ylabel() == "drop"


def test_grid_shares_a_scale_in_a_row_and_says_so():
    strong, weak = attribution(4 * STEP), attribution(STEP)
    together = plots.grid({"one": [strong, weak]}, names=["a", "b"])
    apart = plots.grid({"one": [strong, weak]}, names=["a", "b"], shared=False)
    images = [ax.images[0].get_array() for ax in together.figure.axes[1:3]]
    assert np.array_equal(images[0], plots.blend(strong, 0.6, 16))
    assert np.array_equal(images[1], plots.blend(weak, 0.6, 16))
    titles = [ax.get_title() for ax in apart.figure.axes[1:3]]
    assert titles == ["a\n±16", "b\n±4"]
    assert together.text.count("tea_cup (logit 3.0)") == 2


def test_layer_strip_names_every_layer():
    layers = [attribution(k * STEP, layer=f"layer{k}") for k in range(3)]
    picture = plots.layer_strip(layers)
    titles = [ax.get_title() for ax in picture.figure.axes]
    assert titles == ["layer0\n2 × 3, zero", "layer1\n2 × 3, ±4", "layer2\n2 × 3, ±8"]
    assert "layer2" in picture.text


def test_the_strongest_channels_are_shown_and_numbered():
    values = np.zeros((2, 3, 5), "float32")
    values[..., 3], values[..., 1] = 2, -3
    one = attribution(values, technique="activations", target=None, label="")
    assert plots.strongest(one, 3) == [1, 3, 0]
    titles = [ax.get_title() for ax in plots.feature_maps(one, count=2).figure.axes]
    assert titles == ["channel 1\n±3", "channel 3\n±2"]
    assert plots.tiles(one, count=5, side=30).shape == (40, 120, 3)  # 20 × 30 a tile


def test_an_attribution_shows_itself_with_its_words():
    one_channel = attribution(np.abs(STEP), technique="activations", target=None)
    for one in (attribution(STEP), attribution(0 * STEP), one_channel):
        data, metadata = one._repr_mimebundle_()
        assert data["text/plain"] == repr(one) == metadata["image/jpeg"]["alt"]
        assert Image.open(io.BytesIO(data["image/jpeg"])).size[0] > 400
    panel = plots.attribution(attribution(0 * STEP)).figure.axes[2]
    assert "zero everywhere" in [text.get_text() for text in panel.texts]


def test_a_figure_full_of_noise_can_be_shown():
    """With `optimize`, Pillow fails on a JPEG that does not become smaller."""
    rng = np.random.default_rng(0)
    picture = plots.maps([rng.normal(size=(299, 299))] * 2, signed=True)
    assert picture.photographic
    assert Image.open(io.BytesIO(picture.jpeg())).format == "JPEG"


def test_lines_and_dots_show_every_value_and_say_the_ends():
    x = [1, 10, 100]
    picture = plots.lines(
        {"one": (x, [3, 2, 1]), "two": (x, [0, 1, 0])},
        ("steps", "score"),
        bands={"one": [0.1, 0.1, 0.1]},
        level=("wanted", 1.5),
        log="x",
        title="Curves",
    )
    (ax,) = picture.figure.axes
    assert ax.get_xscale() == "log" and ax.get_yscale() == "linear"
    assert ax.lines[-1].get_ydata()[0] == 1.5
    assert "one from 3 to 1; two from 0 to 0; wanted 1.5" in picture.text
    groups = {"net": {"a": [0.2, 0.4], "b": [1.0]}, "other": {"a": [0.0], "b": [0.5]}}
    picture = plots.dots(groups, level=("chance", 0.5), unit="share", title="Spread")
    first = picture.figure.axes[0]
    drawn = sorted(
        x
        for line in first.lines
        if len(line.get_xdata()) == 2 and line.get_marker() == "o"
        for x in line.get_xdata()
    )
    assert drawn == [0.2, 0.4]
    assert "net, a 0.30; net, b 1.00; other, a 0.00; other, b 0.50" in picture.text
    assert [t.get_text() for t in first.get_yticklabels()] == ["a", "b"]


def test_techniques_have_a_row_for_each_network_and_scales_of_their_own():
    row = {"a": attribution(STEP), "b": attribution(4 * STEP)}
    picture = plots.techniques({"net": row, "other": row})
    axes = picture.figure.axes
    assert len(axes) == 6
    assert [ax.get_title() for ax in axes[:3]] == ["net", "a\n±4", "b\n±16"]
    for ax, one in zip(axes[1:3], row.values(), strict=True):
        assert np.array_equal(ax.images[0].get_array(), plots.blend(one))


def test_on_photo_colours_what_was_seen_and_nothing_else():
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    one = attribution(np.abs(STEP) + 1, image=photo[:, 10:50])
    one.cut, one.photo_size = Cut(0, 10, 40, 40), (40, 60)
    drawn = plots.on_photo(one, photo)
    grey = photo.mean(axis=2, keepdims=True).round()
    for part in (slice(0, 10), slice(50, 60)):
        assert np.abs(drawn[:, part] - grey[:, part]).max() <= 0.5
    assert np.ptp(drawn[:, 10:50].astype(int), axis=2).min() > 0  # coloured everywhere
    assert np.array_equal(plots.on_photo(one, photo, opacity=0), photo)
    with pytest.raises(ValueError, match="photo of \\(40, 60\\) pixels"):
        plots.on_photo(one, photo[:30])


def test_a_saved_picture_is_the_picture(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    plots.save(photo, tmp_path / "a.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), photo)
    plots.save(photo, tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
