"""Expected gradients are those of shap, sum up, and know their own error."""

import numpy as np
import pytest
from toys import SCORES_OF_CLASS_2, linear, photo, photos, toy

from xai_helpers import background, explain


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
        assert abs(checks["sum"] - difference) < 4 * checks["standard error"]


def test_the_standard_error_is_that_of_many_repetitions(classifier):
    image = photo((12, 14))
    others = photos(8, (12, 14))
    runs = [
        explain.expected_gradients(
            classifier, image, others, 2, samples=25, seed=seed
        ).checks
        for seed in range(60)
    ]
    spread = np.std([run["sum"] for run in runs], ddof=1)
    claimed = np.sqrt(np.mean([run["standard error"] ** 2 for run in runs]))
    assert abs(spread / claimed - 1) < 4 / np.sqrt(2 * 59)


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


def test_many_targets_take_smaller_batches(classifier):
    image, others = photo((12, 14)), photos(1, (12, 14))
    for targets, sizes in (([0], [16]), ([0, 1, 2, 3], [6, 6, 4])):
        reports = [0]
        explain.expected_gradients(
            classifier,
            image,
            others,
            targets,
            samples=16,
            progress=lambda done, total, reports=reports: reports.append(done),
        )
        assert np.diff(reports).tolist() == sizes


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
