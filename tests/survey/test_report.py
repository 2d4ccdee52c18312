"""The report: hostile names are text, everything is there, odd surveys work."""

import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from xai_helpers.survey import run_survey
from xai_helpers.survey.report import write_report

HOSTILE = "<script>alert('a')<&>\" ü\n.png"
LABEL = "<img src=x onerror=alert(1)>"


def write_photos(folder: Path, labels, count=10):
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture = Image.fromarray(toys.photo((40, 50), 100 * number + k))
            picture.save(folder / label / f"{k:03}.png")


@pytest.fixture(scope="module")
def classifier():
    return toys.pooled_toy()


@pytest.fixture(scope="module")
def survey(tmp_path_factory, classifier):
    """Three labels, one of them no class; a duplicate, a broken file, hostile names."""
    folder = tmp_path_factory.mktemp("survey")
    photos = folder / "photos"
    write_photos(photos, ["cat", "dog", LABEL])
    Image.fromarray(toys.photo((40, 50), 999)).save(photos / "cat" / HOSTILE)
    shutil.copy(photos / "cat" / "000.png", photos / "dog" / "copy.png")
    (photos / "dog" / f"broken {HOSTILE}").write_text("no picture")
    changes = ["turned 30°", "stamped anywhere"]
    return run_survey(photos, folder / "OUT", classifier, changes=changes)


@pytest.fixture(scope="module")
def report(survey):
    return write_report(survey).parent


class Page(HTMLParser):
    """Tags with their attributes, and the text, of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.tags, self.text = path, [], ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def pages(folder):
    return [Page(path) for path in sorted(folder.glob("*.html"))]


def check(folder):
    """What holds for every report; returns its pages."""
    for page in pages(folder):
        assert page.tags[0] == ("html", {"lang": "en"})
        assert (
            not page.all("script") and not page.all("iframe") and not page.all("base")
        )
        assert len(page.all("h1")) == len(page.all("main")) == 1
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert all(b <= a + 1 for a, b in pairwise(levels))
        for attributes in page.all("img"):
            assert attributes["alt"] and (folder / attributes["src"]).is_file()
        for attributes in page.all("link"):
            assert (folder / attributes["href"]).is_file()
        ids = {attributes.get("id") for _, attributes in page.tags}
        for attributes in page.all("a"):
            file, _, anchor = attributes["href"].partition("#")
            assert file.startswith("https://doi.org/") or (
                (folder / file).is_file() if file else anchor in ids
            )
        for tag, attributes in page.tags:
            assert tag == "a" or "//" not in attributes.get("href", "")
            assert not any(name.startswith("on") for name in attributes)
        assert len(page.all("caption")) == len(page.all("table"))
        for attributes in page.all("th"):
            assert attributes["scope"] in ("row", "col")
    return pages(folder)


def test_the_pages_are_whole_and_hostile_names_are_text(report, survey):
    index, *_ = check(report)[::-1]
    everything = "".join(page.text for page in pages(report))
    assert HOSTILE in everything and f"broken {HOSTILE}" in index.text
    assert LABEL in index.text
    for file in report.rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", file.name), "named after a photo"


def test_no_address_outside_is_asked_for(report):
    for file in [*report.glob("*.html"), *report.glob("*.css")]:
        text = file.read_text("utf-8")
        assert not re.search(r"(src|srcset|action)\s*=\s*[\"']?\s*(https?:)?//", text)
        assert "@import" not in text and not re.search(r"url\(", text)


def test_the_numbers_are_those_of_the_survey(report, survey):
    [index] = [page for page in pages(report) if page.path.name == "index.html"]
    good = good_rows(survey)
    labelled = good[good.label != LABEL]
    right = (good.label == good.prediction).sum()
    words = " ".join(index.text.split())
    assert f"({right} of {len(labelled)} photos; 95% interval" in words
    assert f"{len(good)} of {len(survey.photos)} photos; 1 could not be read" in words
    assert "1 (the same bytes as an earlier photo" in words
    assert "10 photos have a label that is no class of the network" in words
    assert len([a for a in index.all("a") if a["href"].startswith("class-")]) >= 3
    assert len(list(report.glob("class-*.html"))) == 3


def test_the_table_has_a_row_for_each_change_and_a_column_for_each_class(report):
    [index] = [page for page in pages(report) if page.path.name == "index.html"]
    words = " ".join(index.text.split())
    assert "31 photos were changed, each in 2 ways" in words  # one is a copy
    for name in ("turned 30°", "stamped anywhere", "cat", "dog", "cup"):
        assert name in words
    assert "the whole table of 6 gains" in words


def test_the_same_survey_writes_the_same_bytes_and_replaces_the_old(
    report, survey, tmp_path
):
    again = write_report(survey, tmp_path / "again").parent
    (again / "class-9999.html").write_text("old")
    (again / "images" / "old.jpg").write_text("old")
    write_report(survey, again)
    files = sorted(path.relative_to(again) for path in again.rglob("*.*"))
    assert files == sorted(path.relative_to(report) for path in report.rglob("*.*"))
    for file in files:
        assert (again / file).read_bytes() == (report / file).read_bytes(), file


def test_a_folder_with_something_else_is_left_alone(survey, tmp_path):
    (tmp_path / "index.html").write_text("my own page")
    with pytest.raises(ValueError, match="something else"):
        write_report(survey, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


class Stub:
    """A survey with some rows of another."""

    def __init__(self, survey, photos, **changed):
        self.__dict__ |= survey.__dict__ | {"photos": photos} | changed
        for name in ("maps", "probabilities", "square", "attribution"):
            self.__dict__.setdefault(name, getattr(survey, name))


def good_rows(survey):
    return survey.photos[survey.photos.error.isna()]


def test_without_labels_classes_are_what_photos_were_taken_for(survey, tmp_path):
    photos = survey.photos.assign(label=None)
    index = check(write_report(Stub(survey, photos), tmp_path).parent)[-1]
    assert "not known: no photo has a label" in index.text
    count = good_rows(survey).prediction.nunique()
    assert len(list(tmp_path.glob("class-*.html"))) == count


def test_some_photos_without_a_label(survey, tmp_path):
    photos = survey.photos.copy()
    photos.loc[photos.label == "dog", "label"] = None
    index = check(write_report(Stub(survey, photos), tmp_path).parent)[-1]
    assert "(no label)" in index.text


def test_without_changes(survey, tmp_path):
    photos = survey.photos.assign(screened=False)
    index = check(write_report(Stub(survey, photos, changes=()), tmp_path).parent)[-1]
    assert "No photo was changed" in index.text


def test_one_photo(survey, tmp_path):
    index = check(write_report(Stub(survey, good_rows(survey)[:1]), tmp_path).parent)[
        -1
    ]
    assert "1 photo" in index.text


def test_only_errors(survey, tmp_path):
    photos = survey.photos[survey.photos.error.notna()]
    index = check(write_report(Stub(survey, photos), tmp_path).parent)[-1]
    assert "No photo could be explained" in index.text
    assert "There are no maps" in index.text


def gone(row):
    raise FileNotFoundError(row.path)


def test_photos_that_have_gone_leave_a_sentence(survey, tmp_path):
    stub = Stub(survey, survey.photos, attribution=gone, square=gone)
    everything = check(write_report(stub, tmp_path).parent)
    missing = "no longer where it was surveyed"
    assert sum(page.text.count(missing) for page in everything) > 10
    assert not list(tmp_path.glob("images/*.jpg"))


def test_memory_and_pictures_do_not_grow_with_the_photos(survey, tmp_path):
    """Of 3,000 photos of a class the maps of at most 300 are asked for at once."""
    rows = good_rows(survey).iloc[np.arange(3000) % len(good_rows(survey))]
    rows = rows.assign(
        label="cat", path=[f"{k:05}" for k in range(3000)], screened=False
    )
    asked = []

    def maps(part):
        asked.append(len(part))
        return survey.maps(part)

    stub = Stub(survey, rows, maps=maps)
    index = check(write_report(stub, tmp_path).parent)[-1]
    assert asked == [300] and len(list(tmp_path.glob("images/*.jpg"))) < 60
    assert "of 3000 photos" in " ".join(index.text.split())


def test_a_planted_effect_is_told_with_its_photos(survey, tmp_path):
    """Probabilities as if "turned 30°" made a cup of every photo."""

    def probabilities(rows):
        values = survey.probabilities(rows).copy()
        values[:, 1] = [0.05, 0.05, 0.9]
        return values

    stub = Stub(survey, survey.photos, probabilities=probabilities)
    index = check(write_report(stub, tmp_path).parent)[-1]
    assert "The change “turned 30°” raises the probability of cup by" in index.text
    assert list(tmp_path.glob("images/changed-0-*.jpg"))
    assert "+ above zero with this confidence" in index.text


def test_the_changed_photo_is_the_one_that_the_network_was_given(survey, classifier):
    """Also under a change at a random place: its probabilities are those noted."""
    from xai_helpers.survey.report import changed_square

    rows = good_rows(survey)[:5]
    noted = survey.probabilities(rows)
    for (_, row), expected in zip(rows.iterrows(), noted, strict=True):
        for k, name in enumerate(survey.changes):
            square = changed_square(survey, row, name, survey.square(row))
            logits = classifier.logits_of(square[None])
            got = classifier.to_probabilities(logits)[0]
            np.testing.assert_allclose(got, expected[1 + k], atol=1e-5)


def test_a_technique_without_a_target(tmp_path, classifier):
    write_photos(tmp_path / "photos", ["cat"], 3)
    folders = tmp_path / "photos", tmp_path / "OUT"
    survey = run_survey(*folders, classifier, "activations", layer="one")
    everything = check(write_report(survey).parent)
    assert not any(re.search(r"\bnan\b|<NA>|None", page.text) for page in everything)
