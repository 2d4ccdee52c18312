"""TensorFlow and Keras, imported once and without their C++ log lines.

They depend on the machine, and the notebook check compares stderr. Two are written
whatever `TF_CPP_MIN_LOG_LEVEL` says: during the import, file descriptor 2 points
nowhere.
"""

import os
from contextlib import contextmanager, suppress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors still show
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# TensorFlow uses oneDNN by itself only on newer processors. Without it, no convolution
# has its channels first on a CPU.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextmanager
def _stderr_silenced():
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def share_gpus() -> None:
    """Take only the GPU memory that is needed; no TF32, which rounds to 10 bits."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError, ValueError):  # in use, or divided up, already
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)


with _stderr_silenced():
    import keras
    import tensorflow as tf

    share_gpus()  # looking for them writes lines, too

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()!r} here, and the explanations need "
        "TensorFlow's gradients: set KERAS_BACKEND=tensorflow before the first import "
        "of keras."
    )
if keras.config.image_data_format() != "channels_last":
    raise ImportError(
        "Keras is set to channels_first here, and images have their channels last: "
        "change image_data_format in keras.json."
    )


@contextmanager
def retracing_unmentioned():
    """No warnings that grouped convolutions, run one by one, are compiled each time."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


HALF_PRECISION_SIZES = 4096, 4  # of the slope at the logits; float16 ends at 65504


def gradients_of(y, tensors: list, half_logits=None) -> list:
    """In a compiled function: d y / d tensor for each tensor; y (N,) is summed.

    half_logits : the logits (N, classes) between y and the tensors, if float16 is used
        on the way. There, what is below 6e-8 is zero: so the slope at the logits is
        enlarged, image by image, and the result made small again in float32.
    """
    if half_logits is None:
        return _checked(tf.gradients(y, tensors))
    slope = tf.gradients(y, half_logits)[0]
    largest = tf.reduce_max(tf.abs(slope), axis=1)
    largest, attempts = tf.where(largest > 0, largest, 1), []
    for factor in (size / largest for size in HALF_PRECISION_SIZES):
        enlarged = slope * factor[:, None]
        parts = _checked(tf.gradients(half_logits, tensors, grad_ys=enlarged))
        shapes = [[-1] + [1] * (part.shape.rank - 1) for part in parts]
        attempts.append(
            [
                tf.cast(part, tf.float32) / tf.reshape(factor, shape)
                for part, shape in zip(parts, shapes, strict=True)
            ]
        )
    return [  # the small one where the large one overflows
        tf.where(tf.math.is_finite(large), large, small)
        for large, small in zip(*attempts, strict=True)
    ]


def _checked(gradients: list) -> list:
    if any(gradient is None for gradient in gradients):
        raise ValueError(
            "No gradient reaches the input or the layer: a step on the way (the "
            "preprocessing, or a layer) rounds or casts to whole numbers."
        )
    return gradients
