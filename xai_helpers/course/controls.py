"""A table: which controls the explorer offers for each technique.

A technique that is not in the table works as well: with its quick options, and at every
layer, if it takes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ipywidgets as ipw

from ..core.classifier import Classifier
from ..engine.fills import BASELINES
from . import browser_widgets as browser

STYLE = {"layout": {"width": "430px"}, "style": {"description_width": "90px"}}
PIXELS = "pixels"  # on the layer slider: the network's input, ``layer=None``


def choice(text: str, options=(), **more) -> ipw.Dropdown:
    return ipw.Dropdown(options=list(options), description=text, **more, **STYLE)


def slider(text: str, value, low, high, step=1, **more):
    """A slider that answers when it is released, for what takes seconds."""
    is_float = isinstance(value, float)
    make = browser.FloatSlider if is_float else browser.IntSlider
    value, span = min(max(value, low), high), {"min": low, "max": high, "step": step}
    more = {"continuous_update": False} | span | more | STYLE
    return make(value, description=text, **more)


class TechniqueControls(NamedTuple):
    """What the explorer offers for one technique."""

    # (shorter side of the smallest network's square, quick options) → option: widget
    options: Callable[[int, dict], dict[str, ipw.Widget]] = lambda side, quick: {}
    # the names on the layer slider; and, given these as well, the one to begin with
    layers: Callable[[Classifier], list] = lambda clf: [la.name for la in clf.layers()]
    default_layer: Callable = lambda clf, names: clf.default_layer.name
    # One short pass serves a list of layers: computed while the caller waits, so that
    # the slider never does. Else computed beside, with a bar and a button to cancel.
    at_once: bool = False
    opacity: float = 0.6  # to begin with
    results_kept: int = 32


CONTROLS = {
    "activations": TechniqueControls(at_once=True, results_kept=2),  # 100 MB a photo
    "grad_cam": TechniqueControls(at_once=True),
    "occlusion": TechniqueControls(
        lambda side, quick: {
            "patch": slider("patch, px", quick["patch"], side // 16 or 1, side // 2),
            "stride": slider(
                "stride, px", quick["patch"] // 2, side // 16 or 1, side // 2
            ),
            "fill": choice("fill", [("grey", 127), ("black", 0), ("white", 255)]),
        }
    ),
    "smoothgrad": TechniqueControls(
        lambda side, quick: {
            "noise": slider("noise", 0.15, 0, 0.5, 0.05),
            "samples": slider("samples", quick["samples"], 1, 100),
        },
        opacity=1.0,  # a map as fine as the photo would mix with it
    ),
    "integrated_gradients": TechniqueControls(
        lambda side, quick: {
            "baseline": choice("baseline", [(name, name) for name in BASELINES]),
            "steps": slider("steps", quick["steps"], 16, 256, 16),
        },
        opacity=1.0,
    ),
    "expected_gradients": TechniqueControls(
        lambda side, quick: {"samples": slider("samples", quick["samples"], 1, 200)},
        layers=lambda clf: [PIXELS, *clf.bottlenecks],
        default_layer=lambda clf, names: (names * 2)[(len(names) + 1) // 2],
    ),
}


def controls_of(technique: str) -> TechniqueControls:
    """The technique's row, or what serves every technique."""
    return CONTROLS.get(technique, TechniqueControls())


def restore(control: ipw.Widget, option: str, value) -> None:
    """Set a control to what an attribution was made with, beyond its end if need be."""
    if isinstance(value, (tuple, list)) and len(set(value)) == 1:
        value = value[0]
    if hasattr(control, "options"):
        if value == "given":
            raise ValueError(f"start has a {option} of its own; the list has none.")
        if value not in dict(control.options).values():
            control.options = [*control.options, (str(value), value)]
    elif isinstance(value, (tuple, list)):
        raise ValueError(f"start has a {option} that is not square; no slider is.")
    else:
        control.min, control.max = min(control.min, value), max(control.max, value)
    control.value = value
