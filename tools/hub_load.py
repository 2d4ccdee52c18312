"""Five students on a JupyterHub at once: data/tables/hub.json, docs/classroom.md.

    make hub-load                       install the hub, measure, write the tables
    python tools/hub_load.py --serve    the same hub, to be looked at, until Ctrl-C
    python tools/hub_load.py --readme   write the tables of docs/classroom.md

The hub is that of classroom/hub, installed by its install.sh; what is different here is
said in ``test_settings``: one shared password instead of accounts, servers of the
operating system's same user, other ports. Everything listens on 127.0.0.1.

A student is a thread with a browser's cookies and a websocket. It logs in, opens
notebook 05, runs all cells, moves the slider of the layer, saves. Then the hub is
stopped and started again while sliders move. 25 minutes at most; needs Linux and npm.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import requests
import websocket
from jupyter_server.services.kernels.connection.base import deserialize_binary_message

ROOT = Path(__file__).parent.parent
OUT, PAGE = ROOT / "data" / "tables" / "hub.json", ROOT / "docs" / "classroom.md"
FOLDER = Path(os.environ.get("XAI_HUB_FOLDER", "/tmp/xai_hub"))
COURSE = FOLDER / "course"  # what install.sh makes
NOTEBOOK = "xai-course/notebooks/05_grad_cam.ipynb"
STUDENTS, MOVES, PAUSE = 5, 20, 0.5  # pause: seconds from a picture to the next move
MOST_SECONDS = 25 * 60  # from the start of the hub
BEGIN, END = "<!-- load, by tools/hub_load.py -->", "<!-- end of load -->"
BEGIN_PLAN, END_PLAN = "<!-- plan, by tools/hub_load.py -->", "<!-- end of plan -->"

# Written down before the first run, for a machine of two cores that does nothing else.
PREDICTED = {
    "lab page": "8 s",
    "run all": "175 s",
    "move, one student alone": "0.06 s",
    "move, five at once": "0.10 s, worst 0.6 s",
    "memory": "1.3 GB",
    "cpu": "70 s",
    "hub away": "3 s",
}
# For the plan: a node as clouds rent them, and how long a class may wait.
NODE_CORES, NODE_GB, NODE_SHARE = 16, 64, 0.9  # share: left by system and Kubernetes
WAIT_SECONDS, CLASSES = 300, (30, 100, 1000)


def left() -> float:
    """Seconds until the deadline; ``TimeoutError`` after it."""
    seconds = ClassServer.started + MOST_SECONDS - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("The measurement took more than 25 minutes.")
    return seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- hub and proxy --------------------------------------------------------------------


def test_settings(run: Path, ports: dict, password: str) -> str:
    """The classroom's settings, and what is different in a test."""
    return f"""
load_subconfig({str(COURSE / "config" / "jupyterhub_config.py")!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{ports["proxy"]}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{ports["hub"]}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{ports["api"]}"
c.JupyterHub.db_url = "sqlite:///{run / "jupyterhub.sqlite"}"
c.JupyterHub.cookie_secret_file = {str(run / "cookie_secret")!r}
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = {password!r}
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{run}/homes/{{username}}"
c.Spawner.args = {["--allow-root"] if os.geteuid() == 0 else []}
"""


class ClassServer:
    """Hub and proxy, started as the two systemd units do, on free ports."""

    started = 0.0

    def __init__(self, run: Path):
        ClassServer.started = time.monotonic()
        run.mkdir(parents=True)
        self.run, self.password = run, secrets.token_hex(8)
        self.ports = {name: free_port() for name in ("proxy", "hub", "api")}
        self.address = f"http://127.0.0.1:{self.ports['proxy']}"
        settings = test_settings(run, self.ports, self.password)
        (run / "settings.py").write_text(settings, "utf-8")
        self.env = os.environ | {"CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32)}
        self.log = (run / "log").open("a")
        hub = f"http://127.0.0.1:{self.ports['hub']}"
        self.proxy = self._start(
            COURSE / "proxy/node_modules/.bin/configurable-http-proxy",
            *("--ip=127.0.0.1", f"--port={self.ports['proxy']}"),
            *("--api-ip=127.0.0.1", f"--api-port={self.ports['api']}"),
            *(f"--default-target={hub}", f"--error-target={hub}/hub/error"),
        )
        self.start_hub()

    def _start(self, *command) -> subprocess.Popen:
        return subprocess.Popen(
            [str(word) for word in command], cwd=self.run, env=self.env,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip

    def start_hub(self) -> None:
        """Start it, and wait until it answers through the proxy."""
        self.hub = self._start(
            COURSE / "hub/bin/jupyterhub", f"--config={self.run / 'settings.py'}"
        )
        while True:
            left()
            if self.hub.poll() is not None:
                raise SystemExit(f"The hub ended; see {self.log.name}.")
            places = f"http://127.0.0.1:{self.ports['hub']}", self.address
            try:
                if all(requests.get(f"{at}/hub/health", timeout=5).ok for at in places):
                    return
            except requests.RequestException:  # the hub first, then the way to it
                pass
            time.sleep(0.2)

    def stop_hub(self) -> None:
        self.hub.send_signal(signal.SIGTERM)
        self.hub.wait(60)

    def servers(self) -> dict[str, psutil.Process]:
        """Name of the student → the process of the student's own server."""
        result = {}
        for process in psutil.process_iter():
            try:
                if "jupyterhub-singleuser" in " ".join(process.cmdline()[:2]):
                    env = process.environ()
                    if env.get("HOME", "").startswith(str(self.run)):
                        result[env["JUPYTERHUB_USER"]] = process
            except psutil.Error:  # it has just ended, or is another user's
                continue
        return result

    def stop(self) -> None:
        """Everything that was started here, the students' kernels included."""
        processes = [
            each
            for server in self.servers().values()
            for each in [server, *server.children(recursive=True)]
        ]
        if self.hub.poll() is None:  # the culler, should the hub have to be killed
            processes += psutil.Process(self.hub.pid).children(recursive=True)
        for started in (self.hub, self.proxy):
            if started.poll() is None:
                started.terminate()
        for process in processes:
            try:
                process.terminate()
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(processes, 30)
        for process in alive:
            process.kill()
        for started in (self.hub, self.proxy):
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
        self.log.close()


@contextmanager
def class_server():
    """Installed, started, and stopped at the end."""
    weights = COURSE / "weights"
    cache = subprocess.run(
        [sys.executable, "-c",
         "from xai_helpers import weights; print(weights.cache_folder())"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    if not weights.exists() and Path(cache).is_dir():  # no need to fetch them again
        shutil.copytree(cache, weights, ignore=shutil.ignore_patterns(".lock"))
    env = os.environ | {"PYTHON": sys.executable}
    install = [str(ROOT / "classroom" / "hub" / "install.sh"), str(COURSE)]
    subprocess.run(install, check=True, env=env)
    server = ClassServer(FOLDER / f"run-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        yield server
    finally:
        server.stop()


# --- a student ------------------------------------------------------------------------

# Run in the kernel: what the slider and the picture of the notebook are called there.
FIND_SLIDER = """
import gc, json
from xai_helpers.course.widgets import Explorer
[found] = [each for each in gc.get_objects() if isinstance(each, Explorer)]
print(json.dumps({"slider": found.layer.model_id, "picture": found.image.model_id,
                  "layers": len(found.layer.options), "at": found.layer.index}))
"""


class Student:
    """A browser's side of the hub: cookies, requests, and the kernel's websocket."""

    def __init__(self, server: ClassServer, name: str):
        self.server, self.name = server, name
        self.random = random.Random(name)
        self.base = f"{server.address}/user/{name}"
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy of the environment
        self.messages, self.seconds, self.moves = queue.Queue(), {}, {}

    def get(self, address: str, **options) -> requests.Response:
        return self.http.get(address, timeout=min(120, left()), **options)

    def send(self, method: str, path: str, **options) -> requests.Response:
        """A request of the page's own scripts, with the token that they send along."""
        root = path.split("/")[1]
        tokens = [
            cookie.value
            for cookie in self.http.cookies
            if cookie.name == "_xsrf" and cookie.path.startswith(f"/{root}/")
        ]
        response = self.http.request(
            method, self.server.address + path, timeout=min(120, left()),
            headers={"X-XSRFToken": tokens[-1]} if tokens else {}, **options,
        )  # fmt: skip
        if not response.ok:
            raise RuntimeError(f"{self.name}: {method} {path}: {response.text[:300]}")
        return response

    def log_in(self) -> None:
        """Until the page of JupyterLab and its main script are there."""
        start, address = time.perf_counter(), f"{self.server.address}/hub/login"
        self.get(address)
        data = {"username": self.name, "password": self.server.password}
        data["_xsrf"] = self.http.cookies.get("_xsrf", path="/hub/")
        page = self.http.post(address, data=data, timeout=min(120, left()))
        self.await_server(page)
        self.seconds["lab page"] = time.perf_counter() - start

    def await_server(self, page: requests.Response | None = None) -> None:
        """As the page "your server is starting" does, then JupyterLab's page."""
        pending = f"{self.server.address}/hub/spawn-pending/{self.name}"
        if page is None:
            page = self.get(f"{self.server.address}/hub/spawn")
        while not page.url.startswith(self.base):
            if page.status_code >= 500:
                raise RuntimeError(f"{self.name}: no server: {page.text[-600:]}")
            left()
            time.sleep(0.5)
            page = self.get(pending)
        page = self.get(f"{self.base}/lab/tree/{NOTEBOOK}")
        scripts = re.findall(r'<script[^>]+src="([^"]+main\.[^"]+)"', page.text)
        if not page.ok or not scripts:
            raise RuntimeError(f"{self.name}: no page of JupyterLab: {page.text[:300]}")
        for script in scripts:
            self.get(self.server.address + script).raise_for_status()

    # The kernel, by Jupyter's messages in JSON.

    def open_notebook(self) -> None:
        path = f"/user/{self.name}/api"
        self.notebook = self.send("GET", f"{path}/contents/{NOTEBOOK}").json()
        session = {"path": NOTEBOOK, "name": "", "type": "notebook"}
        session["kernel"] = {"name": "python3"}
        made = self.send("POST", f"{path}/sessions", json=session).json()
        self.kernel, self.session = made["kernel"]["id"], uuid.uuid4().hex
        self.connect()
        features = self.ask("kernel_info_request")["supported_features"]
        # As JupyterLab does: messages of widgets do not wait behind running cells.
        self.subshell = None
        if "kernel subshells" in features:
            reply = self.ask("create_subshell_request", channel="control")
            self.subshell = reply["subshell_id"]

    def connect(self) -> None:
        address = f"{self.base}/api/kernels/{self.kernel}/channels"
        request = requests.Request("GET", address)
        cookies = self.http.prepare_request(request).headers["Cookie"]
        self.socket = websocket.create_connection(
            address.replace("http", "ws", 1) + f"?session_id={self.session}",
            timeout=120, cookie=cookies, origin=self.server.address,
        )  # fmt: skip
        self.socket.settimeout(None)
        self.disconnected = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """All messages, as they come: a browser, too, always answers pings."""
        try:
            while True:
                kind, data = self.socket.recv_data()
                if kind == websocket.ABNF.OPCODE_BINARY:
                    message = deserialize_binary_message(data)
                elif kind == websocket.ABNF.OPCODE_TEXT:
                    message = json.loads(data)
                else:
                    break
                self.messages.put((time.perf_counter(), message))
        except (websocket.WebSocketException, OSError):
            pass
        self.disconnected.set()

    def tell(self, kind: str, content=None, channel="shell", subshell=None) -> str:
        header = {"msg_id": uuid.uuid4().hex, "username": self.name, "version": "5.4"}
        header |= {"session": self.session, "msg_type": kind}
        header["date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if subshell:
            header["subshell_id"] = subshell
        message = {"header": header, "channel": channel, "content": content or {}}
        message |= {"parent_header": {}, "metadata": {}, "buffers": []}
        self.socket.send(json.dumps(message))
        return header["msg_id"]

    def await_message(self, is_it) -> tuple[float, dict]:
        """The next message that is meant, and when it came; the others are dropped."""
        while True:
            try:
                when, message = self.messages.get(timeout=min(5, left()))
            except queue.Empty:
                if self.disconnected.is_set():
                    raise RuntimeError(f"{self.name}: the websocket ended.") from None
                continue
            if is_it(message):
                return when, message

    def ask(self, kind: str, content=None, channel="shell") -> dict:
        asked = self.tell(kind, content, channel)
        reply = kind.replace("_request", "_reply")
        _, message = self.await_message(
            lambda message: (
                message["parent_header"].get("msg_id") == asked
                and message["header"]["msg_type"] == reply
            )
        )
        if message["content"].get("status") != "ok":
            raise RuntimeError(f"{self.name}: {message['content']}")
        return message["content"]

    def execute(self, code: str) -> str:
        """Run code, wait until the kernel is idle again, return what it printed."""
        content = {"code": code, "silent": False, "store_history": True}
        content |= {"user_expressions": {}, "allow_stdin": False}
        asked, printed = self.tell("execute_request", content), []

        def is_idle(message) -> bool:
            if message["parent_header"].get("msg_id") != asked:
                return False
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "error":
                raise RuntimeError(f"{self.name}: {content['evalue']} in:\n{code}")
            if kind == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
            return kind == "status" and content["execution_state"] == "idle"

        self.await_message(is_idle)
        return "".join(printed)

    def run_all(self) -> None:
        start = time.perf_counter()
        self.open_notebook()
        for cell in self.notebook["content"]["cells"]:
            if cell["cell_type"] == "code":
                self.execute("".join(cell["source"]))
        self.seconds["run all"] = time.perf_counter() - start
        self.widget = json.loads(self.execute(FIND_SLIDER))
        self.execute(f"left_by_the_student = {self.name!r}")

    def move_slider(self, when: str) -> None:
        """To other layers, one after the other; seconds until each new picture."""

        def is_picture(message) -> bool:
            content = message["content"]
            if content.get("comm_id") != self.widget["picture"]:
                return False
            data = content.get("data", {})
            paths = [path[0] for path in data.get("buffer_paths", [])]
            return data.get("method") == "update" and (
                "value" in data["state"] or "value" in paths
            )

        for _ in range(MOVES):
            others = set(range(self.widget["layers"])) - {self.widget["at"]}
            self.widget["at"] = self.random.choice(sorted(others))
            data = {"method": "update", "state": {"index": self.widget["at"]}}
            content = {"comm_id": self.widget["slider"]}
            content["data"] = data | {"buffer_paths": []}
            start = time.perf_counter()
            self.tell("comm_msg", content, subshell=self.subshell)
            came, _ = self.await_message(is_picture)
            self.moves.setdefault(when, []).append(came - start)
            time.sleep(PAUSE)

    def save(self, mark: str) -> None:
        """The notebook, with a cell of the student's own."""
        cell = {"cell_type": "markdown", "metadata": {}, "source": mark}
        cell["id"] = uuid.uuid4().hex[:8]
        self.notebook["content"]["cells"].append(cell)
        body = {"type": "notebook", "format": "json"}
        body["content"] = self.notebook["content"]
        path = f"/user/{self.name}/api/contents/{NOTEBOOK}"
        self.send("PUT", path, json=body)

    def saved_marks(self) -> list[str]:
        """The student's own cells in the file, read from the disk."""
        text = (self.server.run / "homes" / self.name / NOTEBOOK).read_text("utf-8")
        sources = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        return [source for source in sources if source.startswith("mark ")]

    def finds_all(self) -> dict:
        """What is still there: websocket, kernel, variable, files."""
        kernels = self.send("GET", f"/user/{self.name}/api/kernels").json()
        return {
            "websocket": not self.disconnected.is_set(),
            "kernel": [kernel["id"] for kernel in kernels] == [self.kernel],
            "variable": self.execute("print(left_by_the_student)").strip() == self.name,
            "file": self.saved_marks() == ["mark before"],
        }


def memory_and_time(server: psutil.Process) -> dict:
    """MB and seconds of processor time of a student's server and of its kernel."""
    result = {}
    [kernel] = [
        child for child in server.children() if "ipykernel" in " ".join(child.cmdline())
    ]
    for name, process in (("server", server), ("kernel", kernel)):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak_kb = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        times = process.cpu_times()
        result[name] = {
            "pss": process.memory_full_info().pss / 2**20,
            "peak": peak_kb / 2**10,
            "cpu": times.user + times.system,
        }
    return result


# --- the measurement ------------------------------------------------------------------


def measure() -> dict:
    before = os.getloadavg()
    with (
        class_server() as server,
        ThreadPoolExecutor(STUDENTS) as pool,
    ):
        print(f"hub and proxy at {server.address}; log {server.log.name}", flush=True)
        students = [Student(server, f"student{k}") for k in range(1, STUDENTS + 1)]

        def together(act, *arguments) -> list:
            results = list(pool.map(lambda each: act(each, *arguments), students))
            print(f"{act.__name__} done, {left():.0f} s left", flush=True)
            return results

        together(Student.log_in)
        together(Student.run_all)
        processes = server.servers()
        needs = [memory_and_time(processes[student.name]) for student in students]
        students[0].move_slider("alone")
        together(Student.move_slider, "together")
        together(Student.save, "mark before")

        start = time.perf_counter()
        moves = [pool.submit(each.move_slider, "hub away") for each in students]
        server.stop_hub()
        stopped = time.perf_counter()
        server.start_hub()
        away = time.perf_counter() - start
        for move in moves:
            move.result()
        lasting = together(Student.finds_all)
        same = processes == server.servers()
        together(Student.save, "mark after")

        # The servers themselves stop and start: the student's files are kept.
        first = students[0]
        first.send("DELETE", f"/hub/api/users/{first.name}/server")
        while first.name in server.servers():
            left()
            time.sleep(0.2)
        first.await_server()
        kept = first.saved_marks() == ["mark before", "mark after"]
        other = (server.run / "homes" / first.name / NOTEBOOK).parent
        originals = COURSE / "course" / "notebooks"
        copies = all(
            (other / path.relative_to(originals)).is_file()
            for path in originals.rglob("*.ipynb")
        )
        return {
            "machine": {
                "processor": processor(),
                "cores": os.cpu_count(),
                "memory_gb": round(psutil.virtual_memory().total / 2**30),
                "load_before": [round(value, 1) for value in before],
                "date": time.strftime("%Y-%m-%d"),
            },
            "versions": versions(),
            "students": STUDENTS,
            "seconds": [student.seconds for student in students],
            "moves": {
                when: [t for each in students for t in each.moves.get(when, [])]
                for when in ("alone", "together", "hub away")
            },
            "needs": needs,
            "hub": {"away": away, "stopped after": stopped - start},
            "lasting": lasting,
            "same servers": same,
            "kept after the server's restart": kept and copies,
            "environment_gb": folder_gb(COURSE / "students"),
        }


def processor() -> str:
    info = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return info[1].strip() if info else "unknown"


def versions() -> dict:
    python = COURSE / "hub" / "bin" / "python"
    code = "import jupyterhub; print(jupyterhub.__version__)"
    run = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    )
    package = COURSE / "proxy/node_modules/configurable-http-proxy/package.json"
    proxy = json.loads(package.read_text("utf-8"))["version"]
    return {"jupyterhub": run.stdout.strip(), "configurable-http-proxy": proxy}


def folder_gb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / 1e9


# --- tables ---------------------------------------------------------------------------


def summary(results: dict) -> dict:
    """The figures that the tables and the plan come from."""
    needs, moves = results["needs"], results["moves"]

    def of_student(quantity: str) -> list[float]:
        return [n["server"][quantity] + n["kernel"][quantity] for n in needs]

    return {
        "lab page": max(each["lab page"] for each in results["seconds"]),
        "run all": [each["run all"] for each in results["seconds"]],
        "moves": {
            when: (float(np.median(times)), max(times), len(times))
            for when, times in moves.items()
        },
        "memory": float(np.mean(of_student("pss"))) / 1024,
        "server": float(np.mean([n["server"]["pss"] for n in needs])) / 1024,
        "peak": max(of_student("peak")) / 1024,
        "cpu": float(np.mean(of_student("cpu"))),
        "hub away": results["hub"]["away"],
    }


def load_table(results: dict) -> str:
    figures, machine = summary(results), results["machine"]
    run_all = figures["run all"]
    moves = {
        when: f"{median:.2f} s, worst {worst:.2f} s"
        for when, (median, worst, _) in figures["moves"].items()
    }
    rows = [
        ("Log in, until JupyterLab's page is there, slowest student",
         PREDICTED["lab page"], f"{figures['lab page']:.0f} s"),
        ("Run all cells of notebook 05, kernel's start included",
         PREDICTED["run all"], f"{min(run_all):.0f} to {max(run_all):.0f} s"),
        ("A move of the slider, one student alone, median",
         PREDICTED["move, one student alone"], moves["alone"]),
        ("A move of the slider, five students at once, median",
         PREDICTED["move, five at once"], moves["together"]),
        ("… while the hub is stopped and started again", "the same", moves["hub away"]),
        ("Memory of a student after the notebook (PSS)",
         PREDICTED["memory"], f"{figures['memory']:.2f} GB"),
        ("… of which the student's server", "0.1 GB", f"{figures['server']:.2f} GB"),
        ("… peak of a student (RSS, shared files counted in full)",
         "1.8 GB", f"{figures['peak']:.2f} GB"),
        ("Processor time of a student for all cells",
         PREDICTED["cpu"], f"{figures['cpu']:.0f} s"),
        ("The hub is away", PREDICTED["hub away"], f"{figures['hub away']:.1f} s"),
    ]  # fmt: skip
    lasting = results["lasting"]
    for name, text in {
        "websocket": "connections that lasted",
        "kernel": "kernels that went on",
        "variable": "variables that were there",
        "file": "saved notebooks that were there",
    }.items():
        count = sum(each[name] for each in lasting)
        rows.append((f"… {text}", "5 of 5", f"{count} of {len(lasting)}"))
    kept = results["kept after the server's restart"]
    rows.append(
        ("A student's server stopped and started again: changed notebook kept",
         "yes", "yes" if kept else "no")
    )  # fmt: skip
    table = "| measured | predicted | measured |\n| --- | ---: | ---: |\n"
    table = table.replace("| measured |", "| what |", 1)
    table += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    load = " ".join(f"{value:.1f}" for value in machine["load_before"])
    version = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    is_busy = machine["load_before"][0] > 0.5
    students, cores = results["students"], machine["cores"]
    return (
        f"{table}\n{students} students × {figures['cpu']:.0f} s of processor time ÷ "
        f"{cores} cores = {students * figures['cpu'] / cores:.0f} s: about so "
        "long all cells take on a machine that does nothing else.\n\n"
        f"{students} students at once; {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB of memory; {version}; "
        f"{machine['date']}. Load average before the start (1, 5, 15 minutes): {load}"
        f"; the machine {'had other work' if is_busy else 'was idle'}."
    )


def plan(results: dict) -> dict:
    """What each student is given, and how many nodes classes need."""
    figures = summary(results)
    guarantee = math.ceil(figures["memory"] * 4) / 4  # up to the next 256 MB
    limit = math.ceil(figures["peak"] * 1.25 * 2) / 2  # a quarter more, up to 512 MB
    cores = math.ceil(figures["cpu"] / WAIT_SECONDS * 20) / 20
    usable = NODE_GB * NODE_SHARE, NODE_CORES * NODE_SHARE
    on_node = math.floor(usable[0] / guarantee), math.floor(usable[1] / cores)
    return {
        "guarantee": guarantee,
        "limit": limit,
        "cores": cores,
        "on a node": on_node,
        "nodes": {count: math.ceil(count / min(on_node)) for count in CLASSES},
    }


def plan_table(results: dict) -> str:
    figures, made = summary(results), plan(results)
    by_memory, by_cores = made["on a node"]
    rows = "".join(
        f"| {count:,} | {count * made['guarantee']:,.0f} GB | "
        f"{count * made['cores']:,.0f} | {nodes} |\n"
        for count, nodes in made["nodes"].items()
    )
    return (
        f"- Memory guaranteed to a student: {made['guarantee']:.2f} GB, the measured "
        f"{figures['memory']:.2f} GB rounded up to 0.25 GB. Limit: {made['limit']:.1f} "
        f"GB, the measured peak of {figures['peak']:.2f} GB and a quarter, rounded up "
        "to 0.5 GB.\n"
        f"- Processor: all cells of notebook 05 take {figures['cpu']:.0f} s of "
        f"processor time. If the whole class starts them in the same moment and is to "
        f"wait {WAIT_SECONDS // 60} minutes at most, each student needs "
        f"{figures['cpu']:.0f} ÷ {WAIT_SECONDS} = "
        f"{figures['cpu'] / WAIT_SECONDS:.2f} cores; rounded up to 0.05: "
        f"{made['cores']:.2f}.\n"
        f"- A node of {NODE_CORES} cores and {NODE_GB} GB, of which {NODE_SHARE:.0%} "
        f"are left for students: {NODE_GB} × {NODE_SHARE} ÷ {made['guarantee']:.2f} = "
        f"{by_memory} students by memory, {NODE_CORES} × {NODE_SHARE} ÷ "
        f"{made['cores']:.2f} = {by_cores} by cores; the smaller number counts.\n\n"
        "| students | memory | cores | nodes |\n| ---: | ---: | ---: | ---: |\n"
        f"{rows}\n"
        f"The image holds the students' environment, {results['environment_gb']:.1f} "
        "GB before compression, and every node pulls it once. For Zero to "
        "JupyterHub:\n\n"
        "```yaml\n"
        "singleuser:\n"
        "  image:\n"
        "    name: REGISTRY/xai-course # built from the Dockerfile\n"
        "    tag: VERSION\n"
        "  cmd: [python, /opt/xai-course/config/start_server.py]\n"
        "  storage: {homeMountPath: /srv/student}\n"
        "  defaultUrl: /lab/tree/xai-course/notebooks/00_start_here.ipynb\n"
        f'  memory: {{guarantee: "{made["guarantee"]:.2f}G", '
        f'limit: "{made["limit"]:.1f}G"}}\n'
        f"  cpu: {{guarantee: {made['cores']:.2f}, limit: 2}}\n"
        "prePuller:\n"
        "  continuous: {enabled: true} # the image is there before the class\n"
        "scheduling:\n"
        "  userScheduler: {enabled: true} # fills one node before the next\n"
        "cull: {enabled: true, timeout: 7200, every: 600}\n"
        "```"
    )


def write_page(results: dict) -> None:
    from readme import replace_between, rewrite

    def page(text: str) -> str:
        text = replace_between(text, BEGIN, END, load_table(results))
        return replace_between(text, BEGIN_PLAN, END_PLAN, plan_table(results))

    rewrite(PAGE, page)


def serve() -> None:
    with class_server() as server:
        print(f"{server.address} · any name, the password {server.password} · Ctrl-C")
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="only start the hub")
    parser.add_argument("--readme", action="store_true", help="write the page's tables")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop the hub
    # A shell ignores Ctrl-C for what runs in the background, and the hub would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if args.serve:
        return serve()
    if not args.readme:
        results = measure()
        OUT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    write_page(json.loads(OUT.read_text("utf-8")))


if __name__ == "__main__":
    main()
