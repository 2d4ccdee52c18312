"""The checks of notebook 11: the right answer passes, typical mistakes get a hint."""

import numpy as np
import pytest
from verdicts import hints_of

from xai_helpers import check, explain, keras, load_classifier, sample_image

CASES = ("xception", "unit", "none")


@pytest.fixture(scope="module")
def own_model(xception):
    """Makes Xception a model of one's own, behind a layer that changes the colours."""

    def make(preprocess="xception", colours=None):
        network = xception.model
        if colours is not None:
            rgb = keras.Input((299, 299, 3))
            grey = colours(rgb)
            network = keras.Model(rgb, network(keras.ops.concatenate([grey] * 3, -1)))
        options = {"output": "softmax", "verbose": False}
        classes = xception.classes
        return load_classifier(
            network, labels=classes, preprocess=preprocess, **options
        )

    return make


def test_the_share_in_the_crop():
    share = 192 / 342
    assert check("11-1", share)
    hints = hints_of("11-1", [1 - share, 1 / share, 56, 299**2 / (342 * 192), 1.0, 0.6])
    assert "cut off" in hints[0]
    assert "scaling" in hints[3]


def test_the_wrong_range(xception, cat, own_model):
    index = xception.class_index("Egyptian_cat")
    models = [own_model(preprocess) for preprocess in CASES]
    right = [model.probabilities(cat)[0, index] for model in models]
    assert check("11-2", right)
    own_first = [model.probabilities(cat).max() for model in models]
    logits = [model.logits(cat)[0, index] for model in models]
    wrong = [right[::-1], logits, own_first, [right[0]] * 3, [0.1, 0.2, 0.3]]
    hints = hints_of("11-2", wrong)
    assert "logits" in hints[1]
    assert "first class" in hints[2]


def test_the_rows_outside_the_crop(xception):
    crop = explain.grad_cam(xception, sample_image("officer")).crop
    rows = np.arange(600)
    right = (rows < crop.top) | (rows >= crop.top + crop.height)
    assert check("11-3", right)
    above, below = rows < crop.top, rows >= crop.top + crop.height
    late = above | (rows > crop.top + crop.height)
    from_photo = above | (rows >= crop.height)
    hints = hints_of("11-3", [~right, above, below, late, from_photo, right[:299]])
    assert "received" in hints[0]
    assert "first row below" in hints[3]
    assert "299" in hints[5]


def test_the_claim():
    assert check("11-4", "a")
    hints_of("11-4", ["b", "c", "z"])


def test_grey_probabilities(cat, own_model):
    luma = keras.ops.image.rgb_to_grayscale
    model = own_model(colours=luma)
    right = model.probabilities(cat)
    assert check("11-5", right[0])
    wrong = [
        right,
        own_model().probabilities(cat)[0],
        own_model(colours=lambda x: keras.ops.mean(x, -1, True)).probabilities(cat)[0],
        own_model(colours=lambda x: x[..., 1:2]).probabilities(cat)[0],
        model.logits(cat)[0],
        own_model("none", luma).probabilities(cat)[0],
        own_model("unit", luma).probabilities(cat)[0],
    ]
    hints = hints_of("11-5", wrong)
    assert "batch axis" in hints[0]
    assert "equal weights" in hints[2]
    assert "-1 to 1" in hints[5]
