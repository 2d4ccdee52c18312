"""The error of a mean of independent maps, and sampling until it is small enough."""

import numpy as np
import pytest

from xai_helpers.engine import replicates


def normal_maps(rng, scale):
    """Two maps of 500 values, all 3 in expectation, with noise of the scale."""
    return lambda n, advance: (
        advance(4 * n) or 3 + scale * rng.standard_normal((n, 2, 500))
    )


def test_mean_and_standard_error_are_those_of_numpy():
    maps = np.random.default_rng(0).random((7, 2, 3, 4))
    result = replicates.Replicates()
    result.add(maps[:3])
    result.add(maps[3:])
    assert np.allclose(result.mean, maps.mean(axis=0))
    variances = maps.var(axis=0, ddof=1).sum(axis=(1, 2)) / 7
    assert np.allclose(result.standard_error, np.sqrt(variances))


def test_the_relative_error_is_that_of_normal_noise():
    """Noise of 6 on values of 3, 16 estimates: half of the length; ± 2 standard
    errors of an estimate of 15 · 500 degrees of freedom, and as much for the length.
    """
    draw = normal_maps(np.random.default_rng(1), 6)
    result = replicates.sample_maps(draw, 64, 4, 5, 0.1, "", False)
    assert result.count == 16
    assert np.allclose(result.relative_error, 0.5, rtol=0.06)
    assert result.checks(1)["samples"] == 64


def test_one_estimate_has_no_known_error_and_equal_ones_have_none():
    result = replicates.Replicates()
    result.add(np.ones((1, 1, 5)))
    assert np.isinf(result.standard_error) and np.isinf(result.relative_error)
    result.add(np.ones((1, 1, 5)))
    assert result.standard_error == 0 and result.relative_error == 0


def test_auto_takes_as_many_as_the_tolerance_asks_for():
    """Noise as large as the values: an error of 0.1 takes 100 estimates."""
    draw, reports = normal_maps(np.random.default_rng(2), 3), []

    def progress(done, total):
        reports.append((done, total))

    result = replicates.sample_maps(draw, "auto", 4, 8, 0.1, "", progress)
    assert result.count == pytest.approx(100, abs=12)
    assert reports[-1][0] == 4 * result.count
    guesses = [total for _, total in reports[3:]]
    assert np.allclose(guesses, 400, rtol=0.3)


def test_auto_gives_up_at_the_limit(monkeypatch):
    monkeypatch.setattr(replicates, "MOST_SAMPLES", 40)
    draw = normal_maps(np.random.default_rng(3), 3)
    result = replicates.sample_maps(draw, "auto", 4, 3, 1e-3, "", False)
    assert result.count == 10
    assert "After 40 samples" in result.notes[0] and "0.001" in result.notes[0]
    fixed = replicates.sample_maps(draw, 40, 4, 3, 1e-3, "", False)
    assert not fixed.notes, "the tolerance was not asked for"
