"""SmoothGrad is the gradient where that is constant, and its noise has its size."""

import numpy as np
import pytest
from toys import linear, photo, relative_distance, sum_of_squares, toy

from xai_helpers import explain, keras, load_classifier


def sum_of_cubes(side=32):
    """logit 0 = Σ (pixel / 255)³ / 6, logit 1 the same below zero."""
    inputs = keras.Input((side, side, 3))
    score = keras.ops.sum(inputs**3, axis=(1, 2, 3), keepdims=True)[:, 0, 0] / 6
    model = keras.Model(inputs, keras.ops.concatenate([score, -score], axis=1))
    return load_classifier(model, preprocess="unit", verbose=False)


def test_smoothgrad_without_noise_is_the_gradient(clf, cat):
    plain = explain.gradients(clf, cat, "tabby").values
    smooth = explain.smoothgrad(clf, cat, "tabby", noise=0, samples=2).values
    assert relative_distance(smooth, plain) < 0.01


def test_smoothgrad_is_the_gradient_where_the_score_is_linear():
    clf, weights = linear()
    values = explain.smoothgrad(clf, photo((20, 28)), 1, samples=5).values
    assert values == pytest.approx(weights[..., 1], rel=1e-4)


def test_what_is_linear_in_the_noise_cancels():
    """With the score ½ Σ x² the gradient is x, and a pair's noise has the mean 0."""
    clf = sum_of_squares((32, 32), factor=0.5)
    image = photo((32, 32))
    pair = explain.smoothgrad(clf, image, 0, noise=0.2, samples=2, seed=3)
    assert pair.values * 255**2 == pytest.approx(image, abs=1e-3)
    assert pair.checks["samples"] == 2


def test_the_noise_has_the_size_that_was_asked_for():
    """With the score Σ x³ / 6 a pair of copies has the mean gradient (x² + e²) / 2."""
    clf, image = sum_of_cubes(), photo((32, 32))
    pair = explain.smoothgrad(clf, image, 0, noise=0.2, samples=2, seed=3).values
    squares = 2 * pair * 255**3 - image.astype(float) ** 2
    error = 51**2 * np.sqrt(2 / squares.size)  # of the mean of squared normal numbers
    assert abs(squares.mean() - 51**2) < 4 * error
    assert squares.min() > -1


def test_the_relative_error_is_that_to_the_known_mean():
    """Σ x³ / 6 again: the mean over all noise is (x² + σ²) / 2."""
    clf, image = sum_of_cubes(), photo((32, 32))
    mean = (image.astype(float) ** 2 + 51**2) / 2 / 255**3
    for samples in (8, 9, 40):
        run = explain.smoothgrad(clf, image, 0, noise=0.2, samples=samples)
        actual = np.linalg.norm(run.values - mean) / np.linalg.norm(mean)
        assert run.checks["relative error"] == pytest.approx(actual, rel=0.1)
        assert run.checks["samples"] == samples + samples % 2


def test_auto_stops_when_the_map_is_as_near_as_asked():
    clf, image = sum_of_cubes(), photo((32, 32))
    mean = (image.astype(float) ** 2 + 51**2) / 2 / 255**3
    taken = []
    for tolerance in (0.04, 0.02):
        options = {"noise": 0.2, "samples": "auto", "tolerance": tolerance}
        run = explain.smoothgrad(clf, image, 0, **options)
        actual = np.linalg.norm(run.values - mean) / np.linalg.norm(mean)
        assert run.checks["relative error"] <= tolerance
        assert actual == pytest.approx(run.checks["relative error"], rel=0.1)
        taken.append(run.checks["samples"])
    assert taken[1] > 2 * taken[0]  # four times as many, but for whole batches


def test_the_noise_does_not_depend_on_the_memory(monkeypatch):
    clf, image = toy(), photo((12, 14))
    runs = []
    for memory in (2**30, 1):
        monkeypatch.setenv("XAI_MEMORY_MB", str(memory / 2**20))
        runs.append(explain.smoothgrad(clf, image, 0, samples=7).values)
    assert np.allclose(*runs, atol=1e-7)


def test_cancelled_stops_the_work():
    def stop(done, total):
        raise explain.Cancelled

    clf, _ = linear()
    with pytest.raises(explain.Cancelled):
        explain.smoothgrad(clf, photo((20, 28)), samples=40, progress=stop)


BAD_USE = {
    "zero samples": ({"samples": 0}, "from 1 up"),
    "negative noise": ({"noise": -1}, "0 and up"),
    "nan noise": ({"noise": np.nan}, "0 and up"),
    "samples in words": ({"samples": "many"}, "'auto', not 'many'"),
    "no tolerance": ({"samples": "auto", "tolerance": 0}, "above 0"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case):
    options, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.smoothgrad(toy(), photo((12, 14)), **options)
