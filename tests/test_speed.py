"""The tables of speed say what was measured. How fast this machine is, no test asks."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import benchmark  # noqa: E402
import rivals  # noqa: E402

README = (ROOT / "README.md").read_text("utf-8")
SPEED = json.loads((benchmark.TABLES / "speed-cpu.json").read_text("utf-8"))
GROWTH = json.loads((benchmark.TABLES / "growth.json").read_text("utf-8"))
ROWS = {(row["network"], row["technique"]): row for row in SPEED["rows"]}
BOTH = [
    "activations",
    "Grad-CAM",
    "Grad-CAM, all layers",
    "gradients",
    "SmoothGrad",
    "integrated gradients",
    "occlusion, every picture whole",
    "SHAP, pixels",
    "SHAP, middle layer",
]


def test_the_readme_shows_what_was_measured():
    assert benchmark.readme(README) == README
    assert rivals.readme(README) == README


def test_every_technique_was_measured_on_both_networks():
    wanted = {(network, name) for network in ("VGG16", "Xception") for name in BOTH}
    assert set(ROWS) == wanted | {("VGG16", "occlusion, what a patch reaches")}


@pytest.mark.parametrize("row", ROWS.values(), ids=map(" ".join, ROWS))
def test_whether_a_target_was_met_follows_from_the_seconds(row):
    assert row["met"] == benchmark.met(row["seconds"], row["target"])
    assert row["met"] or benchmark.WHY[row["network"], row["technique"]]


@pytest.mark.parametrize("row", ROWS.values(), ids=map(" ".join, ROWS))
def test_nobody_was_faster_by_doing_less(row):
    """As many images as the technique has samples, steps or patches, and the photo."""
    technique, ours = row["technique"], row["images"]["ours"]
    number = int(row["setting"].split()[0]) if row["setting"][:1].isdigit() else 1
    if technique in ("SmoothGrad", "occlusion, every picture whole"):
        assert ours == number + 1
    elif technique == "integrated gradients":
        assert ours == number + 2
    elif technique == "SHAP, pixels":
        assert ours == number + 1  # the background was seen before
        assert row["images"]["shap"] >= 2 * number
    elif "patch reaches" not in technique and "middle" not in technique:
        assert ours == 1


def test_a_layer_that_counts_sees_every_image():
    """The counting itself, on the fast techniques."""
    bench = benchmark.Bench("vgg16", quick=True, counting=True)
    rows = {row.technique: row for row in bench.rows()}
    for technique, expected in (("Grad-CAM", 1), ("gradients", 1), ("SmoothGrad", 5)):
        bench.seen.assign(0)
        rows[technique].runs["ours"]()
        assert int(bench.seen.numpy()) == expected


def test_the_results_agree():
    for (network, technique), row in ROWS.items():
        says = row["agrees"]
        if "difference" in says:
            assert float(says.split()[2]) < 1e-3, (network, technique)
        elif "cosine" in says:
            assert float(says.split()[1]) > 0.999, (network, technique)
        elif "standard errors" in says:
            assert float(says.split()[1]) < 4, (network, technique)
        else:
            assert row["unlike"] or list(row["seconds"]) == ["ours", "limit"]


def test_the_sliders_and_the_import():
    assert len(SPEED["sliders"]) == 4
    for row in SPEED["sliders"]:
        assert row["slowest step"] <= 100
    assert SPEED["import ms"] < 300


def test_growth_was_measured_on_the_same_machine_up_to_what_the_readme_says():
    assert GROWTH["machine"] == SPEED["machine"]
    most = {name: rows[-1][0] for name, rows in GROWTH.items() if name != "machine"}
    wanted = {"patches": 841, "whole": 225, "samples": 64, "pixels": 672}
    assert most == wanted | {"images": 1000}


def test_time_grew_in_proportion_and_memory_did_not():
    """Over the last step of each series, to a fifth: so much do times vary here."""
    for name in ("patches", "whole", "samples", "pixels", "images"):
        before, last = GROWTH[name][-2:]
        more = (last[0] / before[0]) ** (2 if name == "pixels" else 1)
        assert 0.8 * more < last[1] / before[1] < 1.2 * more, name
    for name in ("patches", "whole"):
        before, last = GROWTH[name][-2:]
        assert last[2] < 1.1 * before[2], name
    (few, _, start), (many, _, end) = GROWTH["images"][-2:]
    square = 299 * 299 * 3 / 2**20
    assert end - start < 1.1 * 2 * square * (many - few)


def test_rivals_were_measured_on_equal_work():
    """What should be equal is: the same network, the same question."""
    found = json.loads(rivals.OUT.read_text("utf-8"))
    rows = {row["technique"]: row["cosine"] for row in found["tensorflow"]}
    assert rows["gradients"]["saliency"] > 0.999
    assert rows["occlusion"]["xplique"] > 0.999
    assert rows["Grad-CAM"]["xplique"] > 0.99
    alike = {round(value, 1) for value in rows["SmoothGrad"].values()}
    assert len(alike) == 1  # as two seeds of ours, to the digit: the README says so
    (captum,) = [row["cosine"] for row in found["torch"] if "cosine" in row]
    assert captum["captum"] > 0.999
