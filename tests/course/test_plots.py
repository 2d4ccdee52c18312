"""Pictures of maps: the right scale, zero where zero is, words beside each picture."""

import io
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image
from toys import photo, pooled_toy

from xai_helpers import Attribution, plots
from xai_helpers.engine.cropping import CropBox
from xai_helpers.engine.upsampling import Upsampling


def images(picture):
    """(values, smallest, largest, colour map) of each image in the figure."""
    return [
        (np.asarray(image.get_array()), *image.get_clim(), image.get_cmap().name)
        for axes in picture.figure.axes
        for image in axes.images
    ]


# --- heat maps ------------------------------------------------------------------------


def test_positive_maps_start_at_zero_each_with_its_own_top():
    maps = [np.full((2, 3), 0.5), np.array([[0.0, 4.0]])]
    panels = images(plots.heatmaps(maps))
    for values, (data, low, high, _) in zip(maps, panels, strict=True):
        assert np.array_equal(data, values)
        assert (low, high) == (0, values.max())


def test_signed_maps_are_symmetric_and_zero_is_white():
    picture = plots.heatmaps([np.array([[-1.0, 3.0]])], colours="signed")
    ((_, low, high, name),) = images(picture)
    assert (low, high) == (-3, 3)
    middle = matplotlib.colormaps[name](0.5)
    assert min(middle[:3]) > 0.95


def test_no_map_uses_a_rainbow():
    rainbows = {"jet", "rainbow", "hsv", "RdYlGn"}
    assert not set(plots.COLOUR_MAPS.values()) & rainbows


def test_a_map_of_zeros_is_said_and_drawn_as_zero():
    picture = plots.heatmaps([np.zeros((3, 3)), np.ones((3, 3))], ["dead", "alive"])
    (_, low, high, _), _ = images(picture)
    assert (low, high) == (0, 1)
    assert "1 zero everywhere" in picture.description
    assert "zero everywhere" in picture.figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("maps", "colours"),
    [
        ([], "positive"),
        ([-np.ones((2, 2))], "positive"),
        ([np.full((2, 2), np.nan)], "signed"),
        ([np.ones((2, 2))] * 2, ["signed"]),
        ([np.ones((2, 2))], "jet"),
    ],
)
def test_maps_that_would_be_drawn_wrong_are_refused(maps, colours):
    with pytest.raises(ValueError, match=r"maps and|below zero|NaN|colours are"):
        plots.heatmaps(maps, colours=colours)


def test_photo_values_keep_their_scale():
    picture = plots.heatmaps([np.full((2, 2), 9.0)], colours="grey")
    ((_, low, high, name),) = images(picture)
    assert (low, high, name) == (0, 255, "gray")


def test_each_map_can_have_colours_of_its_own():
    colours = ["grey", "signed", "positive"]
    picture = plots.heatmaps([np.ones((2, 2))] * 3, colours=colours)
    assert [low for _, low, _, _ in images(picture)] == [0, -1, 0]
    labels = [axes.get_title() for axes in picture.figure.axes]
    assert labels == ["0–255", "±1", "0–1"]


# --- pictures -------------------------------------------------------------------------


def test_a_picture_shows_itself_with_its_words_and_leaves_pyplot_alone():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    dark = np.zeros((8, 8, 3), np.uint8)
    picture = plots.photos({"night": dark, "fog": dark + 200}, title="Two photos")
    data, metadata = picture._repr_mimebundle_()
    assert plt.get_fignums() == before
    assert repr(picture) == data["text/plain"] == "Two photos: night, fog."
    assert metadata["image/png"]["alt"] == picture.description
    assert Image.open(io.BytesIO(data["image/png"])).format == "PNG"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    once, again = (plots.heatmaps([np.eye(4)], ["x"]).png() for _ in range(2))
    assert once == again
    texts = []
    for name in ("once.svg", "again.svg"):
        plots.heatmaps([np.eye(4)]).save(tmp_path / name)
        texts.append((tmp_path / name).read_text("utf-8"))
        assert texts[-1].lstrip().startswith("<?xml")
    dateless = [re.sub("<dc:date>.*</dc:date>", "", text) for text in texts]
    assert dateless[0] == dateless[1]
    assert matplotlib.rcParams["svg.hashsalt"] is None  # a user's settings stay


def test_predictions_name_the_first_choice():
    classifier = pooled_toy(labels=("black_cat", "brown_dog", "tea_cup"))
    grey = np.full((40, 40, 3), 120, np.uint8)
    best = classifier.top(grey, k=1)[0]
    picture = plots.predictions([classifier], {"grey": grey}, k=3)
    assert best.label.replace("_", " ") in picture.description
    bars = picture.figure.axes[1].patches
    expected = [choice.probability for choice in classifier.top(grey, k=3)]
    assert [bar.get_width() for bar in bars] == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_predictions_of_few_classes_show_them_all(count):
    labels = ["costs $5 or $6", "no", "perhaps_so", "_yes"][:count]
    classifier = pooled_toy(labels=labels)
    images = {f"photo {k}": photo((40, 40), seed=k) for k in range(2)}
    picture = plots.predictions([classifier], images)
    for row, image in enumerate(images.values()):
        panel = picture.figure.axes[2 * row + 1]
        z = classifier.model(classifier.preprocess(image), training=False).numpy()[0]
        order = np.argsort(-z)
        p = np.exp(z) / np.exp(z).sum()
        assert [bar.get_width() for bar in panel.patches] == pytest.approx(p[order])
        texts = [text.get_text() for text in panel.texts]
        assert texts[::2] == [labels[k].replace("_", " ") for k in order]
        assert texts[1::2] == [f"{share:.0%}" for share in p[order]]
        lowest, highest = sorted(panel.get_ylim())  # no bar is cut off
        for bar in panel.patches:
            assert lowest <= bar.get_y()
            assert bar.get_y() + bar.get_height() <= highest
    assert Image.open(io.BytesIO(picture.png())).format == "PNG"  # $ is no formula


def test_a_figure_full_of_noise_can_be_shown():
    """With `optimize`, Pillow fails on a JPEG that does not become smaller."""
    rng = np.random.default_rng(0)
    picture = plots.heatmaps([rng.normal(size=(299, 299))] * 2, colours="signed")
    assert picture.photographic
    assert Image.open(io.BytesIO(picture.jpeg())).format == "JPEG"


def test_a_saved_picture_is_the_picture(tmp_path):
    noise = photo((9, 12))
    plots.save(noise, tmp_path / "a.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), noise)
    plots.save(noise, tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"


def test_a_png_has_the_size_that_is_asked_for():
    noise = photo((9, 12))
    assert np.array_equal(np.array(Image.open(io.BytesIO(plots.png(noise)))), noise)
    assert Image.open(io.BytesIO(plots.png(noise, side=40))).size == (40, 30)


# --- attributions ---------------------------------------------------------------------


def attribution(values, **changes):
    """A map over a 20 × 30 photo whose cells lie side by side."""
    values = np.asarray(values, "float32")
    rows, columns = (
        np.repeat(np.eye(count, dtype="float32"), size // count, axis=0)
        for count, size in zip(values.shape, (20, 30), strict=False)
    )
    fields = {
        "technique": "occlusion", "unit": "drop", "model": "net", "target": 1,
        "label": "tea_cup", "score": "logit", "score_value": 3.0,
        "image": photo((20, 30)), "crop": CropBox(0, 0, 20, 30),
        "original_size": (20, 30), "upsampling": Upsampling(rows, columns),
    }  # fmt: skip
    return Attribution(values, **fields | changes)


STEP = np.array([[1.0, -2.0, 0], [0, 0, 4.0]])
ACTIVATIONS = {"technique": "activations", "target": None, "label": ""}


def titles(picture):
    return [axes.get_title() for axes in picture.figure.axes]


def test_a_map_over_the_photo_is_aligned_to_the_pixel():
    picture = plots.overlay_array(attribution(STEP), opacity=1)
    assert picture.shape == (20, 30, 3)
    colour = matplotlib.colormaps[plots.COLOUR_MAPS["signed"]]
    for row, column in np.ndindex(20, 30):
        value = STEP[row // 10, column // 10]
        expected = 255 * np.array(colour((value + 4) / 8))[:3]
        assert picture[row, column] == pytest.approx(expected, abs=1)


def test_opacity_mixes_grey_photo_and_map():
    step = attribution(STEP)
    half, full = (plots.overlay_array(step, opacity=o).astype(float) for o in (0.5, 1))
    grey = step.image.mean(axis=2, keepdims=True)
    assert half == pytest.approx((grey + full) / 2, abs=1)
    assert np.array_equal(plots.overlay_array(step, opacity=0), step.image)
    with pytest.raises(ValueError, match="0 to 1"):
        plots.overlay_array(step, opacity=1.2)


def test_positive_maps_go_from_zero_and_signed_ones_have_zero_in_the_middle():
    positive = attribution(np.abs(STEP), technique="Grad-CAM", signed=False)
    assert not positive.signed
    zero = plots.overlay_array(positive, 1)[0, 25]
    expected = 255 * np.array(matplotlib.colormaps["viridis"](0.0))[:3]
    assert zero == pytest.approx(expected, abs=1)
    assert (plots.overlay_array(attribution(STEP), 1)[0, 25] > 240).all()


def test_a_few_outliers_of_a_fine_map_do_not_decide_its_colours():
    values = np.ones((40, 60), "float32")
    values[0, 0] = 1000
    fine = attribution(values, image=np.zeros((40, 60, 3), np.uint8), upsampling=None)
    assert plots.colour_limit([fine]) == 1
    assert plots.colour_limit([attribution(STEP)]) == 4
    assert plots.colour_limit([attribution(0 * STEP)]) == 1
    picture = plots.show(fine)
    assert titles(picture)[:2] == ["what the network saw", "the map"]
    assert picture.figure.axes[-1].get_ylabel() == "drop"


def test_the_end_of_the_colours_in_words():
    assert plots.colour_range_text(attribution(STEP)) == "Colours: ±4 drop."
    positive = attribution(12345 * np.abs(STEP), signed=False)
    assert plots.colour_range_text(positive) == "Colours: 0–49,380 drop."
    values = np.ones((40, 60), "float32")
    values[0, 0] = 1000
    outlier = attribution(values, image=photo((40, 60)), upsampling=None)
    assert plots.colour_range_text(outlier) == "Colours: ±1 and more drop."


def test_a_grid_shares_a_scale_in_a_row_and_says_so():
    strong, weak = attribution(4 * STEP), attribution(STEP)
    rows, names = {"one": [strong, weak]}, ["a", "b"]
    together = plots.attribution_grid(rows, names=names)
    apart = plots.attribution_grid(rows, names=names, shared=False)
    left, right = [axes.images[0].get_array() for axes in together.figure.axes[1:3]]
    assert np.array_equal(left, plots.overlay_array(strong, 0.6, 16))
    assert np.array_equal(right, plots.overlay_array(weak, 0.6, 16))
    assert titles(apart)[1:3] == ["a\n±16", "b\n±4"]
    assert together.description.count("tea_cup (logit 3.0)") == 2
    assert together.description.startswith("one: occlusion · net")
    assert titles(plots.attribution_grid(rows))[1:3] == ["tea cup", "tea cup"]


def test_a_row_of_titled_maps_has_these_titles_and_scales_of_its_own():
    row = {"a": attribution(STEP), "b": attribution(4 * STEP)}
    other = {"a": attribution(STEP, image=photo((20, 30), seed=1)), "b": row["b"]}
    networks = {"net": row, "other": other}
    picture = plots.attribution_grid(networks, shared=False, wide=True)
    axes = picture.figure.axes
    assert len(axes) == 6
    assert titles(picture)[:4] == ["net", "a\n±4", "b\n±16", "other"]
    for panel, step in zip(axes[1:3], row.values(), strict=True):
        assert np.array_equal(panel.images[0].get_array(), plots.overlay_array(step))
    narrow = plots.attribution_grid(networks, shared=False)
    widths = [p.figure.get_figwidth() for p in (picture, narrow)]
    sizes = [p.figure.axes[1].title.get_fontsize() for p in (picture, narrow)]
    assert widths[0] > widths[1] and sizes[0] < sizes[1]


def test_a_row_of_several_units_has_no_scale_in_common():
    row = [attribution(STEP), attribution(STEP, unit="logit")]
    assert titles(plots.attribution_grid({"a": row}))[1:] == ["tea cup\n±4"] * 2


def test_a_photo_that_all_rows_share_is_shown_once():
    rows = {"one": [attribution(STEP)], "two": [attribution(STEP)]}
    photos = plots.attribution_grid(rows).figure.axes[::2][:2]
    assert [len(axes.images) for axes in photos] == [1, 0]
    names = [axes.get_ylabel() for axes in plots.attribution_grid(rows).figure.axes]
    assert names[1:4:2] == ["one", "two"]


@pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": {}}])
def test_an_empty_grid_is_refused(rows):
    with pytest.raises(ValueError, match="at least one"):
        plots.attribution_grid(rows)


def test_the_strongest_channels_are_shown_and_numbered():
    values = np.zeros((2, 3, 5), "float32")
    values[..., 3], values[..., 1] = 2, -3
    channels = attribution(values, **ACTIVATIONS)
    assert plots.strongest_channels(channels, 3) == [1, 3, 0]
    picture = plots.feature_maps(channels, count=2)
    assert titles(picture) == ["channel 1\n±3", "channel 3\n±2"]
    assert titles(plots.show(channels))[:2] == titles(picture)
    montage = plots.channel_montage(channels, count=5, side=30)
    assert montage.shape == (40, 120, 3)  # 20 × 30 a tile
    assert (montage[18:20] == 255).all() and (montage[20:, 30:] == 255).all()
    with pytest.raises(ValueError, match="one map and no channels"):
        plots.feature_maps(attribution(STEP))


def test_an_attribution_shows_itself_with_its_words():
    one_channel = attribution(np.abs(STEP), signed=False, **ACTIVATIONS)
    for shown in (attribution(STEP), attribution(0 * STEP), one_channel):
        data, metadata = shown._repr_mimebundle_()
        assert data["text/plain"] == repr(shown) == metadata["image/jpeg"]["alt"]
        assert Image.open(io.BytesIO(data["image/jpeg"])).size[0] > 400
    panel = plots.show(attribution(0 * STEP)).figure.axes[2]
    assert "zero everywhere" in [text.get_text() for text in panel.texts]


def test_the_whole_photo_has_colours_where_the_network_looked_and_nowhere_else():
    original = photo((40, 60))
    square = {"image": original[:, 10:50], "crop": CropBox(0, 10, 40, 40)}
    positive = attribution(
        np.abs(STEP) + 1, signed=False, original_size=(40, 60), **square
    )
    picture = plots.overlay_on_original(positive, original)
    grey = original.mean(axis=2, keepdims=True).round()
    for part in (slice(0, 10), slice(50, 60)):
        assert np.abs(picture[:, part] - grey[:, part]).max() <= 0.5
    assert np.ptp(picture[:, 10:50].astype(int), axis=2).min() > 0  # colours everywhere
    clear = plots.overlay_on_original(positive, original, opacity=0)
    assert np.array_equal(clear, original)
    with pytest.raises(ValueError, match="photo of \\(40, 60\\) pixels"):
        plots.overlay_on_original(positive, original[:30])
