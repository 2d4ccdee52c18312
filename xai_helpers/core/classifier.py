"""``Classifier``: a model, its preprocessing, its labels.

This is the only place that preprocesses: a photo becomes the square that the network
sees, the square becomes logits, and logits become labels and probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from ..engine.checks import as_list, check_count
from ..engine.cropping import CropBox, crop_to_size
from ..engine.data import find_class
from ..engine.image_files import load_image
from ..engine.layered_model import Layer as Layer
from ..engine.layered_model import LayeredModel
from ..engine.loading import apply_preprocessing, describe_input
from ..engine.tensorflow import keras, tf


class Prediction(NamedTuple):
    """One class and how sure the network is of it."""

    index: int
    wnid: str  # WordNet id, "" if the labels have none
    label: str
    probability: float  # 0–1
    logit: float  # before the softmax

    def __str__(self) -> str:
        return f"{self.label:<20} {self.probability:4.0%}"


class Classifier(LayeredModel):
    """A Keras model together with input size, preprocessing and labels.

    Made by ``load_classifier``. Callers hold ``uint8`` RGB images of any size and
    nothing else; they are cropped and preprocessed in here, once. Layers, parts of the
    model and compiled functions: ``LayeredModel`` (``engine/layered_model.py``).

    Attributes
    ----------
    name, weights_description : str
    model : keras.Model
        (N, height, width, 3) preprocessed → (N, classes) **logits**. Shares its layers
        with the model it was made from; nested models are flattened.
    input_size : (int, int), height and width in pixels
    classes : list of (WordNet id, label)
        A model of one output, yes or no, has two: their logits are $-z$ and $z$.
    activation : "softmax" or "sigmoid", from logits to probabilities
    fit : "crop" or "squash", for photos that are not of the network's shape
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        preprocess: Callable,
        classes: Sequence[tuple[str, str]],
        weights_description: str,
        activation: str = "softmax",
        output_description: str = "",
        blocks: dict[str, list[str]] | None = None,
        *,
        fit: str = "crop",
    ):
        if fit not in ("crop", "squash"):
            raise ValueError(f"fit is 'crop' or 'squash', not {fit!r}.")
        super().__init__(name, model, blocks)
        self.classes, self.fit = [tuple(c) for c in classes], fit
        self.weights_description, self.activation = weights_description, activation
        self.output_description = output_description or activation
        self._preprocess = preprocess

    def __repr__(self) -> str:
        height, width = self.input_size
        return (
            f"<Classifier {self.name}: {height} × {width} px → "
            f"{len(self.classes)} classes; {self.description}>"
        )

    @property
    def description(self) -> str:
        """Which weights, what the network is fed, how its outputs are understood."""
        fed = describe_input(self.model, self._preprocess, self.input_size)
        return f"{self.weights_description}; {fed}; {self.output_description}"

    def with_model(self, model: keras.Model, **changes) -> Classifier:
        """The same labels and preprocessing around another model that ends in logits.

        changes : ``name``, ``weights_description``, ``preprocess``
        """
        return Classifier(model=model, **(self.fields | changes))

    @property
    def fields(self) -> dict:
        """What the classifier is made of, without the model."""
        names = "name classes weights_description activation output_description blocks"
        same = {name: getattr(self, name) for name in [*names.split(), "fit"]}
        return same | {"preprocess": self._preprocess}

    def crop(self, image) -> tuple[np.ndarray, CropBox]:
        """The square that the network sees, uint8 (height, width, 3), and its place.

        ``image`` is anything that ``load_image`` takes.
        """
        return crop_to_size(load_image(image), self.input_size, self.fit)

    def preprocess(self, images) -> np.ndarray:
        """What the network is fed: float32 (N, height, width, 3) in its own range.

        images : one image, a sequence of images, or a uint8 array (N, H, W, 3)
            Each as ``load_image`` takes it, of any size. One that is not ``uint8`` RGB,
            because it has been preprocessed already, for example, is an ``ImageError``.
        """
        squares = [self.crop(image)[0] for image in as_list(images)[0]]
        return self.preprocess_tensor(np.stack(squares))

    def preprocess_tensor(self, pixels):
        """Pixel values 0–255 at the network's size → the network's own range.

        The arithmetic alone, differentiable: an array or a tensor (N, height, width,
        3), RGB, float or uint8. Returns float32, an array for an array and a tensor for
        a tensor, and never the same object.
        """
        scaled = apply_preprocessing(self._preprocess, pixels, self.name)
        return scaled if tf.is_tensor(pixels) else np.asarray(scaled)

    def logits_of(self, squares) -> np.ndarray:
        """Logits, float32 (N, classes), of pixels 0–255, (N, height, width, 3).

        As many at a time as fit into the memory (``XAI_MEMORY_MB``).
        """
        model = partial(self.model, training=False)
        forward = self.cached_function("forward", lambda: model)
        size, pixels = self.batch_size(), tf.convert_to_tensor(squares)
        parts = [
            forward(self.preprocess_tensor(pixels[k : k + size])).numpy()
            for k in range(0, len(squares), size)
        ]
        return np.concatenate(parts).astype("float32")

    def logits(self, images) -> np.ndarray:
        """Scores before the softmax, float32 (N, classes); images as ``preprocess``."""
        images, size = as_list(images)[0], self.batch_size()
        parts = [
            self.logits_of(np.stack([self.crop(im)[0] for im in images[k : k + size]]))
            for k in range(0, len(images), size)
        ]
        return np.concatenate(parts)

    def probabilities(self, images) -> np.ndarray:
        """float32 (N, classes), range 0–1. Images as in ``preprocess``."""
        return self.to_probabilities(self.logits(images))

    def to_probabilities(self, logits):
        """Logits (N, classes) → probabilities; an array, or a tensor for a tensor."""
        outputs = keras.activations.get(self.activation)(tf.convert_to_tensor(logits))
        return outputs if tf.is_tensor(logits) else np.asarray(outputs)

    def top(self, image, k: int = 5) -> list[Prediction]:
        """The classes that the network is surest of, at most k, best first."""
        k = check_count("k", k)
        logits = self.logits([image])
        probabilities = self.to_probabilities(logits)[0]
        best = np.argsort(-logits[0], kind="stable")[:k]
        values = np.stack([probabilities, logits[0]], axis=1).tolist()
        return [Prediction(int(i), *self.classes[i], *values[i]) for i in best]

    @cached_property
    def probability_model(self) -> keras.Model:
        """[(N, height, width, 3) preprocessed] → probabilities, for other libraries."""
        outputs = keras.layers.Activation(self.activation)(self.model.output)
        return keras.Model([self.model.input], outputs)

    def class_index(self, target: str | int) -> int:
        """The index of a label ("tabby"), a WordNet id, an index or a ``Prediction``.

        A ``ValueError`` names close labels, or the WordNet ids to choose from.
        """
        target = target.index if isinstance(target, Prediction) else target
        return find_class(target, self.classes)

    def class_label(self, target: str | int) -> str:
        """The label of a class, looked up as in ``class_index``."""
        return self.classes[self.class_index(target)][1]
