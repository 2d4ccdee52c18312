"""Scores of maps, on models and maps of which the score is known beforehand."""

import numpy as np
import pytest
from toys import convolution, detector, model_with, photo, pooled_logits

from xai_helpers import explain, keras, load_classifier, metrics
from xai_helpers.engine.fills import baseline_image


@pytest.fixture
def spot():
    """A model that sees one white spot on black, the photo of it, and its map."""
    weights = np.zeros((20, 20, 3), "float32")
    weights[4:8, 10:14] = 1
    image = np.zeros((20, 20, 3), np.uint8)
    image[4:8, 10:14] = 255
    return detector(weights), image, weights[..., 0]


def curves(spot, heatmap, **options):
    """Deletion and insertion."""
    clf, image, _ = spot
    options = {"fill": "black", "score": "logit", "steps": 25} | options
    return (
        metrics.deletion(clf, image, heatmap, "spot", **options),
        metrics.insertion(clf, image, heatmap, "spot", **options),
    )


def test_a_perfect_map_deletes_and_inserts_everything_at_once(spot):
    """The 16 pixels of the spot are 4 % of the picture: one step of 25."""
    deletion, insertion = curves(spot, spot[2])
    assert deletion.scores == pytest.approx([48.0] + 25 * [0.0], abs=1e-3)
    assert insertion.scores == pytest.approx([0.0] + 25 * [48.0], abs=1e-3)
    assert deletion.auc == pytest.approx(48 / 25 / 2, abs=1e-3)


def test_an_inverted_map_does_the_opposite(spot):
    deletion, insertion = curves(spot, -spot[2])
    assert deletion.scores == pytest.approx(25 * [48.0] + [0.0], abs=1e-3)
    assert insertion.scores == pytest.approx(25 * [0.0] + [48.0], abs=1e-3)


def test_a_constant_map_is_a_random_order(spot):
    """Every pixel is a tie: on the average the curve is a straight line."""
    runs = [curves(spot, 0 * spot[2], seed=seed) for seed in range(30)]
    mean = np.mean([deletion.scores for deletion, _ in runs], axis=0)
    straight = 48 * (1 - runs[0][0].fraction_changed)
    # one run: 16 white pixels drawn without replacement, 3 of logit each
    spread = 3 * np.sqrt(16 * 0.25) / np.sqrt(30)
    assert np.abs(mean - straight).max() < 4 * spread
    again = curves(spot, 0 * spot[2], seed=0)
    assert np.array_equal(again[0].scores, runs[0][0].scores)


def test_curves_begin_and_end_at_the_picture_and_at_nothing(spot):
    clf, _, weights = spot
    image = photo((20, 20))
    for fill in ("blurred", "grey", "black"):
        pair = [image, baseline_image(image, fill, 0)]
        full, nothing = clf.probabilities(pair)[:, 1]
        deletion = metrics.deletion(clf, image, weights, 1, fill=fill, steps=4)
        insertion = metrics.insertion(clf, image, weights, 1, fill=fill, steps=4)
        assert deletion.scores[[0, -1]] == pytest.approx([full, nothing], abs=1e-5)
        assert insertion.scores[[0, -1]] == pytest.approx([nothing, full], abs=1e-5)


def test_the_curve_does_not_depend_on_the_memory(spot, monkeypatch):
    before = curves(spot, spot[2])
    monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))
    for one, other in zip(before, curves(spot, spot[2]), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_the_target_of_an_attribution_is_used(spot):
    clf, image, _ = spot
    attribution = explain.occlusion(clf, image, "other", patch=5)
    curve = metrics.deletion(clf, image, attribution, score="logit", steps=3)
    assert curve.scores == pytest.approx([0, 0, 0, 0])


def test_ranks_put_the_largest_first_and_mix_ties():
    rank = metrics.importance_ranks(np.array([[1.0, 5.0], [1.0, 3.0]]))
    assert rank[0, 1] == 0
    assert rank[1, 1] == 1
    firsts = [
        metrics.importance_ranks(np.zeros((1, 4)), seed).argmin() for seed in range(200)
    ]
    counts = np.bincount(firsts, minlength=4)
    assert abs(counts - 50).max() < 4 * np.sqrt(200 * 0.25 * 0.75)


def test_pointing_game_scores_of_perfect_inverted_constant_and_empty_maps():
    score = metrics.pointing_game_score
    heatmap = np.zeros((20, 20))
    heatmap[12:18, 2:8] = 2  # within tile 2 of four
    assert score(heatmap, 2, 4) == 1
    assert score(-heatmap, 2, 4) == 0
    assert [score(heatmap, tile, 4) for tile in (0, 1, 3)] == [0, 0, 0]
    assert score(heatmap * 0 + 1, 1, 4) == pytest.approx(1 / 4)
    assert score(heatmap * 0, 1, 4) == 0
    assert score(heatmap, 0, 2) == 1  # two halves, side by side
    with pytest.raises(ValueError, match="no tile"):
        score(heatmap, 4, 4)


def test_a_mosaic_keeps_its_photos_in_shape_and_in_place():
    red, blue = (np.zeros((30, 50, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 255, 255
    red[:, :25, 1] = 100  # the left half is marked
    pair = metrics.mosaic([red, blue], 40)
    assert pair.shape == (40, 40, 3)
    assert (pair[:, :20, 0] == 255).all()
    assert (pair[:, 20:, 2] == 255).all()
    marked = pair[:, :20, 1] > 50
    assert marked[:, :10].all() and not marked[:, 10:].any()  # cut in the middle
    four = metrics.mosaic([red, blue, blue, red], 41)
    assert four[30, 30, 0] == 255 and four[30, 5, 2] == 255
    for too_few in ([red, blue, red], []):
        with pytest.raises(ValueError, match="do not fill"):
            metrics.mosaic(too_few, 40)


def test_average_drop_of_maps_that_show_all_and_nothing(spot):
    clf, image, weights = spot
    before, after = clf.probabilities([image, image * 0])[:, 1]
    everything_lost = (before - after) / before
    for heatmap, expected in (
        (weights, 0),
        (weights * 0, everything_lost),
        (1 - weights, everything_lost),
    ):
        drop, increase = metrics.average_drop(clf, [image], [heatmap], ["spot"])
        assert drop == pytest.approx(expected, abs=1e-5)
        assert increase == 0


def test_an_increase_is_counted():
    """A network that dislikes the left half is surer when only the right is shown."""
    weights = np.full((20, 20, 3), 0.01, "float32")
    weights[:, :10] = -0.01
    heatmap = np.zeros((20, 20))
    heatmap[:, 10:] = 1
    white = np.full((20, 20, 3), 255, np.uint8)
    _, increase = metrics.average_drop(
        detector(weights), [white, white], [heatmap, 1 - heatmap], [1, 1]
    )
    assert increase == 0.5


def test_randomising_changes_the_layers_above_and_no_others(xception):
    before = xception.model.get_weights()
    noisy = metrics.randomise_layers(xception, "block14_sepconv1", seed=1)
    names = [layer.name for layer in xception.model.layers]
    border = names.index("block14_sepconv1")
    for k, (old, new) in enumerate(
        zip(xception.model.layers, noisy.model.layers, strict=True)
    ):
        for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
            same = np.array_equal(a, b)
            assert same == (k < border or a.ndim < 2), old.name
            assert a.shape == b.shape
            if not same:
                assert b.std() == pytest.approx(a.std(), rel=0.1)
    for a, b in zip(before, xception.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    again = metrics.randomise_layers(xception, "block14_sepconv1", seed=1)
    image = photo((50, 50))
    assert np.array_equal(noisy.logits(image), again.logits(image))
    assert not np.allclose(noisy.logits(image), xception.logits(image), atol=0.1)
    with pytest.raises(ValueError, match="'block15' of Xception does not exist"):
        metrics.randomise_layers(xception, "block15")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_a_model_of_ones_own_can_be_randomised(activation):
    """The new network is noise, the old one is as it was."""
    keras.utils.set_random_seed(0)
    inner = [convolution(activation=None, name="conv")]
    head = pooled_logits(3, activation=activation, name="out")
    model = model_with(inner, head, size=(12, 12))
    clf = load_classifier(model, preprocess="unit", verbose=False)
    image = photo((12, 12))
    before = clf.logits(image)
    noisy = metrics.randomise_layers(clf, "conv")
    assert np.array_equal(clf.logits(image), before)
    assert not np.allclose(noisy.logits(image), before)
    assert explain.grad_cam(noisy, image).values.shape == (10, 10)


def test_rank_correlation_of_known_pairs():
    a = np.arange(12.0).reshape(3, 4)
    assert metrics.rank_correlation(a, a**3) == pytest.approx(1)
    assert metrics.rank_correlation(a, -a) == pytest.approx(-1)
    assert metrics.rank_correlation(a, a * 0) == 0
    # by hand, ties share the mean rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    r = metrics.rank_correlation(np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 3]]))
    x, y = np.array([1, 2.5, 2.5, 4]), np.array([1, 2, 3, 4])
    assert r == pytest.approx(np.corrcoef(x, y)[0, 1])
    with pytest.raises(ValueError, match="shapes"):
        metrics.rank_correlation(a, a.T)


def test_correlation_of_known_pairs():
    """Pearson's: by hand, 3 / sqrt(2 · 14/3) for (0, 1, 2) and (0, 1, 3)."""
    a = np.arange(12.0).reshape(3, 4)
    assert metrics.correlation(a, 5 + 2 * a) == pytest.approx(1)
    assert metrics.correlation(a, -a) == pytest.approx(-1)
    r = metrics.correlation(np.array([[0, 1, 2]]), np.array([[0, 1, 3]]))
    assert r == pytest.approx(3 / np.sqrt(2 * 14 / 3))


def test_cosine_similarity_of_known_pairs():
    a = np.arange(12.0).reshape(3, 4)
    assert metrics.cosine_similarity(a, 3 * a) == pytest.approx(1)
    assert metrics.cosine_similarity(a, -a) == pytest.approx(-1)
    right, up = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    assert metrics.cosine_similarity(right, up) == pytest.approx(0)
    assert metrics.cosine_similarity(right, right + up / 2) == pytest.approx(0.5**0.5)


def test_reference_maps_do_not_use_the_network_and_are_as_named():
    square = np.zeros((40, 60, 3), np.uint8)
    square[:, 30:] = 200
    edges = metrics.edge_map(square)
    assert set(np.nonzero(edges.any(axis=0))[0]) == {29, 30}
    centre = metrics.centre_map(square)
    assert np.unravel_index(centre.argmax(), centre.shape) in [
        (r, c) for r in (19, 20) for c in (29, 30)
    ]
    assert centre == pytest.approx(centre[::-1, ::-1])
    one, two = (metrics.random_map(square, seed) for seed in (1, 2))
    assert np.array_equal(one, metrics.random_map(square, 1))
    assert not np.array_equal(one, two)
    for name, make in metrics.REFERENCE_MAPS.items():
        assert make(square).shape == (40, 60), name


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"steps": 0}, "from 1 up"),
        ({"fill": "pink"}, "'blurred', 'grey' or 'black'"),
        ({"score": "loss"}, "'logit'"),
    ],
)
@pytest.mark.parametrize("metric", [metrics.deletion, metrics.insertion])
def test_bad_use_is_refused_with_advice(spot, metric, options, advice):
    clf, image, weights = spot
    with pytest.raises(ValueError, match=advice):
        metric(clf, image, weights, **options)


@pytest.mark.parametrize("metric", [metrics.deletion, metrics.insertion])
def test_an_unknown_option_is_refused_under_the_name_of_the_function(spot, metric):
    clf, image, weights = spot
    with pytest.raises(TypeError, match=rf"^{metric.__name__}\(\)"):
        metric(clf, image, weights, step=3)


def test_a_map_of_another_size_or_with_nan_is_refused_with_advice(spot):
    clf, image, weights = spot
    with pytest.raises(ValueError, match=r"shape \(10, 20\); expected \(20, 20\)"):
        metrics.deletion(clf, image, weights[:10])
    with pytest.raises(ValueError, match="NaN"):
        metrics.deletion(clf, image, weights * np.nan)
