"""Checks of arguments that several techniques share: each raises a ``ValueError``."""

from collections.abc import Sequence

import numpy as np

SCORES = ("logit", "probability")


def check_score(score: str) -> None:
    """Refuse everything but the two scores."""
    if score not in SCORES:
        raise ValueError(f"score is 'logit' or 'probability', not {score!r}.")


def check_count(name: str, value, least: int = 1) -> int:
    """The whole number from ``least`` up that was given for ``name``, as an int."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} is a whole number from {least} up, not {value!r}.")
    return int(value)


def check_pair(name: str, value) -> tuple[int, int]:
    """One number for both directions, or (down, across), as a pair."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} is one number or (down, across), not {value!r}.")
    return check_count(name, pair[0]), check_count(name, pair[1])


def check_patch(patch: tuple[int, int], size: tuple[int, int], model_name: str) -> None:
    """Refuse a patch that does not fit on the network's square."""
    if patch[0] > size[0] or patch[1] > size[1]:
        raise ValueError(
            f"A patch of {patch[0]} × {patch[1]} pixels is larger than the image, "
            f"{size[0]} × {size[1]} as {model_name} sees it."
        )


def check_colour(fill) -> np.ndarray:
    """A grey level or (red, green, blue), 0–255, as uint8 (3,)."""
    try:
        colour = np.asarray(fill)
    except ValueError:  # a ragged list
        colour = np.array("?")
    if colour.dtype.kind not in "iuf" or colour.shape not in ((), (3,)):
        raise ValueError(f"fill is a number or (red, green, blue), not {fill!r}.")
    if not ((colour >= 0) & (colour <= 255)).all():
        raise ValueError(
            f"fill is a colour, 0 to 255 before preprocessing, not {fill}."
        )
    return np.broadcast_to(np.round(colour), 3).astype("uint8")


def check_background(photos, size: tuple[int, int], model_name: str) -> np.ndarray:
    """The background photos as one uint8 array (n, height, width, 3)."""
    if isinstance(photos, (list, tuple)) and len({np.shape(p) for p in photos}) > 1:
        raise ValueError("The background's photos differ in size; give one array.")
    photos = np.asarray(photos)
    if photos.size == 0:
        raise ValueError(
            "The background is empty; expected gradients compare with other photos: "
            f"background(50, size={size})."
        )
    if photos.dtype != np.uint8 or photos.shape[1:] != (*size, 3):
        raise ValueError(
            f"The background is {photos.dtype} of shape {photos.shape}; expected "
            f"uint8 of shape (n, {size[0]}, {size[1]}, 3), photos at the size of "
            f"{model_name}: background(50, size={size})."
        )
    return photos


def as_list(items) -> tuple[Sequence, bool]:
    """(the items, whether several were given): a single item becomes a list of one.

    Several are a list, a tuple or an array of images (N, H, W, 3).
    """
    is_stack = isinstance(items, np.ndarray) and items.ndim == 4
    is_item = hasattr(items, "_fields")  # a NamedTuple: a Layer or a Prediction
    several = is_stack or (isinstance(items, (list, tuple)) and not is_item)
    if several and not len(items):
        kind = "stack" if is_stack else "list"
        raise ValueError(f"An empty {kind}: give at least one.")
    return (items, True) if several else ([items], False)


def one_for_each(target, images: Sequence, is_stack: bool) -> list:
    """A target for each image: the same for all, or a list of as many."""
    if type(target) not in (list, tuple):  # a Prediction is a single target
        return [target] * len(images)
    if not is_stack or len(target) != len(images):
        count = len(images) if is_stack else "one"
        raise ValueError(
            f"A list of {len(target)} targets for {count} image(s): a list is for a "
            "stack, one target for each image."
        )
    return list(target)


def finite_values(values) -> tuple[np.ndarray, float]:
    """The values as float32 with zeros for NaN and infinity; the share of those."""
    values = np.asarray(values, "float32").view()
    with np.errstate(all="ignore"):  # one pass over all; a second only if need be
        if np.isfinite(np.vdot(values, values)):
            return values, 0.0
    broken = ~np.isfinite(values)
    return np.where(broken, np.float32(0), values), float(broken.mean())
