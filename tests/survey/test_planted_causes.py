"""Planted causes: what is planted, and where it lies."""

import numpy as np
import planted_causes
import pytest

from xai_helpers import samples

SHAPE = (96, 96, 3)


def test_cases_are_different_and_none_was_there_before():
    cases = planted_causes.cases()
    assert len(set(cases)) == len(cases) == 20
    assert not set(cases) & planted_causes.NATURAL
    assert {change for _, change in cases} == set(planted_causes.TRIED)


@pytest.mark.parametrize("change", planted_causes.TRIED)
def test_place_of_a_change_is_where_every_photo_becomes_the_same(change):
    place = planted_causes.place_of(change, SHAPE)
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, SHAPE, dtype="uint8") for _ in range(2))
    apply = planted_causes.PLANTS[change].apply
    assert (apply(first, 0)[place] == apply(second, 0)[place]).all()
    assert place.any() == (change not in ("grey", "blurred"))


def test_a_frame_takes_a_sixteenth_on_each_side():
    place = planted_causes.place_of("black border", SHAPE)
    assert place.mean() == pytest.approx(1 - (1 - 2 / 16) ** 2)


def test_the_table_has_all_cases():
    rows = samples.table("planted")
    assert list(rows[0]) == planted_causes.COLUMNS.split()
    for kind in ("all", "half"):
        pairs = [(r["class"], r["change"]) for r in rows if r["planted"] == kind]
        assert pairs == planted_causes.cases()
    for row in rows:
        assert (row["mass"] == "") == (row["change"] in ("grey", "blurred"))
        assert (row["rank"] == "1") == (
            row["first"] == f"{row['class']}, {row['change']}"
        )
