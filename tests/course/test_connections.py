"""Nothing talks to any other host while somebody uses the course.

``test_the_app`` in test_browser.py watches a session with the app so;
``python tools/connections.py make run`` watches all notebooks.
"""

import sys

import connections


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
