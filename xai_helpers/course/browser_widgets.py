"""Widgets of ipywidgets, drawn as the browser's own controls.

Each has a name, works by keyboard and thumb, and tells a screen reader its value in
words. In Python they are what ipywidgets has; ``frontend/`` draws them.
"""

from pathlib import Path

import ipywidgets as ipw
import traitlets
from anywidget import AnyWidget

FRONTEND = Path(__file__).parent / "frontend"


class IntSlider(AnyWidget, ipw.IntSlider):
    """Of whole numbers."""

    _esm = FRONTEND / "slider.js"


class FloatSlider(AnyWidget, ipw.FloatSlider):
    """Of numbers with decimals, as many as its step has."""

    _esm = FRONTEND / "slider.js"


class SelectionSlider(AnyWidget, ipw.SelectionSlider):
    """Of texts, with a field to search them in."""

    _esm = FRONTEND / "slider.js"


class Picture(AnyWidget, ipw.Image):
    """``value``, bytes of a PNG, with its alternative text."""

    _esm, _css = FRONTEND / "picture.js", FRONTEND / "panel.css"
    alt = traitlets.Unicode().tag(sync=True)
    is_old = traitlets.Bool(False, help="Not of these settings.").tag(sync=True)


class Progress(AnyWidget, ipw.IntProgress):
    """A bar that moves also while ``value`` is still 0."""

    _esm = FRONTEND / "progress.js"


class Message(AnyWidget, ipw.HTML):
    """``value``, escaped text that is read out when it changes."""

    _esm = FRONTEND / "message.js"


class PhotoUpload(AnyWidget, ipw.FileUpload):
    """One file; a large photo is made smaller before it is sent.

    A large file that the browser cannot read comes without ``content``.
    """

    _esm = FRONTEND / "upload.js"
