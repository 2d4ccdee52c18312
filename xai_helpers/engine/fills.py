"""Pictures without information: what an image is compared with, or covered by."""

import numpy as np
from PIL import Image, ImageFilter

GREY_LEVEL = 127
BASELINES = ("black", "grey", "blurred", "noise")


def baseline_image(square: np.ndarray, baseline, seed: int = 0) -> np.ndarray:
    """The picture that a baseline stands for, uint8, of the square's shape.

    square : uint8 array (height, width, 3)
    baseline : one of ``BASELINES``, or a uint8 array of that shape; seed : of "noise"
    """
    if isinstance(baseline, np.ndarray):
        if baseline.dtype != np.uint8 or baseline.shape != square.shape:
            raise ValueError(
                f"The baseline is {baseline.dtype} of shape {baseline.shape}; expected "
                f"uint8 of shape {square.shape}."
            )
        return baseline
    if baseline == "black":
        return np.zeros_like(square)
    if baseline == "grey":
        return np.full_like(square, GREY_LEVEL)
    if baseline == "blurred":
        blur = ImageFilter.GaussianBlur(min(square.shape[:2]) / 10)
        return np.array(Image.fromarray(square).filter(blur))
    if baseline == "noise":
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, square.shape, dtype=np.uint8)
    raise ValueError(
        f"baseline is {', '.join(BASELINES)} or a uint8 array, not {baseline!r}."
    )
