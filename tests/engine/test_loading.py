"""Loading says what it loaded, gives the published networks, and refuses nonsense."""

import numpy as np
import pytest
from toys import photo

from xai_helpers import keras, load_classifier, weights


def test_load_classifier_refuses_nonsense():
    with pytest.raises(ValueError, match="vgg16, xception"):
        load_classifier("resnet50")
    with pytest.raises(ValueError, match=r"keras\.Model"):
        load_classifier(3)
    with pytest.raises(ValueError, match="belong to 'vgg16'"):
        load_classifier("vgg16", labels=["a"])
    with pytest.raises(ValueError, match="imagenet or portable"):
        load_classifier("vgg16", weights="best")


@pytest.mark.real
def test_loading_says_which_weights_in_one_line(capsys):
    classifier = load_classifier("xception")
    description = classifier.weights_description
    assert capsys.readouterr().out == f"Xception: {description}\n"
    assert description.split()[0] in ("portable", "imagenet")
    assert description in repr(classifier)


@pytest.mark.real
def test_published_weights_are_loaded_through_keras(monkeypatch, tmp_path):
    """The whole path of weights="imagenet", but for the download itself."""
    keras.utils.set_random_seed(3)
    published = keras.applications.Xception(weights=None)
    stored = tmp_path / "published.weights.h5"
    published.save_weights(stored)
    asked = []

    def get_file(name, *args, file_hash, **kwargs):
        asked.append((name, file_hash))
        return str(stored)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    ours = load_classifier("xception", weights="imagenet", verbose=False)
    record = weights.RECORDS["xception"]
    assert asked == [(record.keras_file, record.keras_md5)]
    assert ours.weights_description.startswith("imagenet")
    image = photo((299, 299))
    own = published(keras.applications.xception.preprocess_input(image[None] * 1.0))
    assert np.allclose(ours.probabilities(image), own, atol=1e-6)


@pytest.mark.real
def test_a_second_load_has_the_same_layer_names():
    """Keras counts on: ``add_6`` would be ``add_18``, and cells that ran would fail."""
    keras.layers.Conv2D(3, 3), keras.layers.Add()
    expected = {"add", *(f"add_{k}" for k in range(1, 12))}
    expected |= {"conv2d", "conv2d_1", "conv2d_2", "conv2d_3"}
    for _ in range(2):
        clf = load_classifier("xception", weights="portable", verbose=False)
        names = [layer.name for layer in clf.model.layers]
        assert expected <= set(names)
        assert len(set(names)) == len(names)
        assert names.index("add") < names.index("add_6") < names.index("add_11")
        assert (
            clf.model.get_layer("add_6") is clf.model.layers[clf.layer("add_6").index]
        )
        maps = clf.submodel_to("add_6")(clf.preprocess(photo()))
        assert maps.shape == (1, 19, 19, 728)
