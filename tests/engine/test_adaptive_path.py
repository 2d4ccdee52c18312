"""An integral along a path, where the integral is known."""

import numpy as np
import pytest

from xai_helpers.engine.adaptive_path import integrate_adaptively, integrate_evenly

FACTORS = np.array([1.0, -2.0])  # the gradients of two pixels
EDGES = np.linspace(0, 1, 5)  # four intervals to begin with
CURVES = {  # a score that depends on alpha alone, and its slope
    "straight": (lambda a: 3 * a, lambda a: np.full(a.shape, 3.0)),
    "saturating": (
        lambda a: np.minimum(a, 0.02) / 0.02,
        lambda a: np.where(a < 0.02, 50.0, 0.0),
    ),
    "root": (np.sqrt, lambda a: 0.5 / np.sqrt(a)),
    "wave": (lambda a: np.sin(9 * a), lambda a: 9 * np.cos(9 * a)),
}


def integrate(name, **options):
    """The integral and the steps that it took; and how many points at a time."""
    score, slope = CURVES[name]
    counts = []

    def evaluate(alphas):
        counts.append(len(alphas))
        return score(alphas), slope(alphas), slope(alphas)[:, None] * FACTORS

    options = {"tolerance": 0.01, "batch_size": 16, "progress": False} | options
    return *integrate_adaptively(evaluate, EDGES, score(EDGES), **options), counts


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("name", CURVES)
def test_the_integral_of_the_slope_is_the_climb(name, batch_size):
    integral, taken, counts = integrate(name, steps=400, batch_size=batch_size)
    score, _ = CURVES[name]
    climb = score(np.ones(1)) - score(np.zeros(1))
    assert integral == pytest.approx(climb * FACTORS, rel=0.01)
    assert sum(counts) == taken <= 400
    assert max(counts) <= batch_size


def test_a_straight_path_takes_no_more_steps_than_intervals():
    assert integrate("straight", steps=400)[1] == 4


@pytest.mark.parametrize("steps", [4, 5, 6, 11])
def test_a_steep_path_stops_at_the_allowed_steps_and_leaves_nothing_out(steps):
    """The lengths of the intervals add up to 1, so that a constant comes out whole."""
    lengths, taken = integrate_adaptively(
        lambda alphas: (alphas, np.full(alphas.shape, 9.0), np.ones((len(alphas), 1))),
        EDGES,
        EDGES,
        tolerance=1e-9,
        steps=steps,
        batch_size=3,
        progress=False,
    )
    assert lengths == pytest.approx(np.ones(1))
    assert taken <= steps


@pytest.mark.parametrize("batch_size", [2, 16])
def test_even_steps_are_the_mean_of_the_gradients_in_the_middles(batch_size):
    """Of a², at 0.1, 0.3, 0.5, 0.7 and 0.9."""
    mean = integrate_evenly(
        lambda alphas: (None, None, alphas[:, None] ** 2 * FACTORS),
        steps=5,
        batch_size=batch_size,
        progress=False,
    )
    assert mean == pytest.approx(FACTORS * (0.01 + 0.09 + 0.25 + 0.49 + 0.81) / 5)


def test_progress_reaches_the_steps_that_were_taken():
    reports = []
    _, taken, _ = integrate(
        "root", steps=400, progress=lambda *report: reports.append(report)
    )
    assert reports[-1] == (taken, 400)
