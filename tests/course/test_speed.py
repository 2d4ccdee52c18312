"""The tables of speed say what was measured. How fast this machine is, no test asks."""

import json

import benchmark
import benchmark_rows
import compare_libraries
import numpy as np
import pytest
import readme

from xai_helpers import explain

SPEED_PAGE = readme.SPEED.read_text("utf-8")
SPEED = json.loads((benchmark.TABLES / "speed-cpu.json").read_text("utf-8"))
SCALING = json.loads((benchmark.TABLES / "scaling.json").read_text("utf-8"))
ROWS = {(row["network"], row["technique"]): row for row in SPEED["rows"]}
EACH_ROW = pytest.mark.parametrize("row", ROWS.values(), ids=map(" ".join, ROWS))


@pytest.fixture(scope="module")
def counting_bench():
    return benchmark_rows.Bench("vgg16", quick=True, counting=True)


def test_the_page_on_speed_shows_what_was_measured():
    """`make readme` writes it."""
    assert benchmark.speed_page(SPEED_PAGE) == SPEED_PAGE
    assert compare_libraries.speed_page(SPEED_PAGE) == SPEED_PAGE


@pytest.mark.real
@pytest.mark.parametrize("network", benchmark_rows.NETWORKS)
def test_every_technique_was_measured_on_both_networks(network):
    """`python tools/benchmark.py --techniques NAME --save` measures a new one."""
    bench = benchmark_rows.Bench(network)
    expected = {(bench.clf.name, row.title) for row in bench.rows()}
    assert {key for key in ROWS if key[0] == bench.clf.name} == expected
    assert ("VGG16", "occlusion, what a patch reaches") in ROWS
    assert ("Xception", "occlusion, what a patch reaches") not in ROWS


def test_every_entry_of_the_benchmark_belongs_to_a_technique():
    assert benchmark_rows.ROWS_OF.keys() <= explain.TECHNIQUES.keys()


@EACH_ROW
def test_whether_a_target_was_met_follows_from_the_seconds(row):
    assert row["met"] == benchmark.target_is_met(row["seconds"], row["target"])
    assert row["met"] or benchmark.MISSED_BECAUSE[row["network"], row["technique"]]


@EACH_ROW
def test_nobody_was_faster_by_doing_less(row):
    """As many images as the technique has samples, steps or patches, and the photo."""
    technique, ours = row["technique"], row["images"]["ours"]
    number = int(row["setting"].split()[0]) if row["setting"][:1].isdigit() else 1
    if technique in ("SmoothGrad", "occlusion, every picture whole"):
        assert ours == number + 1
    elif technique == "integrated gradients":
        assert ours == number + 2
    elif technique == "expected gradients, pixels":
        assert ours == number + 1  # the background was read before
        assert row["images"]["shap"] >= 2 * number
    elif row["target"] is None:  # by itself: against the passes that were counted
        assert 1 <= int(row["limit"].split()[0]) <= ours
    elif "patch reaches" not in technique and "middle" not in technique:
        assert ours == 1


@pytest.mark.real
def test_a_layer_that_counts_counts_every_image(counting_bench):
    """The counting itself, on the fast techniques; forward, and backward to the input.

    Grad-CAM's backward pass ends at the last layer with maps.
    """
    names = ["grad_cam", "gradients", "smoothgrad"]
    counts = benchmark.image_counts(counting_bench, names)
    assert counts["Grad-CAM"]["ours"] == (1, 0)
    assert counts["gradients"]["ours"] == (1, 1)
    assert counts["SmoothGrad"]["ours"] == (5, 4)


@pytest.mark.real
def test_a_technique_without_an_entry_is_measured_by_itself(
    counting_bench, monkeypatch
):
    """With its quick options, against the passes that it was seen to make."""
    monkeypatch.delitem(benchmark_rows.ROWS_OF, "grad_cam")
    monkeypatch.delitem(benchmark_rows.ROWS_OF, "smoothgrad")
    samples = explain.TECHNIQUES["smoothgrad"].quick(224)["samples"]
    smoothgrad, grad_cam = counting_bench.rows(["grad_cam", "smoothgrad"])
    assert (smoothgrad.title, smoothgrad.setting) == (
        "SmoothGrad",
        f"{samples} samples",
    )
    assert (grad_cam.title, grad_cam.setting) == ("Grad-CAM", "")
    assert smoothgrad.ours().parameters["samples"] == samples
    counts = benchmark.image_counts(counting_bench, ["grad_cam", "smoothgrad"])
    limits = [benchmark.limit_as_counted(*c["ours"]) for c in counts.values()]
    assert limits == [("both", samples), ("forward", 1)]
    assert benchmark.target_is_met({"ours": 2.0, "limit": 1.0}, smoothgrad.target)


def test_measured_again_a_technique_takes_the_place_of_its_row():
    new_rows = [
        {"network": "VGG16", "technique": "Grad-CAM", "seconds": 1},
        {"network": "VGG16", "technique": "a new one", "seconds": 2},
    ]
    merged = benchmark.merge(SPEED, SPEED | {"rows": new_rows, "sliders": []})
    assert merged["sliders"] == SPEED["sliders"]
    by_key = {(row["network"], row["technique"]): row for row in merged["rows"]}
    assert len(merged["rows"]) == len(by_key) == len(ROWS) + 1
    assert by_key.pop(("VGG16", "a new one")) == new_rows[1]
    assert by_key.pop(("VGG16", "Grad-CAM")) == new_rows[0]
    assert all(ROWS[key] == row for key, row in by_key.items())
    with pytest.raises(SystemExit, match="machine"):
        benchmark.merge(SPEED, SPEED | {"machine": {}})


def test_the_results_agree():
    for (network, technique), row in ROWS.items():
        agrees = row["agrees"]
        if "difference" in agrees:
            assert float(agrees.split()[2]) < 1e-3, (network, technique)
        elif "cosine" in agrees:
            assert float(agrees.split()[1]) > 0.999, (network, technique)
        elif "standard errors" in agrees:
            assert float(agrees.split()[1]) < 4, (network, technique)
        else:
            assert row["unlike"] or list(row["seconds"]) == ["ours", "limit"]


def test_the_sliders_and_the_import():
    measured = {(row["network"], row["technique"]) for row in SPEED["sliders"]}
    at_once = benchmark.slider_techniques()
    assert {"grad_cam", "activations"} <= set(at_once)
    assert measured == {(n, t) for n in ("VGG16", "Xception") for t in at_once}
    assert len(SPEED["sliders"]) == len(measured)
    for row in SPEED["sliders"]:
        assert row["slowest step"] <= 100
    assert SPEED["import ms"] < 300


def test_scaling_was_measured_on_the_same_machine_up_to_what_the_page_says():
    assert SCALING["machine"] == SPEED["machine"]
    most = {name: rows[-1][0] for name, rows in SCALING.items() if name != "machine"}
    expected = {"patches": 841, "whole": 225, "samples": 64, "pixels": 672}
    assert most == expected | {"rectangles": 800 * 1200, "images": 1000}


def test_time_grew_in_proportion_and_memory_did_not():
    """Over the last step of each series, to a fifth: so much do times vary here."""
    for name in ("patches", "whole", "samples", "pixels", "rectangles", "images"):
        before, last = SCALING[name][-2:]
        more = (last[0] / before[0]) ** (2 if name == "pixels" else 1)
        assert 0.8 * more < last[1] / before[1] < 1.2 * more, name
    for name in ("patches", "whole"):
        before, last = SCALING[name][-2:]
        assert last[2] < 1.1 * before[2], name
    (few, _, start), (many, _, end) = SCALING["images"][-2:]
    square = 299 * 299 * 3 / 2**20
    assert end - start < 1.1 * 2 * square * (many - few)


def test_other_libraries_were_measured_on_equal_work():
    """What should be equal is: the same network, the same question."""
    results = json.loads(compare_libraries.OUT.read_text("utf-8"))
    rows = {row["technique"]: row["cosine"] for row in results["tensorflow"]}
    assert rows["gradients"]["saliency"] > 0.999
    assert rows["occlusion"]["xplique"] > 0.999
    assert rows["Grad-CAM"]["xplique"] > 0.99
    alike = {round(value, 1) for value in rows["SmoothGrad"].values()}
    assert len(alike) == 1  # as two seeds of ours, to the digit: docs/speed.md says so
    (captum,) = [row["cosine"] for row in results["torch"] if "cosine" in row]
    assert captum["captum"] > 0.999


def test_a_cosine_is_that_of_all_values_whatever_the_shape():
    ours = np.array([[3.0, 0.0], [0.0, 4.0]])
    assert compare_libraries.cosine(ours, np.array([3.0, 0, 0, 0])) == 0.6
