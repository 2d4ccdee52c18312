"""Integrated gradients are complete, and known where the path is known."""

import numpy as np
import pytest
from toys import (
    SCORES_OF_CLASS_2,
    linear,
    photo,
    photos,
    relative_distance,
    saturating,
    sum_of_squares,
    toy,
)

from xai_helpers import explain, tf
from xai_helpers.engine.fills import baseline_image


@pytest.fixture(scope="module")
def classifier():
    return toy()


def test_integrated_gradients_are_exact_where_the_score_is_linear():
    clf, weights = linear()
    image, other = photo((20, 28)), photo((20, 28), 1)
    attribution = explain.integrated_gradients(clf, image, 1, baseline=other, steps=1)
    expected = weights[..., 1] * (image.astype(float) - other)
    assert attribution.values == pytest.approx(expected, abs=1e-3)
    assert attribution.checks["gap"] < 1e-3


def test_integrated_gradients_on_a_sum_of_squares_are_the_squares():
    """y = Σ (x/255)² from black: the share of each pixel is its own square."""
    clf = sum_of_squares((8, 9))
    image = photo((8, 9))
    attribution = explain.integrated_gradients(clf, image, 0, steps=3)
    assert attribution.values == pytest.approx((image / 255) ** 2, abs=1e-4)
    checks = attribution.checks
    assert checks["sum"] == pytest.approx(checks["score difference"])


@pytest.mark.parametrize("baseline", ["black", "grey", "blurred", "noise"])
@pytest.mark.parametrize("score", SCORES_OF_CLASS_2)
@pytest.mark.parametrize("tolerance", [None, 0.001])
def test_integrated_gradients_are_complete(baseline, score, tolerance, classifier):
    """With more steps the gap closes: midpoints on a piecewise smooth path."""
    image = photo((12, 14))
    options = {"baseline": baseline, "score": score, "tolerance": tolerance}
    attribution = explain.integrated_gradients(
        classifier, image, 2, steps=2000, **options
    )
    difference = attribution.checks["score difference"]
    gap = abs(attribution.values.sum() - difference)
    assert gap < 1e-3 + 1e-2 * abs(difference)
    scores = classifier.logits if score == "logit" else classifier.probabilities
    before, after = scores([baseline_image(image, baseline, 0), image])[:, 2]
    assert difference == pytest.approx(after - before, abs=1e-4)


def test_steps_go_where_the_score_climbs():
    """A known share for each pixel of a white picture: 0.02."""
    image = np.full((8, 8, 3), 255, np.uint8)
    options = {"target": 1, "steps": 64}
    clf = saturating()
    even = explain.integrated_gradients(clf, image, tolerance=None, **options)
    adaptive = explain.integrated_gradients(clf, image, tolerance=0.01, **options)
    assert even.checks["gap"] > 0.2
    assert adaptive.checks["gap"] < 0.01
    assert adaptive.checks["steps"] <= 64 == even.checks["steps"]
    assert adaptive.values == pytest.approx(np.full((8, 8, 3), 0.02), rel=0.01)


def test_even_steps_are_the_mean_of_the_gradients_at_their_middles(classifier):
    image = photo((12, 14))
    attribution = explain.integrated_gradients(
        classifier, image, 2, steps=5, tolerance=None
    )
    points = tf.constant(
        (np.arange(5)[:, None, None, None] + 0.5) / 5 * image, "float32"
    )
    with tf.GradientTape() as tape:
        tape.watch(points)
        y = classifier.model(classifier.preprocess_tensor(points))[:, 2]
    slopes = tape.gradient(y, points).numpy().mean(axis=0)
    assert attribution.values == pytest.approx(image * slopes, abs=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 16, 17, 18, 40])
def test_never_more_steps_than_allowed_and_nothing_left_out(steps, classifier):
    """Where the slope is constant, the pieces together are the whole path."""
    options = {"steps": steps, "tolerance": 1e-9}
    attribution = explain.integrated_gradients(
        classifier, photo((12, 14)), 2, **options
    )
    assert attribution.checks["steps"] <= steps
    clf, weights = linear()
    image = photo((20, 28))
    attribution = explain.integrated_gradients(clf, image, 1, **options)
    assert attribution.values == pytest.approx(weights[..., 1] * image, abs=1e-3)


def test_the_path_does_not_depend_on_the_memory(monkeypatch, classifier):
    image = photo((12, 14))
    options = {"target": 2, "steps": 40, "tolerance": None}
    before = explain.integrated_gradients(classifier, image, **options)
    monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))
    after = explain.integrated_gradients(classifier, image, **options)
    assert after.values == pytest.approx(before.values, abs=1e-4)


def test_an_adaptive_path_ends_near_its_tolerance_with_any_memory(
    monkeypatch, classifier
):
    """Which interval is halved next depends on the batches, the integral does not."""
    image = photo((12, 14))
    options = {"target": 2, "steps": 200, "tolerance": 0.01}
    before = explain.integrated_gradients(classifier, image, **options)
    monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))
    after = explain.integrated_gradients(classifier, image, **options)
    assert max(before.checks["gap"], after.checks["gap"]) < 0.01
    assert relative_distance(after.values, before.values) < 0.02


def test_the_mean_of_integrated_gradients_is_expected_gradients(classifier):
    """Over the background; within four standard errors of the samples."""
    image = photo((12, 14))
    background = photos(4, (12, 14))
    paths = [
        explain.integrated_gradients(
            classifier, image, 2, baseline=baseline, steps=200
        ).values
        for baseline in background
    ]
    attribution = explain.expected_gradients(
        classifier, image, background, 2, samples=800
    )
    gap = abs(np.mean(paths, axis=0).sum() - attribution.checks["sum"])
    assert gap < 4 * attribution.checks["standard error"]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"baseline": "pink"}, "black, grey, blurred, noise"),
        ({"baseline": np.zeros((3, 3, 3), np.uint8)}, r"expected uint8 of shape \(12"),
        ({"baseline": np.zeros((12, 14, 3))}, "is float64"),
        ({"steps": 0}, "from 1 up"),
        ({"tolerance": 0}, "above 0, or None"),
    ],
)
def test_bad_use_is_refused_with_advice(options, advice, classifier):
    with pytest.raises(ValueError, match=advice):
        explain.integrated_gradients(classifier, photo((12, 14)), 0, **options)
