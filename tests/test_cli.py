"""The command `xai`, in this process on a small model, and once as it is installed."""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from xai_helpers import cli, explain, keras, load_classifier, load_image, plots, weights

layers = keras.layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with its labels, and a photo that is not square."""
    place = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    small().save(place / "small.keras")
    (place / "labels.txt").write_text("red\nblue sky\n\ngreen\n", "utf-8")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "photo.png")
    return place


def small(*extra):
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            layers.Rescaling(1 / 255),
            *extra,
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )


@pytest.fixture
def xai(folder, capsys):
    def run(command, *arguments, model=("--labels", folder / "labels.txt")):
        own = ["--model", folder / "small.keras", *model] if model else []
        try:
            code = cli.main([str(a) for a in (command, *arguments, *own)])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def clf(folder):
    return load_classifier(
        folder / "small.keras", labels=["red", "blue sky", "green"], verbose=False
    )


def test_predict_says_what_top_says(xai, folder, clf):
    code, out, err = xai("predict", folder / "photo.png")
    assert code == 0
    expected = clf.top(load_image(folder / "photo.png"), 3)
    assert out.splitlines() == [str(one) for one in expected]
    assert "own weights" in err
    code, out, _ = xai("predict", folder / "photo.png", folder / "photo.png", "-k", 1)
    assert len(out.splitlines()) == 4  # each photo with its name


def test_layers_lists_those_of_the_model(xai, clf):
    code, out, _ = xai("layers")
    assert code == 0
    assert out.splitlines() == [str(layer) for layer in clf.layers()]


@pytest.mark.parametrize("technique", explain.TECHNIQUES)
def test_every_technique_writes_its_map_in_the_photos_own_size(
    xai, folder, clf, technique, tmp_path
):
    quick = {
        "occlusion": ["--patch", 9, "--stride", 5],
        "smoothgrad": ["--samples", 2, "--seed", 3],
        "integrated_gradients": ["--steps", 4, "--baseline", "grey"],
        "shap_gradients": ["--samples", 3],
        "grad_cam": ["--layer", "conv"],
    }.get(technique, [])
    if technique != "activations":
        quick = [*quick, "--target", "blue sky"]
    out = [tmp_path / "map.png", tmp_path / "map.npy", tmp_path / "map.jpg"]
    figure = tmp_path / "figure.png"
    code, said, err = xai(
        "explain", folder / "photo.png", "--technique", technique, *quick,
        "--out", *out, "--figure", figure,
    )  # fmt: skip
    assert code == 0, err
    values = np.load(out[1], allow_pickle=False)
    photo = load_image(folder / "photo.png")
    assert values.shape == (40, 64) and values.dtype == np.float32
    assert values.any() and not values[:, :12].any() and not values[:, 52:].any()
    picture = load_image(out[0])
    assert picture.shape == photo.shape == load_image(out[2]).shape
    assert figure.stat().st_size > 5000
    assert ("blue sky" in said) == (technique != "activations")
    options = {"target": "blue sky", "layer": "conv"}
    if technique == "grad_cam":
        found = explain.grad_cam(clf, photo, **options)
        assert values == pytest.approx(found.on_photo(), abs=1e-6)
        assert np.array_equal(picture, plots.on_photo(found, photo))
        assert said.strip() == found.text


def test_the_list_of_techniques_is_the_packages():
    """It stands in `cli.py` once more, so that --help need not load TensorFlow."""
    assert set(cli.TECHNIQUES) == set(explain.TECHNIQUES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "nowhere.jpg"], "There is no file nowhere.jpg"),
        (["explain", "PHOTO", "--target", "bleu sky"], "Close labels: blue sky"),
        (["explain", "PHOTO", "--layer", "7"], "Usable: 1 rescaling, 2 conv"),
        (["explain", "PHOTO", "--patch", "7"], "--patch means nothing to grad_cam"),
        (["explain", "PHOTO", "--out", "nowhere/map.png"], "no folder nowhere"),
        (["explain", "PHOTO", "--preprocess", "best"], "preprocess is vgg16"),
        (["explain", "FOLDER"], "is a folder"),
        (["predict", "PHOTO", "-k", "0"], "k is 1 to 3"),
        (["explain", "PHOTO", "--opacity", "2"], "--opacity is 0 to 1"),
        (["explain", "PHOTO", "--target", "²"], "No class '²'"),
        (["layers", "--weights", "imagenet"], "yours has its own"),
        (["predict", "MODEL"], "not a picture"),
    ],
)
def test_errors_are_one_line_on_stderr(xai, folder, arguments, said):
    names = {"PHOTO": "photo.png", "MODEL": "small.keras", "FOLDER": "."}
    arguments = [folder / names[a] if a in names else a for a in arguments]
    code, out, err = xai(*arguments)
    assert code == 1
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert len([one for one in err.splitlines() if "own weights" not in one]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["explain"],
        ["explain", "a.png", "--technique", "magic"],
        ["explain", "a.png", "--out", "map.gif"],
        ["explain", "a.png", "--figure", "map.npy"],
        ["paint", "a.png"],
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


# --- files of strangers ---------------------------------------------------------------


def refused(path, said):
    with pytest.raises(weights.WeightsError, match=said):
        load_classifier(path)


def nested():
    """A functional model and a Sequential one, each inside the next."""
    pixels = keras.Input((24, 24, 3), name="inner_pixels")
    inner = keras.Model(pixels, layers.Conv2D(3, 1, name="in")(pixels), name="inner")
    return keras.Sequential([keras.Input((24, 24, 3)), inner], name="middle")


@pytest.mark.parametrize("extra", ["augmented", "nested"])
def test_a_saved_model_answers_as_before(folder, tmp_path, extra):
    keras.utils.set_random_seed(3)
    augmentation = [layers.RandomFlip(), layers.RandomRotation(0.1)]
    model = small(*(augmentation if extra == "augmented" else [nested()]))
    model.compile("adam", "categorical_crossentropy")
    model.save(tmp_path / "own.keras")
    image = load_image(folder / "photo.png")
    before = load_classifier(model, verbose=False).logits(image)
    after = load_classifier(tmp_path / "own.keras", verbose=False).logits(image)
    assert after == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("loss", ["function", "own"])
def test_how_a_model_was_trained_does_not_matter(tmp_path, loss):
    """The loss is not loaded, so it need not be part of Keras."""
    known = keras.losses.categorical_crossentropy
    model = small()
    model.compile("adam", known if loss == "function" else lambda t, p: known(t, p))
    model.save(tmp_path / "own.keras")
    assert load_classifier(tmp_path / "own.keras", verbose=False).classes


def test_a_file_with_a_lambda_layer_is_refused(tmp_path):
    small(layers.Lambda(lambda x: 2 * x)).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "holds a Lambda, which is code")


def test_a_lambda_that_hides_is_found(tmp_path):
    """In a nested model, and as the activation of a layer."""
    inner = keras.Sequential(
        [keras.Input((24, 24, 3)), layers.Lambda(lambda x: 2 * x)], name="inner"
    )
    small(inner).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "Lambda")
    small(layers.Conv2D(3, 1, activation=lambda x: 2 * x)).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "Keras cannot load")  # its safe mode


def test_a_layer_of_somebodys_own_is_refused(tmp_path):
    @keras.saving.register_keras_serializable("somebody")
    class Mine(layers.Layer):
        def call(self, x):
            return x

    small(Mine()).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "'Mine' that is not part of Keras")


def changed(source, target, name, content):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.namelist():
            new.writestr(item, content if item == name else old.read(item))


def test_a_description_that_names_other_modules_is_refused(
    folder, tmp_path, monkeypatch
):
    """Nothing of what it names is imported."""
    evil = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (tmp_path / "keras_evil.py").write_text(evil)
    monkeypatch.syspath_prepend(tmp_path)
    with zipfile.ZipFile(folder / "small.keras") as archive:
        config = archive.read("config.json").decode()
    assert json.loads(config)["module"] == "keras"
    for module in ("os", "keras_evil", "keras.src.legacy/../x"):
        other = re.sub(r'"module": "keras.layers"', f'"module": "{module}"', config)
        changed(folder / "small.keras", tmp_path / "own.keras", "config.json", other)
        refused(tmp_path / "own.keras", "not part of Keras|Keras cannot load")
    assert not (tmp_path / "keras_evil.ran").exists()
    other = config.replace('"class_name": "Rescaling"', '"class_name": "layers.Lambda"')
    changed(folder / "small.keras", tmp_path / "own.keras", "config.json", other)
    refused(tmp_path / "own.keras", "holds a Lambda")


def test_damaged_and_foreign_files_are_refused(folder, tmp_path):
    (tmp_path / "own.keras").write_bytes(b"no archive")
    refused(tmp_path / "own.keras", "damaged")
    whole = (folder / "small.keras").read_bytes()
    (tmp_path / "half.keras").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.keras", "damaged")
    source = folder / "small.keras"
    for broken in (b"{", b"[" * 200_000, b"[]"):
        changed(source, tmp_path / "own.keras", "config.json", broken)
        refused(tmp_path / "own.keras", "damaged")
    changed(source, tmp_path / "own.keras", "model.weights.h5", b"no weights")
    refused(tmp_path / "own.keras", "Keras cannot load")
    (tmp_path / "own.h5").write_bytes(b"")
    refused(tmp_path / "own.h5", "not a .keras file")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_classifier(tmp_path / "nowhere.keras")


def test_digits_are_a_label_if_there_is_one(folder, tmp_path, capsys):
    (tmp_path / "digits.txt").write_text("3\n2\n1\n")
    own = [
        "--model",
        str(folder / "small.keras"),
        "--labels",
        str(tmp_path / "digits.txt"),
    ]
    photo = str(folder / "photo.png")
    for asked, label in (("2", "2"), ("0", "3")):  # there is no label 0: an index
        assert cli.main(["explain", photo, "--target", asked, *own]) == 0
        assert f"· {label} (logit" in capsys.readouterr().out


def test_the_file_written_has_the_name_asked_for(xai, folder, tmp_path):
    code, _, _ = xai("explain", folder / "photo.png", "--out", tmp_path / "M.NPY")
    assert code == 0
    assert np.load(tmp_path / "M.NPY", allow_pickle=False).shape == (40, 64)
