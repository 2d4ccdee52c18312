"""``load_classifier``: what every notebook begins with."""

import os
from collections.abc import Callable, Sequence

from ..core.classifier import Classifier
from ..engine.loading import load_model
from ..engine.tensorflow import keras


def load_classifier(
    model: str | os.PathLike | keras.Model = "xception", *,
    weights: str | None = None, preprocess: Callable | str | None = None,
    labels: Sequence | dict | None = None, input_size: tuple[int, int] | None = None,
    output: str | None = None, precision: str | None = None, fit: str = "crop",
    verbose: bool = True,
) -> Classifier:  # fmt: skip
    """A classifier, ready to predict and to be explained.

    Parameters
    ----------
    model : "vgg16", "xception", a keras.Model, or the path of a ``.keras`` file
        Your own model takes (N, height, width, 3) and gives (N, classes), with softmax
        or sigmoid at the end or without; it may hold nested models and blocks of your
        own. A file that holds code (a Lambda layer) is refused.
    weights : "imagenet", "portable" or None, for the two named networks
        None: as ``XAI_WEIGHTS`` says, else ``imagenet`` if Keras has downloaded it
        before, else ``portable``.
    preprocess : callable or name, for your own model
        Tensor (N, height, width, 3), float32 RGB 0–255 → what the model was trained on;
        or "xception" (−1 to 1), "vgg16" (BGR minus the ImageNet mean), "unit" (0 to 1).
        "none" if the model does its own rescaling; so does None, which warns if
        nothing in the model rescales.
    labels : for your own model; None: "class 0", "class 1", …
        A sequence of str, or of pairs (WordNet id, label); or a dict, label → index
        (``class_indices``) or index → label. One output, yes or no, takes the label
        for yes, or two, (no, yes).
    input_size : (height, width), for a model that takes any
        Your own model with a flexible input; Xception (from 71 pixels on) and the
        portable VGG16 (from 32 on), which end in a global pooling. They were trained at
        299 and 224 pixels: objects of about that size are what they know.
    output : "softmax" (one class of many), "sigmoid" (each class by itself) or None
        What makes probabilities of your own model's logits. None: what its last
        activation says, else its loss, else softmax.
    precision : "bfloat16", "float16" or None, which is float32
        What the layers between the first and the last convolution compute in; weights,
        logits and sums stay float32. For graphics cards, and bfloat16 for processors
        with instructions for it; refused where it is slower. On the cat, Grad-CAM moves
        by under 1 % of its length, gradients by 10 % (VGG16) and 40 % (Xception),
        SmoothGrad by 6 % and 25 %, less than by another seed; with AVX512-BF16 it takes
        0.55 and 0.7 of the time (tests/engine/test_precision.py, make time-to-error).
        Integrated gradients gain nothing on Xception: after all 256 steps their gap is
        6 %, where float32 needs 108 steps for 2 %.
    fit : "crop" or "squash", for photos of another shape than the network's
    verbose : bool, whether to print one line
        It says which weights are in use, what range of values the network is fed, and
        how its outputs are understood.

    Raises
    ------
    ValueError, WeightsError
        For an unknown name or a model that cannot be used; if weights are unavailable
        or a file is refused. The message names the way out.

    Examples
    --------
    >>> load_classifier("xception").top(sample_image("cat"), k=1)[0].label
    'Egyptian_cat'
    """
    loaded = load_model(
        model, weights, preprocess, labels, input_size, output, precision
    )
    classifier = Classifier(*loaded, fit=fit)
    if verbose:
        print(f"{classifier.name}: {classifier.description}")
    return classifier
