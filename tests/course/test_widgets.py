"""Every control moved through its whole range; what is shown is what was computed."""

import datetime
import functools
import html
import io
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from toys import pooled_toy

from xai_helpers import explain, keras, load_classifier, metrics, plots, widgets
from xai_helpers.course.controls import CONTROLS, controls_of

layers = keras.layers
LABELS = ["cat", "dog", "<b>cup</b>", "cup & saucer", "hen", "ox"]
OTHERS = np.zeros((2, 32, 32, 3), np.uint8)
OF_LAYERS = {name for name, known in explain.TECHNIQUES.items() if known.takes("layer")}


def toy(seed, labels=LABELS):
    return pooled_toy(seed, labels)


@pytest.fixture(scope="module")
def networks():
    return [toy(1), toy(2)]


@pytest.fixture
def photos(noise):
    return {"wide": noise(40, 60, 1), "tall": noise(70, 33, 2)}


def open_explorer(name, networks, photos, **options):
    """The panel, or the explorer of a technique; nothing runs any more."""
    make = (
        widgets.panel if name == "panel" else functools.partial(widgets.explore, name)
    )
    explorer = make(networks, photos, background=OTHERS, **options)
    explorer.wait()
    return explorer


@pytest.fixture(params=[*explain.TECHNIQUES, "panel"])
def explorer(request, networks, photos):
    return open_explorer(request.param, networks, photos)


@pytest.fixture
def replace_function(monkeypatch):
    """Another function in place of a technique's, with the same parameters."""

    def install(name, function):
        technique = explain.TECHNIQUES[name]
        same_signature = functools.wraps(technique.function)(function)
        monkeypatch.setitem(vars(technique), "function", same_signature)

    return install


def not_to_be_called(*arguments, **options):
    raise AssertionError("computed, although the result was there")


def shown(explorer):
    return np.array(Image.open(io.BytesIO(explorer.image.value)))


def is_displayed(control):
    return control.layout.display != "none"


def positions(control):
    """The whole range of a slider (ends, middle, a step) or a choice."""
    if hasattr(control, "options"):
        return [value for _, value in control._options_full]
    low, high, step = control.min, control.max, control.step
    return [low, low + step, (low + high) // 2 or step, high]


SHARED = ("photo", "network", "target", "opacity", "layer", "score")


def test_every_control_through_its_whole_range(explorer):
    is_panel = is_displayed(explorer.technique)
    moved = 0
    for name in explain.TECHNIQUES if is_panel else [explorer.technique.value]:
        explorer.technique.value = name
        title = explain.TECHNIQUES[name].title
        controls = [getattr(explorer, control) for control in SHARED]
        controls = [control for control in controls if is_displayed(control)]
        for control in [*controls, *explorer.options.values()]:
            for value in positions(control):
                control.value = value
                explorer.wait()
                assert max(shown(explorer).shape) == widgets.IMAGE_SIZE
                assert explorer.attribution.technique == title
                assert explorer.message.value.startswith(title)
                assert explorer.attribution.model == explorer.network.value.name
                moved += 1
    assert moved >= (100 if is_panel else 7)


def test_every_option_of_the_table_reaches_the_function(networks, photos):
    """Each of a technique's own controls at its ends gives another attribution."""
    for name, row in CONTROLS.items():
        explorer = open_explorer(name, networks, photos)
        assert {*row.options(32, explain.TECHNIQUES[name].quick(32))} == {
            *explorer.options
        }
        for option, control in explorer.options.items():
            assert explain.TECHNIQUES[name].takes(option)
            control.value = positions(control)[-1]
            explorer.wait()
            value = explorer.attribution.parameters[option]
            assert value in (
                control.value,
                (control.value,) * len(np.atleast_1d(value)),
            )


def test_what_is_shown_is_what_the_function_gives(networks, photos):
    explorer = widgets.explore("grad_cam", networks[0], photos)
    explorer.photo.value, explorer.layer.value = "tall", "one"
    explorer.target.value = explorer.target.options[2][1]
    alone = explain.grad_cam(networks[0], photos["tall"], explorer.target.value, "one")
    assert explorer.attribution.values == pytest.approx(alone.values, abs=1e-7)
    expected = plots.overlay_array(alone, explorer.opacity.value)
    expected = plots.png(expected, widgets.IMAGE_SIZE)
    expected = np.array(Image.open(io.BytesIO(expected)))
    assert np.abs(shown(explorer).astype(int) - expected).max() <= 2


def test_opacity_nothing_is_the_photo_and_all_is_the_map(networks, photos):
    explorer = widgets.explore("grad_cam", networks[0], photos)
    explorer.opacity.value = 0
    square = networks[0].crop(photos["wide"])[0]
    assert np.array_equal(
        shown(explorer), np.array(Image.open(io.BytesIO(plots.png(square, 448))))
    )
    explorer.opacity.value = 1
    assert not np.array_equal(shown(explorer), square)


def test_a_class_is_found_by_its_name_and_the_words_are_escaped(networks, photos):
    explorer = widgets.explore("grad_cam", networks[0], photos)
    least = networks[0].top(photos["wide"], 6)[-1]
    assert least.index not in [value for _, value in explorer.target.options]
    explorer.search.value = least.label
    assert explorer.target.value == least.index
    assert explorer.attribution.target == least.index
    explorer.search.value = "<b>cup</b>"
    assert "&lt;b&gt;cup" in explorer.message.value
    assert "<b>" not in explorer.message.value


def test_an_unknown_class_is_answered_by_a_sentence(networks, photos):
    explorer = widgets.explore("grad_cam", networks[0], photos)
    before = explorer.image.value
    explorer.search.value = "catt"
    assert "No class" in explorer.message.value
    assert "Close labels: cat" in explorer.message.value
    assert explorer.image.value == before


def test_an_error_while_computing_is_a_sentence(networks, photos, replace_function):
    explorer = open_explorer("occlusion", networks[0], photos)

    def broken(*args, **kwargs):
        raise MemoryError("no room for <this>")

    replace_function("occlusion", broken)
    explorer.options["patch"].value += 1
    explorer.wait()
    assert explorer.message.value == "no room for &lt;this&gt;"
    assert explorer.attribution is None
    assert (shown(explorer) == 255).all()
    assert explorer.cancel.layout.visibility == "hidden"


@pytest.mark.parametrize("open_it", ["grad_cam", "panel"])
def test_layers_are_computed_once_for_photo_and_class(
    networks, photos, replace_function, open_it
):
    calls = []
    real = explain.grad_cam

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    replace_function("grad_cam", counted)
    explorer = open_explorer(open_it, networks[0], photos)
    for value in ("one", "pool", "two", "one"):
        explorer.layer.value = value
        explorer.wait()
        assert explorer.attribution.layer == value
    assert len(calls) == 1
    for name in ("tall", "wide"):
        explorer.photo.value = name
        explorer.wait()
    assert len(calls) == 2


class Gate:
    """A technique that waits in the middle until the test lets it go on."""

    def __init__(self, real):
        self.real, self.reached, self.go = real, threading.Event(), threading.Event()

    def __call__(self, *args, progress, **kwargs):
        progress(1, 10)
        self.reached.set()
        assert self.go.wait(20)
        progress(2, 10)
        return self.real(*args, progress=False, **kwargs)


@pytest.fixture
def gated(networks, photos, replace_function):
    explorer = open_explorer("occlusion", networks[0], photos)
    gate = Gate(explain.occlusion)
    replace_function("occlusion", lambda *args, **kwargs: gate(*args, **kwargs))
    return explorer, gate


def test_long_work_shows_its_progress_and_can_be_cancelled(gated):
    explorer, gate = gated
    before = explorer.image.value
    explorer.options["patch"].value += 1
    assert gate.reached.wait(20)
    assert (explorer.progress.value, explorer.progress.max) == (1, 10)
    assert explorer.cancel.layout.visibility == "visible"
    explorer.cancel.click()
    gate.go.set()
    explorer.wait()
    assert explorer.message.value.startswith("Cancelled")
    assert explorer.image.value != before  # no map beside controls that are not its own
    assert explorer.attribution is None
    assert explorer.cancel.layout.visibility == "hidden"


def test_what_was_abandoned_before_it_began_is_never_computed(gated):
    """One at a time: only the first and the last of seven changes cost anything."""
    explorer, gate = gated
    calls, real = [], gate.real
    gate.real = lambda *args, **kwargs: calls.append(kwargs) or real(*args, **kwargs)
    for _ in range(7):
        explorer.options["patch"].value += 1
        gate.reached.wait(20)
    gate.go.set()
    explorer.wait()
    [last] = calls
    assert last["patch"] == explorer.options["patch"].value


def test_the_picture_has_an_alternative_text(networks, photos):
    explorer = open_explorer("grad_cam", networks, photos)
    expected = f"wide. {explorer.attribution.description}"
    assert explorer.image.alt == expected
    explorer.photo.value = "tall"
    assert explorer.image.alt.startswith("tall. Grad-CAM")
    assert explorer.image.alt != expected


def test_a_control_moved_meanwhile_wins(gated):
    explorer, gate = gated
    explorer.options["patch"].value += 1
    assert gate.reached.wait(20)
    (first,) = explorer._threads
    explorer.options["patch"].value += 1
    gate.go.set()
    first.join(20)
    explorer.wait()
    patch = explorer.options["patch"].value
    assert explorer.attribution.parameters["patch"] == (patch, patch)


@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_a_start_is_shown_without_computing(name, networks, photos, replace_function):
    clf, photo = networks[0], photos["tall"]
    options = {
        "activations": {"layer": "pool"},
        "grad_cam": {"layer": "one"},
        "occlusion": {"patch": 9, "stride": 5},
        "smoothgrad": {"samples": 3},
        "integrated_gradients": {"steps": 20},
        "expected_gradients": {"layer": "one", "background": OTHERS, "samples": 9},
    }.get(name, {})
    start = explain.TECHNIQUES[name].call(clf, photo, target="ox", **options)
    if not controls_of(name).at_once:  # one layer is not all of them
        replace_function(name, not_to_be_called)
    explorer = open_explorer(name, networks, photos, start=start)
    assert explorer.photo.value == "tall"
    if start.layer:
        assert explorer.layer.value == start.layer
    assert explorer.attribution.values == pytest.approx(start.values, abs=1e-6)
    assert explorer.attribution.description == start.description
    assert html.escape(start.description) in explorer.message.value


def test_a_start_that_explains_the_probability_sets_the_score(networks, photos):
    start = explain.smoothgrad(
        networks[0], photos["tall"], samples=1, score="probability"
    )
    explorer = open_explorer("smoothgrad", networks, photos, start=start)
    assert explorer.attribution is start
    assert explorer.score.value == "probability"
    explorer.score.value = "logit"
    explorer.wait()
    assert explorer.attribution.score == "logit"


def test_old_results_make_room(networks, photos, monkeypatch):
    few = CONTROLS["smoothgrad"]._replace(results_kept=3)
    monkeypatch.setitem(CONTROLS, "smoothgrad", few)
    explorer = open_explorer("smoothgrad", networks[0], photos)
    for samples in (1, 2, 3, 4, 2, 5, 6):
        explorer.options["samples"].value = samples
        explorer.wait()
    kept = [dict(request.options)["samples"] for request in explorer.results]
    assert kept == [2, 5, 6]  # those used last


def test_its_text_holds_no_addresses_and_no_bytes(explorer):
    text = explorer._repr_mimebundle_()["text/plain"]
    title = explain.TECHNIQUES[explorer.technique.value].title
    assert title in text or "All techniques" in text
    assert "0x" not in text and "\\x" not in text


def test_bad_use_gets_a_sentence(networks, photos):
    with pytest.raises(ValueError, match=r"grad_cam.*, not 'magic'"):
        widgets.explore("magic", networks, photos)
    for bad in ({}, ["cat.jpg"], "cat.jpg"):
        with pytest.raises(ValueError, match="dict of name to image"):
            widgets.explore("grad_cam", networks, bad)
    for bad in ([], None, [networks[0].model]):
        with pytest.raises(ValueError, match="Give a Classifier"):
            widgets.explore("grad_cam", bad, photos)
        with pytest.raises(ValueError, match="Give a Classifier"):
            widgets.panel(bad, photos)


def test_one_photo_needs_no_name(networks, photos):
    explorer = widgets.explore("grad_cam", networks, photos["tall"])
    square = networks[0].crop(photos["tall"])[0]
    assert np.array_equal(explorer.attribution.image, square)


def test_two_networks_of_one_name_are_two_networks(photos):
    one, two = toy(1), toy(2, labels=LABELS[:3])
    two.name = one.name
    explorer = widgets.explore("grad_cam", [one, two], photos)
    assert [name for name, _ in explorer.network.options] == ["toy1 (1)", "toy1 (2)"]
    explorer.network.value = two
    alone = explain.grad_cam(two, photos["wide"], None, explorer.layer.value)
    assert explorer.attribution.values == pytest.approx(alone.values, abs=1e-7)
    assert {index for _, index in explorer.target.options} <= {0, 1, 2}


def test_the_chosen_class_stays_when_the_other_network_has_it(photos):
    """Not by its number: the other network has the classes in another order."""
    one, two = toy(1), toy(2, labels=[*reversed(LABELS)])
    few = toy(3, labels=LABELS[:2])
    panel = open_explorer("panel", [one, two, few], photos)
    last = LABELS[-1]
    panel.search.value = last
    panel.network.value = two
    assert two.classes[panel.target.value][1] == last
    panel.technique.value = "occlusion"
    assert two.classes[panel.target.value][1] == last
    panel.network.value = few  # does not know it: its own top class
    assert panel.target.value == few.top(photos[panel.photo.value])[0].index
    panel.wait()


def test_a_start_that_the_controls_cannot_show_is_refused(networks, photos, noise):
    clf, photo = networks[0], photos["tall"]

    def refused(start, sentence, technique="occlusion"):
        with pytest.raises(ValueError, match=sentence):
            widgets.explore(technique, networks, photos, start=start)

    refused(explain.grad_cam(clf, photo), "of occlusion, not Grad-CAM")
    refused("magic", "not str")
    refused(explain.occlusion(clf, noise(9, 9), patch=9), "not among the photos")
    refused(explain.occlusion(clf, photo, patch=(4, 8)), "not square")
    refused(explain.occlusion(toy(9), photo, patch=9), "made with toy9")
    refused(
        explain.integrated_gradients(
            clf, photo, baseline=np.zeros((32, 32, 3), np.uint8), steps=2
        ),
        "baseline of its own",
        "integrated_gradients",
    )


def test_a_start_beyond_the_sliders_ends_moves_them(networks, photos):
    photo = photos["tall"]
    start = explain.occlusion(networks[1], photo, patch=30, stride=30, fill=(9, 0, 0))
    explorer = open_explorer("occlusion", networks, photos, start=start)
    assert explorer.network.value is networks[1]
    options = explorer.options
    assert (options["patch"].value, options["fill"].value) == (30, (9, 0, 0))
    start = explain.smoothgrad(networks[0], photo, samples=130, noise=0.7, seed=5)
    explorer = open_explorer("smoothgrad", networks, photos, start=start)
    options = explorer.options
    assert (options["samples"].value, options["noise"].value) == (130, 0.7)
    options["samples"].value = 3
    explorer.wait()
    assert explorer.attribution.parameters["seed"] == 5


def test_what_has_no_control_stays_as_it_was_at_the_start(networks, photos):
    start = explain.integrated_gradients(
        networks[0], photos["tall"], baseline="noise", seed=4, tolerance=0.0003
    )
    explorer = open_explorer("integrated_gradients", networks, photos, start=start)
    assert explorer.attribution is start
    explorer.options["steps"].value = 64
    explorer.wait()
    parameters = explorer.attribution.parameters
    assert parameters == start.parameters | {"steps": 64}


def test_a_photo_that_cannot_be_read_is_said_and_nothing_else_is_shown(networks, noise):
    photos = {"good": noise(), "bad": noise() / 255}
    explorer = widgets.explore("grad_cam", networks, photos)
    explorer.photo.value = "bad"
    assert "expected uint8" in explorer.message.value
    assert explorer.attribution is None
    explorer.photo.value = "good"
    assert explorer.attribution is not None


@pytest.mark.parametrize("open_it", ["grad_cam", "activations", "panel"])
def test_a_network_without_maps_is_said(networks, photos, open_it):
    flat = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(2)]
    )
    flat = load_classifier(flat, verbose=False)
    explorer = open_explorer(open_it, [networks[0], flat], photos)
    explorer.network.value = flat
    explorer.wait()
    assert "no layer has learned maps" in explorer.message.value
    explorer.network.value = networks[0]
    explorer.wait()
    assert explorer.attribution.model == "toy1"
    explorer = open_explorer(open_it, flat, photos)
    assert "no layer has learned maps" in explorer.message.value


def test_the_picture_before_is_marked_while_the_next_one_is_computed(gated):
    explorer, gate = gated

    assert explorer.attribution is not None and not explorer.image.is_old
    explorer.options["patch"].value += 1
    assert explorer.image.is_old
    explorer.options["patch"].value -= 1  # known
    assert not explorer.image.is_old
    explorer.options["patch"].value += 2
    assert explorer.image.is_old
    gate.go.set()
    explorer.wait()
    assert not explorer.image.is_old


def test_back_to_what_is_known_while_something_runs(gated):
    explorer, gate = gated
    patch = explorer.options["patch"]
    first = patch.value
    patch.value = first + 1
    assert gate.reached.wait(20)
    patch.value = first
    assert explorer.cancel.layout.visibility == "hidden"
    gate.go.set()
    explorer.wait()
    assert explorer.attribution.parameters["patch"] == (first, first)


def test_controls_moved_while_it_works_do_not_mix_photos(
    networks, photos, replace_function
):
    """What is computed is what was asked for when it began."""
    explorer = open_explorer("smoothgrad", networks[0], photos)
    begun, go = threading.Event(), threading.Event()
    real = explain.smoothgrad

    def slow(*args, **kwargs):
        begun.set()
        assert go.wait(20)
        return real(*args, **kwargs | {"progress": False})

    replace_function("smoothgrad", slow)
    explorer.options["samples"].value = 2
    assert begun.wait(20)
    explorer.photo.value = "tall"
    go.set()
    explorer.wait()
    replace_function("smoothgrad", not_to_be_called)
    for name in ("wide", "tall"):
        explorer.photo.value = name
        explorer.wait()
        assert np.array_equal(
            explorer.attribution.image, networks[0].crop(photos[name])[0]
        )


def test_a_picture_that_is_late_does_not_replace_the_next(
    networks, photos, monkeypatch
):
    """A thread draws the old layer while the slider moves to the next one."""
    panel = open_explorer("panel", networks[0], photos)
    panel.layer.value = "one"
    expected = panel.image.value
    begun, go, real = threading.Event(), threading.Event(), plots.overlay_array

    def slow(attribution, opacity):
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert go.wait(20)
        return real(attribution, opacity)

    panel.technique.value = "gradients"
    panel.wait()
    panel.results.clear()
    panel.layer.value = "two"
    monkeypatch.setattr(plots, "overlay_array", slow)
    panel.technique.value = "grad_cam"
    assert begun.wait(20)
    threading.Timer(0.5, go.set).start()
    panel.layer.value = "one"
    go.wait(20)
    panel.wait()
    assert panel.attribution.layer == "one"
    assert panel.image.value == expected


def test_the_words_say_where_the_colours_end(networks, photos):
    explorer = widgets.explore("grad_cam", networks[0], photos)
    top = plots.colour_limit([explorer.attribution])
    assert explorer.attribution.map.any()
    assert f"Colours: 0–{top:.3g}" in explorer.message.value


def test_integrated_gradients_say_by_how_much_their_sum_misses(networks, photos):
    explorer = open_explorer("integrated_gradients", networks[0], photos)
    gap = explorer.attribution.checks["gap"]
    assert f"Its sum misses by {gap:.1%}." in explorer.message.value


def test_pictures_of_wide_networks_are_wide(photos):
    model = keras.Sequential(
        [
            keras.Input((16, 48, 3)),
            layers.Conv2D(16, 3),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    clf = load_classifier(model, preprocess=lambda x: x / 255, verbose=False)
    for technique in ("grad_cam", "activations"):
        explorer = widgets.explore(technique, clf, photos)
        height, width, _ = shown(explorer).shape
        assert width == pytest.approx(3 * height, abs=6)


def test_only_controls_that_the_technique_takes_are_displayed(explorer):
    names = [*explain.TECHNIQUES]
    for name in names if is_displayed(explorer.technique) else names[:0]:
        explorer.technique.value = name
        takes = explain.TECHNIQUES[name].takes
        assert is_displayed(explorer.layer) == takes("layer")
        assert is_displayed(explorer.score) == takes("score")
        assert is_displayed(explorer.target) == takes("target")
        assert is_displayed(explorer.search) == takes("target")
        explorer.wait()


def test_a_chosen_layer_stays_when_the_technique_has_it(networks, photos):
    panel = open_explorer("panel", networks[0], photos)
    defaults = {"grad_cam": "two", "expected_gradients": "pool", "activations": "two"}
    for name, layer in defaults.items():
        panel.technique.value = name
        assert panel.layer.value == layer
    panel.layer.value = "one"
    for name in explain.TECHNIQUES:
        panel.technique.value = name
        panel.wait()
        if name in OF_LAYERS:
            assert panel.attribution.layer == "one"
    panel.technique.value = "expected_gradients"
    panel.layer.value = "pixels"
    panel.technique.value = "grad_cam"
    assert panel.layer.value == "two"
    panel.wait()


# --- a photo of one's own -------------------------------------------------------------


def uploaded(name, content, size=None):
    """What the browser sends."""
    now = datetime.datetime(2026, 1, 1)
    about = {"name": name, "type": "image/png", "size": size or len(content)}
    return ({**about, "content": memoryview(content), "last_modified": now},)


def test_an_uploaded_photo_is_explained_under_its_name(explorer, noise):
    photo = noise(33, 52, 9)
    name = "<b>my</b> photo.png"
    explorer.upload.value = uploaded(name, plots.png(photo))
    explorer.wait()
    assert explorer.photo.value == name
    square = explorer.network.value.crop(photo)[0]
    assert np.array_equal(explorer.attribution.image, square)
    assert "<b>" not in explorer.message.value
    explorer.photo.value = "tall"
    explorer.wait()
    other = noise(33, 52, 10)  # another photo of that name takes its place
    explorer.upload.value = uploaded(name, plots.png(other))
    explorer.wait()
    square = explorer.network.value.crop(other)[0]
    assert np.array_equal(explorer.attribution.image, square)


def test_an_upload_that_is_no_picture_gets_a_sentence(explorer):
    before, attribution = explorer.photo.value, explorer.attribution
    explorer.upload.value = uploaded("notes.txt", b"not a picture")
    explorer.wait()
    assert explorer.message.value.startswith("notes.txt is ")
    assert "not a picture" in explorer.message.value
    assert explorer.photo.value == before
    assert explorer.attribution is attribution


def test_a_large_file_that_the_browser_cannot_read_gets_a_sentence(explorer):
    """It comes without its content: see frontend/upload.js."""
    explorer.upload.value = uploaded("scan.tiff", b"", size=31_000_000)
    explorer.wait()
    sentence = "scan.tiff has 31 MB and is not a picture that your browser can read."
    assert explorer.message.value.startswith(sentence)


def test_an_old_photo_that_is_still_computed_is_not_shown_as_the_new(gated, noise):
    """Two photos of one name, the second uploaded while the first is at work."""
    explorer, gate = gated
    one, two = noise(33, 52, 1), noise(33, 52, 2)
    explorer.upload.value = uploaded("x.png", plots.png(one))
    assert gate.reached.wait(20)
    explorer.upload.value = uploaded("x.png", plots.png(two))
    gate.go.set()
    explorer.wait()
    explorer.opacity.value = 0.3
    square = explorer.network.value.crop(two)[0]
    assert np.array_equal(explorer.attribution.image, square)


def test_an_error_is_not_overwritten_by_what_was_stopped(gated):
    explorer, gate = gated
    explorer.options["patch"].value += 1
    assert gate.reached.wait(20)
    explorer.upload.value = uploaded("notes.txt", b"not a picture")
    gate.go.set()
    explorer.wait()
    assert explorer.message.value.startswith("notes.txt is ")
    assert "not a picture" in explorer.message.value


def test_the_same_file_can_be_uploaded_twice(explorer, noise):
    content = plots.png(noise(33, 52, 9))
    for _ in range(2):
        explorer.photo.value = "tall"
        explorer.upload.value = uploaded("x.png", content)
        explorer.wait()
        assert explorer.photo.value == "x.png"
        assert explorer.upload.value == ()


# --- the panel ------------------------------------------------------------------------


def test_the_panel_gives_what_the_functions_give(networks, photos):
    """Every technique, at the last of its layers, for both scores."""
    panel = open_explorer("panel", networks, photos)
    for name, technique in explain.TECHNIQUES.items():
        panel.technique.value = name
        if technique.takes("layer"):
            panel.layer.value = panel.layer.options[-1][1]
        for score in ("logit", "probability"):
            panel.score.value = score
            panel.wait()
            options = technique.quick(32)
            options |= {"target": panel.target.value, "score": score}
            options |= {"layer": panel.layer.value, "background": OTHERS}
            alone = technique.call(networks[0], photos["wide"], **options)
            assert panel.attribution.technique == alone.technique == technique.title
            assert panel.attribution.values == pytest.approx(alone.values, abs=1e-6)
            assert panel.attribution.parameters == alone.parameters


def test_the_panel_through_every_option(networks, photos):
    """Photo × network × technique × layer × score, and each class once."""
    panel = open_explorer("panel", networks, photos)
    combinations, expected = set(), 0
    for photo in photos:
        for network in networks:
            panel.photo.value, panel.network.value = photo, network
            square = network.crop(photos[photo])[0]
            for name in explain.TECHNIQUES:
                panel.technique.value = name
                choices = [layer for _, layer in panel.layer.options]
                choices = choices if name in OF_LAYERS else [""]
                expected += len(choices)
                for layer in choices:
                    if layer:
                        panel.layer.value = layer
                    panel.wait()
                    result = panel.attribution
                    assert result is not None, panel.message.value
                    assert np.array_equal(result.image, square)
                    assert result.model == network.name
                    expected_layer = None if layer in ("", "pixels") else layer
                    assert result.layer == expected_layer
                    combinations.add(
                        (photo, network.name, result.technique, result.layer)
                    )
    assert len(combinations) == expected >= 2 * 2 * (4 + 3 + 3 + 4)
    for _, target in panel.target.options:
        panel.target.value = target
        panel.wait()
        assert panel.attribution.target == target


def test_a_technique_that_the_table_does_not_know_works_in_the_panel(
    networks, photos, monkeypatch
):
    """With its quick options, at every layer; and alone, with a start."""

    def shaded_cam(
        classifier, image, target=None, layer=None, *, depth=9, score="logit"
    ):
        result = explain.grad_cam(classifier, image, target, layer, score=score)
        fields = {"technique": "Shaded-CAM", "parameters": {"depth": depth}}
        return replace(result, values=result.values / depth, **fields)

    technique = explain.Technique(
        "shaded_cam", "Shaded-CAM", "?", lambda side: {"depth": 2}
    )
    vars(technique)["function"] = shaded_cam
    monkeypatch.setitem(explain.TECHNIQUES, "shaded_cam", technique)
    panel = open_explorer("panel", networks, photos)
    panel.technique.value = "shaded_cam"
    assert panel.layer.value == "two"
    for layer in ("one", "pool"):
        panel.layer.value = layer
        panel.wait()
        alone = shaded_cam(networks[0], photos["wide"], None, layer, depth=2)
        assert panel.attribution.values == pytest.approx(alone.values, abs=1e-7)
        assert panel.attribution.parameters == {"depth": 2}
    start = shaded_cam(networks[1], photos["tall"], "ox", "one", depth=5)
    explorer = open_explorer("shaded_cam", networks, photos, start=start)
    assert explorer.attribution is start
    explorer.layer.value = "two"
    explorer.wait()
    assert explorer.attribution.parameters == {"depth": 5}


def test_what_cannot_be_stopped_says_cancelled_and_shows_nothing(
    networks, photos, replace_function
):
    panel = open_explorer("panel", networks, photos)
    begun, go = threading.Event(), threading.Event()
    real = explain.gradients

    def slow(*args, **kwargs):
        begun.set()
        assert go.wait(20)
        return real(*args, **kwargs)

    replace_function("gradients", slow)
    panel.technique.value = "gradients"
    assert begun.wait(20)
    panel.cancel.click()
    go.set()
    panel.wait()
    assert "Cancelled" in panel.message.value
    assert panel.attribution is None


def test_without_a_background_the_courses_other_photos_are_one(networks, monkeypatch):
    photos = {"red": np.full((40, 40, 3), 200, np.uint8)}
    asked = []

    def background(count, size, *, exclude):
        asked.append((count, size, exclude))
        return OTHERS

    monkeypatch.setattr(widgets.samples, "background", background)
    explorer = widgets.explore("expected_gradients", networks, photos)
    explorer.wait()
    assert explorer.attribution.parameters["background"] == len(OTHERS)
    ((count, size, exclude),) = asked
    assert (count, size) == (20, (32, 32)) and exclude is photos["red"]


# --- the test of a map ----------------------------------------------------------------


def test_the_button_tests_the_map_that_is_shown(networks, photos):
    explorer = open_explorer("panel", networks, photos)
    explorer.technique.value = "integrated_gradients"
    explorer.wait()
    assert explorer.test_result.value == "" and not explorer.test.disabled
    explorer.test.click()
    explorer.wait()
    expected = metrics.evidence(networks[0], explorer.attribution, progress=False)
    assert explorer.test_result.value == html.escape(expected.description)
    assert explorer.cancel.layout.visibility == "hidden" and not explorer.test.disabled
    explorer.opacity.value = 0.3  # the same map
    assert explorer.test_result.value
    explorer.target.value = explorer.target.options[2][1]  # another map
    assert explorer.test_result.value == ""


@pytest.fixture
def gated_test(networks, photos, monkeypatch):
    explorer, gate = open_explorer("grad_cam", networks, photos), Gate(metrics.evidence)
    monkeypatch.setattr(metrics, "evidence", gate)
    explorer.test.click()
    assert gate.reached.wait(20)
    return explorer, gate


def test_a_test_shows_its_progress_and_can_be_cancelled(gated_test):
    explorer, gate = gated_test
    attribution, picture = explorer.attribution, explorer.image.value
    assert (explorer.progress.value, explorer.progress.max) == (1, 10)
    assert explorer.cancel.layout.visibility == "visible" and explorer.test.disabled
    explorer.cancel.click()
    gate.go.set()
    explorer.wait()
    assert explorer.test_result.value == "The test was cancelled."
    assert explorer.attribution is attribution and explorer.image.value == picture
    assert explorer.cancel.layout.visibility == "hidden" and not explorer.test.disabled


def test_a_test_of_a_map_that_is_gone_is_not_shown(gated_test):
    explorer, gate = gated_test
    explorer.photo.value = "tall"
    gate.go.set()
    explorer.wait()
    assert explorer.test_result.value == ""
    assert explorer.attribution.original_size == (70, 33)
    assert not explorer.test.disabled


def test_a_test_that_fails_says_so(networks, photos, monkeypatch):
    def failing(*args, **kwargs):
        raise MemoryError("no room for <this>")

    explorer = open_explorer("grad_cam", networks, photos)
    monkeypatch.setattr(metrics, "evidence", failing)
    explorer.test.click()
    explorer.wait()
    assert explorer.test_result.value == "no room for &lt;this&gt;"


def test_there_is_nothing_to_test_without_a_map(gated):
    explorer, gate = gated
    explorer.options["patch"].value += 1
    assert gate.reached.wait(20) and explorer.test.disabled
    explorer.cancel.click()
    gate.go.set()
    explorer.wait()
    assert explorer.attribution is None and explorer.test.disabled
    explorer.test.click()
    assert explorer.test_result.value == ""


# --- leaving --------------------------------------------------------------------------


LEAVING = """
    import sys
    sys.path.insert(0, {tests!r})
    import functools
    import time
    import numpy as np
    from toys import pooled_toy
    from xai_helpers import explain, widgets

    def endless(*args, progress, **kwargs):
        while True:
            progress(0, 1)
            time.sleep(0.01)

    technique = explain.TECHNIQUES["gradients"]
    function = functools.wraps(explain.smoothgrad)(endless)
    vars(technique)["function"] = function
    clf = pooled_toy(side=96)
    photos = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    slow = ("gradients", "smoothgrad", "integrated_gradients", "expected_gradients")
    at_work = [widgets.explore(name, clf, photos) for name in slow]
    at_work.append(widgets.panel(clf, photos))
    assert any(explorer._threads[0].is_alive() for explorer in at_work[1:])
    print("left")
"""


def test_leaving_while_a_panel_computes_ends_in_peace():
    """TensorFlow in a thread of a process that ends used to abort it.

    What has no end of its own is stopped as well.
    """
    tests = os.path.dirname(os.path.dirname(__file__))
    code = textwrap.dedent(LEAVING).format(tests=tests)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "left\n"), result.stderr
    assert "Traceback" not in result.stderr
