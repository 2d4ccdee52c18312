"""The panel in a real browser: JupyterLab, and the app that Voilà serves.

Debian's Chromium, driven by Playwright. Toy networks, so that it takes seconds; the
app and two notebooks with the real ones are at the end.
"""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import browsers
import connections
import nbformat
import numpy as np
import psutil
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
pytestmark = browsers.MARKS

# Two networks: with many layers, few of which everything passes through, and with few.
# RISE goes on until there is a file "go".
PANEL = """
import functools
import json
import time
import warnings
from pathlib import Path
import numpy as np
from xai_helpers import explain, keras, load_classifier, widgets

warnings.simplefilter("ignore")
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

rise = explain.rise

def slow_rise(*arguments, progress, **options):
    for k in range(200):
        if Path("go").exists():
            break
        time.sleep(0.1)
        if k > 20:
            progress(k, 200)
    return rise(*arguments, progress=progress, **options)

vars(explain.TECHNIQUES["rise"])["function"] = functools.wraps(rise)(slow_rise)
photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
panel = widgets.panel(
    [classifier("large", 6, True), classifier("small", 3, False)],
    {"noise": photo, "dark": photo // 4},
    background=np.zeros((2, 32, 32, 3), np.uint8),
)
controls = [panel.network, panel.technique, panel.layer, panel.photo, panel.target]

def write(change=None):
    names = ("network", "technique", "layer", "photo")
    state = {name: getattr(panel, name).label for name in names}
    state["class"] = (panel.target.label or "").split("  ")[0]
    state["sizes"] = {name: photo.shape for name, photo in panel.photos.items()}
    Path("state.new").write_text(json.dumps(state))
    Path("state.new").replace("state.json")  # never seen half written

for control in controls:
    control.observe(write, "value")
write()
"""
SERVERS = {
    "lab": "jupyter lab --allow-root --ip=127.0.0.1 --IdentityProvider.token=",
    "app": "voila panel.ipynb --Voila.ip=127.0.0.1",
}
PATHS = {"lab": "/lab/tree/panel.ipynb", "app": "/"}


class Panel:
    """The panel in the browser, and what Python says of its controls."""

    def __init__(self, page, folder, server=None):
        self.page, self.folder, self.server = page, folder, server
        self.layer_name = page.get_by_label("layer, by name")
        self.layer = page.get_by_role("slider", name="layer", exact=True)
        self.image = page.locator(".xai-picture img")
        self.message = page.locator(".xai-message").first

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
            self.page.get_by_role("button", name="a photo of your own").click()
        chooser.value.set_files(str(self.folder / name))

    def state(self) -> dict:
        return json.loads((self.folder / "state.json").read_text())

    def holds(self, condition, seconds=60.0) -> bool:
        """Whether it comes true in time; and is still true when all have answered."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        time.sleep(1)
        return condition()

    def shows_layer(self, name: str) -> bool:
        """In the field, on the slider, and in Python."""
        texts = (
            self.layer_name.input_value(),
            self.layer.get_attribute("aria-valuetext"),
        )
        in_python = self.state().get("layer", "")
        return {*texts} == {in_python} and in_python.split(" · ")[0] == name

    def alt(self) -> str:
        return self.image.get_attribute("alt")

    def pixels(self) -> np.ndarray:
        """What the page shows of the picture."""
        picture = Image.open(io.BytesIO(self.image.screenshot()))
        return np.asarray(picture.convert("RGB"))

    def set_size(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})
        time.sleep(1)
        self.page.locator(".xai-panel").evaluate("panel => panel.scrollIntoView()")
        time.sleep(0.5)


@contextmanager
def served(kind: str, folder: Path, *options: str, **environment: str):
    """A server in a folder, and its address; what is in its log is no error."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *arguments = SERVERS[kind].split()
    program = shutil.which(program, path=str(Path(sys.executable).parent))
    arguments += ["--no-browser", f"--port={port}", *options]
    environment = os.environ | {"JUPYTER_PATH": str(ROOT / "app/share")} | environment
    # Else JupyterLab opens what another test, or the developer, had open last.
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / ".workspaces")
    with (folder / "log").open("w") as log:
        streams = {"stdout": log, "stderr": log, "cwd": folder, "env": environment}
        server = subprocess.Popen([program, *arguments], **streams)
        try:
            wait_for(f"http://127.0.0.1:{port}/", server)
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.terminate()
            server.wait(60)
    text = (folder / "log").read_text()
    assert "Traceback" not in text and "terminate called" not in text, text


@contextmanager
def watched(browser, address: str):
    """A page that asks no other host and writes no error to the console."""
    errors, hosts = [], set()
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(120_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.on("response", lambda reply: reply.status >= 400 and errors.append(reply.url))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    try:
        yield page
    except BaseException:
        page.screenshot(path=screenshot("failed"))
        raise
    page.close()
    assert hosts - {""} == {urlsplit(address).netloc}  # "": data and blobs
    assert errors == []


@contextmanager
def opened(browser, kind: str, folder: Path, *options: str):
    """The panel in a page of its own server."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    (folder / "toys_panel.py").write_text(PANEL)
    cells = [nbformat.v4.new_code_cell("from toys_panel import panel\npanel")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, folder / "panel.ipynb")
    shutil.copy(ROOT / "app/voila.json", folder)
    with (
        served(kind, folder, *options) as (address, server),
        watched(browser, address) as page,
    ):
        page.goto(address + PATHS[kind], timeout=120_000)
        panel = Panel(page, folder, server)
        if kind == "lab":
            run_all_cells(page)
        panel.layer.wait_for()
        assert panel.holds(lambda: "Grad-CAM" in panel.alt())
        yield panel


def wait_for(address: str, server) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=60).close()
            return
        except OSError:
            assert server.poll() is None, "the server has ended; see its log"
            time.sleep(0.5)
    raise AssertionError(f"{address} does not answer.")


def run_all_cells(page) -> None:
    """JupyterLab forgets a command that comes before the kernel: ask until it runs."""
    page.get_by_text("| Idle").wait_for()
    for _ in range(20):
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_timeout(1000)
        if page.get_by_text("| Busy").count():
            return
    raise AssertionError("JupyterLab does not run the notebook.")


@pytest.fixture(scope="module", params=SERVERS)
def panel(request, browser, tmp_path_factory):
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    with opened(browser, kind, folder) as panel:
        panel.kind = kind
        yield panel


@pytest.fixture(autouse=True)
def at_first(request):
    """A wide page, the first photo and network, Grad-CAM."""
    if "panel" in request.fixturenames:
        panel = request.getfixturevalue("panel")
        panel.set_size(1300, 1000)
        panel.select("photo", "noise")
        panel.select("network", "large")
        panel.select("technique", "Grad-CAM")
        assert panel.holds(lambda: panel.alt().startswith("noise. Grad-CAM · large"))


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
    assert panel.holds(lambda: not panel.layer.is_visible())
    assert panel.page.get_by_role("slider", name="patch, px").is_visible()
    panel.select("network", "large")
    panel.select("technique", "Grad-CAM")
    assert panel.holds(lambda: panel.shows_layer("add5")), panel.state()
    assert panel.layer.is_visible()


def test_the_layer_by_mouse_by_keyboard_and_by_name(panel):
    """The field and the slider are in step; the picture follows."""
    panel.layer.focus()
    for key, name in (("Home", "conv0"), ("ArrowRight", "add0"), ("End", "pool")):
        before = panel.pixels()
        panel.page.keyboard.press(key)
        assert panel.holds(lambda name=name: panel.shows_layer(name)), panel.state()
        assert f"· {name} ·" in panel.alt()
        assert (panel.pixels() != before).any()
    box = panel.layer.bounding_box()
    panel.page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    assert panel.holds(lambda: panel.shows_layer("conv0")), panel.state()
    panel.layer_name.click()
    panel.layer_name.press_sequentially("DD2")
    panel.layer_name.press("Enter")
    assert panel.holds(lambda: panel.shows_layer("add2")), panel.state()
    panel.layer_name.fill("zzz")
    panel.layer_name.press("Enter")
    alert = panel.page.get_by_role("alert").filter(has_text="No layer has “zzz”")
    alert.wait_for()
    panel.layer_name.blur()
    assert panel.holds(lambda: panel.shows_layer("add2")), panel.state()
    panel.page.get_by_label("photo", exact=True).focus()
    panel.page.keyboard.press("ArrowDown")
    assert panel.holds(lambda: panel.state()["photo"] == "dark")


def test_the_class_by_name_stays_with_another_network(panel):
    field = panel.page.get_by_label("other class")
    field.fill("hen")
    field.press("Enter")
    assert panel.holds(lambda: panel.state()["class"] == "hen")
    panel.select("network", "small")
    assert panel.holds(lambda: panel.state()["network"] == "small")
    assert panel.state()["class"] == "hen" and "· hen" in panel.alt()
    field.fill("unicorn")
    field.press("Enter")
    assert panel.holds(lambda: "No class 'unicorn'" in panel.message.inner_text())
    assert "classifier." not in panel.message.inner_text()


def test_while_it_computes_the_old_picture_is_pale_and_a_bar_moves(panel):
    before = panel.alt()
    panel.select("technique", "RISE")
    old = panel.page.locator(".xai-picture.xai-old")
    old.wait_for()
    opacity = "image => getComputedStyle(image).opacity"
    assert panel.holds(lambda: float(panel.image.evaluate(opacity)) < 0.5, 5)
    bar, cancel = (
        panel.page.get_by_role("progressbar", name="progress", exact=True),
        panel.page.get_by_role("button", name="cancel"),
    )
    words = bar.locator("xpath=following-sibling::span")
    assert bar.get_attribute("value") is None or " of 200" in words.inner_text()
    assert 0 < panel.image.bounding_box()["y"] - cancel.bounding_box()["y"] < 60
    assert panel.holds(lambda: " of 200" in words.inner_text(), 20)
    first = words.inner_text()
    assert panel.holds(lambda: words.inner_text() != first, 20)
    assert panel.alt() == before
    cancel.click()
    assert panel.holds(lambda: "Cancelled" in panel.message.inner_text())
    assert panel.holds(lambda: panel.alt() == "No picture.")
    assert old.count() == 0 and not bar.is_visible()
    panel.select("technique", "Grad-CAM")
    assert panel.holds(lambda: panel.alt() == before)


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (900, 700)])
def test_controls_and_picture_are_beside_each_other(panel, size):
    """In JupyterLab with its list of files, too; no name of a layer is cut off."""
    panel.set_size(*size)
    if panel.kind == "lab" and size[0] == 900:
        pytest.skip("JupyterLab's own bars leave less than two columns.")
    panel.page.screenshot(path=screenshot(f"panel-{panel.kind}-{size[0]}"))
    photo = panel.page.get_by_label("photo", exact=True).bounding_box()
    image = panel.image.bounding_box()
    assert photo["x"] + photo["width"] < image["x"]
    assert photo["width"] > 200 and image["width"] > 200
    assert image["x"] + image["width"] <= size[0]
    longest = "block14_sepconv2_act · 10 × 10 × 2048"
    fits = "(field, text) => { const before = field.value; field.value = text;"
    fits += " const fits = field.scrollWidth <= field.clientWidth;"
    fits += " field.value = before; return fits }"
    assert panel.layer_name.evaluate(fits, longest)


def test_on_a_phone_the_picture_stays_above_the_controls(panel):
    if panel.kind == "lab":
        pytest.skip("JupyterLab's own bars leave nothing of a phone's width.")
    panel.set_size(390, 844)
    panel.page.screenshot(path=screenshot("panel-app-390"))
    width = "document.documentElement.scrollWidth"
    assert panel.page.evaluate(width) <= 390
    controls = panel.page.locator(".xai-panel").locator("select, input, button")
    boxes = [box for box in (c.bounding_box() for c in controls.all()) if box]
    assert len(boxes) > 6
    for box in boxes:
        assert 0 <= box["x"] and box["x"] + box["width"] <= 390
        assert box["height"] >= 24  # for a thumb; WCAG 2.2, 2.5.8
    panel.page.get_by_text("Test this map").scroll_into_view_if_needed()
    image = panel.image.bounding_box()
    assert image["y"] >= 0 and image["height"] > 200
    panel.layer.scroll_into_view_if_needed()
    assert panel.layer.bounding_box()["y"] > image["y"] + image["height"] - 1


def test_axe_finds_nothing_serious_in_the_panel(panel):
    """Of JupyterLab's own bars it does; the app is looked at as a whole."""
    parts = ".xai-panel" if panel.kind == "lab" else None
    assert browsers.axe_findings(panel.page, parts) == []
    group = panel.page.get_by_role("group", name="Explanation of a prediction")
    assert group.get_by_role("slider").count() >= 2
    assert panel.kind == "lab" or panel.page.get_by_role("main").count() == 1


def test_the_focus_can_be_seen(panel):
    panel.page.get_by_label("photo", exact=True).focus()
    names, style = set(), "e => getComputedStyle(document.activeElement).outline"
    for _ in range(8):
        panel.page.keyboard.press("Tab")
        element = panel.page.evaluate("document.activeElement.outerHTML")
        assert "solid 3px" in panel.page.evaluate(style), element
        names.add(element)
    assert len(names) == 8


def write_photo(path: Path, side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_photo_of_over_10_mb_arrives_smaller(panel):
    """No server of ours raises its limit for a message, 10 MB."""
    write_photo(panel.folder / "large.png", 2500)
    assert (panel.folder / "large.png").stat().st_size > 18e6
    panel.upload("large.png")
    assert panel.holds(lambda: panel.state()["photo"] == "large.png")
    assert panel.state()["sizes"]["large.png"] == [2400, 2400, 3]
    assert panel.holds(lambda: panel.alt().startswith("large.png. Grad-CAM"))


def test_a_photo_that_is_turned_by_its_exif_data(panel):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (80, 50), "red").save(panel.folder / "turned.jpg", exif=exif)
    panel.upload("turned.jpg")
    assert panel.holds(lambda: panel.state()["photo"] == "turned.jpg")
    assert panel.state()["sizes"]["turned.jpg"] == [80, 50, 3]


@pytest.mark.parametrize("size", [20, 12_000_000])
def test_a_file_that_is_no_picture_is_refused_and_the_next_one_arrives(panel, size):
    (panel.folder / "notes.txt").write_bytes(b"x" * size)
    before = panel.alt()
    panel.upload("notes.txt")
    assert panel.holds(lambda: "notes.txt" in panel.message.inner_text())
    assert "picture" in panel.message.inner_text() and panel.alt() == before
    write_photo(panel.folder / f"{size}.png", 99)
    panel.upload(f"{size}.png")
    assert panel.holds(lambda: panel.state()["photo"] == f"{size}.png")


def test_the_kernel_of_a_page_that_ended_abruptly_is_culled(tmp_path, browser):
    """With `make app` after five minutes; here after some seconds.

    What ``served`` asks for, to see whether the server answers, never connects.
    """
    quick = ["--MappingKernelManager.cull_idle_timeout=20"]
    quick += ["--MappingKernelManager.cull_interval=1"]
    with opened(browser, "app", tmp_path, *quick) as panel:

        def kernels():
            processes = psutil.process_iter(["ppid", "cmdline"])  # None: has just ended
            children = [p for p in processes if p.info["ppid"] == panel.server.pid]
            commands = [child.info["cmdline"] or [] for child in children]
            return [parts for parts in commands if "ipykernel_launcher" in parts]

        assert panel.holds(lambda: len(kernels()) == 1, 120)
        time.sleep(25)
        panel.select("photo", "dark")  # the page that is open has kept its own
        assert panel.holds(lambda: panel.state()["photo"] == "dark")
        log = (tmp_path / "log").read_text()
        assert log.count("Kernel started") == 2


# --- with the real networks -----------------------------------------------------------


@pytest.mark.real
def test_the_app(tmp_path, browser):
    """As `make app` serves it: it says what it waits for, every control answers, and
    server, kernel and page talk to this computer only.
    """
    shutil.copytree(ROOT / "app", tmp_path / "app")
    with (
        connections.hook() as (noted, environment),
        served("app", tmp_path / "app", **environment) as (address, server),
        noted.asking(server),
        watched(browser, address) as page,
    ):
        page.goto(address, wait_until="commit")
        for words in (
            "Starting Python",
            "Loading TensorFlow",
            "Computing the first map",
        ):
            page.get_by_role("status").get_by_text(words).wait_for()
        panel = Panel(page, tmp_path)
        panel.layer.wait_for()
        assert page.title() == "What does a CNN see?"
        move_every_control(panel)
        assert browsers.axe_findings(page) == []
        for width, height in ((1280, 800), (390, 844)):
            panel.set_size(width, height)
            page.screenshot(path=screenshot(f"app-{width}"))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert noted.elsewhere() == {}
        assert len(noted.processes()) >= 2  # server and kernel
        assert "open" in {event for event, _ in noted.all()}


# The cells that the sliders need; all others are compared by nbval.
NEEDED = {
    "05_grad_cam": [
        "PHOTO = ",
        "import numpy",
        'xception = load_classifier("',
        'vgg = load_classifier("',
        "attribution = explain.grad_cam(",
        "widgets.explore(",
    ],
    "09_side_by_side": ["PHOTO = ", "import numpy", "networks = ", "widgets.panel("],
}


@pytest.mark.real
@pytest.mark.parametrize("name", NEEDED)
def test_the_sliders_of_a_notebook_in_jupyterlab(name, tmp_path, browser):
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code"
        and any(words in cell.source for words in NEEDED[name])
    ]
    assert len(notebook.cells) == len(NEEDED[name])
    for cell in notebook.cells:  # what is printed needs other cells
        cell.source = cell.source.partition("\nprint(")[0]
        cell.outputs = []
    nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    with (
        served("lab", tmp_path) as (address, _),
        watched(browser, address) as page,
    ):
        page.goto(f"{address}/lab/tree/{name}.ipynb")
        run_all_cells(page)
        panel = Panel(page, tmp_path)
        panel.image.wait_for(state="attached")
        panel.image.scroll_into_view_if_needed()
        move_every_control(panel)
        assert browsers.axe_findings(page, ".xai-panel") == []
        page.screenshot(path=screenshot(name))


def move_every_control(panel: Panel) -> None:
    """Each gives another picture, whose alternative text says which."""
    assert panel.holds(lambda: ". Grad-CAM · Xception" in panel.alt(), 120)

    def is_new(before, words):
        return words in panel.alt() and panel.alt() != before

    titles = panel.page.get_by_label("technique", exact=True)
    changes = [
        (
            lambda: panel.layer.press("ArrowLeft"),
            "Grad-CAM · Xception · block14_sepconv",
        ),
        (lambda: panel.select("network", "VGG16"), "Grad-CAM · VGG16 · block"),
        (lambda: panel.select("photo", "coffee"), "coffee. Grad-CAM · VGG16"),
    ]
    if titles.is_visible():
        changes.append(
            (lambda: panel.select("technique", "gradients"), "gradients · VGG16")
        )
    for change, words in changes:
        before, pixels = panel.alt(), panel.pixels()
        change()
        assert panel.holds(partial(is_new, before, words), 120), panel.alt()
        assert (panel.pixels() != pixels).any()
    second = panel.options("class")[1]
    panel.select("class", second)
    assert panel.holds(
        lambda: f"· {second.rsplit(maxsplit=1)[0]} (" in panel.alt(), 120
    )


def screenshot(name: str) -> str:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return str(SCREENSHOTS / f"{name}.png")
