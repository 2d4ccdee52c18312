"""``Attribution``: a map, the image that it belongs to, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..models import Cut
from .placement import Placement


@dataclass(eq=False, repr=False)
class Attribution:
    """What a technique says about one image. Shows itself in a notebook.

    Attributes
    ----------
    values : ndarray, float32, (h, w) or (h, w, channels)
        Raw, signed, in the technique's own shape; always finite. Not copied if it is
        float32 already: what is handed over must not be changed afterwards.
    unit : str
        What a value of 1 is.
    image : ndarray, uint8, (H, W, 3)
        The square that the network saw.
    cut : Cut
        Where that square lies in the caller's photo.
    photo_size : (int, int)
        Height and width of the caller's photo.
    technique, model : str
    layer : str or None
    target : int or None
        Class index; None for what has no target (activations).
    label : str
    score : "logit", "probability" or ""
    score_value : float or None
        The target's score on the image itself.
    parameters : dict
        What the technique was called with, the seed included.
    checks : dict of str to float
        What the technique can say about its own accuracy.
    notes : list of str
        What was wrong with the values, in sentences.
    """

    values: np.ndarray
    unit: str
    image: np.ndarray
    cut: Cut
    photo_size: tuple[int, int]
    technique: str
    model: str
    layer: str | None = None
    target: int | None = None
    label: str = ""
    score: str = ""
    score_value: float | None = None
    parameters: dict = field(default_factory=dict)
    checks: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    placement: Placement | None = None

    def __post_init__(self):
        self.notes = list(self.notes)
        values = np.asarray(self.values, "float32").view()
        with np.errstate(all="ignore"):  # one look at all; a second only if need be
            fine = np.isfinite(np.vdot(values, values))
        broken = np.zeros(1) if fine else ~np.isfinite(values)
        if broken.any():
            self.notes.append(
                f"{broken.mean():.0%} of the values were not finite (NaN or infinity) "
                "and count as zero: look for an overflow in the network."
            )
            values = np.where(broken, np.float32(0), values)
        self.values, self.image = values, self.image.view()
        self.values.setflags(write=False)  # widgets keep attributions; copy to change
        self.image.setflags(write=False)
        if self.placement is not None and self.placement.note:
            self.notes.append(self.placement.note)
        shown = self.values if self.technique == "activations" else self.map
        if not shown[..., :1].any() and not shown.any():  # mostly one look at a part
            about = f"evidence for {self.label}" if self.label else "activation"
            sign = "positive " if self.label and not self.signed else ""
            place = " at this layer" if self.layer else ""
            self.notes.append(f"No {sign}{about}{place}: the map is zero everywhere.")

    @property
    def signed(self) -> bool:
        """Whether values below zero mean something."""
        return self.technique not in ("Grad-CAM", "activations") or bool(
            self.values.size and self.values.min() < 0
        )

    @property
    def map(self) -> np.ndarray:
        """float32 (h, w): the channels summed, signs kept."""
        return self.values if self.values.ndim == 2 else self.values.sum(axis=2)

    def heatmap(self) -> np.ndarray:
        """float32 (H, W): the map at the resolution of ``image``, pixel on pixel.

        Cells lie where their receptive fields have their centres (``placement.py``),
        with linear interpolation between them.
        """
        return self.place(self.map)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Any (h, w) map of this layer, one channel for example, as in ``heatmap``."""
        if self.placement is None:
            return values
        rows, columns = self.placement.rows, self.placement.columns
        return rows @ values @ columns.T

    def on_photo(self) -> np.ndarray:
        """float32, the size of the caller's photo: zero where the network saw nothing.

        The heat map stretched back to the part of the photo that it was cut from.
        """
        top, left, height, width = self.cut
        part = Image.fromarray(self.heatmap()).resize((width, height), Image.BILINEAR)
        whole = np.zeros(self.photo_size, "float32")
        whole[top : top + height, left : left + width] = part
        return whole

    # --- in words ---

    @property
    def name(self) -> str:
        """Technique, model, layer and target in one line."""
        parts = [self.technique, self.model, self.layer or "", self._target()]
        return " · ".join(part for part in parts if part)

    def _target(self) -> str:
        if self.target is None:
            return ""
        digits = {"logit": 1, "probability": 2}[self.score]
        return f"{self.label} ({self.score} {self.score_value:.{digits}f})"

    @property
    def text(self) -> str:
        """What the map shows, rounded: stands for the picture where it is not seen."""
        return f"{self.name}: {' '.join([self._finding(), *self.notes]).strip()}"

    def __repr__(self) -> str:
        return self.text

    def _finding(self) -> str:
        heat = self.heatmap()
        if not heat.any():
            return ""
        found = ""
        if self.values.ndim == 3 and self.target is None:
            silent = int((~self.values.any(axis=(0, 1))).sum())
            found = f"{self.values.shape[2]} channels, {silent} of them silent; "
        positive = np.maximum(heat, 0)
        if self.signed:
            share = positive.sum() / np.abs(heat).sum()
            found += f"{share:.0%} of the map's mass is positive; "
        if not positive.any():
            return found + "nothing is positive."
        down, across = _centre(positive)
        return (
            f"{found}what is positive is centred {down:.0%} down and {across:.0%} "
            f"across, half of it on {_percent(_half_area(positive))} of the picture."
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        from .. import plots

        return plots.attribution(self)._repr_mimebundle_(include, exclude)


def _centre(heat: np.ndarray) -> tuple[float, float]:
    """Centre of mass, as shares of the height and the width."""
    total, (height, width) = heat.sum(dtype="float64"), heat.shape
    down = (heat.sum(axis=1) * (np.arange(height) + 0.5)).sum() / total / height
    across = (heat.sum(axis=0) * (np.arange(width) + 0.5)).sum() / total / width
    return float(down), float(across)


def _percent(share: float) -> str:
    return "under 1%" if share < 0.01 else f"{share:.0%}"


def _half_area(heat: np.ndarray) -> float:
    """The smallest share of the pixels that holds half of the mass."""
    ordered = np.cumsum(np.sort(heat.ravel().astype("float64"))[::-1])
    return float((np.searchsorted(ordered, ordered[-1] / 2) + 1) / heat.size)
