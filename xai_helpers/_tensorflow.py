"""TensorFlow and Keras, imported once and without their C++ log lines.

Those lines come and go with the machine and go to stderr, which the notebook check
compares. TensorFlow 2.21 writes two of them whatever `TF_CPP_MIN_LOG_LEVEL` says, while
it is being imported; for that moment file descriptor 2 points nowhere. A failing import
still raises its Python exception.
"""

import os
from contextlib import contextmanager, suppress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors still show
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextmanager
def _stderr_closed():
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def share_gpus() -> None:
    """Graphics cards, where there are any: as much memory as is needed, not all of it
    at once; and 32-bit numbers multiplied as such. By default a recent card rounds them
    to 10 bits first, which sums of SHAP values and small effects of patches would show.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError, ValueError):  # in use, or divided up, already
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)


with _stderr_closed():
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


__all__ = ["keras", "tf"]
