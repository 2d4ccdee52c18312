"""The files that describe the installation agree with each other."""

import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DECLARED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def normal(requirements) -> set[tuple]:
    parsed = map(Requirement, requirements)
    return {(r.name.lower(), str(r.specifier), str(r.marker)) for r in parsed}


def test_environment_yml_and_pyproject_agree():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))[
        "dependencies"
    ]
    plain = [entry for entry in conda if isinstance(entry, str)]
    python = next(e for e in plain if e.startswith("python>"))
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert python == "python" + PROJECT["requires-python"]
    assert "-e ." in pip
    listed = [e for e in [*plain, *pip] if e not in (python, "-e .")]
    assert normal(listed) == normal(DECLARED)


def test_every_entry_of_environment_yml_says_what_it_is_for():
    lines = (ROOT / "environment.yml").read_text("utf-8").splitlines()
    entries = [line for line in lines if re.match(r"\s+- [a-z].*[=<>]", line)]
    assert len(entries) > 20
    silent = [e for e in entries if " # " not in e and "python>" not in e]
    assert [e for e in silent if "tensorflow>=" not in e] == []


def test_the_lock_pins_and_hashes_everything_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*-(i|f|-)", lock.replace("    --hash", ""), re.M)
    pinned = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        name, version = re.match(r"([\w.\-]+)==([\w.+]+)", block).groups()
        assert "--hash=sha256:" in block, name
        pinned.setdefault(name.lower(), []).append(version)
    for requirement in map(Requirement, DECLARED):
        versions = pinned[requirement.name.lower()]
        assert any(requirement.specifier.contains(v) for v in versions), requirement


def test_nothing_pulls_cuda_unasked():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "nvidia" not in lock
    assert "torch" not in lock


def test_this_python_is_one_that_is_declared():
    assert (3, 11) <= sys.version_info[:2] < (3, 14)


def test_committed_text_names_no_host_of_a_registry_and_no_path_of_a_machine():
    suspicious = re.compile(
        r"pypi\.(org|python)|pythonhosted|registry\.npmjs|/(root|home)/\w|index-url *="
    )
    read = 0
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT)
        if inside.parts[0].startswith((".venv", ".git", "build", ".pytest", ".ruff")):
            continue
        kinds = {".py", ".md", ".toml", ".yml", ".lock", ".ipynb", ".cfg", ""}
        if path.is_file() and path.suffix in kinds and path.name != Path(__file__).name:
            assert not suspicious.search(path.read_text("utf-8")), path
            read += 1
    assert read > 20
