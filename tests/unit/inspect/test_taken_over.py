"""A worker that does what it likes: what was to be read is refused, and the server goes on."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from hostile_lab import make
from inspect_lab import ALICE, give, opened_up, query, serving

from envtrail.inspect.client import _checked
from envtrail.inspect.protocol import (
    DigestScript,
    EnvironmentRead,
    PlaceHeld,
    ReadEnvironment,
    ReadingRefused,
    RefusalKind,
    ScriptDigested,
    pair,
)

_SERVE = """
import os, sys, time
from envtrail.inspect import server
from envtrail.inspect.protocol import *
from envtrail.model.environment import Environment

def send(value):
    os.write(connection, frame(value, kind_of(value)))

def run(descriptor, limits):
    global connection
    connection = descriptor
    try:
        while request := os.read(connection, 65536):
            WORKER
    finally:
        os._exit(7)

server.run_worker = run
server.serve(int(sys.argv[1]))
"""
_REACHING = """
import errno, os, socket, sys
from envtrail.inspect import jobs, server
from envtrail.inspect.protocol import EnvironmentRead

def read(request):
    own = request.prefix + "/pyvenv.cfg"
    tries = {
        "outside": lambda: os.open(OUTSIDE, os.O_RDONLY),
        "list": lambda: os.listdir(os.path.dirname(request.prefix)),
        "inside": lambda: os.open(own, os.O_RDONLY),
        "write": lambda: os.open(own, os.O_WRONLY),
        "create": lambda: os.open(request.prefix + "/new", os.O_CREAT | os.O_RDONLY),
        "remove": lambda: os.unlink(own),
        "socket": lambda: socket.socket(),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork(),
        "kill": lambda: os.kill(os.getppid(), 0),
        "setuid": lambda: os.setuid(0),
    }
    found = []
    for name, attempt in tries.items():
        try:
            attempt()
            found.append(name + "=read")
        except OSError as fault:
            found.append(name + "=" + errno.errorcode[fault.errno])
    return EnvironmentRead(environment=None, absent=" ".join(found))

server.warm_up()
server.warm_up = lambda: None
jobs.read_environment = read
server.serve(int(sys.argv[1]))
"""
REQUEST = ReadEnvironment(prefix="/home/alice/v")
pytestmark = pytest.mark.timeout(60)


def served(worker: str) -> str:
    return _SERVE.replace("WORKER", f"{worker}\n            time.sleep(60)")


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ("os.write(connection, HEAD.pack(2**31, 3))", "its reader gave no answer that can be read"),
        ("os.write(connection, HEAD.pack(25 * 2**20, 3))", "its reader gave no answer that can be read"),
        ("os.write(connection, HEAD.pack(1, 9) + b'x')", "its reader gave no answer that can be read"),
        ("os.write(connection, HEAD.pack(1, 1) + b'x')", "its reader gave no answer that can be read"),
        ("os.close(connection)", "its reader was ended by signal 9"),
        ("os.write(connection, HEAD.pack(100, 3)); os._exit(0)", "its reader ended without an answer"),
        ("os.abort()", "its reader was ended by signal 6"),
    ],
)
def test_its_reader_ended_or_spoke_nonsense(worker: str, reason: str) -> None:
    with serving(served(worker)) as control:
        assert query(control, REQUEST) == ReadingRefused(kind=RefusalKind.CRASH, reason=reason)
        again = query(control, REQUEST)
        assert isinstance(again, ReadingRefused)
        assert again.kind is RefusalKind.BUSY
        other = query(control, ReadEnvironment(prefix="/home/bob/v"))
        assert other == ReadingRefused(kind=RefusalKind.CRASH, reason=reason)


def test_it_is_held_to_the_place_that_it_named_first() -> None:
    lies = "; ".join(
        (
            "send(PlaceHeld(prefix='/home/alice/v', uid=1000))",
            "send(PlaceHeld(prefix='/home/bob/v', uid=1001))",
            "send(EnvironmentRead(environment=Environment(prefix='/home/bob/v', kind='venv', owner_uid=1001)))",
        )
    )
    held: list[PlaceHeld] = []
    with serving(served(lies)) as control:
        answer = query(control, REQUEST, held)
    assert held == [PlaceHeld(prefix="/home/alice/v", uid=1000)]
    assert isinstance(_checked(REQUEST, answer, held[-1]), ReadingRefused)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_code_that_runs_in_it_reaches_the_environment_and_nothing_else(tmp_path: Path) -> None:
    opened_up(tmp_path)
    prefix = give(make(tmp_path / "alice"), ALICE)
    outside = tmp_path / "alice/secret"
    outside.write_text("of alice's")
    give(tmp_path / "alice", ALICE)
    with serving(_REACHING.replace("OUTSIDE", repr(str(outside)))) as control:
        answer = query(control, ReadEnvironment(prefix=str(prefix)))
    assert isinstance(answer, EnvironmentRead)
    assert answer.absent is not None
    assert answer.absent.split() == [
        "outside=EACCES", "list=EACCES", "inside=read", "write=EPERM", "create=EPERM", "remove=EPERM", "socket=EPERM",
        "exec=EPERM", "fork=EPERM", "kill=EPERM", "setuid=EPERM",
    ]  # fmt: skip
    assert (prefix / "pyvenv.cfg").exists()


def test_one_that_waits_and_speaks_unasked_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    speaks = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n'); send(ScriptDigested(sha256='0')); time.sleep(0.1); send(ScriptDigested(sha256='1'))"
    request = DigestScript(path="/x.py", began_ms=1, uid=1000, now_ms=1)
    with serving(served(speaks)) as control:
        assert query(control, request) == ScriptDigested(sha256="0")
        first = int(pids.read_text())
        until_s = time.monotonic() + 2.5
        while os.path.exists(f"/proc/{first}"):
            assert time.monotonic() < until_s, "longer than one that is silent"
            time.sleep(0.01)
        assert query(control, request) == ScriptDigested(sha256="0")
        second = int(pids.read_text().split()[-1])
        assert second != first
    # It does not end with its server by itself, as a real one does.
    until_s = time.monotonic() + 2.5
    while os.path.exists(f"/proc/{second}"):
        assert time.monotonic() < until_s, "left behind"
        time.sleep(0.01)


def test_a_connection_that_speaks_nonsense_is_closed_and_others_are_served() -> None:
    with serving(served("send(EnvironmentRead(environment=None))")) as control:
        ours, theirs = pair()
        with theirs:
            socket.send_fds(control, [b"c"], [theirs.fileno()])
        with ours:
            ours.settimeout(20)
            ours.sendall(b"\xff" * 100)
            assert ours.recv(10) == b""
        assert query(control, REQUEST) == EnvironmentRead(environment=None)
