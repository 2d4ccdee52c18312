"""``load_classifier``: what every notebook begins with."""

import os
from collections.abc import Callable, Sequence

from ..core.classifier import Classifier
from ..engine.loading import load_model
from ..engine.tensorflow import keras


def load_classifier(
    model: str | os.PathLike | keras.Model = "xception", *,
    weights: str | None = None, preprocess: Callable | str | None = None,
    labels: Sequence | None = None, input_size: tuple[int, int] | None = None,
    fit: str = "crop", verbose: bool = True,
) -> Classifier:  # fmt: skip
    """A classifier, ready to predict and to be explained.

    Parameters
    ----------
    model : "vgg16", "xception", a keras.Model, or the path of a ``.keras`` file
        Your own model takes (N, height, width, 3) and gives (N, classes), with softmax
        or sigmoid at the end or without; it may hold nested models. A file that holds
        code (a Lambda layer) is refused.
    weights : "imagenet", "portable" or None, for the two named networks
        None: as ``XAI_WEIGHTS`` says, else ``imagenet`` if Keras has downloaded it
        before, else ``portable``.
    preprocess : callable or name, for your own model
        Tensor (N, height, width, 3), float32 RGB 0–255 → what the model was trained on;
        or "xception" (−1 to 1), "vgg16" (BGR minus the ImageNet mean), "unit" (0 to 1).
        None or "none" if the model does its own rescaling.
    labels : sequence of str, or of pairs (WordNet id, label), for your own model
    input_size : (height, width), for your own model with a flexible input
    fit : "crop" or "squash", for photos of another shape than the network's
    verbose : bool, whether to print one line that says which weights are in use

    Raises
    ------
    ValueError, WeightsError
        For an unknown name or a model that cannot be used; if weights are unavailable
        or a file is refused. The message names the way out.

    Examples
    --------
    >>> load_classifier("xception").top(sample_image("cat"), k=1)[0].label
    'tabby'
    """
    loaded = load_model(model, weights, preprocess, labels, input_size)
    classifier = Classifier(*loaded, fit=fit)
    if verbose:
        print(f"{classifier.name}: {classifier.weights_description}")
    return classifier
