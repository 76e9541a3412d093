"""A connection whose process has ended and left it to others: nothing is decided over it, for it is not known whose login it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtrail.agent.inbox import person_behind
from envtrail.agent.processes import read_login_uid
from envtrail.errors import CannotRunError
from envtrail.model.decision import Decided, Decision, Person
from envtrail.service import connections
from envtrail.service.connections import Peer
from envtrail.service.server import StoreServer
from envtrail.state.state import State
from envtrail.state.store import Viewer
from envtrail.trail.layout import Layout

UID = 61_101
_CLIENT = """
import os, socket, sys, time
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
is_left = sys.argv[3] == "leave"
if is_left and os.fork():
    os.wait()  # it is gone, and no zombie
    os._exit(0)
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
first = os.getpid()
if is_left and os.fork():
    os._exit(0)
while is_left and os.path.exists(f"/proc/{first}"):
    time.sleep(0.01)
stream.sendall(sys.argv[4].encode() + b"\\n")
print(stream.makefile().readline(), flush=True)
"""


class Service:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "s.sock"
        self.taken: list[Person] = []

    def decide(self, _: Decision, viewer: Viewer, pid: int) -> Decided:
        self.taken.append(person_behind(viewer, pid))
        return Decided(what="x", id="y", said="z")

    def ask(self, how: str) -> dict[str, object]:
        for folder in (self.path.parent, *self.path.parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        decision = {"do": "ask", "prefix": "/opt/x", "action": "install", "until_ms": 1_764_000_000_000}
        words = [_CLIENT, str(self.path), str(UID), how, json.dumps({"method": "decide", "decision": decision})]
        said = subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=True).stdout
        return json.loads(said)  # type: ignore[no-any-return]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    layout = Layout(tmp_path / "trail")
    layout.create()
    State(layout.state).close()
    made = Service(tmp_path)
    server = StoreServer(made.path, layout.folder, group="envtrail", web_account=None, decide=made.decide)
    yield made
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_who_connects_and_ends_decides_nothing(service: Service) -> None:
    """Else alice, as an account that she shares, is that account and not alice: one person approves as two."""
    assert "error" not in service.ask("stay")
    assert [person.uid for person in service.taken] == [UID]
    refused = service.ask("leave")
    assert "has ended" in str(refused["error"])
    assert len(service.taken) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_nor_where_its_number_is_not_known_to_have_been_left(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /proc that hides processes from the service: the login is then looked up by who may."""
    monkeypatch.setattr(connections, "_start_of", lambda _: None)
    assert "whose login" in str(service.ask("leave")["error"])


def test_a_number_that_another_process_has_now_is_not_its_own() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        started = connections._start_of(process.pid)
        assert Peer(pid=process.pid, uid=0, gid=0, started=started).is_there()
        assert not Peer(pid=process.pid, uid=0, gid=0, started="1").is_there()
        assert read_login_uid(process.pid, os.geteuid()) == read_login_uid(os.getpid(), os.geteuid())
        with pytest.raises(ProcessLookupError):
            read_login_uid(process.pid, UID)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not Peer(pid=process.pid, uid=0, gid=0, started=started).is_there()
    with pytest.raises(CannotRunError, match="whose login"):
        person_behind(Viewer(uid=0, sees_everything=True), process.pid)
