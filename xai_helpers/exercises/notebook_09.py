"""Checks of notebook 09, "Side by side"."""

from functools import cache

import numpy as np
from PIL import Image

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

TARGET = "cocker spaniel"
LAYER = "block14_sepconv2_act"
RESOLUTIONS = (16, 64, 299)


def _downsample(heat: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(heat).resize((side, side), Image.BOX))


@cache
def _small_maps() -> tuple[np.ndarray, np.ndarray]:
    """The activations of the dogs, and the gradients, averaged: (10, 10) each."""
    classifier, photo = network("xception"), sample_image("dogs")
    gradients = np.abs(explain.gradients(classifier, photo, TARGET).map)
    activations = explain.activations(classifier, photo, LAYER).map
    return activations, _downsample(gradients, 10)


@exercise("09-1")
def _(answer):
    first, second = _small_maps()

    def correlation(a, b) -> float:
        return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]

    def ranks(values, axis=None):
        return np.argsort(np.argsort(values, axis=axis), axis=axis)

    ranked = [ranks(values) for values in (first, second)]
    mistakes = {
        "This is the correlation of the values; replace them by their ranks first.": (
            correlation(first, second)
        ),
        "np.argsort once gives the places in sorted order, which are not the ranks.": (
            correlation(np.argsort(first, axis=None), np.argsort(second, axis=None))
        ),
        "The ranks were counted within each row; flatten the maps first.": (
            correlation(ranks(first, -1), ranks(second, -1))
        ),
        "This is the covariance of the ranks; divide by both standard deviations.": (
            np.cov(*ranked)[0, 1]
        ),
        "This is the covariance of the ranks, with n in place of n - 1; divide by both "
        "standard deviations.": np.cov(*ranked, ddof=0)[0, 1],
    }
    check_number(answer, metrics.rank_correlation(first, second), 0.01, mistakes)


@cache
def _heats() -> tuple[np.ndarray, np.ndarray]:
    """SmoothGrad and Grad-CAM of the dogs, (299, 299) each."""
    classifier, photo = network("xception"), sample_image("dogs")
    smooth = explain.smoothgrad(classifier, photo, TARGET, samples=8)
    return smooth.heatmap(), explain.grad_cam(classifier, photo, TARGET).heatmap()


@exercise("09-2")
def _(answer):
    smooth, cam = _heats()

    def correlations(heat, after=np.array) -> list[float]:
        return [
            metrics.rank_correlation(
                after(_downsample(heat, side)), _downsample(cam, side)
            )
            for side in RESOLUTIONS
        ]

    expected = correlations(np.abs(smooth))
    mistakes = {
        "SmoothGrad's signs are still there: positive and negative values cancel in "
        "each mean.": correlations(smooth),
        "The absolute value comes after the mean here; it has to come before it.": (
            correlations(smooth, np.abs)
        ),
        "The three numbers are in the reverse order: 16, 64, 299 squares was asked.": (
            expected[::-1]
        ),
    }
    check_array(answer, expected, mistakes)


@exercise("09-3")
def _(answer):
    wrong = {
        "a": "An image that is grey everywhere has no content, and its map correlates, "
        "too.",
        "b": "Then the map of a grey image would show the same as the map of the dogs.",
    }
    check_choice(answer, "c", wrong)


def maps_with_a_bug(classifier, photo) -> dict[str, np.ndarray]:
    """Three maps, (16, 16) each; of one of them, rows and columns are exchanged."""
    heats = {
        "activations": explain.activations(classifier, photo, LAYER).heatmap(),
        "SmoothGrad": np.abs(explain.smoothgrad(classifier, photo, samples=8).map),
        "Grad-CAM": explain.grad_cam(classifier, photo).heatmap(),
    }
    maps = {name: _downsample(heat, 16) for name, heat in heats.items()}
    maps["SmoothGrad"] = maps["SmoothGrad"].T
    return maps


@exercise("09-4")
def _(answer):
    hints = {
        "activations": "The activations agree with Grad-CAM as they are stored.",
        "gradcam": "Exchanging the rows and columns of Grad-CAM's map lowers its "
        "correlation with the activations.",
    }
    name = "".join(c for c in str(answer).lower() if c.isalpha())
    require(name in {"smoothgrad", *hints}, "Give the name of one of the three maps.")
    require(name == "smoothgrad", hints.get(name, ""))
