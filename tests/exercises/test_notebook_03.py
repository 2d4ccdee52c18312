"""The checks of notebook 03: right answers pass, each wrong one gets its own hint."""

import numpy as np
import pytest
from verdicts import assert_hints_differ

from xai_helpers import explain
from xai_helpers.exercises.notebook_03 import faulty_activations

LAYER = "block2_sepconv2_act"


def test_the_map_moves_with_the_photo(xception, cat):
    square, _ = xception.crop(cat)
    layer = "block1_conv2_act"
    before = explain.activations(xception, square, layer).values
    after = explain.activations(xception, np.roll(square, 8, axis=1), layer).values
    assert before[:, 10:-20] == pytest.approx(after[:, 14:-16], abs=1e-3)
    assert_hints_differ("03-1", 4, [8, 2, 16, -4, 0, 5, 3])


def test_the_effect_of_each_channel(vgg16, cat):
    maps = explain.activations(vgg16, cat, "block5_conv3").values
    head = vgg16.submodel_from("block5_conv3")
    without = np.repeat(maps[None], 512, axis=0)
    without[np.arange(512), :, :, np.arange(512)] = 0
    alone = maps[None] - without
    whole = head(maps[None]).numpy()
    logits, single = (
        np.concatenate([head(part).numpy() for part in np.array_split(maps_, 16)])
        for maps_ in (without, alone)
    )
    p = vgg16.to_probabilities
    tabby, egyptian = map(vgg16.class_index, ("tabby", "Egyptian_cat"))
    right = (whole - logits)[:, tabby]
    wrong = [(p(whole) - p(logits))[:, tabby], (whole - logits)[:, egyptian]]
    wrong += [single[:, tabby], -right, np.abs(right), right[None], 0 * right]
    assert_hints_differ("03-2", right, wrong)


def test_the_response_to_lines(xception):
    def responses(axis):
        grey = [np.mgrid[:299, :299][axis] * 2 * np.pi / n for n in (4, 8, 16, 32)]
        images = [
            np.repeat((127.5 + 100 * np.sin(g))[..., None], 3, 2).astype("uint8")
            for g in grey
        ]
        maps = [explain.activations(xception, im, LAYER).values for im in images]
        return np.array(maps)

    horizontal, vertical = responses(0), responses(1)
    right = horizontal[..., 117].mean(axis=(1, 2))
    wrong = [horizontal[..., 117].max(axis=(1, 2)), horizontal.mean(axis=(1, 2, 3))]
    wrong += [vertical[..., 117].mean(axis=(1, 2)), 147**2 * right, right[::-1]]
    wrong += [right[:3], 2 * right]
    assert_hints_differ("03-3", right, wrong)


@pytest.mark.parametrize(
    "exercise, right, wrong", [("03-4", "b", "acdx"), ("03-5", "a", "bcx")]
)
def test_choices(exercise, right, wrong):
    assert_hints_differ(exercise, right, list(wrong))


def test_the_faulty_activations_have_exchanged_colours(xception, cat):
    right = explain.activations(xception, cat, LAYER).values
    wrong = faulty_activations(xception, cat)
    assert wrong.shape == right.shape and wrong.min() >= 0
    assert np.abs(wrong - right).max() > 0.5
    again = faulty_activations(xception, np.ascontiguousarray(cat[..., ::-1]))
    assert again == pytest.approx(right, abs=1e-3)
