"""Checks of notebook 10, "Can you trust the map?"."""

from functools import cache

import numpy as np

from ..core import explain, metrics
from ..course.samples import sample_image
from .checking import (
    check_array,
    check_choice,
    check_number,
    exercise,
    network,
    require,
)

TARGET = "Egyptian_cat"
STEPS = 10
SIDE = 299


@cache
def _occlusion_map() -> np.ndarray:
    photos = [sample_image("cat"), sample_image("coffee")]
    mosaic = metrics.mosaic(photos, side=SIDE)
    return explain.occlusion(
        network("xception"), mosaic, "espresso", patch=60
    ).heatmap()


@exercise("10-1")
def _(answer):
    heat = _occlusion_map()

    def share(values) -> float:
        return values[:, SIDE // 2 + 1 :].sum() / values.sum()

    positive = np.maximum(heat, 0)
    mistakes = {
        "This is the share of the left half, where the cat is.": 1 - share(positive),
        "The absolute values were taken; negative values have to become zero.": (
            share(np.abs(heat))
        ),
        "The negative values are still there and cancel positive ones.": share(heat),
        "The positive pixels were counted; add up their values.": share(heat > 0),
        "This is the sum of the right half divided by that of the left half.": (
            share(positive) / (1 - share(positive))
        ),
    }
    expected = metrics.pointing_game_score(heat, tile=1, photos=2)
    check_number(answer, expected, 0.01, mistakes)


@exercise("10-2")
def _(answer):
    photo = np.asarray(answer)
    require(
        photo.ndim == 3 and photo.shape[2:] == (3,),
        f"The shape is {photo.shape}; (height, width, 3) is asked for.",
    )
    require(
        photo.dtype == np.uint8,
        f"The numbers are {photo.dtype}; an image is uint8, 0 to 255.",
    )
    mosaic = metrics.mosaic([sample_image("cat"), photo], side=SIDE)
    share = metrics.pointing_game_score(metrics.edge_map(mosaic), tile=0, photos=2)
    if share > 0.9:
        return
    require(share > 0.5, "Your image has more edges than the cat.")
    require(
        share > 0.8,
        f"The cat's share is {share:.2f}: your image has fewer edges than the cat, but "
        "not nearly few enough.",
    )
    require(False, f"The cat's share is {share:.2f}: almost.")


@exercise("10-3")
def _(answer):
    wrong = {
        "b": "Compare the shares as they are with the averaged ones: the averages "
        "hardly differ.",
        "c": "On the left half, the two classes have different shares: take one minus "
        "the share of espresso.",
    }
    check_choice(answer, "a", wrong)


@cache
def _curve(kind: str, fill: str = "blurred", inverted: bool = False) -> np.ndarray:
    cat = sample_image("cat")
    heat = explain.grad_cam(network("xception"), cat, TARGET).heatmap()
    heat = -heat if inverted else heat
    measure = getattr(metrics, kind)
    return measure(
        network("xception"), cat, heat, TARGET, steps=STEPS, fill=fill
    ).scores


@cache
def _logits_of_the_curve() -> np.ndarray:
    cat = sample_image("cat")
    heat = explain.grad_cam(network("xception"), cat, TARGET).heatmap()
    settings = {"steps": STEPS, "score": "logit"}
    return metrics.insertion(network("xception"), cat, heat, TARGET, **settings).scores


@exercise("10-4")
def _(answer):
    expected = _curve("insertion")
    require(
        np.size(answer) != STEPS,
        "There are 10 numbers; 0 % and 100 % both belong to the curve, so 11.",
    )
    mistakes = {
        "This is the deletion curve: begin with the blurred photo.": _curve("deletion"),
        "This curve is in the reverse order: 0 % comes first.": expected[::-1],
        "The lowest attributions were put back first; reverse the order.": (
            _curve("insertion", inverted=True)
        ),
        "The empty image was black; it should be the blurred photo.": (
            _curve("insertion", fill="black")
        ),
        "The empty image was grey; it should be the blurred photo.": (
            _curve("insertion", fill="grey")
        ),
        "These are logits; probabilities are asked for.": _logits_of_the_curve(),
    }
    check_array(answer, expected, mistakes, tolerance=0.03)


def map_of_a_colleague(square: np.ndarray) -> np.ndarray:
    """A map that is to be judged: float32 (H, W) of a uint8 (H, W, 3)."""
    return 0.9 + 0.1 * metrics.random_map(square)


@exercise("10-5")
def _(answer):
    wrong = {
        "a": "A map that is 1 everywhere would have a drop of zero. Would it be better "
        "than Grad-CAM, too?",
        "b": "The score is not the reason: look at the smallest value of the map, and "
        "at the photo multiplied by it.",
    }
    check_choice(answer, "c", wrong)
