"""``Attribution``: a map, the image that it belongs to, and how it was made."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..engine import display
from ..engine.checks import finite_values
from ..engine.cropping import CropBox
from ..engine.maps import describe_map, why_zero
from ..engine.upsampling import Upsampling


@dataclass(eq=False, repr=False)
class Attribution:
    """What a technique says about one image. Shows itself in a notebook.

    ``values`` are raw, in the technique's own shape, and always finite. A float32 array
    is not copied: it must not be changed afterwards.
    """

    values: np.ndarray  # float32 (h, w) or (h, w, channels)
    unit: str  # what a value of 1 is
    image: np.ndarray  # uint8 (H, W, 3), the square that the network saw
    crop: CropBox  # where that square lies in the caller's photo
    original_size: tuple[int, int]  # height and width of the caller's photo
    technique: str  # its title
    model: str  # its name
    signed: bool = True  # whether values below zero mean something
    layer: str | None = None
    target: int | None = None  # class index; None for what has no target (activations)
    label: str = ""
    score: str = ""  # "logit", "probability" or ""
    score_value: float | None = None  # the target's score on the image itself
    logits: np.ndarray | None = None  # float32 (classes,), of the image itself
    parameters: dict = field(default_factory=dict)  # of the call, the seed included
    checks: dict = field(default_factory=dict)  # what it can say of its own accuracy
    notes: list = field(default_factory=list)  # what is wrong with the values
    upsampling: Upsampling | None = None  # None where each cell is a pixel

    def __post_init__(self):
        self.values, share_broken = finite_values(self.values)
        self.image = self.image.view()
        self.values.setflags(write=False)  # widgets keep attributions; copy to change
        self.image.setflags(write=False)
        self.notes = list(self.notes)
        if share_broken:
            self.notes.append(
                f"{share_broken:.0%} of the values were not finite (NaN or infinity) "
                "and count as zero: look for an overflow in the network."
            )
        if self.upsampling is not None and self.upsampling.note:
            self.notes.append(self.upsampling.note)
        shown = self.values if self.target is None else self.map
        if not shown[..., :1].any() and not shown.any():  # mostly one look
            subject = self.signed, self.label, self.layer, self.score, self.score_value
            self.notes.append(why_zero(*subject))

    @property
    def map(self) -> np.ndarray:
        """float32 (h, w): the channels summed, signs kept."""
        return self.values if self.values.ndim == 2 else self.values.sum(axis=2)

    def heatmap(self) -> np.ndarray:
        """float32 (H, W): the map at the resolution of ``image``, pixel on pixel.

        Cells lie where their receptive fields have their centres, with linear
        interpolation between them (``engine/upsampling.py``).
        """
        return self.upsample(self.map)

    def upsample(self, values: np.ndarray) -> np.ndarray:
        """Any (h, w) map of this layer, one channel for example, as in ``heatmap``."""
        if self.upsampling is None:
            return values
        return self.upsampling.rows @ values @ self.upsampling.columns.T

    def heatmap_on_original(self) -> np.ndarray:
        """float32, the size of the caller's photo: zero where the network saw nothing.

        The heatmap stretched back to the part of the photo that it was cropped from.
        """
        top, left, height, width = self.crop
        part = Image.fromarray(self.heatmap()).resize((width, height), Image.BILINEAR)
        whole = np.zeros(self.original_size, "float32")
        whole[top : top + height, left : left + width] = part
        return whole

    # --- in words ---

    @property
    def title(self) -> str:
        """Technique, model, layer and target in one line."""
        target = ""
        if self.target is not None:
            digits = {"logit": 1, "probability": 2}[self.score]
            target = f"{self.label} ({self.score} {self.score_value:.{digits}f})"
        parts = [self.technique, self.model, self.layer, target]
        return " · ".join(part for part in parts if part)

    @property
    def description(self) -> str:
        """What the map shows, rounded: stands for the picture where it is not seen."""
        channels = ""
        heat = self.heatmap()
        if self.values.ndim == 3 and self.target is None and heat.any():
            silent = int((~self.values.any(axis=(0, 1))).sum())
            channels = f"{self.values.shape[2]} channels, {silent} of them silent; "
        sentence = channels + describe_map(heat, self.signed)
        return f"{self.title}: {' '.join([sentence, *self.notes]).strip()}"

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, include=None, exclude=None):
        if display.draw is None:
            return {"text/plain": self.description}
        return display.draw(self)._repr_mimebundle_(include, exclude)
