"""RISE is equation 6 over the paper's masks; linear models have known answers."""

import numpy as np
import pytest
from PIL import Image
from toys import detector, linear, photo, toy

from xai_helpers import explain
from xai_helpers.core.techniques.rise import random_masks


def masks_by_hand(masks, cells, visible, size, seed):
    """The paper's section on masks, step by step, enlarged by Pillow."""
    rng = np.random.default_rng(seed)
    grids = rng.random((masks, cells, cells)) < visible
    cell = [int(np.ceil(side / cells)) for side in size]
    shifts = [rng.integers(0, c, masks) for c in cell]
    enlarged = [
        Image.fromarray(grid.astype("float32")).resize(
            ((cells + 1) * cell[1], (cells + 1) * cell[0]), Image.BILINEAR
        )
        for grid in grids
    ]
    return np.stack(
        [
            np.array(image)[down : down + size[0], across : across + size[1]]
            for image, down, across in zip(enlarged, *shifts, strict=True)
        ]
    )


def test_the_masks_are_the_papers():
    size = (23, 30)
    masks = random_masks(40, 5, 0.3, size, 7)(slice(0, 40))
    assert np.allclose(masks, masks_by_hand(40, 5, 0.3, size, 7), atol=1e-5)
    assert masks.shape == (40, *size)
    assert masks.min() >= 0 and masks.max() <= 1


def test_the_masks_are_visible_as_often_as_asked():
    """Of 1000 masks; four standard errors of a share."""
    masks = random_masks(1000, 4, 0.2, (16, 16), 0)(slice(0, 1000))
    assert np.abs(masks.mean(axis=0) - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 1000)


@pytest.mark.parametrize("fill", [0, (10, 200, 30)])
def test_rise_is_equation_6_in_numpy(fill):
    """The scores of a linear model, in 64 bits."""
    clf, weights = linear((20, 28))
    image = photo((20, 28))
    masks = masks_by_hand(30, 3, 0.4, (20, 28), 5)[..., None].astype("float64")
    pictures = masks * image + (1 - masks) * np.array(fill)
    scores = (pictures[..., None] * weights).sum(axis=(1, 2, 3))[:, 1] + 1
    expected = (scores[:, None, None] * masks[..., 0]).sum(axis=0) / (30 * 0.4)
    options = {"masks": 30, "cells": 3, "visible": 0.4, "fill": fill, "seed": 5}
    attribution = explain.rise(clf, image, 1, score="logit", **options)
    assert attribution.values == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert attribution.checks["spread"] == pytest.approx(expected.std(), rel=1e-3)


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
    """Over 30 seeds, to a fifth: the spread of a standard deviation of 30 values."""
    clf, image = toy(), photo((12, 14))
    runs = [explain.rise(clf, image, 1, masks=60, seed=seed) for seed in range(30)]
    between = np.std([run.values for run in runs], axis=0, ddof=1).mean()
    within = np.mean([run.checks["standard error"] for run in runs])
    assert within == pytest.approx(between, rel=0.2)


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
