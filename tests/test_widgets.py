"""Every control moved through its whole range; what is shown is what was computed."""

import datetime
import html
import io
import threading

import numpy as np
import pytest
from PIL import Image

from xai_helpers import explain, keras, load_classifier, plots, widgets

layers = keras.layers
LABELS = ["cat", "dog", "<b>cup</b>", "cup & saucer", "hen", "ox"]
EXPLORERS = {
    "grad_cam": widgets.explore_layers,
    "activations": lambda *a, **k: widgets.explore_layers(
        *a, **k, technique="activations"
    ),
    "occlusion": widgets.explore_occlusion,
    "smoothgrad": widgets.explore_smoothgrad,
    "path": widgets.explore_path,
    "all": lambda *a, **k: widgets.explore_all(
        *a, **k, background=np.zeros((2, 32, 32, 3), np.uint8)
    ),
    "shap": lambda *a, **k: widgets.explore_shap(
        *a, **k, background=np.zeros((2, 32, 32, 3), np.uint8)
    ),
}


def toy(seed, labels=LABELS):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, activation="relu", name="one"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(20, 3, activation="relu", name="two"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(labels)),
        ],
        name=f"toy{seed}",
    )
    return load_classifier(
        model, preprocess=lambda x: x / 255, labels=labels, verbose=False
    )


@pytest.fixture
def networks():
    return [toy(1), toy(2)]


@pytest.fixture
def photos(noise):
    return {"wide": noise(40, 60, 1), "tall": noise(70, 33, 2)}


@pytest.fixture(params=EXPLORERS)
def explorer(request, networks, photos):
    made = EXPLORERS[request.param](networks, photos)
    made.wait()
    return made


def shown(explorer):
    return np.array(Image.open(io.BytesIO(explorer.image.value)))


def positions(control):
    """The whole range of a slider (ends, middle, a step) or a choice."""
    if hasattr(control, "options"):
        return [value for _, value in control._options_full]
    low, high, step = control.min, control.max, control.step
    return [low, low + step, (low + high) // 2 or step, high]


CONTROLS = """photo network target opacity layer patch stride fill noise samples
baseline steps method score"""


def test_every_control_through_its_whole_range(explorer):
    moved = 0
    for name in CONTROLS.split():
        control = getattr(explorer, name, None)
        if control is None:
            continue
        for value in positions(control):
            control.value = value
            explorer.wait()
            picture = shown(explorer)
            assert max(picture.shape) == widgets.SIDE
            assert explorer.says.value.startswith(explorer.attribution.technique)
            assert explorer.attribution.model == explorer.network.value.name
            moved += 1
    assert moved >= 10


def test_what_is_shown_is_what_the_function_gives(networks, photos):
    explorer = widgets.explore_layers(networks[0], photos)
    explorer.photo.value, explorer.layer.value = "tall", "one"
    explorer.target.value = explorer.target.options[2][1]
    alone = explain.grad_cam(networks[0], photos["tall"], explorer.target.value, "one")
    assert explorer.attribution.values == pytest.approx(alone.values, abs=1e-7)
    expected = plots.png(plots.blend(alone, explorer.opacity.value), widgets.SIDE)
    expected = np.array(Image.open(io.BytesIO(expected)))
    assert np.abs(shown(explorer).astype(int) - expected).max() <= 2


def test_opacity_nothing_is_the_photo_and_all_is_the_map(networks, photos):
    explorer = widgets.explore_layers(networks[0], photos)
    explorer.opacity.value = 0
    square = networks[0].cut(photos["wide"])[0]
    assert np.array_equal(
        shown(explorer), np.array(Image.open(io.BytesIO(plots.png(square, 448))))
    )
    explorer.opacity.value = 1
    assert not np.array_equal(shown(explorer), square)


def test_a_class_is_found_by_its_name_and_the_words_are_escaped(networks, photos):
    explorer = widgets.explore_layers(networks[0], photos)
    least = networks[0].top(photos["wide"], 6)[-1]
    assert least.index not in [value for _, value in explorer.target.options]
    explorer.search.value = least.label
    assert explorer.target.value == least.index
    assert explorer.attribution.target == least.index
    explorer.search.value = "<b>cup</b>"
    assert "&lt;b&gt;cup" in explorer.says.value
    assert "<b>" not in explorer.says.value


def test_an_unknown_class_is_answered_by_a_sentence(networks, photos):
    explorer = widgets.explore_layers(networks[0], photos)
    before = explorer.image.value
    explorer.search.value = "catt"
    assert "No class" in explorer.says.value
    assert "Close labels: cat" in explorer.says.value
    assert explorer.image.value == before


def test_an_error_while_computing_is_a_sentence(networks, photos, monkeypatch):
    explorer = widgets.explore_occlusion(networks[0], photos)
    explorer.wait()

    def broken(*args, **kwargs):
        raise MemoryError("no room for <this>")

    monkeypatch.setattr(explain, "occlusion", broken)
    explorer.patch.value += 1
    explorer.wait()
    assert explorer.says.value == "no room for &lt;this&gt;"
    assert explorer.attribution is None
    assert (shown(explorer) == 255).all()
    assert explorer.cancel.layout.visibility == "hidden"


def test_layers_are_computed_once_for_photo_and_class(networks, photos, monkeypatch):
    calls = []
    real = explain.grad_cam

    def counted(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(explain, "grad_cam", counted)
    explorer = widgets.explore_layers(networks[0], photos)
    for value in ("one", "pool", "two", "one"):
        explorer.layer.value = value
    assert len(calls) == 1
    explorer.photo.value = "tall"
    explorer.photo.value = "wide"
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
def gated(networks, photos, monkeypatch):
    explorer = widgets.explore_occlusion(networks[0], photos)
    explorer.wait()
    gate = Gate(explain.occlusion)
    monkeypatch.setattr(explain, "occlusion", gate)
    return explorer, gate


def test_long_work_shows_its_progress_and_can_be_cancelled(gated):
    explorer, gate = gated
    before = explorer.image.value
    explorer.patch.value += 1
    assert gate.reached.wait(20)
    assert (explorer.progress.value, explorer.progress.max) == (1, 10)
    assert explorer.cancel.layout.visibility == "visible"
    explorer.cancel.click()
    gate.go.set()
    explorer.wait()
    assert explorer.says.value.startswith("Cancelled")
    assert explorer.image.value != before  # no map beside controls that are not its own
    assert explorer.attribution is None
    assert explorer.cancel.layout.visibility == "hidden"


def test_a_control_moved_meanwhile_wins(gated):
    explorer, gate = gated
    explorer.patch.value += 1
    assert gate.reached.wait(20)
    (first,) = explorer._threads
    explorer.patch.value += 1
    gate.go.set()
    first.join(20)
    explorer.wait()
    patch = explorer.patch.value
    assert explorer.attribution.parameters["patch"] == (patch, patch)


@pytest.mark.parametrize("name", sorted(set(EXPLORERS) - {"all"}))
def test_a_start_is_shown_without_computing(name, networks, photos, monkeypatch):
    clf, photo = networks[0], photos["tall"]
    others = np.zeros((2, 32, 32, 3), np.uint8)
    start = {
        "grad_cam": lambda: explain.grad_cam(clf, photo, "ox", "one"),
        "activations": lambda: explain.activations(clf, photo, "pool"),
        "occlusion": lambda: explain.occlusion(clf, photo, "ox", patch=9, stride=5),
        "smoothgrad": lambda: explain.smoothgrad(clf, photo, "ox", samples=3),
        "path": lambda: explain.integrated_gradients(clf, photo, "ox", steps=20),
        "shap": lambda: explain.shap_gradients(clf, photo, others, "ox", layer="one"),
    }[name]()
    for technique in ("occlusion", "smoothgrad", "shap_gradients"):
        monkeypatch.setattr(explain, technique, None)
    explorer = EXPLORERS[name](networks, photos, start=start)
    assert explorer.photo.value == "tall"
    assert explorer.attribution.values == pytest.approx(start.values, abs=1e-6)
    assert explorer.attribution.text == start.text
    assert html.escape(start.text) in explorer.says.value


def test_old_results_make_room(networks, photos):
    explorer = widgets.explore_smoothgrad(networks[0], photos)
    explorer.keeps = 3
    for samples in range(1, 7):
        explorer.samples.value = samples
        explorer.wait()
    assert len(explorer.results) == 3


def test_its_text_holds_no_addresses_and_no_bytes(explorer):
    text = explorer._repr_mimebundle_()["text/plain"]
    assert explorer.technique in text
    assert "0x" not in text and "\\x" not in text


def test_bad_use_gets_a_sentence(networks, photos):
    with pytest.raises(ValueError, match=r"grad_cam or activations"):
        widgets.explore_layers(networks, photos, technique="magic")
    for bad in ({}, ["cat.jpg"], "cat.jpg"):
        with pytest.raises(ValueError, match="dict of name to image"):
            widgets.explore_layers(networks, bad)
    for bad in ([], None, [networks[0].network]):
        with pytest.raises(ValueError, match="Give a Classifier"):
            widgets.explore_layers(bad, photos)


def test_two_networks_of_one_name_are_two_networks(photos):
    one, two = toy(1), toy(2, labels=LABELS[:3])
    two.name = one.name
    explorer = widgets.explore_layers([one, two], photos)
    assert [name for name, _ in explorer.network.options] == ["toy1 (1)", "toy1 (2)"]
    explorer.network.value = two
    alone = explain.grad_cam(two, photos["wide"], None, explorer.layer.value)
    assert explorer.attribution.values == pytest.approx(alone.values, abs=1e-7)
    assert {index for _, index in explorer.target.options} <= {0, 1, 2}


def test_a_start_that_the_controls_cannot_show_is_refused(networks, photos, noise):
    clf, photo = networks[0], photos["tall"]

    def refused(start, said, make=widgets.explore_occlusion):
        with pytest.raises(ValueError, match=said):
            make(networks, photos, start=start)

    refused(explain.grad_cam(clf, photo), "of occlusion, not Grad-CAM")
    refused("magic", "not str")
    refused(explain.occlusion(clf, noise(9, 9), patch=9), "not among the photos")
    refused(explain.occlusion(clf, photo, patch=(4, 8)), "not square")
    refused(explain.occlusion(toy(9), photo, patch=9), "made with toy9")
    refused(
        explain.smoothgrad(clf, photo, samples=1, score="probability"),
        "explains the probability",
        widgets.explore_smoothgrad,
    )


def test_a_start_beyond_the_sliders_ends_moves_them(networks, photos):
    photo = photos["tall"]
    start = explain.occlusion(networks[1], photo, patch=30, stride=30, fill=(9, 0, 0))
    explorer = widgets.explore_occlusion(networks, photos, start=start)
    assert explorer.network.value is networks[1]
    assert (explorer.patch.value, explorer.fill.value) == (30, (9, 0, 0))
    start = explain.smoothgrad(networks[0], photo, samples=130, noise=0.7, seed=5)
    explorer = widgets.explore_smoothgrad(networks, photos, start=start)
    assert (explorer.samples.value, explorer.noise.value) == (130, 0.7)
    explorer.samples.value = 3
    explorer.wait()
    assert explorer.attribution.parameters["seed"] == 5


def test_a_photo_that_cannot_be_read_is_said_and_nothing_else_is_shown(networks, noise):
    photos = {"good": noise(), "bad": noise() / 255}
    explorer = widgets.explore_layers(networks, photos)
    explorer.photo.value = "bad"
    assert "wanted uint8" in explorer.says.value
    assert explorer.attribution is None
    explorer.photo.value = "good"
    assert explorer.attribution is not None


def test_a_network_without_maps_is_said(networks, photos):
    flat = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(2)]
    )
    flat = load_classifier(flat, verbose=False)
    explorer = widgets.explore_layers([networks[0], flat], photos)
    explorer.network.value = flat
    assert "no layer with maps" in explorer.says.value
    explorer.network.value = networks[0]
    assert explorer.attribution.model == "toy1"


def test_back_to_what_is_known_while_something_runs(gated):
    explorer, gate = gated
    known = explorer.patch.value
    explorer.patch.value = known + 1
    assert gate.reached.wait(20)
    explorer.patch.value = known
    assert explorer.cancel.layout.visibility == "hidden"
    gate.go.set()
    explorer.wait()
    assert explorer.attribution.parameters["patch"] == (known, known)


def test_controls_moved_while_it_works_do_not_mix_photos(networks, photos, monkeypatch):
    """What is computed is what was asked for when it began."""
    explorer = widgets.explore_smoothgrad(networks[0], photos)
    explorer.wait()
    begun, go = threading.Event(), threading.Event()
    real = explain.smoothgrad

    def slow(*args, **kwargs):
        begun.set()
        assert go.wait(20)
        return real(*args, **kwargs | {"progress": False})

    monkeypatch.setattr(explain, "smoothgrad", slow)
    explorer.samples.value = 2
    assert begun.wait(20)
    explorer.photo.value = "tall"
    go.set()
    explorer.wait()
    monkeypatch.setattr(explain, "smoothgrad", None)
    for name in ("wide", "tall"):
        explorer.photo.value = name
        assert np.array_equal(
            explorer.attribution.image, networks[0].cut(photos[name])[0]
        )


def test_the_words_say_where_the_colours_end(networks, photos):
    explorer = widgets.explore_layers(networks[0], photos)
    height, width, channels = networks[0].layer(explorer.layer.value).shape
    assert f"{height} × {width} cells, {channels} channels" in explorer.says.value
    top = plots.limit([explorer.attribution])
    assert explorer.attribution.map.any()
    assert f"Colours: 0–{top:.3g}" in explorer.says.value


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
        explorer = widgets.explore_layers(clf, photos, technique=technique)
        height, width, _ = shown(explorer).shape
        assert width == pytest.approx(3 * height, abs=6)


# --- a photo of one's own -------------------------------------------------------------


def uploaded(name, content):
    """What the browser sends."""
    now = datetime.datetime(2026, 1, 1)
    about = {"name": name, "type": "image/png", "size": len(content)}
    return ({**about, "content": memoryview(content), "last_modified": now},)


def test_an_uploaded_photo_is_explained_under_its_name(explorer, noise):
    photo = noise(33, 52, 9)
    name = "<b>my</b> photo.png"
    explorer.upload.value = uploaded(name, plots.png(photo))
    explorer.wait()
    assert explorer.photo.value == name
    square = explorer.network.value.cut(photo)[0]
    assert np.array_equal(explorer.attribution.image, square)
    assert "<b>" not in explorer.says.value
    explorer.photo.value = "tall"
    explorer.wait()
    other = noise(33, 52, 10)  # another photo of that name takes its place
    explorer.upload.value = uploaded(name, plots.png(other))
    explorer.wait()
    square = explorer.network.value.cut(other)[0]
    assert np.array_equal(explorer.attribution.image, square)


def test_an_upload_that_is_no_picture_gets_a_sentence(explorer):
    before = explorer.photo.value
    explorer.upload.value = uploaded("notes.txt", b"not a picture")
    explorer.wait()
    assert "notes.txt is not a picture" in explorer.says.value
    assert explorer.photo.value == before


# --- the panel ------------------------------------------------------------------------


def test_the_panel_gives_what_the_functions_give(networks, photos):
    """Every technique, at the last of its layers, for both scores."""
    others = np.zeros((2, 32, 32, 3), np.uint8)
    panel = widgets.explore_all(networks, photos, background=others)
    for name, function in explain.TECHNIQUES.items():
        panel.method.value = name
        panel.layer.value = panel.layer.options[-1][1]
        for score in ("logit", "probability"):
            panel.score.value = score
            panel.wait()
            options = dict(widgets.QUICK.get(name, {}))
            if name != "activations":
                options |= {"target": panel.target.value, "score": score}
            if name in panel.AT_LAYERS:
                options["layer"] = panel.layer.value
            if name == "occlusion":
                options["patch"] = round(0.2 * 32)
            if name == "shap_gradients":
                options["background"] = others
            alone = function(networks[0], photos["wide"], **options)
            assert panel.attribution.technique == alone.technique
            assert panel.attribution.values == pytest.approx(alone.values, abs=1e-6)
            assert panel.layer.disabled == (name not in panel.AT_LAYERS)


def test_the_panel_through_every_option(networks, photos):
    """Photo × network × technique × layer × score, and each class once."""
    others = np.zeros((2, 32, 32, 3), np.uint8)
    panel = widgets.explore_all(networks, photos, background=others)
    seen = set()
    for photo in photos:
        for network in networks:
            panel.photo.value, panel.network.value = photo, network
            for name in explain.TECHNIQUES:
                panel.method.value = name
                for _, layer in panel.layer.options:
                    panel.layer.value = layer
                    panel.wait()
                    assert panel.attribution is not None, panel.says.value
                    found = panel.attribution
                    shape = np.asarray(networks[0].cut(photos[photo])[0])
                    assert np.array_equal(found.image, shape)
                    assert found.model == network.name
                    if layer not in ("all", "pixels"):
                        assert found.layer == layer
                    seen.add((photo, network.name, found.technique, found.layer))
    assert len(seen) == 2 * 2 * (4 + 3 + 3 + 4)
    for _, target in panel.target.options:
        panel.target.value = target
        panel.wait()
        assert panel.attribution.target == target


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
    square = explorer.network.value.cut(two)[0]
    assert np.array_equal(explorer.attribution.image, square)


def test_an_error_is_not_overwritten_by_what_was_stopped(gated):
    explorer, gate = gated
    explorer.patch.value += 1
    assert gate.reached.wait(20)
    explorer.upload.value = uploaded("notes.txt", b"not a picture")
    gate.go.set()
    explorer.wait()
    assert "notes.txt is not a picture" in explorer.says.value


def test_the_same_file_can_be_uploaded_twice(explorer, noise):
    content = plots.png(noise(33, 52, 9))
    for _ in range(2):
        explorer.photo.value = "tall"
        explorer.upload.value = uploaded("x.png", content)
        explorer.wait()
        assert explorer.photo.value == "x.png"


def test_what_cannot_be_stopped_says_cancelled_and_shows_nothing(
    networks, photos, monkeypatch
):
    panel = widgets.explore_all(networks, photos)
    panel.wait()
    begun, go = threading.Event(), threading.Event()
    real = explain.TECHNIQUES["gradients"]

    def slow(*args, **kwargs):
        begun.set()
        assert go.wait(20)
        return real(*args, **kwargs)

    monkeypatch.setitem(explain.TECHNIQUES, "gradients", slow)
    panel.method.value = "gradients"
    assert begun.wait(20)
    panel.cancel.click()
    go.set()
    panel.wait()
    assert "Cancelled" in panel.says.value
    assert panel.attribution is None
