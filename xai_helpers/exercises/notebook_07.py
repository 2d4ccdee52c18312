"""The exercises of notebook 07: integrated gradients."""

from functools import cache

import numpy as np

from ..core import explain, metrics
from ..core.attribution import Attribution
from ..core.classifier import Classifier
from ..course.samples import sample_image
from ..engine.fills import baseline_image
from .checking import (
    check_array,
    check_choice,
    check_number,
    exercise,
    network,
    require,
)

TARGET = "Egyptian_cat"
RANGE = 127.5  # grey levels in one unit of Xception's input


@exercise("07-1")
def _saturated_function(answer):
    end = np.array([1.0, 2.0])  # the slope is 1 on a third of the path, then 0
    check_array(
        answer,
        end / 3,
        {
            "This is gradient times input: the slope at the end of the path alone.": (
                0 * end
            ),
            "This is the slope at the baseline, times the difference. Average the "
            "slopes over the whole path.": end,
            "This is the mean slope. The factor end − baseline is missing.": (
                np.full(2, 1 / 3)
            ),
            "The sum is right, but it is not divided equally: multiply each mean slope "
            "by its own difference.": np.full(2, 0.5),
            "This is a sum over the steps, not a mean: divide by their number.": (
                100 * end
            ),
        },
    )


@exercise("07-2")
def _white_baseline(answer):
    check_choice(
        answer,
        "c",
        {
            "a": "The pupils are black: how far are they from a white baseline?",
            "b": "The equation contains the baseline twice. What changes with it?",
        },
    )


@cache
def _maps() -> list[Attribution]:
    xception, cat = network("xception"), sample_image("cat")
    return [
        explain.integrated_gradients(xception, cat, TARGET, steps=n, tolerance=None)
        for n in (16, 17)
    ]


@exercise("07-3")
def _one_more_step(sum_change, correlation):
    first, second = _maps()
    sums = np.array([first.checks["sum"], second.checks["sum"]])
    difference = first.checks["score difference"]
    change = abs(sums[0] - sums[1])
    check_number(
        sum_change,
        change / difference,
        0.02,
        {
            "This is the difference of the sums in logits; divide it by the score "
            "difference.": change,
            "This is the second sum as a fraction of the score difference.": (
                sums[1] / difference
            ),
            "This is the gap of the first map, not the difference of the two sums.": (
                first.checks["gap"]
            ),
            "This is relative to the first sum; divide by the score difference.": (
                change / abs(sums[0])
            ),
            "This is relative to the second sum; divide by the score difference.": (
                change / abs(sums[1])
            ),
        },
    )
    r = metrics.correlation(first.map, second.map)
    require(np.size(correlation) == 1, "The correlation is one number.")
    require(
        abs(float(correlation) - r) <= 0.02,
        "The first number is right. The second is not the correlation of the two maps.",
    )


def candidate_maps(
    classifier: Classifier, photo, target
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three maps (299, 299, 3), of which one is right, and the baseline, uint8."""
    right = explain.integrated_gradients(
        classifier, photo, target, baseline="blurred", steps=16, tolerance=None
    )
    baseline = baseline_image(right.image, "blurred", 0).astype("uint8")
    difference = right.image.astype("float32") - baseline
    # where photo and baseline agree, the mean gradient is unknown and does not count
    mean = np.where(difference, right.values / np.where(difference, difference, 1), 0)
    return {"A": mean, "B": RANGE * right.values, "C": right.values}, baseline


@exercise("07-4")
def _complete_map(answer):
    check_choice(
        answer,
        "c",
        {
            "a": "Its sum is close to zero. What is missing in each of its values?",
            "b": "Its sum is more than a hundred times too large. In which units is "
            "its gradient?",
        },
    )
