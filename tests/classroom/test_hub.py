"""The real hub, proxy and student's server, with the settings of classroom/hub.

Skipped unless JupyterHub is in the environment. It is in the students' one:

    classroom/hub/install.sh FOLDER
    FOLDER/students/bin/python -m pytest tests/classroom/test_hub.py
"""

import re
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("jupyterhub", reason="no jupyterhub; docs/classroom.md")
import hub_load

FOLDER = Path(sys.prefix).parent
pytestmark = pytest.mark.skipif(
    not (FOLDER / "proxy" / "node_modules").is_dir(), reason="no proxy beside it"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_load, "COURSE", FOLDER)
        server = hub_load.ClassServer(tmp_path_factory.mktemp("hub") / "run")
        yield server
        server.stop()


@pytest.fixture(scope="module")
def student(server):
    student = hub_load.Student(server, "ada")
    student.log_in()
    student.open_notebook()
    return student


def test_the_first_start_brings_the_notebooks_and_the_shared_weights(student):
    names = [path.name for path in (hub_load.ROOT / "notebooks").glob("*.ipynb")]
    home = student.server.run / "homes" / student.name / "xai-course" / "notebooks"
    assert {path.name for path in home.glob("*.ipynb")} == {*names}
    code = (
        "import os, sys\nfrom xai_helpers import weights\n"
        "print(sys.prefix, weights.weights_state('xception', 'portable')[:2])"
    )
    printed = student.execute(code)
    assert printed.startswith(str(FOLDER / "students"))
    assert "'ready'" in printed and str(FOLDER / "weights") in printed


def test_a_message_of_over_10_mib_reaches_the_kernel(student):
    """As an upload does; Jupyter's own limit would end the connection."""
    assert student.execute(f"print(len('{'x' * 12_000_000}'))").strip() == "12000000"
    assert not student.disconnected.is_set()


def test_a_wrong_password_opens_nothing(server):
    other = hub_load.Student(server, "eve")
    other.get(f"{server.address}/hub/login")
    data = {"username": "eve", "password": "wrong"}
    data["_xsrf"] = other.http.cookies.get("_xsrf", path="/hub/")
    page = other.http.post(f"{server.address}/hub/login", data=data, timeout=60)
    assert page.status_code in (401, 403) and "Invalid username" in page.text
    page = other.get(f"{server.address}/hub/spawn")
    assert "/hub/login" in page.url


def test_a_student_cannot_read_the_files_of_another(student):
    other = hub_load.Student(student.server, "bob")
    other.log_in()
    path = f"{student.base}/api/contents/{hub_load.NOTEBOOK}"
    assert student.get(path).ok
    page = other.get(path)
    assert page.status_code == 403 and "cells" not in page.text


def test_an_idle_server_is_culled_by_the_hub_s_service(student):
    """With seconds in place of hours: the service is there and has the right to it."""
    server, file = student.server, student.server.run / "settings.py"
    assert student.name in server.servers()
    text = file.read_text("utf-8") + (
        "command = c.JupyterHub.services[0]['command']\n"
        "command[-2:] = ['--timeout=1', '--cull-every=1']\n"
    )
    server.stop_hub()
    file.write_text(text, "utf-8")
    server.start_hub()
    end = time.monotonic() + 120
    while server.servers() and time.monotonic() < end:
        time.sleep(0.5)
    assert server.servers() == {}
    log = (server.run / "log").read_text("utf-8")
    assert re.search(rf"Culling server {student.name}", log)
