"""Model files of strangers: loaded without running their code, or refused."""

import json
import re
import zipfile

import pytest
from toys import photo, saveable

from xai_helpers import keras, load_classifier
from xai_helpers.engine import keras_files
from xai_helpers.engine.keras_files import load_keras_file
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
