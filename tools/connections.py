"""To which hosts a command talks: connections and look-ups of its Python processes.

    python tools/connections.py make run       fails on another host

Each Python process that the command starts, kernels included, tells of what its sockets
do (``sys.addaudithook``). What libraries written in C open is asked of the operating
system, ten times a second, for all processes of the command.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil

# Python imports a module of this name at its start.
HOOK = """
import json, os, sys

_file = os.open(os.environ["XAI_CONNECTIONS"], os.O_WRONLY | os.O_APPEND)

def _note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = [arguments[0]]
    else:
        return
    if address is not None:
        _write(event, address)

def _write(event, address):
    line = json.dumps([os.getpid(), event, address], default=str) + "\\n"
    os.write(_file, line.encode())

_write("start", "")
sys.addaudithook(_note)
"""


def is_local(address) -> bool:
    """Whether it stays on this computer: a path, a loopback address, its own name."""
    if isinstance(address, (str, bytes)) or not address:
        return True  # the name of a socket in the file system
    host = address[0]
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    if not isinstance(host, str):
        return True  # of the operating system, such as netlink
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:  # a name
        return False


class Connections:
    """What was noted so far."""

    def __init__(self, file: Path):
        self.file, self.asked = file, Counter()

    def all(self) -> Counter:
        """How often, for each (event, address)."""
        counts = Counter(self.asked)
        for line in self.file.read_text("utf-8").splitlines():
            _, event, address = json.loads(line)
            if event == "start":
                continue
            key = address if isinstance(address, str) else tuple(address[:2])
            counts[event, key] += 1
        return counts

    def elsewhere(self) -> Counter:
        """Those that leave this computer."""
        return Counter(
            {key: n for key, n in self.all().items() if not is_local(key[1])}
        )

    def processes(self) -> set[int]:
        """The Python processes that were watched."""
        lines = self.file.read_text("utf-8").splitlines()
        return {json.loads(line)[0] for line in lines}

    def ask(self, process: psutil.Process) -> None:
        """The open connections of a process and of its children."""
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            return
        for member in family:
            try:
                opened = member.net_connections("inet")
            except psutil.Error:  # it has ended
                continue
            for connection in opened:
                if connection.raddr:
                    self.asked["open", tuple(connection.raddr)] += 1

    @contextmanager
    def asking(self, process: subprocess.Popen):
        """``ask`` ten times a second."""
        known, is_over = psutil.Process(process.pid), threading.Event()

        def ask() -> None:
            while not is_over.wait(0.1):
                self.ask(known)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


@contextmanager
def hook():
    """``Connections``, and the environment variables that a process to watch needs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(HOOK, "utf-8")
        connections = Connections(Path(folder, "connections"))
        connections.file.touch()
        path = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        yield (
            connections,
            {
                "XAI_CONNECTIONS": str(connections.file),
                "PYTHONPATH": os.pathsep.join(path),
            },
        )


@contextmanager
def watched(command: list[str]):
    """Start a command with the hook; yield its process and its ``Connections``."""
    with hook() as (connections, environment):
        process = subprocess.Popen(command, env=os.environ | environment)
        with connections.asking(process):
            try:
                yield process, connections
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(60)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with watched(sys.argv[1:]) as (process, connections):
        code = process.wait()
        counts, elsewhere = connections.all(), connections.elsewhere()
        local = sum(counts.values()) - sum(elsewhere.values())
        print(
            f"{shlex.join(sys.argv[1:])}: exit status {code}, "
            f"{len(connections.processes())} Python processes watched, "
            f"{local} times to this computer, {sum(elsewhere.values())} elsewhere"
        )
    for (event, address), count in elsewhere.items():
        print(f"{event} {address}: {count}")
    raise SystemExit(code or bool(elsewhere))


if __name__ == "__main__":
    main()
