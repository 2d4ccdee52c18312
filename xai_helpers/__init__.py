"""What does a convolutional network really see? The helpers of the course.

Importing this package is instant. TensorFlow is loaded, quietly, by the first name that
needs it::

    from xai_helpers import load_classifier, sample_image

    clf = load_classifier("xception")
    clf.top(sample_image("cat"))

Storeys; imports go downwards only: ``exercises`` (checks of a learner's answers),
``survey`` (whole data sets), ``course`` (figures, sliders, command line), ``core`` (the
techniques, to be read), ``engine`` (loading, memory, graphs).
"""

from importlib import import_module

from .engine import display

__version__ = "0.1.0"

_HOMES = {  # module → public names that it defines; folder → public modules in it
    "engine.image_files": ("load_image", "ImageError"),
    "engine.tensorflow": ("keras", "tf"),
    "core.classifier": ("Classifier", "Layer", "Prediction"),
    "core.attribution": ("Attribution",),
    "course.loading": ("load_classifier",),
    "course.samples": ("sample_image", "sample_images", "background"),
    "engine": ("weights",),
    "core": ("explain", "metrics"),
    "exercises.checking": ("check",),
    "course": ("cli", "figures", "plots", "samples", "widgets"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'xai_helpers' has no attribute {name!r}")
    home = _HOME_OF[name]
    if "." in home:
        value = getattr(import_module(f".{home}", __name__), name)
    else:  # the name of a module
        value = import_module(f".{home}.{name}", __name__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _draw(attribution):
    from .course import plots

    return plots.show(attribution)


display.draw = _draw
