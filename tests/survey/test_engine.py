"""A survey is what the techniques say of each photo, however it came about."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from survey_toys import write_photos
from toys import photo

from xai_helpers import explain
from xai_helpers.survey import engine, open_survey, photos, run_survey
from xai_helpers.survey.changes import CHANGES
from xai_helpers.survey.photos import file_bytes
from xai_helpers.survey.store import SurveyError

HERE = Path(__file__).parent
PART = {"part_size": 4}


def assert_same(first, second):
    """The same rows and arrays, to the last bit; ``stamp`` is the file's time."""
    columns = first.photos.columns.drop("stamp")
    pd.testing.assert_frame_equal(first.photos[columns], second.photos[columns])
    good = first.photos[first.photos.error.isna()]
    assert np.array_equal(first.maps(good), second.maps(good))
    assert first.changes == second.changes
    if first.changes:
        screened = first.photos[first.photos.screened]
        arrays = [survey.probabilities(screened) for survey in (first, second)]
        assert np.array_equal(*arrays)


def part_times(out):
    return {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}


# --- what is in it --------------------------------------------------------------------


def test_a_row_is_what_the_technique_and_the_network_say(photo_folder, toy, tmp_path):
    survey = run_survey(photo_folder, tmp_path / "out", toy, target="dog", **PART)
    maps = survey.maps(survey.photos)
    assert survey.photos.path.is_monotonic_increasing and len(survey.photos) == 24
    for row, values in zip(survey.photos.itertuples(), maps, strict=True):
        content = (photo_folder / row.path).read_bytes()
        alone = explain.grad_cam(toy, content, "dog")
        logits = toy.logits([content])[0]
        assert row.sha256 == hashlib.sha256(content).hexdigest()
        assert (row.height, row.width, row.bytes) == (40, 50, len(content))
        assert row.label == row.path.split("/")[0] and row.error is None
        assert row.target == "dog" and row.logit == pytest.approx(logits[1], abs=1e-5)
        assert row.probability == pytest.approx(toy.probabilities([content])[0, 1])
        assert row.prediction == toy.class_label(int(logits.argmax()))
        # a float16 has 11 bits: half a unit of the last place, of values up to the peak
        rounding = np.abs(alone.map).max() * 2.0**-11
        np.testing.assert_allclose(values, alone.map, rtol=0, atol=1.01 * rounding)


def test_a_row_becomes_an_attribution_again(photo_folder, toy, tmp_path):
    survey = run_survey(photo_folder, tmp_path / "out", toy, **PART)
    row = survey.photos.iloc[5]
    stored = survey.attribution(row)
    alone = explain.grad_cam(toy, photo_folder / row.path)
    assert stored.title == alone.title and stored.crop == alone.crop
    assert np.array_equal(stored.image, alone.image)
    peak = alone.map.max()
    np.testing.assert_allclose(stored.heatmap(), alone.heatmap(), atol=peak * 2**-10)


def test_each_photo_is_explained_for_its_own_label(photo_folder, toy, tmp_path):
    survey = run_survey(photo_folder, tmp_path / "out", toy, target="label", **PART)
    assert (survey.photos.target == survey.photos.label).all()
    (photo_folder / "cat").rename(photo_folder / "gnu")
    with pytest.raises(ValueError, match="gnu"):
        run_survey(photo_folder, tmp_path / "other", toy, target="label", **PART)


@pytest.mark.parametrize(
    ("technique", "options"),
    [
        ("occlusion", {"patch": 8}),
        ("smoothgrad", {"samples": 2}),
        ("activations", {"layer": "one"}),
        ("layer_cam", {"layer": "pool", "score": "probability"}),
    ],
)
def test_any_technique(photo_folder, toy, tmp_path, technique, options):
    for path in sorted(photo_folder.glob("*/*.png"))[3:]:
        path.unlink()
    survey = run_survey(
        photo_folder, tmp_path / "out", toy, technique, **options, **PART
    )
    seed = {"seed": 0} if technique == "smoothgrad" else {}
    for index, row in survey.photos.iterrows():
        [values] = survey.maps(survey.photos.loc[[index]])
        function = getattr(explain, technique)
        alone = function(toy, photo_folder / row.path, **options, **seed).map
        np.testing.assert_allclose(values, alone, atol=1e-3 * np.abs(alone).max())
        assert survey.attribution(row).map.shape == alone.shape


def test_photos_in_no_class_folder_beside_others(photo_folder, toy, tmp_path):
    Image.fromarray(photo((40, 50), 99)).save(photo_folder / "alone.png")
    (photo_folder / "broken.png").write_text("no picture")
    survey = run_survey(photo_folder, tmp_path / "out", toy, changes=["grey"])
    rows = survey.photos.set_index("path")
    assert rows.label["alone.png"] is None and rows.label["broken.png"] is None
    assert rows.label["cat/000.png"] == "cat"
    assert rows.prediction["alone.png"] in {label for _, label in toy.classes}
    assert rows.error["broken.png"] and rows.screened["alone.png"]


def test_probabilities_of_changed_photos(photo_folder, toy, tmp_path):
    names = ["mirrored", "turned 30°"]
    survey = run_survey(
        photo_folder, tmp_path / "out", toy, changes=names, screen=2, **PART
    )
    screened = survey.photos[survey.photos.screened]
    assert screened.label.value_counts().to_dict() == {"cat": 2, "cup": 2, "dog": 2}
    for row, values in zip(
        screened.itertuples(), survey.probabilities(screened), strict=True
    ):
        square = survey.square(row)
        pictures = [square, *(CHANGES[name].apply(square, 0) for name in names)]
        expected = toy.to_probabilities(toy.logits_of(np.stack(pictures)))
        np.testing.assert_allclose(values, expected, atol=1e-6)


# --- figures of a map -----------------------------------------------------------------


def test_figures_of_a_uniform_map():
    figures = engine.map_figures(np.full((5, 5), 2.0), np.full((20, 40), 2.0))
    assert figures["entropy"] == pytest.approx(1)
    assert figures["half_area"] == pytest.approx(0.5, abs=1 / 800)
    assert figures["rim_share"] == pytest.approx(1 - 0.8 * 0.8)
    assert figures["positive_sum"] == 50 and figures["negative_sum"] == 0


def test_figures_of_a_map_of_a_single_pixel():
    heatmap = np.zeros((20, 20))
    heatmap[0, 3], heatmap[10, 10] = 3, -7
    figures = engine.map_figures(heatmap, heatmap)
    assert figures["entropy"] == 0 and figures["rim_share"] == 1
    assert figures["half_area"] == 1 / 400 and figures["peak"] == 7
    assert (figures["positive_sum"], figures["negative_sum"]) == (3, -7)


def test_a_map_without_a_positive_part_has_no_shares():
    figures = engine.map_figures(-np.ones((4, 4)), -np.ones((8, 8)))
    assert figures == {"peak": 1, "positive_sum": 0, "negative_sum": -16}


# --- going on -------------------------------------------------------------------------


def test_a_second_run_computes_nothing(photo_folder, toy, tmp_path, monkeypatch):
    first = run_survey(photo_folder, tmp_path / "out", toy, **PART)
    monkeypatch.setattr(engine, "_compute", None)
    assert_same(first, run_survey(photo_folder, tmp_path / "out", toy, **PART))


def test_only_what_is_new_or_changed_is_computed(
    photo_folder, toy, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    run_survey(photo_folder, out, toy, **PART)
    computed, compute = [], engine._compute

    def recorded(client, job, classifier, writer, parts, progress):
        computed.extend(photo.path for part in parts.values() for photo in part)
        compute(client, job, classifier, writer, parts, progress)

    monkeypatch.setattr(engine, "_compute", recorded)
    Image.fromarray(photo(seed=99)).save(photo_folder / "cat" / "000.png")
    Image.fromarray(photo(seed=98)).save(photo_folder / "cat" / "new.png")
    (photo_folder / "dog" / "001.png").unlink()
    (photo_folder / "dog" / "004.png").rename(photo_folder / "dog" / "renamed.png")
    shutil.copy(photo_folder / "cup" / "002.png", photo_folder / "cup" / "copy.png")
    survey = run_survey(photo_folder, out, toy, **PART)
    assert computed == ["cat/000.png", "cat/new.png"]
    fresh = run_survey(photo_folder, tmp_path / "fresh", toy, **PART)
    columns = survey.photos.columns.drop(["stamp", "place"])
    rounding = {"check_exact": False, "rtol": 1e-5}  # other batches
    pd.testing.assert_frame_equal(
        survey.photos[columns], fresh.photos[columns], **rounding
    )
    duplicates = survey.photos.dropna(subset="duplicate_of")
    pair = duplicates[["path", "duplicate_of"]].to_numpy().tolist()
    assert pair == [["cup/copy.png", "cup/002.png"]]


def test_a_place_that_did_not_answer_is_tried_again(
    photo_folder, toy, tmp_path, monkeypatch
):
    def no_answer(files, location, size):
        if location.endswith("000.png"):
            raise TimeoutError("no answer")
        return file_bytes(files, location, size)

    with monkeypatch.context() as patch:
        patch.setattr(photos, "file_bytes", no_answer)
        first = run_survey(photo_folder, tmp_path / "out", toy, **PART)
    assert first.photos.error.dropna().tolist() == ["no answer"]
    second = run_survey(photo_folder, tmp_path / "out", toy, **PART)
    assert second.photos.error.isna().all() and len(second.photos) == 24


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"technique": "gradients"}, "technique"),
        ({"layer": "one"}, "parameters"),
        ({"target": "dog"}, "target"),
        ({"changes": ["mirrored"]}, "changes"),
        ({"seed": 1}, "seed"),
    ],
)
def test_other_parameters_into_the_same_folder(
    photo_folder, toy, tmp_path, changed, name
):
    run_survey(photo_folder, tmp_path / "out", toy, **PART)
    with pytest.raises(SurveyError, match=f"another {name}"):
        run_survey(photo_folder, tmp_path / "out", toy, **PART, **changed)


def test_another_network_into_the_same_folder(photo_folder, toy, tmp_path):
    from toys import pooled_toy

    run_survey(photo_folder, tmp_path / "out", toy, **PART)
    with pytest.raises(SurveyError, match="another network"):
        other = pooled_toy(seed=1, labels=("cat", "dog", "cup"))
        run_survey(photo_folder, tmp_path / "out", other, **PART)


def test_a_folder_that_holds_something_else_is_left_alone(photo_folder, toy, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SurveyError, match="other files"):
        run_survey(photo_folder, tmp_path, toy)
    with pytest.raises(SurveyError, match="holds no survey"):
        open_survey(tmp_path)


def test_an_unknown_name_is_an_error_before_anything_is_written(
    photo_folder, toy, tmp_path
):
    for options, words in [
        ({"technique": "gradcam"}, "grad_cam"),
        ({"changes": ["upside down"]}, "mirrored"),
        ({"target": "gnu"}, "gnu"),
        ({"layer": "three"}, "three"),
        ({"patch": 3}, "patch"),
    ]:
        with pytest.raises(ValueError, match=words):
            run_survey(photo_folder, tmp_path / "out", toy, **options)
    assert not (tmp_path / "out").exists()


def test_other_rows_do_not_follow_the_deletion(photo_folder, toy, tmp_path):
    out = tmp_path / "out"
    before = run_survey(photo_folder, out, toy, **PART).photos
    shutil.rmtree(photo_folder / "cat")
    after = run_survey(photo_folder, out, toy, **PART).photos
    expected = before[before.label != "cat"].reset_index(drop=True)
    pd.testing.assert_frame_equal(after, expected)


def test_an_interrupted_survey_goes_on(photo_folder, toy, tmp_path):
    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_survey(photo_folder, out, toy, progress=stop, **PART)
    times = part_times(out)
    assert 0 < len(times) < 6
    with pytest.raises(SurveyError, match="not done yet"):
        open_survey(out)
    survey = run_survey(photo_folder, out, toy, **PART)
    assert times.items() <= part_times(out).items()
    assert_same(survey, run_survey(photo_folder, tmp_path / "whole", toy, **PART))


SURVEY = """
import sys
sys.path[:0] = ["{tests}"]
import toys
from xai_helpers.survey import run_survey
from xai_helpers.survey import engine

if __name__ == "__main__":
    toy = toys.pooled_toy(labels=("cat", "dog", "cup"))
    run_survey("{photos}", "{out}", toy, changes=["mirrored"], part_size=4, {options})
"""


def start_survey(folder, out, options="progress=False"):
    script = out.with_suffix(".py")
    values = {"tests": HERE.parent, "photos": folder, "out": out, "options": options}
    script.write_text(SURVEY.format(**values))
    return subprocess.Popen([sys.executable, script])


def test_a_killed_survey_goes_on(tmp_path, toy):
    """kill -9 in the middle: no part that was done is computed again."""
    folder, out = write_photos(tmp_path / "photos", 240), tmp_path / "out"
    process = start_survey(folder, out)
    while len(list((out / "parts").glob("*.parquet"))) < 10:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    times = {n: t for n, t in part_times(out).items() if n.endswith(".parquet")}
    assert 10 <= len(times) < 60
    options = {"changes": ["mirrored"], **PART}
    survey = run_survey(folder, out, toy, **options)
    kept = part_times(out)
    assert all(kept[name] == times[name] for name in times if not name.startswith("."))
    assert len(kept) == 60
    assert_same(survey, run_survey(folder, tmp_path / "whole", toy, **options))


def test_two_surveys_do_not_write_into_one_folder(photo_folder, toy, tmp_path):
    def second_one(done, total):
        with pytest.raises(SurveyError, match="Another process"):
            run_survey(photo_folder, tmp_path / "out", toy, **PART)

    run_survey(photo_folder, tmp_path / "out", toy, progress=second_one, **PART)


# --- hostile files --------------------------------------------------------------------


def test_hostile_files_are_rows_with_errors(photo_folder, toy, tmp_path):
    cat = photo_folder / "cat"
    content = (cat / "000.png").read_bytes()
    (cat / "cut.png").write_bytes(content[: len(content) // 2])
    (cat / "text.jpg").write_text("<script>alert(1)</script>")
    (cat / "empty.jpg").write_bytes(b"")
    os.mkfifo(cat / "pipe.jpg")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (cat / "bomb.png").write_bytes(bomb.getvalue())
    survey = run_survey(photo_folder, tmp_path / "out", toy, **PART)
    bad = survey.photos[survey.photos.error.notna()].set_index("path").error
    names = ["bomb.png", "cut.png", "empty.jpg", "pipe.jpg", "text.jpg"]
    assert bad.index.tolist() == [f"cat/{name}" for name in names]
    assert "megapixels" in bad["cat/bomb.png"] and "regular" in bad["cat/pipe.jpg"]
    good = survey.photos[survey.photos.error.isna()]
    assert len(good) == 24 and good.logit.notna().all()


def test_photos_that_are_all_unreadable(tmp_path, toy):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("nothing")
    survey = run_survey(
        tmp_path / "photos", tmp_path / "out", toy, changes=["mirrored"]
    )
    assert survey.photos.error.notna().all() and not survey.photos.screened.any()


# --- other machines -------------------------------------------------------------------


def test_a_scheduler_with_two_workers_gives_the_same(photo_folder, toy, tmp_path):
    """Real ``dask scheduler`` and ``dask worker`` processes on the loopback."""
    dask, address = Path(sys.executable).with_name("dask"), tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    commands = [
        [dask, "scheduler", "--scheduler-file", address, "--port", "0", *local],
        *[[dask, "worker", "--scheduler-file", address, "--nthreads", "1", *local]] * 2,
    ]
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        while not address.exists():
            assert processes[0].poll() is None
            time.sleep(0.1)
        scheduler = pd.read_json(address, typ="series").address
        options = {"changes": ["mirrored"], **PART}
        far = run_survey(
            photo_folder, tmp_path / "far", toy, scheduler=scheduler, **options
        )
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
    near = run_survey(photo_folder, tmp_path / "near", toy, **options)
    columns = near.photos.columns.drop("stamp")
    # another number of threads adds up in another order
    pd.testing.assert_frame_equal(
        far.photos[columns], near.photos[columns], check_exact=False, rtol=1e-4
    )


def test_a_scheduler_that_does_not_answer(photo_folder, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 1)
    with pytest.raises(SurveyError, match=r"No Dask scheduler answers at tcp"):
        address = "tcp://127.0.0.1:9"
        run_survey(photo_folder, tmp_path / "out", toy, scheduler=address)


def test_a_part_made_again_has_the_same_bits(xception, tmp_path):
    """A network that has computed nothing yet compiles for other shapes first."""
    photos, out = write_photos(tmp_path / "photos", 19), tmp_path / "OUT"
    fresh = xception.with_model(xception.model)
    whole = run_survey(photos, out, fresh, progress=False)
    maps = whole.maps(whole.photos)
    [part] = (out / "parts").glob("*.parquet")
    part.unlink()
    fresh = xception.with_model(xception.model)
    again = run_survey(photos, out, fresh, progress=False)
    assert np.array_equal(again.maps(again.photos), maps)
    columns = whole.photos.columns
    assert again.photos[columns].equals(whole.photos[columns])
