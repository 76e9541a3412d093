"""Connections that never say what they want: by a user of the machine who may not sign in."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web_lab import Page, serve_page

from envtrail.state.state import State
from envtrail.trail.layout import Layout

_HOLD = """
import os, socket, sys
"x".encode("idna")  # its module lies where that user may not read
os.setgroups([]); os.setgid(61101); os.setuid(61101)
held = []
for _ in range(1100):
    one = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
    held.append(one)
    try:
        one.sendall(os.fsencode(sys.argv[2]))
    except OSError:
        pass
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    layout = Layout(tmp_path / "trail")
    layout.create()
    State(layout.state).close()
    with serve_page(layout.folder) as served:
        # What a service of systemd has.
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        yield served


@contextmanager
def holding(page: Page, sent: str) -> Iterator[None]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    words = [sys.executable, "-c", _HOLD, str(page.port), sent]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "GET /healthz HT",
        "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /he",
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nname",
    ],
    ids=["silent", "first line", "second request", "body"],
)
def test_a_thousand_of_them_keep_nobody_out(page: Page, sent: str) -> None:
    with holding(page, sent):
        for _ in range(5):
            assert page.ask("/healthz")[0] in {200, 503}
            time.sleep(0.1)
    page.enter()
    assert page.ask("/")[0] == 200


def test_a_request_without_end_is_not_kept(page: Page) -> None:
    for head in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"POST /login HTTP/1.1\r\nContent-Length: 900000000\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), 20) as stream:
            sent = stream.send(head)
            with pytest.raises(OSError, match=r"reset|pipe"):
                while sent < 1 << 28:
                    sent += stream.send(b"x" * 65_536)
        assert sent < 64 << 20
        assert page.ask("/healthz")[0] in {200, 503}
