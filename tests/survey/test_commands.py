"""``xai survey`` and ``xai report``, as typed."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from survey_toys import LABELS

from xai_helpers.course.cli import main


@pytest.fixture
def command(photo_folder, toy, tmp_path):
    """Runs ``xai survey`` on the toy network's file."""
    model, labels = tmp_path / "toy.keras", tmp_path / "labels.txt"
    toy.model.save(model)
    labels.write_text("\n".join(LABELS))
    network = ["--model", model, "--labels", labels, "--preprocess", "unit"]
    out = ["--out", tmp_path / "out", "--part-size", "4"]
    first = ["survey", photo_folder, *network, *out]
    return lambda *options: main([str(part) for part in [*first, *options]])


def test_a_survey_and_its_report(command, tmp_path, capsys):
    assert command("--changes", "turned -45", "mirrored", "--screen", "2") == 0
    output = capsys.readouterr().out
    assert "24 photos" in output and "0 could not be read" in output
    rows = pd.read_parquet(tmp_path / "out" / "photos.parquet")
    assert len(rows) == 24 and rows.screened.sum() == 6
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["changes"] == ["turned −45°", "mirrored"]
    assert main(["report", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "report" / "index.html"
    assert str(page) in capsys.readouterr().out and page.exists()


def test_parameters_of_the_technique(command, tmp_path):
    options = ["--technique", "occlusion", "--patch", "8", "--changes", "none"]
    assert command(*options, "--target", "dog") == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["parameters"] == {"patch": 8}
    rows = pd.read_parquet(tmp_path / "out" / "photos.parquet")
    assert set(rows.target) == {"dog"}


def test_unreadable_photos_are_told_and_give_an_exit_code(
    command, photo_folder, capsys
):
    (photo_folder / "cat" / "bad.jpg").write_text("no photo")
    (photo_folder / "cat" / "copy.png").write_bytes(
        (photo_folder / "cat" / "000.png").read_bytes()
    )
    assert command("--changes", "none") == 3
    output, errors = capsys.readouterr()
    assert "26 photos" in output and "1 could not be read, 1 repeated" in output
    assert "error: cat/bad.jpg" in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--technique", "occlusion", "--layer", "one"], "--layer means nothing"),
        (["--changes", "upside down"], "No change 'upside down'"),
        (["--scheduler", "nonsense"], "No Dask scheduler"),
        (["--part-size", "0"], "part_size"),
    ],
)
def test_mistakes_are_one_line(command, options, words, capsys):
    assert command(*options) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert words in errors[-1] and "Traceback" not in "".join(errors)


def test_a_report_of_nothing(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "holds no survey; run xai survey" in capsys.readouterr().err


def test_help_does_not_load_the_network_or_dask():
    code = (
        "import sys; from xai_helpers.course.cli import parser; parser(False); "
        "assert not {'tensorflow', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
