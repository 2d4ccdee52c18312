"""Expected gradients are those of shap, sum up, and know their own error."""

from importlib import import_module

import numpy as np
import pytest
from toys import SCORES_OF_CLASS_2, linear, photo, photos, toy

from xai_helpers import background, explain
from xai_helpers.engine.random_draws import stratified_pairs


@pytest.fixture(scope="module")
def classifier():
    return toy()


def test_expected_gradients_are_exact_where_the_score_is_linear():
    clf, weights = linear()
    image, other = photo((20, 28)), photo((20, 28), 1)
    attribution = explain.expected_gradients(clf, image, other[None], 1, samples=3)
    expected = weights[..., 1] * (image.astype(float) - other)
    assert attribution.values == pytest.approx(expected, abs=1e-3)
    assert attribution.checks["sum"] == pytest.approx(
        attribution.checks["score difference"], abs=1e-2
    )


@pytest.mark.parametrize("layer", [None, "one", "two"])
@pytest.mark.parametrize("score", SCORES_OF_CLASS_2)
def test_expected_gradients_sum_to_the_score_difference(layer, score, classifier):
    image = photo((12, 14))
    others = photos(8, (12, 14))
    options = {"layer": layer, "samples": 400, "score": score}
    scores = classifier.logits if score == "logit" else classifier.probabilities
    attributions = explain.expected_gradients(
        classifier, image, others, [0, 2], **options
    )
    assert [attribution.target for attribution in attributions] == [0, 2]
    for attribution in attributions:
        target, checks = attribution.target, attribution.checks
        difference = scores(image)[0, target] - scores(others)[:, target].mean()
        assert checks["score difference"] == pytest.approx(difference, abs=1e-4)
        assert attribution.values.sum() == pytest.approx(checks["sum"], abs=1e-3)
        # nothing is left to chance where all that follows the layer is linear
        allowed = 4 * checks["standard error"] + 1e-5
        assert abs(checks["sum"] - difference) < allowed


def test_each_photo_has_its_turn_and_each_stretch_of_the_way_one_place():
    rng = np.random.default_rng(0)
    for n, photos_ in ((12, 4), (14, 4), (3, 5)):
        rows, alpha = stratified_pairs(n, photos_, rng)
        turns = np.bincount(rows, minlength=photos_)
        assert turns.min() == n // photos_ and turns.max() == -(-n // photos_)
        assert sorted((n * alpha).astype(int)) == list(range(n))
        for start in range(0, n - n % photos_, photos_):  # in a whole turn: in order
            assert rows[start : start + photos_].tolist() == list(range(photos_))
            stretch = alpha[start : start + photos_] * n / photos_
            assert set(stretch.astype(int)) == {start // photos_}


@pytest.fixture(scope="module")
def known_answer(classifier):
    """The map of class 2: for each of eight photos, 2,000 even steps of the way."""
    image, others = photo((12, 14)), photos(8, (12, 14))
    mean = np.mean(
        [
            explain.integrated_gradients(
                classifier, image, 2, baseline=other, steps=2000, tolerance=None
            ).values
            for other in others
        ],
        axis=0,
    )
    return image, others, mean


@pytest.mark.parametrize("samples", [5, 2 * 8 * 2])
def test_the_mean_of_many_cheap_runs_is_the_known_answer(
    samples, classifier, known_answer
):
    image, others, mean = known_answer
    runs = [
        explain.expected_gradients(
            classifier, image, others, 2, samples=samples, seed=seed
        ).values
        for seed in range(200)
    ]
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(200) + 1e-9
    assert np.abs((np.mean(runs, axis=0) - mean) / error).max() < 5


def test_the_standard_error_covers_the_known_sum(classifier, known_answer):
    """68 % of the sums within one of it, 95 % within two: to 3 points, of 1000 runs."""
    image, others, mean = known_answer
    runs = [
        explain.expected_gradients(
            classifier, image, others, 2, samples=64, seed=seed
        ).checks
        for seed in range(1000)
    ]
    misses = [abs(run["sum"] - mean.sum()) / run["standard error"] for run in runs]
    for width, share in ((1, 0.683), (1.96, 0.95)):
        assert abs(np.mean(np.array(misses) < width) - share) < 0.03


def test_the_relative_error_is_that_to_the_known_answer(classifier, known_answer):
    image, others, mean = known_answer
    runs = [
        explain.expected_gradients(classifier, image, others, 2, samples=64, seed=seed)
        for seed in range(60)
    ]
    length = np.linalg.norm(mean)
    actual = [np.linalg.norm(run.values - mean) / length for run in runs]
    claimed = [run.checks["relative error"] for run in runs]
    ratio = np.sqrt(np.mean(np.square(claimed)) / np.mean(np.square(actual)))
    assert ratio == pytest.approx(1, abs=0.1)


def test_stratified_samples_come_nearer_than_independent_ones(classifier, known_answer):
    """Two samples are independent of each other: the mean of 32 such runs has 64."""
    image, others, mean = known_answer

    def run(samples, seed):
        return explain.expected_gradients(
            classifier, image, others, 2, samples=samples, seed=seed
        ).values

    stratified = [run(64, seed) for seed in range(30)]
    independent = [
        np.mean([run(2, 32 * k + seed) for seed in range(32)], axis=0)
        for k in range(30)
    ]
    squares = [
        ((np.array(maps) - mean) ** 2).mean() for maps in (stratified, independent)
    ]
    assert squares[0] < squares[1] / 2


def test_auto_stops_when_the_map_is_as_near_as_asked(classifier, known_answer):
    image, others, mean = known_answer
    options = {"samples": "auto", "tolerance": 0.1}
    maps = explain.expected_gradients(classifier, image, others, [2, 0], **options)
    assert max(each.checks["relative error"] for each in maps) <= 0.1
    assert maps[0].checks["samples"] == maps[1].checks["samples"]
    assert np.linalg.norm(maps[0].values - mean) < 0.2 * np.linalg.norm(mean)


@pytest.mark.parametrize("layer", ["block2_pool", "block4_conv3"])
def test_expected_gradients_on_vgg16_sum_to_the_score_difference(vgg16, cat, layer):
    others = background(6, 224, exclude="cat")
    checks = explain.expected_gradients(
        vgg16, cat, others, "tabby", layer=layer, samples=24
    ).checks
    gap = abs(checks["sum"] - checks["score difference"])
    assert gap < 4 * checks["standard error"]


@pytest.mark.parametrize("layer", [None, "one"])
def test_a_background_is_computed_once_and_again_when_anything_changed(layer):
    """Another photo in it, another order, other weights: as from a new classifier."""
    clf, image = toy(), photo((12, 14))
    others = photos(4, (12, 14))
    computed, logits_of = [], clf.logits_of
    clf.logits_of = lambda squares: computed.append(len(squares)) or logits_of(squares)

    def count_after_comparing_with_a_new_classifier():
        fresh = toy()
        fresh.model.set_weights(clf.model.get_weights())
        ours, theirs = (
            explain.expected_gradients(c, image, others, 1, layer=layer, samples=9)
            for c in (clf, fresh)
        )
        assert ours.checks == theirs.checks
        assert np.array_equal(ours.values, theirs.values)
        return computed.count(4)  # photos that were asked for together

    count = count_after_comparing_with_a_new_classifier
    assert [count(), count()] == [1, 1]
    others[2, 3:6] = 255
    assert [count(), count()] == [2, 2]
    others = others[::-1]
    assert count() == 3
    clf.model.set_weights([-weights for weights in clf.model.get_weights()])
    assert [count(), count()] == [4, 4]


def test_the_samples_do_not_depend_on_the_memory(monkeypatch, classifier):
    image, others = photo((12, 14)), photos(1, (12, 14))
    for layer in (None, "one"):
        runs = []
        for memory in (2**30, 1):
            monkeypatch.setenv("XAI_MEMORY_MB", str(memory / 2**20))
            runs.append(
                explain.expected_gradients(
                    classifier, image, others, 0, layer=layer, samples=7
                ).values
            )
        assert np.allclose(*runs, atol=1e-6)


def test_many_targets_take_smaller_batches(classifier, monkeypatch):
    """Where nobody is told of progress: else there are four images at most."""
    image, others = photo((12, 14)), photos(1, (12, 14))
    module = import_module("xai_helpers.core.techniques.expected_gradients")
    cut, lengths = module.even_slices, []

    def recorded(*arguments):
        for part in cut(*arguments):
            lengths.append(part.stop - part.start)
            yield part

    monkeypatch.setattr(module, "even_slices", recorded)
    for targets, sizes in (([0], [8, 8]), ([0, 1, 2, 3], [4, 4, 4, 4])):
        lengths.clear()
        options = {"samples": 16, "progress": False}
        explain.expected_gradients(classifier, image, others, targets, **options)
        assert lengths == sizes


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # in shap's colours
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # of shap, see 02
@pytest.mark.parametrize("layer", [None, "two"])
def test_expected_gradients_are_those_of_shap(layer, classifier):
    """shap.GradientExplainer on the same background, within both sampling errors."""
    import shap

    image = photo((12, 14))
    others = photos(8, (12, 14))
    x, b = classifier.preprocess(image), classifier.preprocess(list(others))
    model = classifier.model
    if layer:
        x, b = (np.array(classifier.submodel_to(layer)(part)) for part in (x, b))
        model = classifier.submodel_from(layer)
    explainer = shap.GradientExplainer(model, b)
    theirs, variance = explainer.shap_values(
        x, nsamples=3000, rseed=1, return_variances=True
    )
    # what shap 0.51 calls the variance is that of one sample divided by √n
    theirs, error = theirs[0][..., 2], np.sqrt(np.asarray(variance)[2][0] / 3000**0.5)
    ours = explain.expected_gradients(
        classifier, image, others, 2, layer=layer, samples=3000
    )
    scale = np.sqrt(2) * error + 1e-6
    assert np.abs((ours.values - theirs) / scale).max() < 6


def test_a_layer_that_a_skip_connection_bypasses_is_refused_with_advice(xception, cat):
    others = background(2, 299, exclude="cat")
    with pytest.raises(ValueError, match=r"skip connection.*add_3.*block14_sepconv2"):
        explain.expected_gradients(xception, cat, others, layer="block4_sepconv1")


IMAGE = photo((12, 14))
OTHERS = photos(1, (12, 14))
BAD_USE = {
    "no samples": (OTHERS, {"samples": 0}, "from 1 up"),
    "empty background": (OTHERS[:0], {}, "background is empty"),
    "other background": (photos(1, (9, 9)), {}, "12, 14, 3"),
    "float background": (OTHERS / 255, {}, "expected uint8"),
    "photos of two sizes": ([OTHERS[0], photo((9, 9))], {}, "differ in size"),
    "one class twice": (OTHERS, {"target": [1, "class 1"]}, "twice"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused_with_advice(case, classifier):
    others, options, advice = BAD_USE[case]
    with pytest.raises(ValueError, match=advice):
        explain.expected_gradients(classifier, IMAGE, others, **options)
