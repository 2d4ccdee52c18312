"""What a check accepts comes back in one form; the rest is refused with advice."""

import numpy as np
import pytest
from toys import photo, photos

from xai_helpers import Layer, Prediction
from xai_helpers.engine import checks

ACCEPTED = {
    "a count": (checks.check_count("n", 3), 3),
    "a NumPy count": (checks.check_count("n", np.int64(3)), 3),
    "a seed of zero": (checks.check_count("seed", 0, 0), 0),
    "one number for both directions": (checks.check_pair("patch", 3), (3, 3)),
    "a pair": (checks.check_pair("patch", (3, 4)), (3, 4)),
    "a list as a pair": (checks.check_pair("patch", [3, 4]), (3, 4)),
    "a grey level": (checks.check_colour(7).tolist(), [7, 7, 7]),
    "a colour": (checks.check_colour((1, 2.6, 3)).tolist(), [1, 3, 3]),
    "a single item": (checks.as_list("tabby"), (["tabby"], False)),
    "a list": (checks.as_list(["tabby", 3]), (["tabby", 3], True)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_good_arguments_come_back_in_one_form(case):
    result, expected = ACCEPTED[case]
    assert result == expected


@pytest.mark.parametrize("score", checks.SCORES)
def test_both_scores_are_accepted(score):
    checks.check_score(score)


def test_a_layer_or_a_prediction_is_a_single_item():
    layer = Layer(1, "one", "Conv2D", (3, 3, 4))
    prediction = Prediction(1, "", "cat", 0.5, 1.0)
    for item in (layer, prediction):
        assert checks.as_list(item) == ([item], False)


def test_an_array_of_images_is_a_list_and_one_image_is_not():
    stack = photos(2, (5, 6))
    images, is_stack = checks.as_list(stack)
    assert is_stack and np.array_equal(images, stack)
    images, is_stack = checks.as_list(stack[0])
    assert not is_stack and len(images) == 1 and np.array_equal(images[0], stack[0])


def test_a_list_of_background_photos_becomes_one_array():
    others = photos(2, (5, 6))
    for given in (others, list(others)):
        background = checks.check_background(given, (5, 6), "toy")
        assert background.dtype == np.uint8 and np.array_equal(background, others)


REFUSED = {
    "score": (lambda: checks.check_score("loss"), "'logit' or 'probability'"),
    "count too small": (lambda: checks.check_count("steps", 0), "steps.*from 1 up"),
    "count of another type": (lambda: checks.check_count("steps", 2.0), "whole number"),
    "True as a count": (lambda: checks.check_count("steps", True), "whole number"),
    "negative seed": (lambda: checks.check_count("seed", -1, 0), "seed.*from 0 up"),
    "three numbers": (lambda: checks.check_pair("patch", (1, 2, 3)), "down, across"),
    "zero in a pair": (lambda: checks.check_pair("patch", (1, 0)), "patch.*from 1 up"),
    "text as a colour": (lambda: checks.check_colour("red"), "red, green, blue"),
    "ragged colour": (lambda: checks.check_colour([1, [2]]), "red, green, blue"),
    "colour out of range": (lambda: checks.check_colour(300), "0 to 255"),
    "nan as a colour": (lambda: checks.check_colour(np.nan), "0 to 255"),
    "empty list": (lambda: checks.as_list([]), "at least one"),
    "empty stack": (
        lambda: checks.as_list(photos(1, (5, 6))[:0]),
        "at least one",
    ),
    "empty background": (
        lambda: checks.check_background([], (5, 6), "toy"),
        r"empty.*background\(50, size=\(5, 6\)\)",
    ),
    "one photo as background": (
        lambda: checks.check_background(photo((5, 6)), (5, 6), "toy"),
        r"expected uint8 of shape \(n, 5, 6, 3\).*toy",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused_with_advice(case):
    call, advice = REFUSED[case]
    with pytest.raises(ValueError, match=advice):
        call()
