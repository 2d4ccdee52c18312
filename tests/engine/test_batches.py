"""Batches stay within the memory, and their progress can be watched and stopped."""

import os
import subprocess
import sys

import numpy as np
import pytest
from toys import photo, toy

from xai_helpers import explain
from xai_helpers.engine import batches


def test_a_batch_is_divided_evenly():
    for total, size, expected in ((16, 6, [6, 6, 4]), (17, 16, [9, 8]), (3, 5, [3])):
        parts = list(batches.batch_slices(total, size, "", False))
        assert [part.stop - part.start for part in parts] == expected
        assert np.concatenate([np.r_[part] for part in parts]).tolist() == list(
            range(total)
        )
    assert list(batches.batch_slices(0, 5, "", False)) == []


def test_progress_is_reported_after_each_batch():
    reports = []
    for _ in batches.batch_slices(16, 4, "", lambda *report: reports.append(report)):
        reports.append("work")
    assert reports == [
        "work",
        (4, 16),
        "work",
        (8, 16),
        "work",
        (12, 16),
        "work",
        (16, 16),
    ]


def test_cancelled_ends_the_work_after_the_batch():
    def stop(done, total):
        raise batches.Cancelled

    worked = []
    with pytest.raises(explain.Cancelled):
        for part in batches.batch_slices(16, 4, "", stop):
            worked.append(part)
    assert worked == [slice(0, 4)]


@pytest.mark.parametrize(("watched", "shown"), [("1", True), ("0", False)])
def test_a_bar_is_drawn_only_where_somebody_watches(
    watched, shown, monkeypatch, capsys
):
    monkeypatch.setenv("XAI_PROGRESS", watched)
    for _ in batches.batch_slices(4, 2, "occlusion"):
        pass
    assert ("occlusion" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("progress", [False, lambda done, total: None])
def test_a_bar_is_not_drawn_for_a_function_or_where_it_is_not_wanted(
    progress, monkeypatch, capsys
):
    monkeypatch.setenv("XAI_PROGRESS", "1")
    for _ in batches.batch_slices(4, 2, "occlusion", progress):
        pass
    assert capsys.readouterr().err == ""


# --- the memory -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"), [("1024", 2**30), ("0.5", 2**19), ("", 2**30)]
)
def test_the_memory_is_what_the_environment_says(setting, expected, monkeypatch):
    monkeypatch.setenv("XAI_MEMORY_MB", setting)
    assert batches.memory_limit() == expected


def test_without_a_setting_the_memory_is_a_gigabyte(monkeypatch):
    monkeypatch.delenv("XAI_MEMORY_MB", raising=False)
    assert batches.memory_limit() == 2**30


def test_a_batch_takes_no_more_than_the_memory(monkeypatch):
    """Forward, four times the largest; backward, all of them and the largest again."""
    shapes = [(10, 10, 3), (20, 20, 8), (5,)]  # 300, 3200 and 5 numbers of 4 bytes
    for backward, bytes_needed in ((False, 4 * 4 * 3200), (True, 4 * (3505 + 3200))):
        for count in (1, 3, 16, 40):
            monkeypatch.setenv("XAI_MEMORY_MB", str(count * bytes_needed / 2**20))
            size = batches.max_batch_size(shapes, backward=backward)
            assert size == min(count, 16)
        monkeypatch.setenv("XAI_MEMORY_MB", str(1 / 2**20))
        assert batches.max_batch_size(shapes, backward=backward) == 1


BAD_SETTINGS = ["lots", "-1", "0", "nan", "inf", "1 GB"]


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_a_bad_memory_setting_is_refused_with_advice_when_it_is_used(
    setting, monkeypatch
):
    monkeypatch.setenv("XAI_MEMORY_MB", setting)
    with pytest.raises(ValueError, match=rf"XAI_MEMORY_MB.*{setting}.*megabytes"):
        batches.memory_limit()
    clf = toy()
    for use in (clf.logits, lambda image: explain.smoothgrad(clf, image)):
        with pytest.raises(ValueError, match="XAI_MEMORY_MB"):
            use(photo((12, 14)))


def test_a_bad_memory_setting_does_not_break_the_import():
    code = "import xai_helpers.engine.batches"
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XAI_MEMORY_MB": "lots"},
        check=True,
    )


@pytest.mark.parametrize("total, size, expected", [(48, 16, 4), (400, 32, 25)])
def test_a_function_that_is_told_of_progress_hears_often(total, size, expected):
    """Its bar moves, and cancelling waits for few images; else nothing changes."""
    reports = []
    slices = batches.batch_slices(
        total, size, "x", lambda *report: reports.append(report)
    )
    lengths = [part.stop - part.start for part in slices]
    assert sum(lengths) == total and max(lengths) == expected
    assert reports[-1] == (total, total) and len(reports) >= 12
    lengths = [p.stop - p.start for p in batches.batch_slices(total, size, "x", False)]
    assert max(lengths) > expected
