"""The techniques: one function each, and one line each in the table below.

``TECHNIQUES`` is the only list of them: the command line, the panel, the tables, the
benchmark, the README and the tests go through it. Each is the function in the file of
its name in ``core/techniques/``, and an attribute of this module: ``explain.grad_cam``.
What all of them take and return:

Parameters
----------
classifier : Classifier, as ``load_classifier`` makes it
image : path, URL, bytes, PIL image or uint8 array of any size: see ``load_image``
target : str, int, Prediction or None
    A label ("tabby"), a WordNet id or a class index; None: the network's top class.
    An unknown one is a ``ValueError`` that names close labels.
layer : str, int or None
    By name or by index, see ``classifier.layers()``; None: the last layer before the
    spatial extent is pooled away. An unknown one is a ``ValueError`` that lists them.
score : "logit" or "probability"
    What is explained: the class's value before or after the softmax.
seed : int, of everything random; it does not matter how images are put into batches
progress : None, False, or a function (done, total)
    None shows a bar in a terminal and in an open notebook. A function may raise
    ``explain.Cancelled`` to stop the work.

Returns
-------
Attribution
    It shows itself in a notebook.

Raises
------
ValueError
    For numbers and names that make no sense; the message says what is possible.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from inspect import signature

from ..engine import incremental
from ..engine.batches import Cancelled
from .attribution import Attribution
from .classifier import Classifier


@dataclass(frozen=True)
class Technique:
    """One line of the table."""

    name: str  # of the function, and of its file
    title: str  # as in the papers
    question: str  # that a map answers
    quick: Callable[[int], dict] = lambda side: {}  # the square's side → options with
    # which a map takes seconds; the defaults are finer
    takes_stacks: bool = False  # many images in one call, with a target for each

    @cached_property
    def function(self) -> Callable:
        module = import_module(f".techniques.{self.name}", __package__)
        return getattr(module, self.name)

    def takes(self, option: str) -> bool:
        """Whether the function has this parameter: "layer", "target", "seed", …"""
        return option in signature(self.function).parameters

    def call(self, classifier: Classifier, image, **options):
        """The function's result, given those of the options that it takes."""
        options = {name: v for name, v in options.items() if self.takes(name)}
        return self.function(classifier, image, **options)


_TABLE = (
    Technique("activations", "activations", "What does a layer output?"),
    Technique("occlusion", "occlusion", "What is lost when a part is covered?",
              lambda side: {"patch": max(1, side // 5)}),
    Technique("gradients", "gradients", "Which pixels would change the score most?"),
    Technique("smoothgrad", "SmoothGrad", "And which, on average over noisy copies?",
              lambda side: {"samples": 10}),
    Technique("integrated_gradients", "integrated gradients",
              "What share of the score does each pixel have?",
              lambda side: {"steps": 32}),
    Technique("expected_gradients", "expected gradients",
              "What sets the photo apart from other photos?",
              lambda side: {"samples": 12}),
    Technique("grad_cam", "Grad-CAM", "Where does a layer have evidence for a class?",
              takes_stacks=True),
    Technique("layer_cam", "Layer-CAM", "Where, with a weight for each of its cells?",
              takes_stacks=True),
    Technique("rise", "RISE", "How high is the score while a pixel is visible?",
              lambda side: {"masks": 200}),
)  # fmt: skip
TECHNIQUES = {technique.name: technique for technique in _TABLE}

__all__ = [*TECHNIQUES, "TECHNIQUES", "Attribution", "Cancelled", "multiply_adds"]


def __getattr__(name: str):
    if name not in TECHNIQUES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return TECHNIQUES[name].function


def multiply_adds(classifier: Classifier, positions, patch) -> list[tuple]:
    """What incremental occlusion saves: (layer name, multiplications for a whole
    picture, for one patch); positions : int (N, 2), where the patches begin.
    """
    return incremental.multiply_adds(classifier.model, positions, patch)
