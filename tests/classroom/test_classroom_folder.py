"""The folder for a class without a network: what is in it, and what its installer says.

Downloads are replaced; ``python tools/classroom.py --try`` installs for real.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import classroom
from classroom import install

ROOT = classroom.ROOT
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
FAKE_LOCK = """\
plain==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
only-windows==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:cc
old-python==3.0 ; python_full_version < '3.12' \\
    --hash=sha256:dd
patched==4.0 ; python_full_version < '3.11.5' \\
    --hash=sha256:ee
patched==5.0 ; python_full_version >= '3.11.5' \\
    --hash=sha256:ff
"""
HERE = [*install.this_computer()]


@pytest.mark.parametrize(
    ("kind", "python", "names"),
    [
        ("linux", "3.11.0", {"old-python==3.0", "patched==4.0"}),
        ("linux", "3.11.9", {"old-python==3.0", "patched==5.0"}),
        ("linux", "3.13.0", {"patched==5.0"}),
        ("windows", "3.11.0", {"only-windows==2.0", "old-python==3.0", "patched==4.0"}),
        ("macos", "3.12.0", {"patched==5.0"}),
    ],
)
def test_a_computer_gets_what_its_markers_say(kind, python, names):
    python, _, patch = python.rpartition(".")
    needed = classroom.requirements(FAKE_LOCK, kind, python, int(patch))
    assert needed.keys() == names | {"plain==1.0"}
    assert needed["plain==1.0"] == (
        "plain==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb"
    )


@pytest.mark.parametrize("python", classroom.PYTHONS)
@pytest.mark.parametrize("kind", classroom.PLATFORMS)
def test_every_computer_gets_one_tensorflow_and_what_editable_installs_need(
    kind, python
):
    needed = classroom.requirements(LOCK, kind, python, 0)
    names = [Requirement(pin).name for pin in needed]
    plain = "tensorflow-cpu" if kind == "linux" else "tensorflow"
    assert [name for name in names if name.startswith("tensorflow")] == [plain]
    assert {"hatchling", "editables", "pip", "jupyterlab"} <= set(names)
    assert all("--hash=sha256:" in lines for lines in needed.values())


@pytest.fixture
def downloads(monkeypatch):
    """pip's download: a file for each package, none for those that have no wheel."""
    calls, absent = [], set()

    def run(command, **options):
        if "download" not in command:
            return real_run(command, **options)
        calls.append(command)
        text = Path(command[command.index("-r") + 1]).read_text("utf-8")
        pins = re.findall(r"^(\S+==\S+)", text, re.M)
        for pin in pins:
            if pin in absent:
                error = f"ERROR: No matching distribution found for {pin}\n"
                return subprocess.CompletedProcess(command, 1, "", error)
        [dest] = [w.partition("=")[2] for w in command if w.startswith("--dest=")]
        for pin in pins:
            name = pin.replace("==", "-").replace("only-", "only_")
            (Path(dest) / f"{name}-py3-none-any.whl").write_text(pin)
        return subprocess.CompletedProcess(command, 0, "", "")

    real_run = subprocess.run
    monkeypatch.setattr(classroom.subprocess, "run", run)
    return calls, absent


def test_pip_is_asked_for_wheels_of_another_platform_with_hashes(downloads, tmp_path):
    calls, _ = downloads
    needed = classroom.requirements(FAKE_LOCK, "windows", "3.12", 0)
    assert classroom.download(needed, tmp_path, "windows", "3.12", 0) == []
    [command] = calls
    for word in ("--only-binary=:all:", "--require-hashes", "--no-deps"):
        assert word in command
    for word in ("--platform=win_amd64", "--python-version=3.12.0", "--abi=cp312"):
        assert word in command


def test_every_package_without_a_wheel_is_named_not_only_the_first(downloads, tmp_path):
    _, absent = downloads
    absent |= {"plain==1.0", "only-windows==2.0"}
    needed = classroom.requirements(FAKE_LOCK, "windows", "3.11", 0)
    missing = classroom.download(needed, tmp_path, "windows", "3.11", 0)
    assert set(missing) == absent
    assert absent <= needed.keys()  # the caller's own stays


@pytest.fixture
def built(downloads, tmp_path, monkeypatch):
    """A small project and its folder, without packages."""
    project = tmp_path / "project"
    (project / "notebooks").mkdir(parents=True)
    (project / "requirements.lock").write_text(FAKE_LOCK)
    (project / "notebooks" / "00_start_here.ipynb").write_text("{}")
    (project / "script").write_text("#!/bin/sh\n")
    (project / "script").chmod(0o755)
    (project / ".gitignore").write_text("build/\n")
    (project / "build").mkdir()
    (project / "build" / "large").write_text("not for students")
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    monkeypatch.setattr(classroom, "ROOT", project)
    names = project_files = classroom.project_files
    monkeypatch.setattr(classroom, "project_files", lambda root: names(project))
    assert project_files(project)

    def weights(folder):
        folder.mkdir()
        (folder / "vgg16-base-0.npz").write_text("weights")

    monkeypatch.setattr(classroom, "copy_weights", weights)
    copy = classroom.copy_project
    monkeypatch.setattr(classroom, "copy_project", lambda to: copy(to, project))
    folder = tmp_path / "stick"
    classroom.build(folder, [HERE, ["windows", "3.12"]])
    return folder


def install_from(folder: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(folder / "install.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_folder_holds_what_the_lock_and_git_say_and_nothing_else(built):
    names = {path.relative_to(built).as_posix() for path in built.rglob("*.*")}
    assert {"README.txt", "install.sh", "install.bat", "install.py"} <= names
    assert {"contents.json", "weights/vgg16-base-0.npz"} <= names
    assert "course/notebooks/00_start_here.ipynb" in names
    assert (built / "course" / "script").stat().st_mode & 0o100
    assert not (built / "course" / "build").exists()
    wheels = {path.name for path in (built / "wheels").iterdir()}
    assert "patched-5.0-py3-none-any.whl" in wheels
    assert {"plain-1.0-py3-none-any.whl", "only_windows-2.0-py3-none-any.whl"} <= wheels
    assert json.loads((built / "contents.json").read_text())["targets"] == [
        HERE,
        ["windows", "3.12"],
    ]
    readme = (built / "README.txt").read_text("utf-8")
    assert f"{HERE[0]} with Python {HERE[1]}" in readme
    assert "windows with Python 3.12" in readme and "@" not in readme


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_the_sums_are_those_that_sha256sum_reads_and_none_is_forgotten(built):
    run = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=built
    )
    assert run.returncode == 0
    listed = len((built / "SHA256SUMS").read_text().splitlines())
    assert listed == sum(path.is_file() for path in built.rglob("*")) - 1


def test_wheels_of_an_older_lock_are_removed(built):
    old = built / "wheels" / "plain-0.9-py3-none-any.whl"
    old.write_text("old")
    classroom.build(built, [HERE])
    assert not old.exists()
    assert not (built / "wheels" / "only_windows-2.0-py3-none-any.whl").exists()
    assert (built / "wheels" / "plain-1.0-py3-none-any.whl").exists()


def test_a_package_without_a_wheel_is_an_error_that_names_it(
    built, downloads, tmp_path
):
    downloads[1].add("plain==1.0")
    with pytest.raises(SystemExit, match=r"no wheel of plain==1\.0 \(macos, Python"):
        classroom.build(tmp_path / "other", [["macos", "3.11"]])


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path):
    (tmp_path / "letter.txt").write_text("keep")
    with pytest.raises(SystemExit, match="holds other files"):
        classroom.build(tmp_path, [HERE])
    assert (tmp_path / "letter.txt").read_text() == "keep"


def test_an_interrupted_build_is_for_nobody_and_can_be_started_again(
    built, downloads, tmp_path
):
    downloads[1].add("plain==1.0")
    folder = tmp_path / "other"
    with pytest.raises(SystemExit, match="no wheel"):
        classroom.build(folder, [HERE])
    assert json.loads((folder / "contents.json").read_text()) == {"targets": []}
    downloads[1].clear()
    classroom.build(folder, [HERE])
    assert json.loads((folder / "contents.json").read_text()) == {"targets": [HERE]}


def test_without_git_it_says_what_is_needed(tmp_path):
    with pytest.raises(SystemExit, match="a clone of the project, and git"):
        classroom.project_files(tmp_path)


@pytest.mark.parametrize("damage", ["change", "delete"])
def test_a_damaged_file_ends_the_installation_before_anything_is_written(
    built, tmp_path, damage
):
    wheel = built / "wheels" / "plain-1.0-py3-none-any.whl"
    wheel.write_text("changed") if damage == "change" else wheel.unlink()
    run = install_from(built, tmp_path / "target")
    assert run.returncode == 1
    assert "1 of" in run.stderr and wheel.name in run.stderr
    assert not (tmp_path / "target").exists()


def test_another_computer_or_python_is_refused_with_what_is_needed(built, tmp_path):
    contents = built / "contents.json"
    for targets, text in (
        ([["windows", "3.12"]] if HERE[0] != "windows" else [["linux", "3.12"]], "is "),
        ([[HERE[0], "3.10"]], "The folder is for Python 3.10"),
    ):
        contents.write_text(json.dumps({"targets": targets}))
        run = install_from(built, tmp_path / "target")
        assert run.returncode == 1 and text in run.stderr
        assert install_from(built, "--suits").returncode == 1
        assert not (tmp_path / "target").exists()


def test_the_installer_leaves_other_folders_alone(built, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("keep")
    run = install_from(built, tmp_path / "home")
    assert run.returncode == 1 and "holds other files" in run.stderr
    run = install_from(built, built / "inside")
    assert run.returncode == 1 and "not in this folder" in run.stderr


def test_an_installation_again_keeps_the_student_s_notebooks(built, tmp_path):
    target = tmp_path / "target"
    install.copy_missing(built / "course", target)
    notebook = target / "notebooks" / "00_start_here.ipynb"
    notebook.write_text("my answers")
    (target / "script").unlink()
    install.copy_missing(built / "course", target)
    assert notebook.read_text() == "my answers"
    assert (target / "script").is_file()
    if os.name != "nt":
        assert os.access(target / "script", os.X_OK)


@pytest.mark.skipif(os.name == "nt", reason="of Linux and macOS")
def test_the_shell_script_takes_the_first_python_that_suits(built, tmp_path):
    """Here none does; the last words are the installer's own."""
    (built / "contents.json").write_text(json.dumps({"targets": [["other", "3.0"]]}))
    env = os.environ | {"PYTHON": sys.executable}
    command = ["sh", str(built / "install.sh"), str(tmp_path / "target")]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 1 and "this computer is" in run.stderr
    env = {"PATH": str(tmp_path / "empty")}
    run = subprocess.run(
        ["/bin/sh", *command[1:]], env=env, capture_output=True, text=True
    )
    assert run.returncode == 1 and "README.txt" in run.stderr


def test_the_batch_file_is_one_of_windows(built):
    """It was never run: there is no Windows here."""
    data = (built / "install.bat").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") > 5
    assert data.isascii() and b"install.py" in data
