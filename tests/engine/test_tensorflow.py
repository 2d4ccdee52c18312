"""TensorFlow starts quietly, and shares graphics cards without rounding."""

import subprocess
import sys

from xai_helpers import tf
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
