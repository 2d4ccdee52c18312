"""``Query``: what every technique begins and ends with.

A photo, a class and a score come in; an ``Attribution`` comes out. Between the two
stands what a technique's paper says, and nothing else.
"""

from collections.abc import Callable
from copy import copy

import numpy as np

from ..engine.batches import batch_slices
from ..engine.checks import check_score
from ..engine.cropping import crop_to_size
from ..engine.image_files import load_image
from ..engine.tensorflow import tf
from .attribution import Attribution
from .classifier import Classifier, Layer

TOP1 = -1  # in place of a class index: the class with the highest logit


class Query:
    """One question to a classifier: what in this photo makes the score of this class?

    ``square``, uint8 (height, width, 3), is what the network sees of the photo.
    ``target`` is the class index, or ``TOP1`` until ``logits`` (classes,) are known.
    """

    def __init__(self, classifier: Classifier, image, target=None, score="logit"):
        check_score(score)
        self.classifier, self.score = classifier, score
        photo, size = load_image(image), classifier.input_size
        self.original_size = photo.shape[:2]
        self.square, self.crop = crop_to_size(photo, size, classifier.fit)
        self.target = TOP1 if target is None else classifier.class_index(target)
        self.logits = None

    def for_target(self, target) -> "Query":
        """The same question about another class."""
        other = copy(self)
        other.target = TOP1 if target is None else self.classifier.class_index(target)
        return other if self.logits is None else other.answer(self.logits)

    def ask(self) -> "Query":
        """One forward pass: the logits of the square; a missing target is the top 1."""
        return self.answer(self.classifier.logits_of(self.square[None])[0])

    def answer(self, logits: np.ndarray) -> "Query":
        """Note the square's logits, where a technique has computed them anyway."""
        self.logits = np.asarray(logits, "float32")
        if self.target == TOP1:
            self.target = int(self.logits.argmax())
        return self

    def score_of(self, logits: np.ndarray) -> np.ndarray:
        """The target's score in logits (N, classes), float32 (N,)."""
        if self.score == "probability":
            logits = self.classifier.to_probabilities(logits)
        return logits[..., self.target]

    @property
    def score_value(self) -> float:
        """The target's score on the photo itself."""
        return float(self.score_of(self.logits[None])[0])

    def scores_of_pictures(self, total: int, pictures, description, progress):
        """The target's score on changed versions of the square, float32 (total,).

        ``pictures(part)`` makes those of a slice: pixels 0–255 (n, height, width, 3).
        """
        scores, size = np.empty(total, "float32"), self.classifier.batch_size()
        for part in batch_slices(total, size, description, progress):
            scores[part] = self.score_of(self.classifier.logits_of(pictures(part)))
        return scores

    def attribution(
        self, values, technique: str, *, unit: str, layer: Layer | None = None, **fields
    ) -> Attribution:
        """The values as an ``Attribution``; fields: ``parameters``, ``checks``, …"""
        classifier = self.classifier
        if layer is not None:
            fields |= {"layer": layer.name, "upsampling": classifier.upsampling(layer)}
        if self.logits is not None:
            label = classifier.class_label(self.target)
            fields |= {"target": self.target, "label": label}
            fields |= {"score": self.score, "score_value": self.score_value}
            fields |= {"logits": self.logits}
        return Attribution(
            values, unit, self.square, self.crop, self.original_size, technique,
            classifier.name, **fields,
        )  # fmt: skip


def target_scores(classifier: Classifier, logits: tf.Tensor, index, score: str):
    """In a compiled function: the scores (N,) of the class at ``index``, and indices.

    ``index`` is one for all images or one for each; ``TOP1`` takes each image's own.
    """
    index = tf.where(index < 0, tf.argmax(logits, 1, tf.int32), index)
    scores = to_scores(classifier, logits, score)
    return tf.gather(scores, index, axis=1, batch_dims=1), index


def to_scores(classifier: Classifier, logits: tf.Tensor, score: str) -> tf.Tensor:
    """Logits (N, classes) as they are, or as probabilities."""
    return classifier.to_probabilities(logits) if score == "probability" else logits


def pixel_gradients(classifier: Classifier, score: str) -> Callable:
    """(pixels (N, height, width, 3), class index) → d score / d pixel, logits, indices.

    Pixels are RGB 0–255: the preprocessing belongs to the function that is
    differentiated. The index is int32, as in ``target_scores``.
    """

    def build():
        def run(pixels, index):
            x = classifier.preprocess_tensor(pixels)
            logits = classifier.model(x, training=False)
            y, index = target_scores(classifier, logits, index, score)
            return classifier.gradients_of(y, [pixels], logits)[0], logits, index

        return run

    return classifier.cached_function(("pixel gradients", score), build)
