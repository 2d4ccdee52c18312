"""The checks of notebook 08: the right answer passes, mistakes get their own hints."""

import numpy as np
import pytest
from verdicts import expect

from xai_helpers import background, check, explain
from xai_helpers.exercises.notebook_08 import LAYER, PHOTOS, TARGET, wrong_maps

VALUES = np.array([41, 20, 11]) / 6
PARTS = {
    "right": (VALUES, None),
    "a list, rounded": ([6.83, 3.33, 1.83], None),
    "alone": ([6, 4, 0], "came first"),
    "removed": ([8, 3, 4], "came last"),
    "both": ([7, 3.5, 2], "second"),
    "sum": (6 * VALUES, "not the mean"),
    "sets": ([6.75, 3.25, 1.75], "more orders"),
    "equal": ([4, 4, 4], "equal share"),
}


@pytest.mark.parametrize("case", PARTS)
def test_three_parts(case):
    answer, words = PARTS[case]
    expect(check("08-1", answer), words)


@pytest.fixture(scope="module")
def background_images(vgg16):
    return background(12, size=vgg16.input_size, exclude=PHOTOS)


@pytest.mark.parametrize("letter", "abcd")
def test_wrong_map_that_passes(letter):
    hints = {"a": "which class", "b": "another unit", "c": None, "d": "one letter"}
    expect(check("08-2", letter), hints[letter])


def test_wrong_maps_c_alone_has_the_right_sum(vgg16, cat, background_images):
    maps = wrong_maps(vgg16, cat, background_images, TARGET)
    logits = vgg16.logits([cat, *background_images])[:, vgg16.class_index(TARGET)]
    difference = logits[0] - logits[1:].mean()
    gaps = {name: abs(values.sum() / difference - 1) for name, values in maps.items()}
    assert [name for name, gap in gaps.items() if gap < 0.2] == ["C"], gaps


@pytest.fixture(scope="module")
def maps(vgg16, cat, background_images):
    def compute(images, target=TARGET):
        return explain.expected_gradients(
            vgg16, cat, images, target, layer=LAYER, samples=30
        )

    black = np.zeros((1, 224, 224, 3), "uint8")
    return {
        "right": compute(black),
        "photos": compute(background_images),
        "white": compute(black + 255),
        "tabby": compute(black, "tabby"),
    }


BACKGROUNDS = {
    "right": (lambda maps: maps["right"].map, None),
    "photos": (lambda maps: maps["photos"].map, "must be black"),
    "white": (lambda maps: maps["white"].map, "white image"),
    "tabby": (lambda maps: maps["tabby"].map, "map of tabby"),
    "positive": (lambda maps: maps["right"].map.clip(0), "negative values"),
    "channels": (lambda maps: maps["right"].values, "shape"),
}


@pytest.mark.parametrize("case", BACKGROUNDS)
def test_black_background(case, maps):
    answer, words = BACKGROUNDS[case]
    expect(check("08-3", answer(maps)), words)


@pytest.mark.parametrize("letter", "abcd")
def test_larger_value(letter):
    hints = {"a": None, "b": "whole network", "c": "sums", "d": "one letter"}
    expect(check("08-4", letter), hints[letter])
