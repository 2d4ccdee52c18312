"""``import xai_helpers`` is instant, and every public name is there."""

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_import_loads_nothing_heavy():
    code = "import sys, xai_helpers; print(sorted(sys.modules))"
    loaded = run(code).stdout
    for heavy in ("tensorflow", "keras", "matplotlib", "numpy", "shap"):
        assert f"'{heavy}'" not in loaded


def test_every_public_name_is_there():
    import xai_helpers

    for name in xai_helpers.__all__:
        assert getattr(xai_helpers, name) is not None
    assert set(xai_helpers.__all__) <= set(dir(xai_helpers))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xai_helpers.nonsense


def test_the_public_names_are_those_that_the_notebooks_use():
    import xai_helpers

    assert set(xai_helpers.__all__) == {
        *("load_image", "ImageError", "sample_image", "sample_images", "background"),
        *("load_classifier", "Classifier", "Prediction", "Layer", "Attribution"),
        *("keras", "tf", "explain", "metrics", "weights"),
        *("plots", "figures", "samples", "widgets", "cli", "check"),
    }


def test_an_attribution_draws_itself_through_the_front_door():
    """The core imports no figures: the package's ``__init__`` hands it the drawing."""
    from toys import photo, toy

    from xai_helpers import explain
    from xai_helpers.engine import display

    assert display.draw is not None
    attribution = explain.gradients(toy(), photo((12, 14)))
    shown, _ = attribution._repr_mimebundle_()
    assert shown["image/jpeg"]
    assert shown["text/plain"] == attribution.description


def test_an_attribution_without_figures_shows_its_words(monkeypatch):
    from toys import photo, toy

    from xai_helpers import explain
    from xai_helpers.engine import display

    monkeypatch.setattr(display, "draw", None)
    attribution = explain.gradients(toy(), photo((12, 14)))
    assert attribution._repr_mimebundle_() == {"text/plain": attribution.description}
