"""Pictures without information are what their names say."""

import numpy as np
import pytest
from toys import photo

from xai_helpers.engine.fills import BASELINES, baseline_image

SQUARE = photo((30, 40))


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_is_a_picture_of_the_same_size_and_the_square_stays(baseline):
    image = baseline_image(SQUARE, baseline, 0)
    assert image.dtype == np.uint8 and image.shape == SQUARE.shape
    assert not np.shares_memory(image, SQUARE)
    assert np.array_equal(SQUARE, photo((30, 40)))


def test_black_and_grey_are_one_colour():
    assert (baseline_image(SQUARE, "black") == 0).all()
    assert (baseline_image(SQUARE, "grey") == 127).all()


def test_blurred_keeps_the_mean_and_loses_the_detail():
    blurred = baseline_image(SQUARE, "blurred").astype(float)
    assert abs(blurred.mean() - SQUARE.mean()) < 3
    assert blurred.std() < 0.2 * SQUARE.std()


def test_noise_is_that_of_its_seed():
    first, again, other = (baseline_image(SQUARE, "noise", seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_of_your_own_is_taken_as_it_is():
    own = photo((30, 40), 1)
    assert np.array_equal(baseline_image(SQUARE, own), own)


@pytest.mark.parametrize(
    ("baseline", "advice"),
    [
        ("pink", "black, grey, blurred, noise or a uint8 array"),
        (photo((3, 3)), r"expected uint8 of shape \(30, 40, 3\)"),
        (SQUARE / 255, "is float64"),
    ],
)
def test_another_baseline_is_refused_with_advice(baseline, advice):
    with pytest.raises(ValueError, match=advice):
        baseline_image(SQUARE, baseline)
