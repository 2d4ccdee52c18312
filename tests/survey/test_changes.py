"""Changes of pictures against what they must be, their effect against an exact one."""

import numpy as np
import pytest
from toys import linear, photo, photos, softmax

from xai_helpers.survey import changes
from xai_helpers.survey.changes import CHANGES, effect_of_change, turn

NAMES = (
    "turned −45°", "turned 30°", "turned 30°, grey corners", "mirrored",
    "black border", "white border", "grey", "blurred", "stamped in a corner",
    "stamped anywhere", "centre covered", "random place covered",
)  # fmt: skip
AT_RANDOM = {"stamped anywhere", "random place covered"}
SQUARE = photo((90, 90))


def difference(name, square=SQUARE, seed=0):
    """bool (H, W): the pixels that a change changes."""
    return (CHANGES[name].apply(square, seed) != square).any(axis=2)


# --- all of them ----------------------------------------------------------------------


def test_the_names_in_order_of_display():
    assert tuple(CHANGES) == NAMES
    assert all(change.name == name for name, change in CHANGES.items())
    assert all(change.sentence.endswith(".") for change in CHANGES.values())


@pytest.mark.parametrize("size", [(90, 90), (60, 84), (32, 24)])
@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_a_new_picture_and_leaves_the_old_one_alone(name, size):
    square = photo(size)
    square.setflags(write=False)
    copy = square.copy()
    changed = CHANGES[name].apply(square, 3)
    assert changed.dtype == np.uint8 and changed.shape == square.shape
    assert (changed != square).any() and changed.flags.writeable
    assert (square == copy).all() and not np.shares_memory(square, changed)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_is_the_same_place_and_another_one_is_not(name):
    apply = CHANGES[name].apply
    pictures = [apply(SQUARE, seed) for seed in (0, 0, 1, 2, 3)]
    assert (pictures[0] == pictures[1]).all()
    same = [(pictures[0] == other).all() for other in pictures[2:]]
    assert any(same) is not (name in AT_RANDOM)


# --- each of them ---------------------------------------------------------------------


def test_turning_by_0_is_nothing_and_by_90_is_rot90():
    assert (turn(0).apply(SQUARE, 0) == SQUARE).all()
    for quarters in (1, 2, 3):
        turned = turn(90 * quarters).apply(SQUARE, 0)
        assert (turned == np.rot90(SQUARE, quarters)).all()
    clockwise = turn(-90)
    assert (clockwise.apply(SQUARE, 0) == np.rot90(SQUARE, -1)).all()
    assert clockwise.name == "turned −90°"


def share_of_corners(degrees):
    """Of a unit square, what the square turned by ``degrees`` does not cover."""
    s, c = np.sin(np.radians(abs(degrees))), np.cos(np.radians(degrees))
    hypotenuse = 1 / (1 + s + c)  # four right triangles stick out: side = x(1 + s + c)
    return 4 * hypotenuse**2 * s * c / 2


@pytest.mark.parametrize(
    "name, degrees, level",
    [
        ("turned −45°", -45, 0),
        ("turned 30°", 30, 0),
        ("turned 30°, grey corners", 30, 127),
    ],
)
def test_the_share_of_the_corners_is_that_of_four_triangles(name, degrees, level):
    side = 300
    white = np.full((side, side, 3), 255, np.uint8)
    filled = (CHANGES[name].apply(white, 0) == level).all(axis=2).mean()
    # the edges of the triangles, at most 4 sides long, are pixels that count or not
    assert filled == pytest.approx(share_of_corners(degrees), abs=4 / side)


def test_mirrored_twice_is_the_picture():
    apply = CHANGES["mirrored"].apply
    assert (apply(apply(SQUARE, 0), 0) == SQUARE).all()
    assert (apply(SQUARE, 0) == np.fliplr(SQUARE)).all()


@pytest.mark.parametrize("colour, level", [("black", 0), ("white", 255)])
def test_a_border_has_its_width_on_each_side(colour, level):
    square = np.full((64, 96, 3), 100, np.uint8)
    framed = CHANGES[f"{colour} border"].apply(square, 0)
    inner = (framed == 100).all(axis=2)
    width = 64 // 16
    assert inner.sum() == (64 - 2 * width) * (96 - 2 * width)
    assert inner[width:-width, width:-width].all()
    assert (framed[~inner] == level).all()


def test_grey_has_equal_channels_and_the_same_luminance():
    grey = CHANGES["grey"].apply(SQUARE, 0)
    assert (grey == grey[..., :1]).all()
    luminance = SQUARE @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(grey[..., 0] - luminance).max() <= 1  # rounded to a whole level
    assert (CHANGES["grey"].apply(grey, 0) == grey).all()


def test_blurring_keeps_what_is_even_and_flattens_what_is_not():
    even = np.full((90, 90, 3), 77, np.uint8)
    assert (CHANGES["blurred"].apply(even, 0) == 77).all()
    assert CHANGES["blurred"].apply(SQUARE, 0).std() < SQUARE.std()


@pytest.mark.parametrize("name", ["stamped in a corner", "stamped anywhere"])
def test_a_stamp_is_the_sign_and_nothing_else_changes(name):
    square = np.full((60, 90, 3), 100, np.uint8)
    changed = difference(name, square, seed=5)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    box = np.ix_(rows, columns)
    assert len(rows) == len(columns) == 10 and changed[box].all()
    sign = CHANGES[name].apply(square, 5)[box]
    assert (sign == changes.stamp_picture(10)).all()
    if name == "stamped in a corner":
        assert rows.min() >= 45 and columns.max() < 15


def test_the_stamp_is_a_red_disc_on_white_in_a_black_frame():
    sign = changes.stamp_picture(48)
    assert (sign[24, 24] == [255, 0, 0]).all() and (sign[24, 6] == 255).all()
    rim = np.concatenate([sign[0], sign[-1], sign[:, 0], sign[:, -1]])
    assert (rim == 0).all()


def test_a_cover_is_a_quarter_of_the_picture():
    square = np.full((60, 80, 3), 200, np.uint8)
    centre = difference("centre covered", square)
    assert centre.sum() == centre[15:45, 20:60].sum() == 30 * 40
    assert (CHANGES["centre covered"].apply(square, 0)[centre] == 127).all()
    for seed in range(20):
        assert difference("random place covered", square, seed).sum() == 30 * 40


def test_random_places_reach_every_corner_of_the_picture():
    square = np.full((12, 12, 3), 200, np.uint8)
    covered = [difference("random place covered", square, seed) for seed in range(300)]
    # 7 × 7 places, each equally likely; each of the four corners is one of them
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        share = np.mean([each[corner] for each in covered])
        expected, error = 1 / 49, np.sqrt(1 / 49 * 48 / 49 / 300)
        assert abs(share - expected) < 4 * error


# --- the effect -----------------------------------------------------------------------


def test_the_effect_is_that_of_the_linear_network_by_hand():
    classifier, weights = linear((20, 28))
    images = photos(5, (20, 28))
    effect = effect_of_change(classifier, images, CHANGES["mirrored"], 2)

    def probability(pixels):
        kernel = weights.astype("float64")
        return softmax(np.tensordot(pixels, kernel, 3) + np.arange(3))[:, 2]

    before, after = probability(images), probability(images[:, :, ::-1])
    assert effect.before == pytest.approx(before, abs=1e-5)
    assert effect.after == pytest.approx(after, abs=1e-5)
    assert effect.mean == pytest.approx(np.mean(after - before), abs=1e-5)
    # t of 4 degrees of freedom at 97.5 %, from a printed table
    half = 2.776 * np.std(after - before, ddof=1) / np.sqrt(5)
    assert effect.interval[0] == pytest.approx(effect.mean - half, abs=1e-3)
    assert effect.interval[1] == pytest.approx(effect.mean + half, abs=1e-3)
    assert effect.label == classifier.class_label(2)


def test_no_change_has_no_effect():
    classifier, _ = linear((20, 20))
    effect = effect_of_change(classifier, photos(4, (20, 20)), turn(0), 1)
    assert effect.mean == 0 and effect.interval == (0, 0)


def test_each_photo_has_a_place_of_its_own_whatever_the_batches(monkeypatch):
    classifier, _ = linear((20, 20))
    images, change = photos(7, (20, 20)), CHANGES["random place covered"]
    whole = effect_of_change(classifier, images, change, 1, seed=4)
    monkeypatch.setattr(type(classifier), "batch_size", lambda self, **more: 2)
    parts = effect_of_change(classifier, images, change, 1, seed=4)
    assert parts.after == pytest.approx(whole.after, abs=1e-6)
    alone = classifier.probabilities([change.apply(images[3], 4 + 3)])[0, 1]
    assert whole.after[3] == pytest.approx(alone, abs=1e-6)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng, repeats = np.random.default_rng(0), 2000
    values = rng.normal(0.1, 0.3, (repeats, 8))
    for confidence in (0.8, 0.95):
        ends = [changes.mean_interval(each, confidence) for each in values]
        covered = np.mean([low < 0.1 < high for low, high in ends])
        error = np.sqrt(confidence * (1 - confidence) / repeats)
        assert abs(covered - confidence) < 4 * error


def test_the_description_names_class_change_and_interval():
    classifier, _ = linear((20, 20))
    effect = effect_of_change(classifier, photos(4, (20, 20)), CHANGES["grey"], 1)
    text = repr(effect)
    assert text.startswith("The picture has lost its colours; its brightness stays: ")
    assert classifier.class_label(1) in text and "4 photos" in text
    assert ("rises" in text) == (effect.mean > 0) and "95% confidence" in text


def test_what_makes_no_sense_is_refused():
    classifier, _ = linear((20, 20))
    with pytest.raises(ValueError, match="two photos"):
        effect_of_change(classifier, photos(1, (20, 20)), turn(5), 1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        effect_of_change(classifier, photos(3, (20, 20)), turn(5), 1, confidence=95)
