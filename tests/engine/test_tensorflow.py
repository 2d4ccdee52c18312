"""TensorFlow starts quietly, and shares graphics cards without rounding."""

import subprocess
import sys

import numpy as np
import pytest
from toys import layers, photo

from xai_helpers import explain, keras, load_classifier, tf
from xai_helpers.engine import tensorflow


def test_a_graphics_card_is_shared_and_calculates_as_exactly(monkeypatch):
    cards, is_rounded = [], tf.config.experimental.tensor_float_32_execution_enabled

    def set_growth(gpu, on):
        cards.append((gpu, on))
        raise RuntimeError("already in use")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind, "2nd"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_growth)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    tensorflow.share_gpus()
    assert cards == [("GPU", True), ("2nd", True)]
    assert not is_rounded()


def test_tensorflow_starts_without_a_line_on_stderr():
    code = "from xai_helpers import tf; tf.linalg.matmul(tf.eye(3), tf.eye(3))"
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stderr == ""


# --- half precision -------------------------------------------------------------------


@pytest.fixture
def half_model():
    """Two classes in float16 under a mean; the first logit's kernel is set later."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((32, 32, 3))
        x = layers.Rescaling(1 / 255)(inputs)
        maps = layers.Conv2D(8, 3, activation="relu", name="conv")(x)
        z = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(maps))
        model = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(z))
    finally:
        keras.config.set_dtype_policy("float32")
    return model


@pytest.mark.parametrize("gap", [2, 6, 10, 14])
def test_a_sure_network_in_half_precision_has_the_map_that_is_derived(half_model, gap):
    """d p / d A = p (1 − p) (w₁ − w₂) / cells, by hand; down to 1 − p = 8e-7."""
    image = photo((32, 32))
    x = image[None].astype("float32")
    conv = half_model.get_layer("conv").output
    maps = np.asarray(keras.Model(half_model.input, conv)(x), "float64")[0]
    mean = maps.mean((0, 1))
    kernel = np.stack([mean * gap / (mean @ mean), 0 * mean], 1)
    half_model.get_layer("logits").set_weights([kernel, np.zeros(2)])
    clf = load_classifier(half_model, verbose=False)
    assert clf.logits(image).dtype == np.float32
    z = clf.logits(image)[0].astype("float64")
    p = 1 / (1 + np.exp(z[1] - z[0]))
    weights = np.float16(kernel[:, 0]).astype("float64")
    expected = p * (1 - p) * np.maximum(maps @ weights, 0) / maps[..., 0].size
    attribution = explain.grad_cam(clf, image, 0, "conv", score="probability")
    error = np.linalg.norm(attribution.values - expected) / np.linalg.norm(expected)
    assert error < 0.08 and not attribution.notes  # 1 − p itself holds 6e-8 / 8e-7
    pixels = explain.gradients(clf, image, 0, score="probability").values
    assert (pixels == 0).mean() < 0.05


def test_a_probability_that_32_bits_cannot_tell_from_1_is_no_lack_of_evidence(
    half_model,
):
    half_model.get_layer("logits").set_weights(
        [np.zeros((8, 2)), np.array([60.0, 0.0])]
    )
    clf = load_classifier(half_model, verbose=False)
    image = photo((32, 32))
    notes = explain.grad_cam(clf, image, 0, score="probability").notes
    assert any("the probability is 1" in n and "score='logit'" in n for n in notes)
    assert not any("No positive evidence" in note for note in notes)
    notes = explain.grad_cam(clf, image, 0).notes  # here there is none, indeed
    assert any("No positive evidence" in note for note in notes)


def test_where_the_enlarged_slope_overflows_the_small_one_serves():
    """A factor of 3,000 in float16: 4,096 times that is beyond 65,504."""
    x = tf.constant([[0.5, 2.0], [0.25, -1.0]])

    @tf.function
    def run(x):
        logits = tf.cast(tf.cast(x, tf.float16) * 3000, tf.float32)
        y = 0.001 * logits[:, 0]
        return tensorflow.gradients_of(y, [x], logits)[0]

    expected = np.array([[3.0, 0], [3.0, 0]])
    assert run(x).numpy() == pytest.approx(expected, rel=1e-3)


def test_the_gradient_of_what_float16_rounds_to_zero_is_kept():
    """Without the enlargement, 1e-9 is 0 in float16."""
    x = tf.constant([[0.5, 2.0]])

    @tf.function
    def run(x):
        logits = tf.cast(tf.cast(x, tf.float16) * 2, tf.float32)
        y = 1e-9 * logits[:, 1]
        lost = tf.gradients(y, [x])[0]
        return lost, tensorflow.gradients_of(y, [x], logits)[0]

    lost, kept = run(x)
    assert not lost.numpy().any()
    assert kept.numpy() == pytest.approx(np.array([[0, 2e-9]]), rel=1e-3)
