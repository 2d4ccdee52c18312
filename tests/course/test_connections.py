"""Nothing talks to any other host while somebody uses the course.

``python tools/connections.py make run`` says the same of all notebooks (20 minutes).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import browsers
import connections
import pytest

ROOT = Path(__file__).parent.parent.parent


def run(code: str) -> connections.Connections:
    command = [sys.executable, "-c", code]
    with connections.watched(command) as (process, noted):
        assert process.wait(60) == 0
        noted.counts = noted.all()
        noted.others = noted.elsewhere()
    return noted


def test_a_connection_elsewhere_is_noted_also_of_a_process_of_a_process():
    """An address that is kept for examples: nothing answers."""
    code = (
        "import socket\n"
        "s = socket.socket(); s.settimeout(0.1)\n"
        "try: s.connect(('192.0.2.1', 80))\n"
        "except OSError: pass"
    )
    started = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    )
    for source in (code, started):
        assert ("socket.connect", ("192.0.2.1", 80)) in run(source).others


def test_a_name_that_is_looked_up_is_noted():
    code = (
        "import urllib.request\n"
        "try: urllib.request.urlopen('http://cdn.invalid/', timeout=1)\n"
        "except OSError: pass"
    )
    assert ("socket.getaddrinfo", ("cdn.invalid",)) in run(code).others


def test_connections_on_this_computer_are_counted_and_are_none_elsewhere():
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(('localhost', server.getsockname()[1]))"
    )
    noted = run(code)
    assert noted.counts and not noted.others


def test_an_address_is_local_or_not():
    for address in ("/run/x", None, ("127.0.0.1", 80), ("::1", 80), ("localhost",)):
        assert connections.is_local(address)
    for address in (("192.0.2.1", 80), ("2001:db8::1", 80), ("cdn.invalid",)):
        assert not connections.is_local(address)


class Session:
    """The app, served as ``make app`` does."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        voila = shutil.which("voila", path=str(Path(sys.executable).parent))
        assert voila, "voila is not installed: make install"
        self.address = f"http://127.0.0.1:{port}/"
        self.command = [voila, "panel.ipynb", "--no-browser", f"--port={port}"]
        self.command.append("--Voila.ip=127.0.0.1")
        self.log = (folder / "log").open("w")
        self.options = {"cwd": ROOT / "app", "stdin": subprocess.DEVNULL}
        self.options |= {"stdout": self.log, "stderr": self.log}
        self.options["env"] = os.environ | {"JUPYTER_PATH": str(ROOT / "app" / "share")}

    def use(self, page) -> list[str]:
        """Open the page, wait for a map, ask for another; what the page requested."""
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda opened: requests.append(opened.url))
        page.goto(self.address, timeout=180_000, wait_until="domcontentloaded")
        network = page.get_by_label("network", exact=True)
        network.wait_for(timeout=180_000)
        picture = page.locator(".xai-picture img")
        for name in ("VGG16", "Xception"):
            option = network.locator("option").filter(has_text=name)
            network.select_option(label=option.first.inner_text())
            shown = f".xai-picture img[alt*='{name}']"
            page.locator(shown).wait_for(timeout=180_000)
        assert picture.is_visible()
        return requests


def answers(address: str, process) -> bool:
    """Whether the server does, before the page is opened in the browser."""
    for _ in range(360):
        try:
            with urllib.request.urlopen(address + "voila/static/", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True  # it answers, if only that there is no such page
        except OSError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.5)
    return False


@pytest.mark.real
@pytest.mark.browser
@pytest.mark.skipif(
    bool(browsers.MISSING) and not browsers.REQUIRED, reason="no Chromium"
)
def test_a_session_with_the_app_talks_to_this_computer_only(tmp_path):
    """Server, kernel and page; a request to a CDN would be one of the page's."""
    session = Session(tmp_path)
    with (
        connections.watched(session.command, **session.options) as (server, noted),
        browsers.chromium() as browser,
    ):
        assert answers(session.address, server)
        requests = session.use(browser.new_page())
        counts, elsewhere = noted.all(), noted.elsewhere()
        kinds = {event for event, _ in counts}
        processes = noted.processes()
    own = urlsplit(session.address).netloc
    others = {urlsplit(url).netloc for url in requests} - {own, ""}  # "": data, blobs
    assert others == set()
    assert any(url.startswith("ws:") for url in requests)
    assert elsewhere == {}
    assert len(processes) >= 2 and "open" in kinds  # server and kernel were watched
