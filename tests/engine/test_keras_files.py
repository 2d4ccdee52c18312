"""Model files of strangers: loaded without running their code, or refused."""

import json
import os
import re
import zipfile

import numpy as np
import pytest
from toys import photo, saveable

from xai_helpers import keras, load_classifier
from xai_helpers.engine import keras_files
from xai_helpers.engine.keras_files import compiled_loss, load_keras_file, loss_name
from xai_helpers.engine.weights import WeightsError

layers = keras.layers


@pytest.fixture
def saved(tmp_path):
    """A harmless model in a file."""
    keras.utils.set_random_seed(0)
    saveable().save(tmp_path / "small.keras")
    return tmp_path / "small.keras"


def refused(path, message):
    with pytest.raises(WeightsError, match=message):
        load_keras_file(path)


def nested():
    """A functional model and a Sequential one, each inside the next."""
    pixels = keras.Input((24, 24, 3), name="inner_pixels")
    inner = keras.Model(pixels, layers.Conv2D(3, 1, name="in")(pixels), name="inner")
    return keras.Sequential([keras.Input((24, 24, 3)), inner], name="middle")


@pytest.mark.parametrize("extra", ["augmented", "nested"])
def test_a_saved_model_answers_as_before(tmp_path, extra):
    keras.utils.set_random_seed(3)
    augmentation = [layers.RandomFlip(), layers.RandomRotation(0.1)]
    model = saveable(*(augmentation if extra == "augmented" else [nested()]))
    model.compile("adam", "categorical_crossentropy")
    model.save(tmp_path / "own.keras")
    image = photo((40, 64))
    before = load_classifier(model, verbose=False).logits(image)
    after = load_classifier(tmp_path / "own.keras", verbose=False).logits(image)
    assert after == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("loss", ["function", "own"])
def test_how_a_model_was_trained_does_not_matter(tmp_path, loss):
    """The loss is not loaded, so it need not be part of Keras."""
    crossentropy = keras.losses.categorical_crossentropy
    model = saveable()
    own = lambda t, p: crossentropy(t, p)  # noqa: E731
    model.compile("adam", crossentropy if loss == "function" else own)
    model.save(tmp_path / "own.keras")
    assert load_classifier(tmp_path / "own.keras", verbose=False).classes


def test_a_file_with_a_lambda_layer_is_refused(tmp_path):
    saveable(layers.Lambda(lambda x: 2 * x)).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "holds a lambda, which is code")


def test_a_hidden_lambda_is_refused(tmp_path):
    """In a nested model, and as the activation of a layer."""
    inner = keras.Sequential(
        [keras.Input((24, 24, 3)), layers.Lambda(lambda x: 2 * x)], name="inner"
    )
    saveable(inner).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "Lambda")
    saveable(layers.Conv2D(3, 1, activation=lambda x: 2 * x)).save(
        tmp_path / "own.keras"
    )
    refused(tmp_path / "own.keras", "Keras cannot load")  # its safe mode


def test_a_layer_of_somebodys_own_is_refused(tmp_path):
    @keras.saving.register_keras_serializable("somebody")
    class Mine(layers.Layer):
        def call(self, x):
            return x

    saveable(Mine()).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "'Mine' that is not part of Keras")


def changed(source, target, name, content):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.namelist():
            new.writestr(item, content if item == name else old.read(item))


def test_a_description_that_names_other_modules_is_refused(
    saved, tmp_path, monkeypatch
):
    """Nothing of what it names is imported."""
    evil = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (tmp_path / "keras_evil.py").write_text(evil)
    monkeypatch.syspath_prepend(tmp_path)
    with zipfile.ZipFile(saved) as archive:
        config = archive.read("config.json").decode()
    assert json.loads(config)["module"] == "keras"
    for module in ("os", "keras_evil", "keras.src.legacy/../x"):
        other = re.sub(r'"module": "keras.layers"', f'"module": "{module}"', config)
        changed(saved, tmp_path / "own.keras", "config.json", other)
        refused(tmp_path / "own.keras", "not part of Keras|Keras cannot load")
    assert not (tmp_path / "keras_evil.ran").exists()
    other = config.replace('"class_name": "Rescaling"', '"class_name": "layers.Lambda"')
    changed(saved, tmp_path / "own.keras", "config.json", other)
    refused(tmp_path / "own.keras", "holds a Lambda")


def test_damaged_and_foreign_files_are_refused(saved, tmp_path):
    (tmp_path / "own.keras").write_bytes(b"no archive")
    refused(tmp_path / "own.keras", "damaged")
    whole = saved.read_bytes()
    (tmp_path / "half.keras").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.keras", "damaged")
    for broken in (b"{", b"[" * 200_000, b"[]"):
        changed(saved, tmp_path / "own.keras", "config.json", broken)
        refused(tmp_path / "own.keras", "damaged")
    changed(saved, tmp_path / "own.keras", "model.weights.h5", b"no weights")
    refused(tmp_path / "own.keras", "Keras cannot load")
    (tmp_path / "own.h5").write_bytes(b"")
    refused(tmp_path / "own.h5", "not a .keras file")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_keras_file(tmp_path / "nowhere.keras")


def test_a_description_that_is_too_long_is_refused(saved, monkeypatch):
    monkeypatch.setattr(keras_files, "MAX_CONFIG", 100)
    refused(saved, "damaged.*too long")


# --- names of files and folders -------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("name", ["M.KERAS", "m.Keras", "two.keras.KERAS"])
def test_the_case_of_the_ending_does_not_matter(saved, name, links, monkeypatch):
    """Keras itself wants lower case."""
    if not links:  # as on Windows
        monkeypatch.setattr("pathlib.Path.symlink_to", lambda *a: os.symlink("", ""))
    x = photo((24, 24))[None].astype("float32")
    expected = np.asarray(keras.models.load_model(saved)(x, training=False))
    saved.rename(saved.parent / name)
    loaded = load_keras_file(saved.parent / name)
    assert np.array_equal(np.asarray(loaded(x, training=False)), expected)
    monkeypatch.chdir(saved.parent)  # the temporary link is in another folder
    assert load_keras_file(name).output_shape == (None, 3)
    assert (saved.parent / name).exists()


def test_an_upper_case_name_is_as_safe(tmp_path):
    saveable(layers.Lambda(lambda x: 2 * x)).save(tmp_path / "own.keras")
    (tmp_path / "own.keras").rename(tmp_path / "OWN.KERAS")
    refused(tmp_path / "OWN.KERAS", "holds a lambda, which is code")


@pytest.mark.parametrize("name", ["folder", "folder.v2", "folder.keras"])
def test_a_saved_model_folder_is_refused_with_the_way_out(tmp_path, name):
    saveable().export(tmp_path / name, verbose=False)
    for path in (tmp_path / name, f"{tmp_path / name}/"):
        refused(
            path,
            rf"^{re.escape(name)} is a SavedModel, a compiled program without layers "
            r"to look into; load the original model, save it with "
            r"model\.save\('name\.keras'\) and give that\.$",
        )


def test_another_folder_is_refused(tmp_path):
    (tmp_path / "photos.keras").mkdir()
    refused(tmp_path / "photos.keras", r"photos\.keras is a folder, not a \.keras file")


# --- the loss -------------------------------------------------------------------------


def own_loss(y, p):
    return keras.ops.mean((y - p) ** 2)


LOSSES = {  # what is given to compile, and the name of that loss's function in Keras
    "bce": "binary_crossentropy",
    "BCE": "binary_crossentropy",
    "binary_crossentropy": "binary_crossentropy",
    "BinaryCrossentropy": "binary_crossentropy",
    keras.losses.BinaryCrossentropy(from_logits=True): "binary_crossentropy",
    keras.losses.binary_crossentropy: "binary_crossentropy",
    keras.losses.CategoricalFocalCrossentropy(): "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy": "sparse_categorical_crossentropy",
    "mse": "mean_squared_error",
    own_loss: "own_loss",
    None: "",
}


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("container", ["alone", "list", "tuple", "dict"])
def test_the_loss_is_read_from_the_file_and_from_the_model(tmp_path, loss, container):
    forms = {"alone": loss, "list": [loss], "tuple": (loss,), "dict": {"out": loss}}
    forms |= {"list": None, "tuple": None, "dict": None} if loss is None else {}
    model = saveable()
    model.compile("adam", forms[container])
    model.save(tmp_path / "own.keras")
    assert compiled_loss(tmp_path / "own.keras") == LOSSES[loss]
    assert compiled_loss(str(tmp_path / "own.keras")) == LOSSES[loss]
    assert loss_name(model.loss) == LOSSES[loss]


def test_where_the_loss_is_not_known(saved, tmp_path):
    assert compiled_loss(saved) == ""  # never compiled
    model = saveable()
    model.compile("adam", lambda t, p: own_loss(t, p))
    model.save(tmp_path / "own.keras")
    assert compiled_loss(tmp_path / "own.keras") == loss_name(model.loss) == ""
    x = keras.Input((8, 8, 3))
    flat = layers.Flatten()(x)
    heads = {name: layers.Dense(2, name=name)(flat) for name in ("a", "b")}
    two = keras.Model(x, heads)
    for losses, expected in (
        ({"a": "bce", "b": "mse"}, ""),
        ({"a": "bce", "b": "binary_crossentropy"}, "binary_crossentropy"),
    ):
        two.compile("adam", losses)
        two.save(tmp_path / "two.keras")
        assert compiled_loss(tmp_path / "two.keras") == expected


def test_a_damaged_file_has_no_loss(saved, tmp_path, monkeypatch):
    assert compiled_loss(tmp_path / "nowhere.keras") == ""
    (tmp_path / "own.keras").write_bytes(b"no archive")
    assert compiled_loss(tmp_path / "own.keras") == ""
    for text in (
        b"{", b"[" * 200_000, b"[]", b"{}", b'{"compile_config": 3}',
        b'{"compile_config": {"loss": 3.5}}',
        b'{"compile_config": {"loss": {"class_name": 7}}}',
        b'{"compile_config": {"loss": {"class_name": "function"}}}',
        b'{"compile_config": {"loss": {"class_name": "LossFunctionWrapper"}}}',
        b'{"compile_config": {"loss": ' + b"[" * 900 + b"]" * 900 + b"}}",
    ):  # fmt: skip
        changed(saved, tmp_path / "own.keras", "config.json", text)
        assert compiled_loss(tmp_path / "own.keras") in ("", "LossFunctionWrapper")
    model = saveable()
    model.compile("adam", "bce")
    model.save(tmp_path / "own.keras")
    monkeypatch.setattr(keras_files, "MAX_CONFIG", 100)
    assert compiled_loss(tmp_path / "own.keras") == ""


def test_reading_the_loss_imports_and_calls_nothing(saved, tmp_path, monkeypatch):
    evil = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (tmp_path / "keras_evil.py").write_text(evil)
    monkeypatch.syspath_prepend(tmp_path)
    loss = {"module": "keras_evil", "class_name": "Mine", "config": {}}
    text = json.dumps({"compile_config": {"loss": loss}})
    changed(saved, tmp_path / "own.keras", "config.json", text)
    assert compiled_loss(tmp_path / "own.keras") == "Mine"
    assert not (tmp_path / "keras_evil.ran").exists()
