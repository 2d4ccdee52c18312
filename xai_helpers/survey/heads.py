"""``fit_head``: a new last layer on a network's features, for photos of one's own.

>>> birds = fit_head(xception, photos, labels)
>>> birds.top(photos[0])
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression

from ..core.classifier import Classifier
from ..engine.tensorflow import keras

TOLERANCE = 1e-6  # of the fit; with scikit-learn's 1e-4, rounding changes predictions


def pooled_model(classifier: Classifier) -> keras.Model:
    """Preprocessed pictures → the mean of each channel of the default layer.

    A ``ValueError`` if that layer does not output (N, height, width, channels).
    """
    layer = classifier.default_layer
    tensor = classifier.layer_tensor(layer)
    if tuple(tensor.shape[1:]) != layer.shape:
        raise ValueError(
            f"The layer {layer.name!r} of {classifier.name} outputs "
            f"{tensor.shape[1:]}; a new head needs height, width and channels, in this "
            "order."
        )
    pooled = keras.layers.GlobalAveragePooling2D(name="average")(tensor)
    return keras.Model(classifier.model.input, pooled)


def pooled_features(classifier: Classifier, images: Sequence) -> np.ndarray:
    """What a head is fitted on: float32 (N, channels), the means of the last maps.

    images : sequence of photos as ``load_image`` takes them, of any size
    """
    model = partial(pooled_model(classifier), training=False)
    forward = classifier.cached_function("pooled features", lambda: model)
    size = classifier.batch_size()
    parts = [
        forward(classifier.preprocess(images[k : k + size])).numpy()
        for k in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def fit_head(
    classifier: Classifier,
    images: Sequence,
    labels: Sequence[str],
    *,
    strength: float = 1.0,
) -> Classifier:
    """The same network with a new last layer, fitted by logistic regression.

    Only the last layer is trained (transfer learning): it is linear in the mean of each
    channel of the default layer, so Grad-CAM at that layer adds up to the logit.

    Parameters
    ----------
    classifier : Classifier, such as ``load_classifier("xception")``
    images : sequence of n photos as ``load_image`` takes them, of any size
    labels : sequence of n str; there have to be two different ones at least
    strength : float above 0, ``C`` of ``LogisticRegression``
        The smaller, the smaller the weights are kept.

    Returns
    -------
    Classifier
        Its classes are the labels, sorted. It shares the layers below the head with
        ``classifier``, and its model can be saved with ``model.save``.

    Raises
    ------
    ValueError
        If there are not as many labels as photos, or only one class.

    Examples
    --------
    >>> fit_head(xception, [cat, cup], ["cat", "cup"]).class_label(0)
    'cat'
    """
    if len(images) != len(labels):
        raise ValueError(f"There are {len(images)} photos and {len(labels)} labels.")
    features = pooled_features(classifier, images)
    regression = LogisticRegression(C=strength, max_iter=5000, tol=TOLERANCE)
    regression.fit(features, labels)
    return with_head(classifier, regression)


def with_head(classifier: Classifier, regression: LogisticRegression) -> Classifier:
    """The network with a regression fitted on ``pooled_features`` as its last layer."""
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # two classes: scikit-learn has the difference of two logits
        weights, bias = np.concatenate([-weights, weights]) / 2, np.r_[-bias, bias] / 2
    base, head = pooled_model(classifier), keras.layers.Dense(len(bias), name="head")
    model = keras.Model(base.input, head(base.output), name="new_head")
    head.set_weights([weights.T, bias])
    return classifier.with_model(
        model,
        name=f"{classifier.name} with a new head",
        classes=[("", str(label)) for label in regression.classes_],
        weights_description=f"{classifier.weights_description}; a new head",
        activation="softmax",
        output_description="softmax",
    )
