"""The panel in a real browser: JupyterLab, and the app that Voilà serves.

Debian's Chromium, driven by Playwright. Toy networks, so that it takes seconds.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import browsers
import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
pytestmark = browsers.MARKS

# Two networks: with many layers, few of which everything passes through, and with few.
PANEL = """
import json
from pathlib import Path
import numpy as np
from xai_helpers import keras, load_classifier, widgets

layers = keras.layers

def classifier(name, blocks, residual):
    keras.utils.set_random_seed(blocks)
    x = inputs = keras.Input((32, 32, 3))
    for k in range(blocks):
        conv = layers.Conv2D(3, 3, padding="same", activation="relu", name=f"conv{k}")
        x = layers.Add(name=f"add{k}")([x, conv(x)]) if residual else conv(x)
    x = layers.MaxPooling2D(name="pool")(x)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs, name=name)
    return load_classifier(model, labels=["cat", "dog", "hen"], verbose=False)

photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
panel = widgets.panel(
    [classifier("large", 6, True), classifier("small", 3, False)],
    {"noise": photo, "dark": photo // 4},
    background=np.zeros((2, 32, 32, 3), np.uint8),
)

def write(change=None):
    names = ("network", "technique", "layer", "photo")
    state = {name: getattr(panel, name).label for name in names}
    Path("state.json").write_text(json.dumps(state))

for control in (panel.network, panel.technique, panel.layer, panel.photo):
    control.observe(write, "value")
write()
panel
"""
SERVERS = {
    "lab": "jupyter lab --allow-root --ip=127.0.0.1 --IdentityProvider.token=",
    "app": "voila panel.ipynb --Voila.ip=127.0.0.1",
}
PATHS = {"lab": "/lab/tree/panel.ipynb", "app": "/"}


def makefile_options(target: str) -> list[str]:
    """With which limit for a message ``make lab`` and ``make app`` start the server."""
    makefile = (ROOT / "Makefile").read_text()
    rule = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    for name, value in re.findall(r"^(\w+) *\??= *(.*)$", makefile, re.M):
        rule = rule.replace(f"$({name})", value)
    return [word for word in shlex.split(rule) if "tornado_settings=" in word]


class Panel:
    """The panel in the browser, and what Python says of its controls."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        slider = page.locator(
            ".widget-slider", has=page.get_by_text("layer", exact=True)
        )
        self.readout = slider.locator(".widget-readout")

    def select(self, control: str, option: str) -> None:
        self.page.get_by_label(control, exact=True).select_option(option)

    def options(self, control: str) -> list[str]:
        return (
            self.page.get_by_label(control, exact=True)
            .locator("option")
            .all_inner_texts()
        )

    def upload(self, name: str) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("button.widget-upload").click()
        chooser.value.set_files(str(self.folder / name))

    def state(self) -> dict:
        return json.loads((self.folder / "state.json").read_text() or "{}")

    def holds(self, condition, seconds=20.0) -> bool:
        """Whether it comes true in time; and is still true when all have answered."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        time.sleep(1)
        return condition()

    def shows_layer(self, name: str) -> bool:
        """In the page and in Python."""
        in_page, in_python = self.readout.inner_text(), self.state().get("layer", "")
        return in_page == in_python and in_page.split(" · ")[0] == name


@contextmanager
def opened(browser, kind: str, folder: Path, *options: str):
    """The panel in a page of its own server."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_code_cell(PANEL)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, folder / "panel.ipynb")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *arguments = SERVERS[kind].split()
    program = shutil.which(program, path=str(Path(sys.executable).parent))
    arguments += ["--no-browser", f"--port={port}", *options]
    environment = {k: v for k, v in os.environ.items() if k != "XAI_UPLOAD_MB"}
    errors = []
    with (folder / "log").open("w") as log:
        streams = {"stdout": log, "stderr": log, "cwd": folder, "env": environment}
        server = subprocess.Popen([program, *arguments], **streams)
        try:
            wait_for(f"http://127.0.0.1:{port}/", server)
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}{PATHS[kind]}", timeout=120_000)
            panel = Panel(page, folder)
            if kind == "lab":
                run_all_cells(page)
            panel.readout.wait_for(timeout=60_000)
            yield panel
            page.close()
        finally:
            server.terminate()
            server.wait(30)
    text = (folder / "log").read_text()
    assert "Traceback" not in text and "terminate called" not in text, text
    assert errors == []


def wait_for(address: str, server) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=60).close()
            return
        except OSError:
            assert server.poll() is None, "the server has ended; see its log"
            time.sleep(0.5)
    raise AssertionError(f"{address} does not answer.")


def run_all_cells(page) -> None:
    """JupyterLab forgets a command that comes before the kernel: ask until it runs."""
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    prompt.wait_for(timeout=60_000)
    for _ in range(20):
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_timeout(1000)
        if prompt.inner_text() not in ("[ ]:", ""):
            return
    raise AssertionError("JupyterLab does not run the notebook.")


@pytest.fixture(scope="module", params=SERVERS)
def panel(request, browser, tmp_path_factory):
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    with opened(browser, kind, folder, *makefile_options(kind)) as panel:
        yield panel


def write_photo(path: Path, side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_the_layer_slider_gets_the_layer_that_python_chose(panel):
    """A slider that gets fewer layers than its place used to send the last one back."""
    assert panel.holds(lambda: panel.shows_layer("add5"))  # the last but the pool
    panel.select("technique", "expected gradients")  # of add0 … add5, pool and pixels
    assert panel.holds(lambda: panel.shows_layer("add3")), panel.state()
    panel.select("technique", "Grad-CAM")
    assert panel.holds(lambda: panel.shows_layer("add5")), panel.state()
    panel.select("network", "small")
    assert panel.holds(lambda: panel.shows_layer("conv2")), panel.state()
    panel.select("technique", "expected gradients")
    assert panel.holds(lambda: panel.shows_layer("conv2")), panel.state()
    panel.select("technique", "occlusion")  # has no layers, and a patch
    assert panel.holds(lambda: not panel.readout.is_visible())
    assert panel.page.get_by_text("patch, px", exact=True).is_visible()
    panel.select("network", "large")
    panel.select("technique", "Grad-CAM")
    assert panel.holds(lambda: panel.shows_layer("add5")), panel.state()
    assert panel.readout.is_visible()


def test_the_picture_before_is_pale(panel):
    """When it is so is tested in test_widgets.py; its bar and button are beside it."""
    image = panel.page.locator(".xai-picture img")
    opacity = "image => getComputedStyle(image).opacity"
    assert float(image.evaluate(opacity)) == 1
    image.evaluate("image => image.parentElement.classList.add('xai-old')")
    assert panel.holds(lambda: float(image.evaluate(opacity)) < 0.5)
    image.evaluate("image => image.parentElement.classList.remove('xai-old')")
    assert panel.holds(lambda: float(image.evaluate(opacity)) == 1)
    cancel = panel.page.locator("button", has_text="cancel")
    assert 0 < image.bounding_box()["y"] - cancel.bounding_box()["y"] < 60


@pytest.mark.parametrize("width", [390, 900])
def test_on_a_narrow_screen_the_picture_goes_below_the_controls(panel, width):
    if width == 390 and "/lab" in panel.page.url:
        pytest.skip("JupyterLab's own bars leave nothing of a phone's width.")
    panel.page.set_viewport_size({"width": width, "height": 900})
    time.sleep(1)
    technique = panel.page.get_by_label("technique", exact=True)
    image = panel.page.locator(".xai-picture img")
    try:
        area, *boxes = (
            part.bounding_box()
            for part in (panel.page.locator(".xai-columns"), technique, image)
        )
    finally:
        panel.page.set_viewport_size({"width": 1300, "height": 1000})
    assert area["x"] + area["width"] <= width
    for box in boxes:
        assert area["x"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= area["x"] + area["width"] + 1
    if width == 390:
        assert boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"]


def test_a_photo_of_over_10_mb_arrives(panel):
    """The servers of ``make lab`` and ``make app`` take larger messages than others."""
    write_photo(panel.folder / "large.png", 2100)
    assert (panel.folder / "large.png").stat().st_size > 12e6
    panel.upload("large.png")
    assert panel.holds(lambda: panel.state()["photo"] == "large.png")
    assert "large.png" in panel.options("photo")


def test_after_a_photo_that_was_too_large_the_next_one_arrives(browser, tmp_path):
    """Under a plain ``jupyter lab``, whose limit cuts the connection."""
    write_photo(tmp_path / "large.png", 2100)
    write_photo(tmp_path / "little.png", 99)
    with opened(browser, "lab", tmp_path) as panel:
        assert panel.page.get_by_text("at most 10 MB").is_visible()
        panel.upload("large.png")
        assert not panel.holds(lambda: "large.png" in panel.options("photo"), 4)
        panel.select("photo", "dark")
        assert panel.holds(lambda: panel.state()["photo"] == "dark")
        panel.upload("little.png")
        assert panel.holds(lambda: panel.state()["photo"] == "little.png")
