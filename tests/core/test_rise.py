"""RISE is equation 6 over the paper's masks; linear models have known answers."""

import itertools

import numpy as np
import pytest
from PIL import Image
from toys import detector, linear, photo, toy

from xai_helpers import explain
from xai_helpers.engine.random_draws import mask_pairs


def masks_by_hand(pairs, cells, visible, size, seed):
    """The paper's section on masks, step by step, enlarged by Pillow: (2, pairs, …)."""
    rng = np.random.default_rng(seed)
    cell = [int(np.ceil(side / cells)) for side in size]
    masks = np.empty((2, pairs, *size))
    for k in range(pairs):
        numbers, (down, across) = rng.random((cells, cells)), rng.integers(0, cell)
        for mask, grid in enumerate([numbers < visible, 1 - numbers < visible]):
            enlarged = Image.fromarray(grid.astype("float32")).resize(
                ((cells + 1) * cell[1], (cells + 1) * cell[0]), Image.BILINEAR
            )
            part = slice(down, down + size[0]), slice(across, across + size[1])
            masks[mask, k] = np.array(enlarged)[part]
    return masks


def test_the_masks_are_the_papers():
    size = (23, 30)
    draw = mask_pairs(5, 0.3, size, 7)
    masks = np.concatenate([draw(15), draw(5)], axis=1)
    assert np.allclose(masks, masks_by_hand(20, 5, 0.3, size, 7), atol=1e-5)
    assert masks.shape == (2, 20, *size)
    assert masks.min() >= 0 and masks.max() <= 1


def test_the_masks_are_visible_as_often_as_asked():
    """Of 1000 independent masks; four standard errors of a share."""
    for masks in mask_pairs(4, 0.2, (16, 16), 0)(1000):
        assert np.abs(masks.mean(axis=0) - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 1000)


def test_a_mask_shows_what_the_other_of_its_pair_hides():
    first, second = mask_pairs(5, 0.5, (23, 30), 3)(6)
    assert np.allclose(first + second, 1, atol=1e-6)


@pytest.mark.parametrize("fill", [0, (10, 200, 30)])
def test_rise_is_equation_6_in_numpy(fill):
    """The scores of a linear model, in 64 bits."""
    clf, weights = linear((20, 28))
    image = photo((20, 28))
    masks = masks_by_hand(15, 3, 0.4, (20, 28), 5).reshape(30, 20, 28, 1)
    pictures = masks * image + (1 - masks) * np.array(fill)
    scores = (pictures[..., None] * weights).sum(axis=(1, 2, 3))[:, 1] + 1
    expected = (scores[:, None, None] * masks[..., 0]).sum(axis=0) / (30 * 0.4)
    options = {"masks": 30, "cells": 3, "visible": 0.4, "fill": fill, "seed": 5}
    attribution = explain.rise(clf, image, 1, score="logit", **options)
    assert attribution.values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert attribution.checks["spread"] == pytest.approx(expected.std(), rel=1e-3)


def test_the_mean_of_many_runs_is_that_of_all_masks():
    """Every grid of 2 × 2 cells at every place, weighted by how likely it is."""
    clf, image, visible = toy(), photo((12, 14)), 0.3
    expected = np.zeros((12, 14))
    for cells in itertools.product([0, 1], repeat=4):
        grid = Image.fromarray(np.reshape(cells, (2, 2)).astype("float32"))
        enlarged = np.array(grid.resize((21, 18), Image.BILINEAR))
        weight = np.prod(np.where(cells, visible, 1 - visible)) / (6 * 7)
        masks = [
            enlarged[down : down + 12, across : across + 14]
            for down in range(6)
            for across in range(7)
        ]
        pixels = [
            mask[..., None] * image + (1 - mask[..., None]) * 50 for mask in masks
        ]
        scores = clf.logits_of(np.float32(pixels))[:, 1]
        expected += weight * np.tensordot(scores, masks, 1) / visible
    options = {"masks": 10, "cells": 2, "visible": visible, "fill": 50}
    runs = [
        explain.rise(clf, image, 1, score="logit", seed=seed, **options).values
        for seed in range(200)
    ]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(200)
    assert np.abs((np.mean(runs, axis=0) - expected) / error).max() < 4.5


def test_the_spot_that_the_score_depends_on_is_the_peak():
    weights = np.zeros((24, 24, 3))
    weights[4:8, 16:20] = 1
    image = np.full((24, 24, 3), 255, np.uint8)
    attribution = explain.rise(
        detector(weights), image, "spot", masks=400, fill=0, score="logit"
    )
    row, column = np.unravel_index(attribution.values.argmax(), (24, 24))
    assert 3 <= row <= 8 and 15 <= column <= 20


def test_the_standard_error_is_what_other_seeds_differ_by():
    """To a tenth, over 100 seeds: of what is left without each map's mean."""
    clf, image = toy(), photo((12, 14))
    runs = [explain.rise(clf, image, 1, masks=60, seed=seed) for seed in range(100)]
    centred = [run.values - run.values.mean() for run in runs]
    between = np.sqrt(np.var(centred, axis=0, ddof=1).mean())
    claimed = np.sqrt(np.mean([run.checks["standard error"] ** 2 for run in runs]))
    assert claimed == pytest.approx(between, rel=0.1)


def test_more_masks_come_nearer_to_many_masks():
    clf, image = toy(), photo((12, 14))
    many = explain.rise(clf, image, 1, masks=4000, seed=1).values
    few, more = (
        np.abs(explain.rise(clf, image, 1, masks=n, seed=2).values - many).mean()
        for n in (20, 1000)
    )
    assert more < few / 3  # √50 ≈ 7 times nearer, were the many masks all


@pytest.mark.parametrize("visible", [0, 1, -0.5, 2])
def test_a_share_that_shows_all_or_nothing_is_refused(visible):
    with pytest.raises(ValueError, match="between 0 and 1"):
        explain.rise(toy(), photo((12, 14)), visible=visible)
