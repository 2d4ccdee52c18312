"""Right and typical wrong answers to the exercises of notebook 04."""

import numpy as np
import pytest

from xai_helpers import check, explain, sample_image
from xai_helpers.exercises.notebook_04 import suspects

STARTS = (0, 100, 199)


@pytest.fixture(scope="module")
def square(xception):
    return xception.crop(sample_image("cat"))[0]


def logits_of(xception, square, target="tabby", fill=127, remove=True, prob=False):
    """The score of the whole image, and the scores (3, 3) with the patch."""
    images, occluded = [square], square.copy()
    for row in STARTS:
        for column in STARTS:
            occluded = square.copy() if remove else occluded.copy()
            occluded[row : row + 100, column : column + 100] = fill
            images.append(occluded)
    scores = xception.probabilities(images) if prob else xception.logits(images)
    scores = scores[:, xception.class_index(target)]
    return scores[0], scores[1:].reshape(3, 3)


def drops(xception, square, **options):
    whole, occluded = logits_of(xception, square, **options)
    return whole - occluded


def painted_late(xception, square):
    scores, index = np.empty((3, 3)), xception.class_index("tabby")
    for i, row in enumerate(STARTS):
        for j, column in enumerate(STARTS):
            inputs = xception.preprocess(square).copy()
            inputs[0, row : row + 100, column : column + 100] = 127
            scores[i, j] = xception.model(inputs, training=False)[0, index]
    return xception.logits(square)[0, index] - scores


WRONG_MAPS = {
    "score with the patch": lambda x, square: logits_of(x, square)[1],
    "The sign": lambda x, square: -drops(x, square),
    "map of Egyptian cat": lambda x, square: drops(x, square, target="Egyptian_cat"),
    "probability": lambda x, square: drops(x, square, prob=True),
    "black": lambda x, square: drops(x, square, fill=0),
    "white": lambda x, square: drops(x, square, fill=255),
    "pile up": lambda x, square: drops(x, square, remove=False),
    "after the preprocessing": painted_late,
    "The shape is": lambda x, square: drops(x, square).ravel(),
    "up to a factor": lambda x, square: 2 * drops(x, square),
    "three dots": lambda x, square: ...,
}


def test_an_occlusion_map(xception, square):
    assert check("04-1", drops(xception, square))


@pytest.mark.parametrize("words", WRONG_MAPS)
def test_each_wrong_occlusion_map_gets_its_hint(words, xception, square):
    verdict = check("04-1", WRONG_MAPS[words](xception, square))
    assert not verdict and words in verdict.hint, verdict


def test_redundant_evidence(xception):
    dogs = xception.crop(sample_image("dogs"))[0]
    images = [dogs.copy() for _ in range(4)]
    for k in (1, 3):
        images[k][0:125, 40:165] = 127
    for k in (2, 3):
        images[k][150:299, 125:245] = 127
    index = xception.class_index("cocker_spaniel")

    def gap(scores):
        upper, lower, both = scores[0] - scores[1:]
        return upper, lower, both, both - upper - lower

    upper, lower, both, right = gap(xception.logits(images)[:, index])
    answers = {
        right: None,
        upper + lower: "sum of the two",
        both: "drop for both; subtract",
        -right: "The sign",
        both - (upper + lower) / 2: "not their mean",
        both - lower: "upper dog is missing",
        both - upper: "lower dog is missing",
        gap(xception.probabilities(images)[:, index])[3]: "probabilities",
        right + 30: "Too large",
    }
    assert len(answers) == 9
    for number, words in answers.items():
        verdict = check("04-2", number)
        assert (words is None) == bool(verdict), number
        assert words is None or words in verdict.hint, verdict


def test_a_stride_larger_than_the_patch(xception, square):
    few = explain.occlusion(xception, square, "tabby", patch=20, stride=60)
    is_covered = np.zeros((299, 299), bool)
    for row in few.parameters["rows"]:
        for column in few.parameters["columns"]:
            is_covered[row : row + 20, column : column + 20] = True
    right = is_covered.mean()
    answers = {
        right: None,
        right**0.5: "one side",
        1 - right: "never covered",
        1 / 9: "at the border",
        (100 / 299) ** 2: "at the border",
        is_covered.sum(): "number of pixels",
        100 * right: "per cent",
    }
    for number, words in answers.items():
        verdict = check("04-3", number)
        assert (words is None) == bool(verdict), (number, verdict)
        assert words is None or words in verdict.hint, verdict


def test_finding_the_bugs(xception):
    hints = {letter: check("04-4", letter).hint for letter in "acd"}
    assert len(set(hints.values())) == 3 and all(hints.values())
    assert check("04-4", "b")
    assert "letter of the function" in check("04-4", suspects(xception)["b"]).hint


def test_one_value_by_hand_finds_the_right_one_of_the_suspects(xception, square):
    by_hand = drops(xception, square, target="Egyptian_cat")[1, 0]
    maps = {k: f(square, "Egyptian_cat") for k, f in suspects(xception).items()}
    near = [letter for letter, m in maps.items() if abs(m[1, 0] - by_hand) < 0.1]
    assert near == ["b"], maps
