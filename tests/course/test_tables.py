"""The committed tables: some rows computed again, and what notebooks say of them."""

from collections import Counter

import numpy as np
import pytest
import readme
import tables

from xai_helpers import explain, metrics, sample_image, sample_images
from xai_helpers.course.samples import table

TITLES = list(tables.map_functions())
# Techniques without options to make them quicker are computed again on every fourth
# mosaic of both networks, the others on the first mosaic of Xception.
QUICK = [t.title for t in explain.TECHNIQUES.values() if not t.quick(224)]
QUICK = [title for title in [*QUICK, *metrics.REFERENCE_MAPS] if title in TITLES]
SLOW = [title for title in TITLES if title not in QUICK]


def rows_of(clf, name):
    return [row for row in table(name) if row["network"] == clf.name]


def shares_of(clf):
    """Title → the shares of all mosaics."""
    shares = {}
    for row in rows_of(clf, "pointing"):
        shares.setdefault(row["technique"], []).append(float(row["share"]))
    return shares


def computed(title, clf, case):
    compute = tables.map_functions()[title]
    return compute(clf, case["image"], case["target"], case["photos"])


def test_every_technique_and_every_reference_map_has_its_rows():
    """`python tools/tables.py --techniques NAME` measures a new technique."""
    names = {name for name in explain.TECHNIQUES if name not in tables.SETTINGS}
    quick = {explain.TECHNIQUES[name].title for name in names}
    settings = {title for rows in tables.SETTINGS.values() for title in rows}
    assert set(TITLES) == quick | settings | set(metrics.REFERENCE_MAPS)
    assert tables.SETTINGS.keys() <= explain.TECHNIQUES.keys()
    for name in tables.BY_TECHNIQUE:
        assert {row["technique"] for row in table(name)} == set(TITLES)


def test_every_table_has_every_case(clf):
    mosaics = list(tables.mosaics(clf))
    assert len(mosaics) >= 12
    expected = [
        (case["case"], clf.class_label(case["target"]), title)
        for case in mosaics
        for title in TITLES
    ]
    rows = rows_of(clf, "pointing")
    listed = [(row["mosaic"], row["class"], row["technique"]) for row in rows]
    assert Counter(listed) == Counter(expected)
    cases, expected_cases = ([key[:2] for key in keys] for keys in (listed, expected))
    assert list(dict.fromkeys(cases)) == list(dict.fromkeys(expected_cases))
    photos = sample_images()
    expected = Counter((photo, title) for photo in photos for title in TITLES)
    rows = rows_of(clf, "curves")
    assert Counter((row["photo"], row["technique"]) for row in rows) == expected
    assert [row["photo"] for row in rows_of(clf, "completeness")] == list(photos)


def test_rows_of_the_pointing_game_computed_again(clf):
    """Another processor's sums differ in the last digits; the table has three."""
    rows = {
        (row["mosaic"], row["class"], row["technique"]): row
        for row in rows_of(clf, "pointing")
    }
    for case in list(tables.mosaics(clf))[::4]:
        for title in QUICK:
            row = rows[case["case"], clf.class_label(case["target"]), title]
            share = metrics.pointing_game_score(
                computed(title, clf, case), case["tile"], 2
            )
            assert share == pytest.approx(float(row["share"]), abs=0.005), row


@pytest.mark.parametrize("title", SLOW)
def test_a_row_of_a_slow_technique_computed_again(xception, title):
    case = next(tables.mosaics(xception))
    heatmap = computed(title, xception, case)
    share = metrics.pointing_game_score(heatmap, case["tile"], 2)
    assert share == pytest.approx(shares_of(xception)[title][0], abs=0.01)


@pytest.mark.parametrize("title", ["Grad-CAM", "edges"])
def test_a_row_of_the_curves_computed_again(xception, title):
    cat = sample_image("cat")
    target = xception.top(cat, 1)[0].index
    heatmap = tables.map_functions()[title](xception, cat, target)
    (row,) = [
        row
        for row in rows_of(xception, "curves")
        if (row["photo"], row["technique"]) == ("cat", title)
    ]
    for name in ("deletion", "insertion"):
        curve = getattr(metrics, name)(xception, cat, heatmap, target, steps=10)
        assert curve.auc == pytest.approx(float(row[name]), abs=0.01)
    drop, increase = metrics.average_drop(xception, [cat], [heatmap], [target])
    assert drop == pytest.approx(float(row["drop"]), abs=0.01)
    assert increase == int(row["increase"])


def test_completeness_is_under_one_percent_everywhere():
    rows = table("completeness")
    assert len(rows) == 16
    for row in rows:
        assert float(row["gap"]) < 0.01, row


def test_a_row_of_completeness_computed_again(vgg16):
    """The quickest of all. Where pieces are halved hangs on small sums, so the number
    of steps may differ a little on another processor; the gap must not."""
    rows = rows_of(vgg16, "completeness")
    row = min(rows, key=lambda row: int(row["steps"]))
    attribution = explain.integrated_gradients(
        vgg16,
        sample_image(row["photo"]),
        row["class"],
        steps=2048,
        tolerance=float(row["tolerance"]),
    )
    difference = attribution.checks["score difference"]
    assert difference == pytest.approx(float(row["difference"]), abs=0.01)
    assert attribution.checks["gap"] < 0.01
    assert attribution.checks["steps"] == pytest.approx(int(row["steps"]), rel=0.1)


def test_grad_cam_beats_the_maps_that_know_nothing(clf):
    """By more than twice the standard error of its 14 cases; notebook 10 says so."""
    shares = shares_of(clf)
    grad_cam = np.array(shares["Grad-CAM"])
    know_nothing = (*metrics.REFERENCE_MAPS, "activations")
    best = max(np.mean(shares[name]) for name in know_nothing)
    error = grad_cam.std(ddof=1) / np.sqrt(len(grad_cam))
    assert grad_cam.mean() - best > 2 * error


def test_the_page_on_evaluation_shows_the_measured_scores():
    page = readme.EVALUATION.read_text("utf-8")
    assert readme.evaluation(page) == page, "run `make readme`"
    shares = {}
    for row in table("pointing"):
        of_technique = shares.setdefault(row["technique"], {})
        of_technique.setdefault(row["network"], []).append(float(row["share"]))
    for title, by_network in shares.items():
        means = [
            f"{np.mean(by_network[name]):.2f} ± {np.std(by_network[name], ddof=1):.2f}"
            for name in ("Xception", "VGG16")
        ]
        assert f"| {title} | {' | '.join(means)} |" in page
    rows = table("completeness")
    steps = sorted(int(row["steps"]) for row in rows)
    even = sorted(float(row["even gap"]) for row in rows)
    text = " ".join(page.split())
    assert f"in {steps[0]} to {steps[-1]} steps" in text
    assert f"{100 * even[0]:.0f} % to {100 * even[-1]:.0f} %" in text


# --- the tool -------------------------------------------------------------------------


def test_a_technique_takes_the_committed_options_or_its_quick_ones():
    class Network:
        name, input_size = "VGG16", (224, 224)

    options = {
        title: make(Network)
        for technique in explain.TECHNIQUES.values()
        for title, make in tables.row_settings(technique).items()
    }
    assert options["occlusion"] == {"patch": 44}
    assert options["SmoothGrad"] == {"samples": 16}
    assert options["integrated gradients"] == {"steps": 32}
    assert options["expected gradients, pixels"] == {"samples": 32}
    layer = {"samples": 32, "layer": "block4_conv3"}
    assert options["expected gradients, middle layer"] == layer
    assert options["Grad-CAM"] == options["activations"] == options["gradients"] == {}
    new = explain.Technique("new", "A new one", "?", lambda side: {"masks": side // 2})
    (make,) = tables.row_settings(new).values()
    assert make(Network) == {"masks": 112}


def test_new_rows_are_merged_in_the_order_of_the_registry_and_others_stay():
    def row(case, technique, share):
        return {"network": "n", "mosaic": case, "technique": technique, "share": share}

    rows = [row(c, t, "0.1") for c in "ba" for t in ("Grad-CAM", "activations")]
    new_rows = [row("b", "occlusion", "0.2"), row("a", "Grad-CAM", "0.3")]
    merged = [tuple(r.values())[1:] for r in tables.merge(rows, new_rows)]
    assert merged == [
        ("b", "activations", "0.1"),
        ("b", "occlusion", "0.2"),
        ("b", "Grad-CAM", "0.1"),
        ("a", "activations", "0.1"),
        ("a", "Grad-CAM", "0.3"),
    ]


@pytest.mark.parametrize("name", tables.ALL_TABLES)
def test_a_table_read_and_written_is_the_same_to_the_byte(name, tmp_path):
    committed, copy = tables.TABLES / f"{name}.csv", tmp_path / "copy.csv"
    tables.write(copy, tables.read(committed))
    assert copy.read_bytes() == committed.read_bytes()
