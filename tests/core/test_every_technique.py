"""What holds for every technique of the registry, so that none can be left out.

A technique that is added to ``explain.TECHNIQUES`` is tested here without a new line.
Whether its values are right, the file of its own name says.
"""

import dataclasses
import inspect

import numpy as np
import PIL.Image
import pytest
from toys import layers, nested, photo, photos, toy

from xai_helpers import explain, keras, load_classifier

SIZE = (12, 14)
TECHNIQUES = explain.TECHNIQUES
CASES = {name: (technique, {}) for name, technique in TECHNIQUES.items()} | {
    f"{name} at a layer": (technique, {"layer": "one"})
    for name, technique in TECHNIQUES.items()
    if technique.takes("layer")
}
every_technique = pytest.mark.parametrize("name", TECHNIQUES)
every_case = pytest.mark.parametrize("case", CASES)


def with_option(option):
    """The cases whose technique takes this option."""
    return pytest.mark.parametrize(
        "case",
        [case for case, (technique, _) in CASES.items() if technique.takes(option)],
    )


@pytest.fixture(scope="module")
def classifier():
    return toy(SIZE)


def run(case, classifier, image, **options):
    """The technique on one image, quickly; with a background if it needs one."""
    technique, where = CASES[case]
    side = min(classifier.input_size)
    defaults = {"background": photos(2, classifier.input_size, first_seed=100)}
    options = defaults | where | technique.quick(side) | options
    return technique.call(classifier, image, **options)


def even_steps(case):
    """Options with which it is known before how many passes the technique makes."""
    return {"tolerance": None} if CASES[case][0].takes("steps") else {}


def default(technique, option):
    return inspect.signature(technique.function).parameters[option].default


def counts_of(technique):
    """The options that are whole numbers, such as samples and seed."""
    parameters = inspect.signature(technique.function).parameters.values()
    return [p.name for p in parameters if p.annotation in (int, "int")]


def bytes_as_setting(count):
    return str(count / 2**20)


# --- the registry ---------------------------------------------------------------------


def test_the_registry_is_a_table_of_different_techniques():
    for name, technique in TECHNIQUES.items():
        assert technique.name == name
        assert technique.title and technique.question.endswith("?")
    assert len({technique.title for technique in TECHNIQUES.values()}) == len(
        TECHNIQUES
    )


@every_technique
def test_the_function_has_the_name_of_its_file_and_is_an_attribute_of_explain(name):
    function = TECHNIQUES[name].function
    assert function.__name__ == name
    assert function.__module__ == f"xai_helpers.core.techniques.{name}"
    assert getattr(explain, name) is function
    assert name in explain.__all__


def test_an_unknown_technique_is_no_attribute_of_explain():
    with pytest.raises(AttributeError, match="shap_gradients"):
        _ = explain.shap_gradients


@every_technique
def test_a_line_of_the_registry_cannot_be_changed(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        TECHNIQUES[name].title = "another"


@every_technique
def test_every_function_begins_with_the_same_parameters(name):
    """classifier, image, [background,] [target=None,] …: the rest has defaults."""
    parameters = list(inspect.signature(TECHNIQUES[name].function).parameters.values())
    names = [parameter.name for parameter in parameters]
    expected = ["classifier", "image"]
    for optional in ("background", "target"):
        expected += [optional] * (optional in names)
    assert names[: len(expected)] == expected
    required = [p.name for p in parameters if p.default is p.empty]
    assert required == [each for each in expected if each != "target"]
    if "target" in names:
        assert parameters[names.index("target")].default is None


@every_technique
def test_takes_is_what_the_signature_says(name):
    technique = TECHNIQUES[name]
    names = inspect.signature(technique.function).parameters
    for option in {*names, "layer", "target", "background", "nonsense"}:
        assert technique.takes(option) == (option in names)


@every_technique
def test_quick_options_are_options_of_the_technique(name):
    for side in (12, 224, 299):
        for option in TECHNIQUES[name].quick(side):
            assert TECHNIQUES[name].takes(option)


@every_case
def test_call_drops_the_options_that_the_technique_does_not_take(case, classifier):
    image, (technique, where) = photo(SIZE), CASES[case]
    result = run(case, classifier, image, nonsense=3)
    options = technique.quick(min(SIZE)) | where
    arguments = [photos(2, SIZE, first_seed=100)] * technique.takes("background")
    direct = technique.function(classifier, image, *arguments, **options)
    assert np.array_equal(result.values, direct.values)
    with pytest.raises(TypeError, match="nonsense"):
        technique.function(classifier, image, *arguments, nonsense=3)


# --- the result -----------------------------------------------------------------------


@every_case
def test_the_result_says_how_it_was_made(case, classifier):
    technique, where = CASES[case]
    attribution = run(case, classifier, photo((30, 20)))
    assert isinstance(attribution, explain.Attribution)
    assert attribution.technique == technique.title
    assert attribution.title.startswith(technique.title)
    assert attribution.model == classifier.name
    assert attribution.unit
    assert attribution.layer == where.get("layer", attribution.layer)
    if technique.takes("target"):
        assert attribution.score == default(technique, "score")
    else:
        assert attribution.target is None and attribution.score_value is None
    for option in counts_of(technique):
        expected = technique.quick(min(SIZE)).get(option, default(technique, option))
        assert attribution.parameters[option] == expected


@every_case
def test_values_are_finite_and_the_heatmap_has_the_size_of_the_image(case, classifier):
    attribution = run(case, classifier, photo((30, 20)))
    assert attribution.values.dtype == np.float32
    assert np.isfinite(attribution.values).all()
    assert attribution.values.any()
    assert attribution.image.shape == (*SIZE, 3)
    assert attribution.heatmap().shape == SIZE
    assert attribution.heatmap_on_original().shape == (30, 20)
    assert attribution.description


@every_case
def test_an_unsigned_map_has_no_values_below_zero(case, classifier):
    for seed in range(3):
        attribution = run(case, classifier, photo(SIZE, seed))
        assert attribution.signed or attribution.values.min() >= 0


@with_option("target")
def test_without_a_target_the_top_class_is_explained(case, classifier):
    image = photo(SIZE)
    logits = classifier.logits(image)[0]
    attribution = run(case, classifier, image, score="logit")
    assert attribution.target == logits.argmax()
    assert attribution.label == classifier.class_label(int(logits.argmax()))
    assert attribution.score_value == pytest.approx(logits.max(), abs=1e-4)
    label = attribution.label
    named = run(case, classifier, image, score="logit", target=label)
    assert named.target == attribution.target
    assert np.array_equal(named.values, attribution.values)


@with_option("score")
def test_a_probability_can_be_explained(case, classifier):
    image = photo(SIZE)
    attribution = run(case, classifier, image, target=2, score="probability")
    probability = classifier.probabilities(image)[0, 2]
    assert attribution.score == "probability"
    assert attribution.score_value == pytest.approx(probability, abs=1e-5)
    of_the_logit = run(case, classifier, image, target=2, score="logit")
    assert not np.allclose(attribution.values, of_the_logit.values)


@every_technique
@pytest.mark.parametrize("units, activation", [(3, "softmax"), (1, "sigmoid")])
def test_a_nested_model_with_one_output_or_several_is_explained(
    name, units, activation
):
    keras.utils.set_random_seed(1)
    model = nested(layers.Dense(units, activation))
    clf = load_classifier(model, verbose=False)
    attribution = run(name, clf, photo((50, 40)))
    assert attribution.heatmap().shape == (32, 32)
    assert np.isfinite(attribution.values).all()


# --- the caller's arrays --------------------------------------------------------------


def check_arrays_are_unchanged(case, classifier):
    image, background = photo((40, 30)), photos(2, SIZE)
    before = image.copy(), background.copy()
    attribution = run(case, classifier, image, background=background)
    assert np.array_equal(image, before[0])
    assert np.array_equal(background, before[1])
    assert not np.shares_memory(attribution.image, image)
    for array in (attribution.image, attribution.values):  # nor can they be spoiled
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    # an image that needs no cropping is not handed through, either
    square = photo(SIZE)
    attribution = run(case, classifier, square, background=background)
    assert np.array_equal(square, photo(SIZE))
    assert not np.shares_memory(attribution.image, square)


@every_case
def test_the_arrays_of_the_caller_are_not_changed(case, classifier):
    check_arrays_are_unchanged(case, classifier)


@every_technique
def test_a_change_of_the_arrays_of_the_caller_is_caught(name, classifier, monkeypatch):
    """The check above fails when a technique writes into the photo."""
    from xai_helpers.core import query

    crop_to_size = query.crop_to_size

    def spoiling(image, *arguments):
        image += 1
        return crop_to_size(image, *arguments)

    monkeypatch.setattr(query, "crop_to_size", spoiling)
    monkeypatch.setattr(query, "load_image", lambda image: image)
    with pytest.raises(AssertionError):
        check_arrays_are_unchanged(name, classifier)


@every_case
def test_a_photo_is_loaded_once(case, classifier, tmp_path, monkeypatch):
    file = tmp_path / "photo.png"
    PIL.Image.fromarray(photo((30, 20))).save(file)
    opened, open_image = [], PIL.Image.open
    monkeypatch.setattr(
        PIL.Image,
        "open",
        lambda *args, **options: opened.append(args) or open_image(*args, **options),
    )
    from_file = run(case, classifier, file)
    assert len(opened) == 1
    assert np.array_equal(from_file.image, run(case, classifier, photo((30, 20))).image)


# --- compiling, seeds, memory ---------------------------------------------------------


@every_case
def test_nothing_is_compiled_for_a_second_image_or_target(
    case, trace_count, monkeypatch
):
    """In batches of several lengths, so that two shapes occur."""
    clf = toy(SIZE)

    def explain_image(size, seed, target):
        options = {"target": target, "samples": 19, "steps": 19}
        for memory in (2**30, 2**15):
            monkeypatch.setenv("XAI_MEMORY_MB", bytes_as_setting(memory))
            run(case, clf, photo(size, seed), **options)
        return trace_count()

    compiled = explain_image(SIZE, 0, None)
    assert compiled > 0
    assert explain_image((30, 20), 1, 2) == compiled


@with_option("seed")
def test_the_same_seed_gives_the_same_values_and_another_gives_others(case, classifier):
    """The noise of integrated gradients is its baseline's."""
    first, again, other = (
        run(case, classifier, photo(SIZE), seed=seed, baseline="noise")
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first.values, again.values)
    assert first.checks == again.checks
    assert not np.array_equal(first.values, other.values)
    assert first.parameters["seed"] == 3


@every_case
def test_values_do_not_depend_on_the_memory(case, classifier, monkeypatch):
    """With even steps: those of an adaptive path depend on the batches."""
    results = []
    for memory in (2**30, 1):
        monkeypatch.setenv("XAI_MEMORY_MB", bytes_as_setting(memory))
        results.append(run(case, classifier, photo(SIZE), **even_steps(case)))
    one_batch, single_images = (attribution.values for attribution in results)
    allowed = 1e-4 * np.abs(one_batch).max()
    assert np.allclose(one_batch, single_images, rtol=0, atol=allowed)


# --- progress -------------------------------------------------------------------------


@with_option("progress")
def test_progress_is_reported_up_to_the_end(case, classifier, monkeypatch):
    monkeypatch.setenv("XAI_MEMORY_MB", bytes_as_setting(1))
    reports = []
    run(
        case,
        classifier,
        photo(SIZE),
        **even_steps(case),
        progress=lambda *report: reports.append(report),
    )
    finished = [done for done, _ in reports if done]  # 0: in what comes before
    assert finished == sorted(set(finished))
    assert len({total for _, total in reports}) == 1
    assert reports[-1][0] == reports[-1][1]


@with_option("progress")
def test_progress_is_reported_after_few_images(case, classifier):
    """So a bar moves, and cancelling is heard soon, however large a batch may be."""
    reports = [(0, 0)]
    options = even_steps(case) | {"progress": lambda *report: reports.append(report)}
    run(case, classifier, photo(SIZE), **options)
    done, totals = np.transpose(reports)
    assert np.diff(done).max() <= max(4, totals[-1] // 16)


@with_option("progress")
def test_cancelled_stops_the_work_after_its_first_batch(case, classifier, monkeypatch):
    monkeypatch.setenv("XAI_MEMORY_MB", bytes_as_setting(1))
    reports = []

    def stop(*report):
        reports.append(report)
        raise explain.Cancelled

    with pytest.raises(explain.Cancelled):
        run(case, classifier, photo(SIZE), progress=stop)
    assert len(reports) == 1
    assert run(case, classifier, photo(SIZE)).values.any()  # as if nothing had been


# --- bad use --------------------------------------------------------------------------


@with_option("target")
def test_an_unknown_target_is_refused_with_close_labels(case, classifier):
    with pytest.raises(
        ValueError, match=r"No class 'clas 1'\. Close labels: .*class 1"
    ):
        run(case, classifier, photo(SIZE), target="clas 1")
    with pytest.raises(ValueError, match="outside 0 to 3"):
        run(case, classifier, photo(SIZE), target=9)


@with_option("layer")
def test_an_unusable_layer_is_refused_with_the_usable_ones(case, classifier):
    with pytest.raises(ValueError, match=r"does not exist.*Usable: 1 one, 2 two\."):
        run(case, classifier, photo(SIZE), layer="x")
    with pytest.raises(ValueError, match=r"no maps.*Usable: 1 one, 2 two\."):
        run(case, classifier, photo(SIZE), layer="flat")


@with_option("score")
def test_an_unknown_score_is_refused_with_the_known_ones(case, classifier):
    with pytest.raises(ValueError, match="'logit' or 'probability'"):
        run(case, classifier, photo(SIZE), score="loss")


@every_case
def test_an_image_of_another_type_is_refused_with_advice(case, classifier):
    for image in (photo(SIZE) / 255, photo(SIZE) / 127.5 - 1):
        with pytest.raises(ValueError, match="expected uint8"):
            run(case, classifier, image)


COUNTS = [
    (case, option)
    for case, (technique, _) in CASES.items()
    for option in counts_of(technique)
]


@pytest.mark.parametrize(("case", "option"), COUNTS)
def test_a_bad_count_is_refused_under_its_name(case, option, classifier):
    for value in (-1, 2.5, "many"):
        with pytest.raises(ValueError, match=f"{option} is a whole number"):
            run(case, classifier, photo(SIZE), **{option: value})
