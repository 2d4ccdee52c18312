"""`make app`: the page is served, and its panel answers to every control."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from xai_helpers import explain

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "app" / "panel.ipynb"

DRIVE = """
from xai_helpers import explain
for network in networks:
    panel.network.value = network
    for name in explain.TECHNIQUES:
        panel.technique.value = name
        panel.wait()
        result = panel.attribution
        assert result is not None, panel.message.value
        assert result.model == network.name and result.map.any()
        print(name, result.technique, sep="|")
for photo in panel.photos:
    panel.technique.value, panel.photo.value = "grad_cam", photo
    panel.wait()
    square = panel.network.value.crop(panel.photos[photo])[0]
    assert (panel.attribution.image == square).all()
"""


@pytest.mark.real
def test_the_panel_of_the_page_through_every_technique_and_photo():
    """With both real networks, in a kernel of its own, as the page runs it."""
    notebook = nbformat.read(PAGE, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(DRIVE))
    client = NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(PAGE.parent)}}
    )
    client.execute()
    outputs = notebook.cells[-1].outputs
    text = "".join(out.text for out in outputs if out.get("name") == "stdout")
    titles = [(name, known.title) for name, known in explain.TECHNIQUES.items()]
    assert [tuple(line.split("|")) for line in text.splitlines()] == 2 * titles


def test_the_notebook_of_the_page_is_committed_without_outputs():
    for cell in nbformat.read(PAGE, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.fixture
def address(tmp_path):
    """Voilà, serving the page on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = shutil.which("voila", path=str(Path(sys.executable).parent))
    assert command, "voila is not installed: make install"
    with (tmp_path / "log").open("w") as log:
        options = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
        server = subprocess.Popen(
            [command, str(PAGE), *options], stdout=log, stderr=log
        )
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.real
def test_the_page_is_served_with_its_widgets_and_without_an_error(address):
    for _ in range(60):
        try:
            page = urllib.request.urlopen(address, timeout=120).read().decode()
            break
        except OSError:
            time.sleep(1)
    assert "What does a convolutional network really see?" in page
    assert page.count("application/vnd.jupyter.widget-view+json") >= 1
    assert "Traceback" not in page and "output_error" not in page
