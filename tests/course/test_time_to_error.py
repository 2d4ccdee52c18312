"""Time to error: the arithmetic on cases with a known answer, and what was measured."""

import json

import numpy as np
import pytest
import readme
import time_to_error
from time_to_error import BFLOAT16, EXPECTED_GRADIENTS, OURS, SMOOTHGRAD

SPEED_PAGE = readme.SPEED.read_text("utf-8")
SHAPE = 100, 100, 3  # so many values that a squared distance has little chance in it


@pytest.fixture(scope="module")
def measured() -> dict:
    if not time_to_error.OUT.exists():
        pytest.skip(f"{time_to_error.OUT.name} is not measured: make time-to-error")
    return json.loads(time_to_error.OUT.read_text("utf-8"))


@pytest.fixture
def truth():
    return np.random.default_rng(0).standard_normal(SHAPE)


@pytest.fixture
def estimate(truth):
    """(squared error as a share, seed) → a map that is off by so much."""

    def draw(squared: float, seed: int):
        error = np.random.default_rng([1, seed]).standard_normal(SHAPE)
        length = np.linalg.norm(truth) / np.sqrt(error.size)
        return truth + np.sqrt(squared) * length * error

    return draw


def stratified(n: int) -> float:
    """A squared error that falls faster than 1 / n: 0.25 ** 2 at 100 samples."""
    return 0.25**2 * (100 / n) ** 1.5


@pytest.fixture
def converged(estimate):
    """Of four lengths; one of them has a single run."""
    lengths = [8, 8, 50, 50, 200, 800, 800]
    maps = [estimate(stratified(n), k) for k, n in enumerate(lengths)]
    return time_to_error.Converged(maps, lengths)


# --- the converged map ----------------------------------------------------------------


def test_the_distances_of_runs_tell_the_error_of_each_length(converged):
    assert list(converged.errors) == [8, 50, 200, 800]
    for n, error in converged.errors.items():
        assert error == pytest.approx(
            stratified(n) ** 0.5, rel=0.1 if n == 200 else 0.03
        )


def test_the_converged_map_knows_how_far_off_it_is(converged, truth):
    """Its runs weigh as many samples as they have."""
    error = np.linalg.norm(converged.values - truth) / np.linalg.norm(truth)
    assert converged.own_error == pytest.approx(error, rel=0.03)
    assert converged.samples == 1916


def test_the_error_of_a_map_is_its_own_alone(estimate):
    """Not that of the converged map, however rough that is."""
    rough = time_to_error.Converged([estimate(0.5, k) for k in range(4)], [10] * 4)
    assert rough.own_error == pytest.approx(0.125**0.5, rel=0.03)
    for squared in (0.05, 4.0):
        found = rough.squared_error(estimate(squared, 99))
        assert found == pytest.approx(squared, rel=0.03, abs=0.01)


def test_a_map_in_other_units_or_of_other_channels_is_noticed(converged, truth):
    """``scale`` and ``cosine`` are 1 for the truth, not for ``values``."""
    assert converged.scale(truth) == pytest.approx(1, abs=0.01)
    assert converged.cosine(truth) == pytest.approx(1, abs=0.01)
    assert converged.scale(truth / 127.5) == pytest.approx(1 / 127.5, rel=0.01)
    assert abs(converged.cosine(truth[..., ::-1])) < 0.5


def test_the_cosine_of_an_estimate_follows_from_its_error(converged, estimate):
    assert converged.cosine(estimate(3.0, 99)) == pytest.approx(0.5, abs=0.02)


# --- from errors and seconds to the time ----------------------------------------------


def test_the_variance_of_one_sample_from_means_of_many():
    """Means of n draws, of 1,000 values each with variance 7 / 1,000."""
    rng, lengths = np.random.default_rng(0), [8, 8, 16, 16, 32, 32, 64, 64]
    squared = [
        (rng.normal(0, np.sqrt(7e-3), (n, 1000)).mean(axis=0) ** 2).sum()
        for n in lengths
    ]
    v, standard_error = time_to_error.variance(lengths, squared)
    assert v == pytest.approx(7, rel=0.05)
    assert 0.01 < standard_error < 0.4


def test_the_standard_error_of_the_variance_covers_it():
    """About two in three of many repetitions; few estimates: somewhat fewer."""
    rng, lengths = np.random.default_rng(0), [8, 8, 16, 16, 32, 32, 64, 64]
    hits = 0
    for _ in range(1000):
        squared = [rng.chisquare(50) / 50 * 7 / n for n in lengths]
        v, standard_error = time_to_error.variance(lengths, squared)
        hits += abs(v - 7) < standard_error
    assert 0.5 < hits / 1000 < 0.72


def test_the_line_of_the_seconds_is_found():
    lengths = [8, 16, 32, 64]
    seconds = [0.5 + 0.1 * n for n in lengths]
    assert time_to_error.time_line(lengths, seconds) == pytest.approx((0.5, 0.1))


@pytest.mark.parametrize("power", [0.5, 0.9])
def test_between_two_lengths_the_error_falls_by_a_power(power):
    """0.25 at 100 samples, which is no measured length."""
    points = [(n, 0.25 * (100 / n) ** power) for n in (8, 30, 64, 240, 648)]
    assert time_to_error.samples_until(0.25, points) == pytest.approx(100)
    needed = 100 / 2 ** (1 / power)
    assert time_to_error.samples_until(0.5, points) == pytest.approx(needed)


def test_at_the_ends_of_the_measured_lengths():
    points = [(8, 0.4), (16, 0.3)]
    assert time_to_error.samples_until(0.5, points) == 8
    assert time_to_error.samples_until(0.3, points) == 16
    assert time_to_error.samples_until(0.15, points) == pytest.approx(64)  # 1 / n


def runs_of(squared, estimate, first_seed: int, seconds) -> dict:
    """What ``take_turns`` stores: the first call of each length compiles."""
    lengths = np.array([8, 8, 16, 16, 32, 32])
    maps = [estimate(squared(n), first_seed + k) for k, n in enumerate(lengths)]
    slow = np.where(np.arange(len(lengths)) % 2, 0, 30.0)
    return {"lengths": lengths, "seconds": seconds(lengths) + slow, "maps": maps}


def test_a_library_with_independent_samples(estimate, converged):
    """V = 18 and 0.25 s a sample: 72 samples for 0.5, 288 for 0.25."""
    runs = {"shap": runs_of(lambda n: 18 / n, estimate, 100, lambda n: 1 + n / 4)}
    row = time_to_error.row("shap", converged, runs)
    assert row["samples"] == pytest.approx([72, 288], rel=0.03)
    assert row["time"] == pytest.approx([19, 73], rel=0.03)
    assert row["seconds"] == [(8, 3), (16, 5), (32, 9)]
    assert [n for n, _ in row["law"]] == [8, 16, 32]
    assert [ratio for _, ratio in row["law"]] == pytest.approx([1] * 3, rel=0.05)
    assert row["scale"] == pytest.approx(1, abs=0.05)
    assert row["cosine"][0] == pytest.approx(row["cosine"][1], abs=0.02)


def test_ours_and_bfloat16_beside_it(estimate, converged):
    """0.25 after 100 samples; a rounding of 0.15 leaves a sampling error of 0.2."""
    ours = runs_of(stratified, estimate, 100, lambda n: n / 10)
    half = ours | {"seconds": ours["seconds"] / 2}
    gap = estimate(0.15**2, 99) - estimate(0, 99)
    half["maps"] = [values + gap for values in ours["maps"]]
    runs = {OURS: ours, BFLOAT16: half}
    row = time_to_error.row(OURS, converged, runs)
    assert row["samples"] == pytest.approx([100 / 4 ** (2 / 3), 100], rel=0.1)
    assert row["time"] == pytest.approx(np.divide(row["samples"], 10))
    assert row["errors"] == list(converged.errors.items())
    row = time_to_error.row(BFLOAT16, converged, runs)
    assert [n for n, _ in row["difference"]] == [8, 16, 32]
    assert [d for _, d in row["difference"]] == pytest.approx([0.15] * 3, rel=0.03)
    needed = 100 * (0.25 / 0.2) ** (4 / 3)
    assert row["samples"][1] == pytest.approx(needed, rel=0.15)
    assert dict(row["errors"])[800] > 0.15 > converged.errors[800]


def test_a_target_is_met_at_its_factor_and_missed_below():
    def row(name, *times):
        case = {"network": "VGG16", "technique": EXPECTED_GRADIENTS}
        return case | {"contender": name, "time": times}

    rows = [row(OURS, 2, 8), row("shap", 6, 23), row("captum", 40, 50)]
    found = time_to_error.targets_of([*rows, row(BFLOAT16, 1, 5)])
    met = {(t["contender"], t["level"]): (t["ratio"], t["met"]) for t in found}
    assert met == {
        ("shap", 0.5): (3, True),
        ("shap", 0.25): (23 / 8, False),
        ("captum", 0.5): (20, True),
        ("captum", 0.25): (50 / 8, True),
        (BFLOAT16, 0.5): (2, True),
        (BFLOAT16, 0.25): (8 / 5, False),
    }
    text = time_to_error.target_text(
        {"targets": found}, EXPECTED_GRADIENTS, "VGG16", 0.25
    )
    assert text == (
        "≥ 3 × (shap: **missed**), ≥ 2 × (captum), ≥ 1.8 × (bfloat16: **missed**)"
    )


def test_the_converged_map_has_two_thousand_samples():
    plan = time_to_error.FULL
    assert sum(plan.long_runs) + plan.calls * sum(plan.lengths) >= 2000
    assert plan.calls >= 2 and set(plan.lengths) >= {8, 16, 32, 64}


# --- what was measured ----------------------------------------------------------------


def test_the_page_on_speed_shows_the_table_of_the_file(measured):
    """`make readme` writes it."""
    assert time_to_error.speed_page(SPEED_PAGE) == SPEED_PAGE
    assert time_to_error.FIGURE.exists()


def test_every_contender_was_measured_and_reached_both_levels(measured):
    """All that the targets name; bfloat16 only where the CPU has it fast."""
    for case, others in time_to_error.TARGETS.items():
        rows = {
            row["contender"]: row
            for row in measured["rows"]
            if (row["network"], row["technique"]) == case
        }
        assert rows.keys() == {OURS, *others} - measured["left out"].keys()
        for row in rows.values():
            assert {8, 16, 32, 64} <= {n for n, _ in row["errors"]}
            assert [n for n, _ in row["seconds"]] == [8, 16, 32, 64]
            assert len(row["samples"]) == len(row["time"]) == len(measured["levels"])
        assert min(error for _, error in rows[OURS]["errors"]) < 0.25
    assert all(part["samples"] >= 2000 for part in measured["converged"])
    assert len(measured["converged"]) == len(time_to_error.TARGETS)


def test_the_times_and_the_targets_follow_from_the_measurements(measured):
    for row in measured["rows"]:
        a, b = row["line"]
        assert row["time"] == pytest.approx([a + b * n for n in row["samples"]], 0.01)
        for n, seconds in row["seconds"]:
            assert a + b * n == pytest.approx(seconds, rel=0.25), "not a quiet machine"
        if "variance" in row:
            needed = [row["variance"] / level**2 for level in measured["levels"]]
        else:
            points = row["errors"]
            needed = [
                time_to_error.samples_until(level, points)
                for level in measured["levels"]
            ]
        assert row["samples"] == pytest.approx(needed, rel=0.01)
    targets = time_to_error.rounded(time_to_error.targets_of(measured["rows"]))
    assert targets == measured["targets"]


def test_all_estimate_the_same_map_and_the_others_draw_independently(measured):
    """Few samples make up much of the error of expected gradients: less exact there."""
    for row in measured["rows"]:
        if "variance" in row:
            smooth = row["technique"] == SMOOTHGRAD
            assert abs(row["scale"] - 1) < (0.1 if smooth else 0.35), row
            cosine, expected = row["cosine"]
            assert abs(cosine - expected) < (0.03 if smooth else 0.15), row
            for _, ratio in row["law"] if smooth else row["law"][-1:]:
                assert abs(np.log(ratio)) < (0.2 if smooth else 0.7), row
