"""The command `xai`, in this process on a small model, and once as it is installed."""

import base64
import inspect
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from toys import photo, saveable

from xai_helpers import (
    cli,
    explain,
    keras,
    load_classifier,
    load_image,
    metrics,
    plots,
    tf,
)
from xai_helpers.course import samples
from xai_helpers.engine import precision, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with its labels, and a photo that is not square."""
    folder = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    saveable().save(folder / "small.keras")
    (folder / "labels.txt").write_text("red\nblue sky\n\ngreen\n", "utf-8")
    Image.fromarray(photo((40, 64))).save(folder / "photo.png")
    return folder


@pytest.fixture
def xai(folder, capsys):
    def run(command, *arguments, model=("--labels", folder / "labels.txt")):
        own = ["--model", folder / "small.keras", *model] if model else []
        try:
            code = cli.main([str(a) for a in (command, *arguments, *own)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def classifier(folder):
    return load_classifier(
        folder / "small.keras", labels=["red", "blue sky", "green"], verbose=False
    )


def test_predict_prints_what_top_returns(xai, folder, classifier):
    code, out, err = xai("predict", folder / "photo.png")
    assert code == 0
    expected = classifier.top(load_image(folder / "photo.png"), 3)
    assert out.splitlines() == [str(prediction) for prediction in expected]
    assert "own weights" in err
    code, out, _ = xai("predict", folder / "photo.png", folder / "photo.png", "-k", 1)
    assert len(out.splitlines()) == 4  # each photo with its name


def test_layers_lists_those_of_the_model(xai, classifier):
    code, out, _ = xai("layers")
    assert code == 0
    assert out.splitlines() == [str(layer) for layer in classifier.layers()]


QUICK = {  # other values than the defaults, so that they show
    "occlusion": ["--patch", 9, "--stride", 5, "--no-incremental"],
    "smoothgrad": ["--samples", 2, "--seed", 3],
    "integrated_gradients": ["--steps", 4, "--baseline", "grey", "--tolerance", "none"],
    "expected_gradients": ["--samples", 3],
    "grad_cam": ["--layer", "conv"],
}


@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_every_technique_writes_its_map_in_the_photos_own_size(
    xai, folder, classifier, name, tmp_path
):
    technique = explain.TECHNIQUES[name]
    by_default = technique.quick(24).items()
    quick = [a for option, value in by_default for a in (f"--{option}", value)]
    quick = QUICK.get(name, quick)
    if technique.takes("target"):
        quick = [*quick, "--target", "blue sky"]
    out = [tmp_path / "map.png", tmp_path / "map.npy", tmp_path / "map.jpg"]
    figure = tmp_path / "figure.png"
    code, output, err = xai(
        "explain", folder / "photo.png", "--technique", name, *quick,
        "--out", *out, "--figure", figure,
    )  # fmt: skip
    assert code == 0, err
    values = np.load(out[1], allow_pickle=False)
    image = load_image(folder / "photo.png")
    assert values.shape == (40, 64) and values.dtype == np.float32
    assert values.any() and not values[:, :12].any() and not values[:, 52:].any()
    picture = load_image(out[0])
    assert picture.shape == image.shape == load_image(out[2]).shape
    assert figure.stat().st_size > 5000
    assert ("blue sky" in output) == technique.takes("target")
    if name == "grad_cam":
        attribution = explain.grad_cam(
            classifier, image, target="blue sky", layer="conv"
        )
        assert values == pytest.approx(attribution.heatmap_on_original(), abs=1e-6)
        assert np.array_equal(picture, plots.overlay_on_original(attribution, image))
        assert output.strip() == attribution.description


# --- options from the signatures ------------------------------------------------------


@pytest.fixture
def explain_help(capsys):
    """``xai explain --help``, its lines joined."""

    def read():
        with pytest.raises(SystemExit):
            cli.main(["explain", "--help"])
        return " ".join(capsys.readouterr().out.split())

    return read


@pytest.mark.parametrize("name", explain.TECHNIQUES)
def test_every_parameter_is_an_option_that_names_the_technique(name, explain_help):
    text = explain_help().partition("parameters of the techniques:")[2]
    text = text.rpartition(" Example: ")[0].strip()
    entries = {e.split()[0].strip(","): e for e in re.split(r" (?=--(?!no-))", text)}
    parameters = inspect.signature(explain.TECHNIQUES[name].function).parameters
    for parameter in parameters.keys() - cli.NOT_OPTIONS:
        entry = entries[f"--{parameter.replace('_', '-')}"]
        assert name in entry.rpartition("[")[2], entry


@pytest.fixture
def inverted(monkeypatch):
    """A technique that is registered just now; the options that it was called with."""
    received = {}

    def inverted(
        classifier,
        image,
        background,
        target=None,
        *,
        layer=None,
        how_many: int = 3,
        share: float | None = 0.5,
        size: "int | tuple[int, int] | None" = None,
        colour=127,
        exact: bool = True,
        mode: str = "fast",
        progress=None,
    ):
        """Minus the gradient.

        Parameters
        ----------
        share : float or None, at most 100 %
            How much of it: ``one`` or none. Whoever wants more words reads the docs.
        """
        received.update(locals())
        return explain.gradients(classifier, image, target)

    technique = explain.Technique("inverted", "Inverted", "What if not?")
    technique.__dict__["function"] = inverted  # else it would be imported from a file
    monkeypatch.setitem(explain.TECHNIQUES, "inverted", technique)
    return received


def test_a_new_technique_appears_by_itself(xai, folder, inverted, explain_help):
    image = folder / "photo.png"
    code, _, err = xai("explain", image, "--technique", "inverted", "--target", "green")
    assert code == 0, err
    received = dict(inverted)
    photos = received.pop("background")
    expected = samples.background(20, (24, 24), exclude=[load_image(image)])
    assert np.array_equal(photos, expected)
    assert received["target"] == "green"
    for name, default in {
        "layer": None, "how_many": 3, "share": 0.5, "size": None, "colour": 127,
        "exact": True, "mode": "fast", "progress": None,
    }.items():  # fmt: skip
        assert received[name] == default
    code, _, err = xai(
        "explain", image, "--technique", "inverted", "--layer", "2", "--how-many", "5",
        "--share", "none", "--size", "7,9", "--colour", "10", "--no-exact",
        "--mode", "none",
    )  # fmt: skip
    assert code == 0, err
    for name, value in {
        "layer": 2, "how_many": 5, "share": None, "size": (7, 9), "colour": 10,
        "exact": False, "mode": "none",
    }.items():  # fmt: skip
        assert inverted[name] == value and type(inverted[name]) is type(value)
    text = explain_help()
    assert (
        "--share SHARE float or None, at most 100 %. How much of it: one or none "
        "[inverted 0.5]" in text
    )
    assert "--exact, --no-exact" in text and "--background" not in text
    code, _, err = xai("explain", image, "--how-many", "5")
    assert code == 1 and "--how-many means nothing to grad_cam" in err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["layers", "-h"], ["weights"]]
)
def test_help_and_weights_need_no_tensorflow(arguments, tmp_path):
    code = f"""
import sys
from xai_helpers import cli
try:
    cli.main({arguments!r})
except SystemExit:
    pass
assert "tensorflow" not in sys.modules and "matplotlib" not in sys.modules
"""
    environment = os.environ | {"XAI_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=-1)
    assert done.returncode == 0 and done.stdout


def test_weights_are_listed(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("XAI_WEIGHTS", raising=False)
    assert cli.main(["weights"]) == 0
    output = capsys.readouterr().out
    assert cli.main(["weights", "show"]) == 0
    assert capsys.readouterr().out == output
    rows = [line.split()[:3] for line in output.splitlines()]
    assert rows == [
        [name, kind, "absent"]
        for name in weights.RECORDS
        for kind in weights.WEIGHT_KINDS
    ]
    for line in output.splitlines():
        assert ("used by default" in line) == ("portable" in line)
    with pytest.raises(SystemExit) as stop:
        cli.main(["weights", "fetch", "--kind", "best"])
    assert stop.value.code == 2


# --- own models ---------------------------------------------------------------------


def own_model(path, size=None, activation=None, rescales=True):
    """A model with three outputs, its weights known by a seed, in a file."""
    keras.utils.set_random_seed(4)
    steps = [keras.layers.Rescaling(1 / 255)] if rescales else []
    steps += [keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D()]
    head = keras.layers.Dense(3, activation=activation)
    model = keras.Sequential([keras.Input((size, size, 3)), *steps, head])
    model.save(path)
    return model


@pytest.fixture
def run(capsys):
    """The command with these arguments: code, standard output, lines of errors."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.mark.parametrize(("size", "shape"), [("20", (20, 20)), ("12,30", (12, 30))])
def test_a_model_of_any_size_is_told_one(run, folder, tmp_path, size, shape):
    own_model(tmp_path / "any.keras")
    code, out, errors = run("layers", "--model", tmp_path / "any.keras")
    assert code == 1 and out == ""
    assert errors == [
        "error: The model takes images of any size; say at which it was trained: "
        "--input-size HEIGHT,WIDTH."
    ]
    own = ["--model", tmp_path / "any.keras", "--input-size", size]
    code, out, errors = run("layers", *own)
    assert code == 0, errors
    rows, columns = shape[0] - 2, shape[1] - 2  # what a 3 × 3 kernel leaves
    assert f"{rows} × {columns}" in out.splitlines()[-1]


@pytest.mark.real
def test_a_named_network_takes_another_size(run, folder, tmp_path):
    map_file = tmp_path / "map.npy"
    sized = ["--weights", "portable", "--input-size", "80,110"]
    code, _, errors = run("explain", folder / "photo.png", "--out", map_file, *sized)
    assert code == 0, errors
    assert np.load(map_file).shape == (40, 64)
    code, out, _ = run("layers", *sized)
    assert out.splitlines()[-1].endswith("3 × 4 × 2048")
    code, _, errors = run("layers", *sized[:-1], "70")
    assert code == 1 and "from 71 pixels a side up" in errors[0]


def test_samples_are_a_number_or_auto(xai, folder):
    smoothgrad = ["explain", folder / "photo.png", "--technique", "smoothgrad"]
    code, out, err = xai(*smoothgrad, "--samples", "auto", "--tolerance", 0.9)
    assert code == 0 and "SmoothGrad" in out, err
    code, _, err = xai(*smoothgrad, "--samples", "lots")
    assert code == 2 and "'lots' is no number" in err


def test_the_precision_can_be_said(run, tmp_path, monkeypatch):
    own_model(tmp_path / "own.keras", size=24)
    own = ["--model", tmp_path / "own.keras", "--precision", "bfloat16"]
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    code, _, errors = run("layers", *own)
    assert code == 0 and errors[0].endswith("; computed in bfloat16")
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    code, out, errors = run("layers", *own)
    assert code == 1 and out == "" and len(errors) == 1
    assert errors[0].endswith("leave out --precision bfloat16.")


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_what_logits_stand_for_can_be_said(run, folder, tmp_path, output):
    model = own_model(tmp_path / "own.keras", size=40)
    photo_file = tmp_path / "photo.png"
    pixels = photo((40, 40), seed=5)
    Image.fromarray(pixels).save(photo_file)
    z = np.float64(model(pixels[None].astype("float32"), training=False))[0]
    expected = {"softmax": np.exp(z) / np.exp(z).sum(), "sigmoid": 1 / (1 + np.exp(-z))}
    own = ["--model", tmp_path / "own.keras", "--output", output]
    code, out, errors = run("predict", photo_file, *own)
    assert code == 0, errors
    printed = {}
    for line in out.splitlines():
        label, _, percent = line.rpartition(" ")
        printed[label.split("%")[0].strip()] = int(percent.strip("%"))
    assert printed == {
        f"class {k}": round(100 * p) for k, p in enumerate(expected[output])
    }
    assert output in errors[0] and "output=" not in errors[0]


def test_an_output_that_the_model_contradicts_is_named_as_an_option(run, tmp_path):
    own_model(tmp_path / "own.keras", size=24, activation="softmax")
    own = ["--model", tmp_path / "own.keras", "--output", "sigmoid"]
    code, _, errors = run("layers", *own)
    assert code == 1
    assert errors[-1].startswith("error: --output sigmoid, but")


def test_a_warning_is_one_line_in_the_words_of_the_command(run, tmp_path):
    own_model(tmp_path / "own.keras", size=24, rescales=False)
    code, out, errors = run("layers", "--model", tmp_path / "own.keras")
    assert code == 0 and len(errors) == 2
    assert errors[1].startswith("warning: ") and "--preprocess unit" in errors[1]
    own = ["--model", tmp_path / "own.keras", "--preprocess", "unit"]
    code, again, errors = run("layers", *own)
    assert again == out and len(errors) == 1


@pytest.mark.parametrize(
    "message, expected",
    [
        ("say input_size=(height, width).", "say --input-size HEIGHT,WIDTH."),
        (
            "output='softmax' or\n output=\"sigmoid\"",
            "--output softmax or --output sigmoid",
        ),
        ("as output= says", "as --output says"),
        ("weights='portable' takes any", "--weights portable takes any"),
        (
            "preprocess is vgg16; its output is one",
            "preprocess is vgg16; its output is one",
        ),
    ],
)
def test_messages_name_options(message, expected, monkeypatch, capsys):
    def refused(args):
        raise ValueError(message)

    monkeypatch.setattr(cli, "_predict", refused)
    assert cli.main(["predict", "a.png"]) == 1
    assert capsys.readouterr().err == f"error: {expected}\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfred\r\nblue sky\r\n\r\ngreen\r\n",
        "red\r\nblue sky\r\ngreen\r\n".encode("utf-16"),
    ],
)
def test_labels_as_windows_writes_them(xai, folder, tmp_path, content):
    expected = xai("predict", folder / "photo.png")
    (tmp_path / "labels.txt").write_bytes(content)
    labels = ("--labels", tmp_path / "labels.txt")
    assert xai("predict", folder / "photo.png", model=labels) == expected


def test_labels_in_another_encoding_are_refused(xai, folder, tmp_path):
    (tmp_path / "labels.txt").write_bytes("rot\ngrün\nblau\n".encode("latin-1"))
    labels = ("--labels", tmp_path / "labels.txt")
    code, out, err = xai("predict", folder / "photo.png", model=labels)
    assert code == 1 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "labels.txt" in err and "save it as UTF-8" in err


def test_an_address_that_is_the_photo_is_not_printed_whole(xai, folder):
    content = base64.b64encode((folder / "photo.png").read_bytes()).decode()
    address = f"data:image/png;base64,{content}"
    assert len(address) > 5000
    code, out, err = xai("predict", folder / "photo.png", address)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[:1] == [str(folder / "photo.png")] and len(lines) == 8
    assert lines[1:4] == lines[5:8]
    assert lines[4].startswith("data:image/png;base64,") and len(lines[4]) < 90
    code, _, err = xai("predict", address[:4000])
    assert code == 1 and len(err) < 400 and "truncated" in err


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "nowhere.jpg"], "There is no file nowhere.jpg"),
        (["explain", "PHOTO", "--target", "bleu sky"], "Close labels: blue sky"),
        (["explain", "PHOTO", "--layer", "7"], "Usable: 1 rescaling, 2 conv"),
        (["explain", "PHOTO", "--patch", "7"], "--patch means nothing to grad_cam"),
        (["explain", "PHOTO", "--out", "nowhere/map.png"], "no folder nowhere"),
        (["explain", "PHOTO", "--preprocess", "best"], "preprocess is vgg16"),
        (["explain", "FOLDER"], "is a folder"),
        (["predict", "PHOTO", "-k", "0"], "k is a whole number from 1 up, not 0"),
        (["explain", "PHOTO", "--opacity", "2"], "--opacity is 0 to 1"),
        (["explain", "PHOTO", "--score", "sum"], "score is"),
        (["explain", "PHOTO", "--target", "²"], "No class '²'"),
        (["layers", "--weights", "imagenet"], "yours has its own"),
        (["predict", "MODEL"], "not a picture"),
    ],
)
def test_errors_are_one_line_on_stderr(xai, folder, arguments, message):
    names = {"PHOTO": "photo.png", "MODEL": "small.keras", "FOLDER": "."}
    arguments = [folder / names[a] if a in names else a for a in arguments]
    code, out, err = xai(*arguments)
    assert code == 1
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and message in line
    assert [text for text in err.splitlines() if "own weights" not in text] == [line]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["explain"],
        ["explain", "a.png", "--technique", "magic"],
        ["explain", "a.png", "--steps", "many"],
        ["explain", "a.png", "--steps", "("],
        ["explain", "a.png", "--out", "map.gif"],
        ["explain", "a.png", "--figure", "map.npy"],
        ["paint", "a.png"],
        ["layers", "--input-size", "many"],
        ["layers", "--input-size", "0"],
        ["layers", "--input-size", "32,"],
        ["layers", "--input-size", "1,2,3"],
        ["layers", "--input-size", "2.5"],
        ["layers", "--input-size", "none"],
        ["layers", "--output", "relu"],
    ],
)
def test_a_command_line_that_cannot_be_understood_is_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_installed_command_and_a_closed_pipe(folder):
    """As a user has it; `head` may stop reading."""
    command = shutil.which("xai", path=str(cli.Path(sys.executable).parent))
    assert command, "install the package: pip install -e ."
    done = subprocess.run([command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "explain" in done.stdout
    reader = [sys.executable, "-c", "import os; os.close(0)"]
    own = ["layers", "--model", str(folder / "small.keras")]
    layers = subprocess.Popen([command, *own], stdout=-1, stderr=-1)
    subprocess.run(reader, stdin=layers.stdout)
    layers.stdout.close()
    assert "rror" not in layers.stderr.read().decode()
    assert layers.wait() == 0


def test_digits_are_a_label_if_there_is_one(folder, tmp_path, capsys):
    (tmp_path / "digits.txt").write_text("3\n2\n1\n")
    own = ["--model", folder / "small.keras", "--labels", tmp_path / "digits.txt"]
    own = [str(argument) for argument in own]
    path = str(folder / "photo.png")
    for asked, label in (("2", "2"), ("0", "3")):  # there is no label 0: an index
        assert cli.main(["explain", path, "--target", asked, *own]) == 0
        assert f"· {label} (logit" in capsys.readouterr().out


def test_the_file_written_has_the_name_asked_for(xai, folder, tmp_path):
    code, _, _ = xai("explain", folder / "photo.png", "--out", tmp_path / "M.NPY")
    assert code == 0
    assert np.load(tmp_path / "M.NPY", allow_pickle=False).shape == (40, 64)


@pytest.mark.parametrize("technique", ["grad_cam", "activations"])
def test_evidence_prints_the_sentence_of_the_test(xai, folder, classifier, technique):
    photo = load_image(folder / "photo.png")
    attribution = explain.TECHNIQUES[technique].call(classifier, photo)
    arguments = "explain", folder / "photo.png", "--technique", technique
    code, out, _ = xai(*arguments, "--evidence")
    expected = metrics.evidence(classifier, attribution).description
    assert code == 0
    assert out.splitlines() == [attribution.description, expected]
    assert xai(*arguments)[1].splitlines() == [attribution.description]
