"""What is measured of the test of a map, on a toy, and how it is counted."""

from dataclasses import replace

import evidence_power
import numpy as np
import pytest
import tables
from toys import photo, pooled_toy

from xai_helpers import metrics, sample_images


@pytest.fixture(scope="module")
def toy_rows():
    classifier, noise = pooled_toy(), pooled_toy(seed=5)
    return list(evidence_power.rows_of_photo(classifier, noise, photo((32, 32))))


def test_every_map_is_tested_with_either_score(toy_rows):
    titles = {*evidence_power.RIGHT, *evidence_power.WRONG}
    assert titles == evidence_power.PREDICTED.keys()
    pairs = [(row["score"], row["map"]) for row in toy_rows]
    expected = [(s, title) for s in evidence_power.SCORES for title in titles]
    assert sorted(pairs) == sorted(expected)
    for row in toy_rows:
        assert 1 / 20 <= float(row["p"]) <= 1
        assert row["right"] == (row["map"] in evidence_power.RIGHT)


def test_remembered_logits_are_those_of_the_network():
    classifier, pictures = pooled_toy(), np.stack([photo((32, 32), k) for k in (1, 2)])
    expected = classifier.logits_of(pictures)
    calls, compute = [], classifier.logits_of
    classifier.logits_of = lambda squares: (
        calls.append(len(squares)) or compute(squares)
    )
    evidence_power.remember_logits(classifier)
    for _ in range(2):
        assert classifier.logits_of(pictures) == pytest.approx(expected, abs=1e-6)
    assert classifier.logits_of(pictures[::-1]) == pytest.approx(
        expected[::-1], abs=1e-6
    )
    assert calls == [2]


def row(photo, title, p, fall=1.0):
    own = {"network": "N", "photo": photo, "score": "logit", "map": title}
    return own | {"p": f"{p:.2f}", "fall": f"{fall:.3f}", "near": "0.250"}


def test_doubts_and_photos_are_counted():
    titles = (*evidence_power.RIGHT, *evidence_power.WRONG)
    rows = [row(name, title, 0.5) for name in "ab" for title in titles]
    mirror = "mirrored, left for right"
    changed = {("a", "Grad-CAM"): 0.05, ("a", mirror): 0.05, ("b", "occlusion"): 0.1}
    for each in rows:
        each["p"] = f"{changed.get((each['photo'], each['map']), 0.5):.2f}"
    rows += [each | {"score": "probability"} for each in rows]
    assert evidence_power.doubted(rows, "N", "logit", "Grad-CAM") == ["b"]
    assert evidence_power.doubted(rows, "N", "logit", "occlusion") == ["a"]
    table, predicted = evidence_power.power_table(rows), evidence_power.PREDICTED
    counts = "2 | 1 | 2 | 1 |"  # p > 0.05 and p > 0.2, with either score
    assert f"| right: occlusion | {predicted['occlusion']} | {counts}" in table
    first, _, near = evidence_power.summary(rows).splitlines()
    assert "doubts (p > 0.2) 6 of 8 right maps and 21 of 22 wrong ones" in first
    assert "right Grad-CAM of b, and" in first and "mirror image for a." in first
    assert "25% to 25% of all places" in near


def test_places_near_the_map_are_counted():
    """Of noise, only its own place; of noise that repeats, each repetition."""
    cam = evidence_power.explain.grad_cam(pooled_toy(), photo((32, 32)))
    cam = replace(cam, image=photo((20, 20)), upsampling=None)
    noise = np.random.default_rng(0).random((20, 20), dtype="float32")
    for values, count in ((noise, 1), (np.tile(noise[:, :10], 2), 2)):
        near = evidence_power.near_places(replace(cam, values=values))
        assert near == pytest.approx(count / (2 * 4 * 20 * 20))


def test_the_committed_table_has_every_photo_and_map_and_is_in_the_page():
    rows = tables.read(evidence_power.TABLE)
    titles = (*evidence_power.RIGHT, *evidence_power.WRONG)
    for network in {each["network"] for each in rows}:
        found = {
            (each["photo"], each["score"], each["map"])
            for each in rows
            if each["network"] == network
        }
        scores = evidence_power.SCORES
        assert found == {
            (n, s, t) for n in sample_images() for s in scores for t in titles
        }
    page = evidence_power.readme.EVALUATION.read_text("utf-8")
    assert evidence_power.evaluation(page) == page


def test_a_row_of_the_table_computed_again(xception):
    name = "dogs"
    attribution = evidence_power.explain.grad_cam(xception, sample_images()[name])
    test = metrics.evidence(xception, attribution, regions=evidence_power.REGIONS)
    (committed,) = (
        each
        for each in tables.read(evidence_power.TABLE)
        if (each["network"], each["photo"], each["score"], each["map"])
        == (xception.name, name, "logit", "Grad-CAM")
    )
    # another processor's sums may exchange two places that are nearly equal
    assert test.falls.mean() == pytest.approx(float(committed["fall"]), abs=0.01)
    assert test.p_value == pytest.approx(float(committed["p"]), abs=1.01 / 20)
