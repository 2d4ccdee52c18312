"""The checks of notebook 13: the right answer passes, typical mistakes get a hint."""

import numpy as np
import pytest
from verdicts import hints_of

from xai_helpers import check, explain, metrics, sample_image, tf
from xai_helpers.exercises import notebook_13


def test_three_grad_cams(vgg16):
    photos = [sample_image("palace"), sample_image("cat")]
    stacked = metrics.mosaic(photos, 224, columns=1)
    worst = {}
    for name, function in notebook_13.three_grad_cams(vgg16).items():
        worst[name] = min(
            metrics.pointing_game_score(function(stacked, target), tile, 2, columns=1)
            for tile, target in enumerate(["palace", "tabby"])
        )
    assert worst["B"] > 0.9
    assert max(worst["A"], worst["C"]) < 0.6
    assert check("13-1", "B")
    hints_of("13-1", ["A", "C", "D"])


def test_a_display_without_a_bug(vgg16, cat):
    gradient = explain.gradients(vgg16, cat, "tabby").map
    size, largest = np.abs(gradient), gradient.max()
    assert check("13-2", (255 * size / size.max()).astype("uint8"))
    wrong = [
        size / size.max(),
        255 * np.maximum(gradient, 0) / largest,
        255 * (gradient - gradient.min()) / np.ptp(gradient),
        255 * gradient / largest,
        255 - 255 * size / size.max(),
        np.zeros((224, 224)),
    ]
    hints = hints_of("13-2", wrong)
    assert "255" in hints[0]
    assert "black" in hints[1]


def test_what_a_sum_check_detects():
    assert check("13-3", "c")
    hints_of("13-3", ["a", "b", "every one"])


def test_noise_levels():
    assert check("13-4", [0.3, 38.25])
    assert check("13-4", np.array([0.3, 38]))
    wrong = [
        [38.25, 0.3],
        [0.15, 0.15],
        [15, 15],
        [38.25, 38.25],
        [0.3, 0.3],
        [0.3, 41.25],
        [0.15, 19.125],
        0.3,
    ]
    hints = hints_of("13-4", wrong)
    assert "exchanged" in hints[0]
    assert "channel" in hints[5]


@pytest.fixture(scope="module")
def mean_gradient(vgg16):
    """As tf-explain computes it, and the input."""
    x = vgg16.preprocess(sample_image("cat"))
    points = tf.constant(
        np.concatenate([x * k / (notebook_13.STEPS - 1) for k in range(8)])
    )
    with tf.GradientTape() as tape:
        tape.watch(points)
        logit = vgg16.model(points)[:, vgg16.class_index("tabby")]
    return tape.gradient(logit, points).numpy().mean(axis=0), x[0]


def test_repaired_integrated_gradients(vgg16, mean_gradient):
    gradient, x = mean_gradient
    square, _ = vgg16.crop(sample_image("cat"))
    right = gradient * x
    assert check("13-5", right)
    wrong = [
        gradient,
        gradient * square,
        -right,
        gradient * np.abs(x),
        gradient * x[..., ::-1],
        right[None],
        right.sum(),
    ]
    hints = hints_of("13-5", wrong)
    assert "factor" in hints[0]
    assert "pixels" in hints[1]
    assert "batch axis" in hints[5]
