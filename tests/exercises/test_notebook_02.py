"""The checks of notebook 02: right answers pass, each wrong one gets its own hint."""

import numpy as np
import pytest
from verdicts import assert_hints_differ

from xai_helpers.exercises.notebook_02 import faulty_logits


@pytest.fixture
def last_maps(xception, cat):
    inputs = xception.preprocess(cat)
    return np.array(xception.submodel_to("block14_sepconv2_act")(inputs))[0]


def test_the_fraction_of_pointwise_weights(xception):
    shapes = [w.shape for w in xception.model.weights if "pointwise" in w.path]
    pointwise = sum(map(np.prod, shapes))
    shapes = [w.shape for w in xception.model.weights if "depthwise" in w.path]
    depthwise, total = sum(map(np.prod, shapes)), xception.model.count_params()
    right = pointwise / total
    last = 2049 * 1000 / total
    wrong = [depthwise / total, (depthwise + pointwise) / total, last, 100 * right]
    wrong += [pointwise, pointwise / (pointwise + depthwise), 0.5]
    assert_hints_differ("02-1", right, wrong)


def test_the_multiplications_of_vgg16():
    sides = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    widths = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    pairs = list(zip(sides, widths[:-1], widths[1:], strict=True))
    total = sum(side**2 * 9 * c * m for side, c, m in pairs)
    weights = sum(9 * c * m for _, c, m in pairs)
    wrong = [weights / 1e9, total / 9e9, total, total / 1e6, 100, 10]
    assert_hints_differ("02-2", total / 1e9, wrong)


def test_the_contribution_of_each_position(xception, last_maps):
    weights, bias = xception.model.layers[-1].get_weights()
    k, tabby = map(xception.class_index, ("Egyptian_cat", "tabby"))
    right = last_maps @ weights[:, k] / 100
    assert right.sum() + bias[k] == pytest.approx(
        last_maps.mean((0, 1)) @ weights[:, k] + bias[k], rel=1e-4
    )
    wrong = [100 * right, right + bias[k], right + bias[k] / 100]
    wrong += [last_maps @ weights[:, tabby] / 100, last_maps.mean(axis=2)]
    wrong += [right.T, right[None], -right, 7 * right]
    assert_hints_differ("02-3", right, wrong)


@pytest.mark.parametrize(
    "exercise, right, wrong", [("02-4", "c", "abx"), ("02-5", "a", "bcdx")]
)
def test_choices(exercise, right, wrong):
    assert_hints_differ(exercise, right, list(wrong))


def test_the_faulty_logits_lack_the_bias(xception, cat, last_maps):
    bias = xception.model.layers[-1].get_weights()[1]
    missing = xception.logits(cat)[0] - faulty_logits(last_maps, xception)
    assert missing == pytest.approx(bias, abs=1e-3)
    assert np.abs(bias).max() > 0.05
