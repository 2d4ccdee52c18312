"""What does a convolutional network really see? The helpers of the course.

Importing this package is instant. TensorFlow is loaded, quietly, by the first name that
needs it::

    from xai_helpers import load_classifier, sample_image

    clf = load_classifier("xception")
    clf.top(sample_image("cat"))
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {  # public name → the module that defines it
    "load_image": "images",
    "sample_image": "images",
    "sample_images": "images",
    "background": "images",
    "load_classifier": "models",
    "Classifier": "models",
    "Layer": "models",
    "Prediction": "models",
    "keras": "_tensorflow",
    "tf": "_tensorflow",
    "Attribution": "explain",
    "cli": "",
    "explain": "",
    "images": "",
    "metrics": "",
    "models": "",
    "plots": "",
    "weights": "",
    "widgets": "",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'xai_helpers' has no attribute {name!r}")
    home = _HOME[name]
    module = import_module(f".{home or name}", __name__)
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
