"""The settings of the hub, read as JupyterHub reads them, and the start of a server."""

import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from traitlets.config import Config

ROOT = Path(__file__).parent.parent.parent
HUB = ROOT / "classroom" / "hub"
sys.path.insert(0, str(HUB))
import start_server  # noqa: E402


def settings(name: str) -> Config:
    """What a file of settings says, with the two functions that JupyterHub gives it."""
    config = Config()

    def load(path: str) -> None:
        names = {"get_config": lambda: config, "load_subconfig": load}
        runpy.run_path(str(HUB / Path(path).name), init_globals=names)

    load(name)
    return config


@pytest.fixture(scope="module")
def hub():
    return settings("jupyterhub_config.py")


def test_everything_listens_on_this_computer_only(hub):
    addresses = [hub.JupyterHub.bind_url, hub.JupyterHub.hub_bind_url]
    addresses.append(hub.ConfigurableHTTPProxy.api_url)
    for address in addresses:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    assert len(set(addresses)) == 3
    unit = (HUB / "xai-proxy.service").read_text("utf-8")
    assert "--ip=127.0.0.1" in unit and "--api-ip=127.0.0.1" in unit
    for address in addresses:
        assert address.rpartition(":")[2] in unit


def test_students_use_the_shared_weights_and_environment(hub):
    folder = HUB.parent  # what the files of settings take for install.sh's folder
    environment = hub.Spawner.environment
    assert environment["XAI_CACHE"] == str(folder / "weights")
    assert environment["XAI_WEIGHTS"] == "portable"
    assert 128 <= int(environment["XAI_MEMORY_MB"]) <= 1024
    assert hub.Spawner.cmd == [
        str(folder / "students/bin/python"),
        str(folder / "config/start_server.py"),
    ]
    page = hub.Spawner.default_url.removeprefix("/lab/tree/xai-course/")
    assert (ROOT / page).is_file()


def test_a_restart_of_the_hub_leaves_proxy_and_servers_alone(hub):
    assert hub.ConfigurableHTTPProxy.should_start is False
    assert hub.JupyterHub.cleanup_servers is False
    assert "KillMode=process" in (HUB / "xai-hub.service").read_text("utf-8")


def test_nobody_logs_in_without_an_account(hub):
    assert hub.JupyterHub.authenticator_class == "pam"
    assert hub.PAMAuthenticator.allowed_groups == {"students", "teachers"}
    assert "allow_all" not in hub.Authenticator


def test_idle_servers_are_culled_and_the_culler_may_do_that_only(hub):
    [service], [role] = hub.JupyterHub.services, hub.JupyterHub.load_roles
    assert service["name"] in role["services"]
    assert service["command"][1:3] == ["-m", "jupyterhub_idle_culler"]
    assert "--timeout=7200" in service["command"]
    assert not {"admin:users", "admin:servers", "servers"} & set(role["scopes"])


def test_idle_kernels_end_earlier():
    server = settings("jupyter_server_config.py")
    kernels = server.MappingKernelManager
    assert 0 < kernels.cull_interval < kernels.cull_idle_timeout < 7200
    assert kernels.cull_connected and not kernels.cull_busy


def pins(file: Path) -> dict[str, str]:
    found = {}
    for block in re.split(r"\n(?=\S)", file.read_text("utf-8").strip()):
        requirement = Requirement(block.partition("\\")[0].strip())
        assert "--hash=sha256:" in block, requirement.name
        found[requirement.name.lower()] = str(requirement.specifier)
    return found


def test_the_hub_and_the_course_agree_on_every_package_that_both_pin():
    """Students' servers hold both. `make lock` pins both."""
    hub, course = pins(HUB / "requirements.txt"), pins(ROOT / "requirements.lock")
    both = hub.keys() & course.keys()
    assert len(both) > 10
    assert {name: hub[name] for name in both} == {name: course[name] for name in both}
    names = (HUB / "requirements.in").read_text("utf-8").split()
    for requirement in map(Requirement, names):
        version = hub[requirement.name].removeprefix("==")
        assert requirement.specifier.contains(version)


def test_the_proxy_is_pinned_with_its_parts():
    lock = (HUB / "package-lock.json").read_text("utf-8")
    assert "configurable-http-proxy" in lock and "registry" not in lock
    modules = re.findall(r'"node_modules/[^"]+": \{(.+?)\n    \}', lock, re.S)
    assert modules and all('"integrity": "sha512-' in module for module in modules)


@pytest.mark.skipif(os.name == "nt", reason="a hub runs on Linux")
def test_the_installer_is_a_script_that_bash_can_read():
    file = HUB / "install.sh"
    assert file.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(file)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="a hub runs on Linux")
def test_the_installer_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = [str(HUB / "install.sh"), str(tmp_path / "target")]
    env = os.environ | {"PYTHON": str(old)}
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 1 and "3.11 to 3.13" in run.stderr
    assert not (tmp_path / "target").exists()


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "course"
    (folder / "notebooks" / "solutions").mkdir(parents=True)
    (folder / "notebooks" / "00.ipynb").write_text("first version")
    (folder / "notebooks" / "solutions" / "00.ipynb").write_text("solution")
    return folder


def test_the_first_start_copies_all_files_into_the_home(course, tmp_path):
    home = tmp_path / "home"
    copies = start_server.copy_missing(course, home)
    assert len(copies) == 2
    assert (home / "notebooks" / "solutions" / "00.ipynb").read_text() == "solution"
    assert start_server.copy_missing(course, home) == []
    assert not list(home.rglob("*.part"))


def test_a_later_start_keeps_what_the_student_changed(course, tmp_path):
    home = tmp_path / "home"
    start_server.copy_missing(course, home)
    (home / "notebooks" / "00.ipynb").write_text("my answers")
    (home / "notebooks" / "solutions" / "00.ipynb").unlink()
    (course / "notebooks" / "00.ipynb").write_text("second version")
    (course / "notebooks" / "01.ipynb").write_text("new")
    names = [path.name for path in start_server.copy_missing(course, home)]
    assert names == ["01.ipynb", "00.ipynb"]  # the new one, and the one that was gone
    assert (home / "notebooks" / "00.ipynb").read_text() == "my answers"


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_a_link_of_the_student_is_not_followed(course, tmp_path):
    """Also one that leads nowhere: nothing is written at its end."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "notebooks").mkdir(parents=True)
    (home / "notebooks" / "00.ipynb").symlink_to(elsewhere)
    start_server.copy_missing(course, home)
    assert not elsewhere.exists()


@pytest.mark.parametrize("in_hub", [True, False])
def test_the_server_starts_with_the_course_s_settings(
    in_hub, course, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
    monkeypatch.setattr(start_server, "COURSE", course)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "argv", ["start_server.py", "--port=1"])
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    if in_hub:
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "x")
    start_server.main()
    [(program, words)] = started
    name = "jupyterhub-singleuser" if in_hub else "jupyter-lab"
    assert Path(program) == Path(sys.executable).with_name(name)
    assert words == [program, "--port=1"]
    assert os.environ["JUPYTER_CONFIG_PATH"] == str(HUB)
    assert (tmp_path / "home" / "xai-course" / "notebooks" / "00.ipynb").is_file()


def test_a_home_without_room_does_not_keep_the_server_from_starting(
    course, tmp_path, monkeypatch, capsys
):
    started = []
    monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
    monkeypatch.setattr(start_server, "COURSE", course)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    monkeypatch.setattr(sys, "argv", ["start_server.py"])
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(Path, "home", lambda: blocked)
    start_server.main()
    assert started and "not all files" in capsys.readouterr().err
