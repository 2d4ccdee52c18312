"""What the techniques share: targets, compiled gradients, batches, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from tqdm.auto import tqdm

from .._tensorflow import keras, tf
from ..models import Classifier, Layer

MEMORY = int(os.environ.get("XAI_MEMORY_MB", 1024)) * 2**20  # for one batch, in bytes
SCORES = ("logit", "probability")


class Cancelled(Exception):
    """Raised by a ``progress`` function to stop the work that it was told about."""


# --- what is to be explained ----------------------------------------------------------


def check_score(score: str) -> None:
    if score not in SCORES:
        raise ValueError(f"score is 'logit' or 'probability', not {score!r}.")


def check_count(name: str, value, least: int = 1) -> int:
    """A whole number from ``least`` up, or a ``ValueError`` that names it."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} is a whole number from {least} up, not {value!r}.")
    return int(value)


def seen(classifier: Classifier, image) -> dict:
    """What an ``Attribution`` says about its image: the square, and its place."""
    from ..images import load_image

    image = load_image(image)
    square, cut = classifier.cut(image)
    return {"image": square, "cut": cut, "photo_size": image.shape[:2]}


def answer(classifier: Classifier, square: np.ndarray) -> np.ndarray:
    """The logits for one square, float32 (classes,)."""
    return classifier.logits(square)[0]


def chosen(classifier: Classifier, target, logits: np.ndarray) -> int:
    """The index of the target; None is the network's first answer."""
    return int(logits.argmax()) if target is None else classifier.index(target)


def value(classifier: Classifier, logits: np.ndarray, index, score: str):
    """The score of a class in logits (..., classes), as NumPy."""
    if score == "probability":
        flat = logits.reshape(-1, logits.shape[-1])
        logits = classifier._normalised(flat).reshape(logits.shape)
    return logits[..., index]


def scores(classifier: Classifier, logits: tf.Tensor, score: str) -> tf.Tensor:
    """The same inside a TensorFlow graph, for all classes."""
    if score == "probability":
        return keras.activations.get(classifier.output)(logits)
    return logits


def about(classifier: Classifier, index: int, logits: np.ndarray, score: str) -> dict:
    """What an ``Attribution`` says about its target, from the logits of one image."""
    return {
        "target": index,
        "label": classifier.label(index),
        "score": score,
        "score_value": float(value(classifier, logits, index, score)),
    }


# --- gradients ------------------------------------------------------------------------

FIRST = -1  # in place of a class index: the network's first answer


def wanted(classifier: Classifier, target) -> int:
    """The index of the target, or ``FIRST`` for None."""
    return FIRST if target is None else classifier.index(target)


def score_of(classifier: Classifier, logits: tf.Tensor, index, score: str):
    """Inside a graph: the scores (N,) of a class, or of one for each, or ``FIRST``;
    and the indices (N,) of these classes."""
    index = tf.where(index < 0, tf.argmax(logits, 1, tf.int32), index)
    found = scores(classifier, logits, score)
    return tf.gather(found, index, axis=1, batch_dims=1), index


def differentiate(y: tf.Tensor, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """d y / d tensor for each tensor, inside a graph; y (N,) is summed.

    Raises
    ------
    ValueError
        If a step between the two cannot be differentiated.
    """
    found = tf.gradients(y, tensors)
    if any(gradient is None for gradient in found):
        raise ValueError(
            "No gradient reaches the input or the layer: a step on the way (the "
            "preprocessing, or a layer) rounds or casts to whole numbers."
        )
    return found


def gradient_function(classifier: Classifier, score: str) -> Callable:
    """(pixels (N, height, width, 3), class index) → d score / d pixel, the logits, the
    class indices (N,).

    float32 tensors; pixels are RGB 0–255, so the unit is score per grey level. The
    index is int32: one for all, one for each, or ``FIRST``.
    """

    def build():
        def gradient(pixels, index):
            logits = classifier.network(classifier.scale(pixels), training=False)
            y, index = score_of(classifier, logits, index, score)
            return differentiate(y, [pixels])[0], logits, index

        return gradient

    return classifier.compiled(("gradient", score), build)


# --- batches within the memory, and progress ------------------------------------------


def batch_size(
    classifier: Classifier, *, backward: bool, after: Layer | None = None
) -> int:
    """How many images at a time stay within ``MEMORY`` (``XAI_MEMORY_MB``), 1 to 16.

    A backward pass keeps about every layer's output; not what enters a normalisation,
    whose slope does not depend on it; and needs room for the one it works on. A forward
    pass keeps only a few layers' at a time. More than 16 are not faster on a CPU.
    """
    layers = [la for la in classifier.layers() if not after or la.index >= after.index]
    if backward:
        layers = [la for la in layers if la.kind != "BatchNormalization"]
    shapes = [(*classifier.input_size, 3), *(layer.shape for layer in layers)]
    sizes = [4 * int(np.prod(shape)) for shape in shapes]
    needed = sum(sizes) + max(sizes) if backward else 4 * max(sizes)
    return int(np.clip(MEMORY // needed, 1, 16))


def _someone_watches() -> bool:
    """A terminal, or a notebook that a person has open (not nbconvert, not nbval)."""
    asked = os.environ.get("XAI_PROGRESS")
    return (
        asked == "1"
        if asked
        else bool(sys.stderr.isatty() or os.environ.get("JPY_SESSION_NAME"))
    )


@contextmanager
def reporting(
    total: int, what: str, progress: Callable | bool | None = None, *, short=False
) -> Iterator[Callable]:
    """A function to be told how much more is done; it shows that, and may stop it.

    ``progress`` is None for a bar (where someone watches, if the work is not
    ``short``), False for none, or a function (done, total), which may raise
    ``Cancelled`` to stop.
    """
    hidden = progress is not None or short or not _someone_watches()
    with tqdm(total=total, desc=what, leave=False, disable=hidden) as bar:
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            bar.update(more)
            if callable(progress):
                progress(done, total)

        yield tell


def batches(
    total: int, size: int, what: str, progress: Callable | bool | None = None
) -> Iterator[slice]:
    """Slices that cover ``range(total)``, at most ``size`` at a time and about equal
    (for 16 by 6: 6, 6, 4; for 17 by 16: 9, 8), with progress shown."""
    with reporting(total, what, progress, short=total <= size) as tell:
        size = -(-total // -(-total // size)) if total else size
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield slice(start, stop)
            tell(stop - start)


def as_stack(image) -> tuple[Sequence, bool]:
    """(the images, whether it was a stack): a list, or an array (N, H, W, 3)."""
    if isinstance(image, np.ndarray) and image.ndim == 4:
        if not len(image):
            raise ValueError("An empty stack: give at least one image.")
        return image, True
    return as_sequence(image)


def as_sequence(items) -> tuple[Sequence, bool]:
    """(the items, whether there were several): a lone one becomes a list of one."""
    several = type(items) in (list, tuple)  # a Layer or a Prediction is a lone item
    if several and not items:
        raise ValueError("An empty list: give at least one.")
    return (items, True) if several else ([items], False)
