"""The test of one map: honest where the map is random, sharp where all is known."""

from dataclasses import replace

import numpy as np
import pytest
from toys import detector, linear, photo, pooled_toy

from xai_helpers import explain, metrics
from xai_helpers.engine.fills import baseline_image
from xai_helpers.engine.random_places import Evidence, random_place

SIZE = (20, 28)


@pytest.fixture(scope="module")
def known():
    """The linear network, a map of a photo, and the exact fall of each pixel."""
    classifier, weights = linear(SIZE)
    square = photo(SIZE)
    attribution = explain.gradients(classifier, square, 2)
    change = square.astype("float64") - baseline_image(square, "blurred")
    return classifier, attribution, (weights[..., 2] * change).sum(axis=2)


def p_values(known, maps, regions, **options):
    classifier, attribution, _ = known
    return np.array(
        [
            metrics.evidence(
                classifier, replace(attribution, values=values), regions=regions,
                rivals={}, seed=seed, progress=False, **options,
            ).p_value
            for seed, values in enumerate(maps)
        ]
    )  # fmt: skip


def smooth_maps(count, size):
    """Random maps whose place has nothing to do with the photo, smooth all around."""
    noise = np.random.default_rng(7).normal(size=(count, *size)).astype("float32")
    steps = [(0, 0), (0, 1), (1, 0), (1, 1)]
    return sum(np.roll(noise, step, axis=(1, 2)) for step in steps)


# --- honest ---------------------------------------------------------------------------


def check_uniform(p, regions):
    """p is one of 1 / (1 + regions), 2 / (1 + regions), …, 1, each equally likely."""
    for k in range(1, 1 + regions):
        level = k / (1 + regions)
        error = np.sqrt(level * (1 - level) / len(p))
        assert abs((p <= level + 1e-9).mean() - level) < 4 * error


def test_p_is_uniform_for_random_maps_of_pixels(known):
    """Up to the rare draws that are the map itself, 1 in 4 × 20 × 28."""
    check_uniform(p_values(known, smooth_maps(400, SIZE), 9), 9)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_p_is_uniform_for_random_maps_of_cells(score):
    """Cells are transposed and shifted as cells, and drawn on the picture alike."""
    classifier = pooled_toy()
    attribution = explain.grad_cam(classifier, photo((32, 32)), "dog", "two")
    attribution = replace(attribution, score=score)
    maps = smooth_maps(200, attribution.map.shape)
    check_uniform(p_values((classifier, attribution, None), maps, 4), 4)


def test_p_is_never_too_small_where_maps_are_nothing_but_one_peak(known):
    """Many draws lie on the map's own place or on each other: p may be larger."""
    peaks = np.zeros((300, *SIZE), "float32")
    rng = np.random.default_rng(1)
    for each in peaks:
        each[tuple(rng.integers(SIZE))] = 1
    p = p_values(known, peaks, 19)
    for level in (0.05, 0.1, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() < level + 4 * error


def test_a_random_place_has_the_same_values_and_every_place_is_equally_likely():
    cells, rng = np.zeros((3, 3)), np.random.default_rng(0)
    cells[0, 1] = 1
    draws = np.array([random_place(cells, rng) for _ in range(1800)])
    assert (draws.sum(axis=(1, 2)) == 1).all()
    error = np.sqrt(1 / 9 * 8 / 9 / 1800)
    assert np.abs(draws.mean(axis=0) - 1 / 9).max() < 4 * error
    wide = np.arange(6.0).reshape(2, 3)
    for _ in range(5):
        placed = random_place(wide, rng)
        assert placed.shape == (2, 3) and set(placed.ravel()) == set(range(6))


# --- a known answer -------------------------------------------------------------------


def test_the_falls_are_those_of_the_linear_network(known):
    """The fall of a linear score is the sum of the falls of the pixels."""
    classifier, attribution, fall_of_pixel = known
    order = np.random.default_rng(0).permutation(20 * 28).reshape(SIZE) + 1.0
    test = metrics.evidence(
        classifier, replace(attribution, values=order.astype("float32")), rivals={},
        regions=2,
    )  # fmt: skip
    ranked = fall_of_pixel.ravel()[np.argsort(-order.ravel())]
    for share, fall in zip((0.1, 0.2, 0.3), test.falls, strict=True):
        assert fall == pytest.approx(ranked[: round(share * 560)].sum(), abs=1e-3)
    mirrored = fall_of_pixel[:, ::-1].ravel()[np.argsort(-order.ravel())]
    falls = test.rival_falls["its mirror image"]
    assert falls[0] == pytest.approx(mirrored[:56].sum(), abs=1e-3)


def test_the_exact_map_is_best_and_its_opposite_is_doubted(known):
    classifier, attribution, fall_of_pixel = known
    best, worst = (
        metrics.evidence(
            classifier, replace(attribution, values=np.float32(sign * fall_of_pixel)),
            rivals={},
        )
        for sign in (1, -1)
    )  # fmt: skip
    assert best.p_value == 1 / 40 and not best.passing_rivals
    assert "depends on this place more than on others" in best.description
    assert "39 of 39 random places" in best.description
    assert worst.p_value == 1 and "no sign" in worst.description


@pytest.fixture
def spot():
    """A white spot to the left of the middle, all that this network goes by."""
    weights = np.zeros((20, 20, 3), "float32")
    weights[8:12, 2:6] = 1
    image = np.full((20, 20, 3), 0, np.uint8)
    image[8:12, 2:6] = 255
    return detector(weights), image, weights[..., 0]


def test_shifted_mirrored_and_transposed_maps_are_doubted(spot):
    classifier, image, right = spot
    attribution = explain.gradients(classifier, image, "spot")
    wrong = [right.T, right[:, ::-1], np.roll(right, 9, axis=1)]
    p = [
        metrics.evidence(
            classifier, replace(attribution, values=values), fill="black", rivals={}
        ).p_value
        for values in (right, *wrong)
    ]
    assert p[0] <= 0.05 and min(p[1:]) > 0.05


def test_where_the_subject_is_in_the_middle_the_text_says_what_passes_too():
    weights = np.zeros((20, 20, 3), "float32")
    weights[8:12, 8:12] = 1
    image = np.uint8(255 * weights)
    classifier = detector(weights)
    attribution = explain.gradients(classifier, image, "spot")
    test = metrics.evidence(classifier, attribution, fill="black", rivals={})
    mirrors = {"its mirror image", "itself upside down", "itself turned by 180°"}
    assert test.p_value <= 0.05
    assert set(test.passing_rivals) == mirrors | {"a bell in the middle"}
    assert "this test cannot tell them apart" in test.description
    assert "so it does for its mirror image, itself upside down" in repr(test)


@pytest.mark.parametrize(
    ("better", "words"),
    [(0, "depends on this place"), (1, "not beyond chance"), (4, "finds no sign")],
)
def test_three_answers(better, words):
    """Of 19 random places, so many do better: p = 0.05, 0.1 and 0.25."""
    random_falls = np.repeat([[2.0]] * better + [[0.5]] * (19 - better), 3, axis=1)
    falls = np.ones(3)
    test = Evidence("the logit of cat", (0.1, 0.2, 0.3), falls, random_falls, {})
    assert test.p_value == (1 + better) / 20
    assert words in test.description and f"{19 - better} of 19" in test.description


# --- every kind of map ----------------------------------------------------------------


@pytest.mark.parametrize("name", explain.TECHNIQUES)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_every_technique_can_be_tested(name, score):
    classifier, square = pooled_toy(), photo((32, 32))
    technique, backgrounds = explain.TECHNIQUES[name], np.stack([photo((32, 32), 5)])
    options = {"score": score, "background": backgrounds, "progress": False}
    attribution = technique.call(classifier, square, **technique.quick(32) | options)
    test = metrics.evidence(classifier, attribution, regions=4, progress=False)
    assert 1 / 5 <= test.p_value <= 1 and test.random_falls.shape in ((4, 3), (0, 3))
    others = [each for each in test.rival_falls if each.startswith("the map for")]
    can = technique.takes("target") and not technique.takes("background")
    assert len(others) == bool(can and attribution.map.max() > 0)
    assert attribution.label not in [each[len("the map for ") :] for each in others]


def test_rivals_of_the_caller_stand_in_place_of_the_other_class(known):
    classifier, attribution, fall_of_pixel = known
    test = metrics.evidence(
        classifier, attribution, rivals={"the exact map": fall_of_pixel}, regions=19
    )
    assert "the exact map" in test.passing_rivals
    assert not any(each.startswith("the map for") for each in test.rival_falls)


def test_a_map_of_zeros_marks_nothing_and_a_constant_one_no_place(known):
    classifier, attribution, _ = known
    for values in (np.zeros(SIZE, "float32"), np.full(SIZE, -1, "float32")):
        test = metrics.evidence(classifier, replace(attribution, values=values))
        assert test.p_value == 1 and "marks nothing" in test.description
        assert test.passing_rivals == []
    even = replace(attribution, values=np.ones(SIZE, "float32"))
    assert metrics.evidence(classifier, even, rivals={}).p_value == 1


def test_no_more_pixels_are_changed_than_are_positive(known):
    """One cell of 560: all three shares are this one pixel."""
    classifier, attribution, fall_of_pixel = known
    values = np.full(SIZE, -1, "float32")
    values[3, 4] = 1
    test = metrics.evidence(
        classifier, replace(attribution, values=values), rivals={}, regions=2
    )
    assert test.falls == pytest.approx(3 * [fall_of_pixel[3, 4]], abs=1e-3)


def test_the_same_seed_gives_the_same_result_whatever_the_batches(known, monkeypatch):
    classifier, attribution, _ = known
    whole = metrics.evidence(classifier, attribution, regions=5, seed=3)
    monkeypatch.setattr(type(classifier), "batch_size", lambda self, **more: 4)
    parts = metrics.evidence(classifier, attribution, regions=5, seed=3)
    assert parts.random_falls == pytest.approx(whole.random_falls, abs=1e-3)
    other = metrics.evidence(classifier, attribution, regions=5, seed=4)
    assert not np.allclose(other.random_falls, whole.random_falls, atol=1e-3)


def test_it_can_be_cancelled_and_says_how_far_it_is(known):
    classifier, attribution, _ = known
    reports = []

    def progress(done, total):
        reports.append((done, total))
        if done > total / 2:
            raise explain.Cancelled

    with pytest.raises(explain.Cancelled):
        metrics.evidence(classifier, attribution, rivals={}, progress=progress)
    # the map, 39 random places, three mirror images and the bell, of three shares each
    assert {total for _, total in reports} == {3 * (1 + 39 + 3 + 1)}


def test_what_makes_no_sense_is_refused(known):
    classifier, attribution, _ = known
    for share in ((), (0,), (0.1, 1.2)):
        with pytest.raises(ValueError, match="share is"):
            metrics.evidence(classifier, attribution, share=share)
    with pytest.raises(ValueError, match="regions"):
        metrics.evidence(classifier, attribution, regions=0)
    with pytest.raises(ValueError, match="shape"):
        metrics.evidence(pooled_toy(), attribution)
