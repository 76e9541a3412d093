"""What the service's socket takes of whom: hostile requests, floods, decisions that nobody waits for any more."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from envtrail.agent import inbox as inboxes
from envtrail.agent.inbox import Inbox
from envtrail.errors import CannotRunError
from envtrail.model.access_log import ReportedAccess
from envtrail.model.decision import Decided, Decision, RecordAccess
from envtrail.model.identity import Identity, Role
from envtrail.model.times import LATEST_MS
from envtrail.service.client import RemoteStore
from envtrail.service.server import StoreServer
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import EventRow, Query, Viewer
from envtrail.trail.layout import Layout

NOW = 1_764_000_000_000
HUGE = 999_999_999_999_999_999_999
ME = {"name": "eve", "role": "member", "uid": 1003, "method": "link"}


class Service:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[tuple[Decision, int]] = []

    def decide(self, decision: Decision, viewer: Viewer, _pid: int) -> Decided:
        self.taken.append((decision, viewer.uid))
        return Decided(what="x", id="y", said="z")

    def ask(self, line: bytes) -> list[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(20)
            stream.connect(str(self.path))
            stream.sendall(line + b"\n")
            with stream.makefile("rb") as lines:
                return [json.loads(one) for one in lines]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    layout = Layout(tmp_path / "trail")
    layout.create()
    State(layout.state).close()
    made = Service(tmp_path / "s.sock")
    server = StoreServer(made.path, layout.folder, group="envtrail", web_account="nobody", decide=made.decide)
    yield made
    server.close()


def looked(**changed: object) -> dict[str, object]:
    entry = {"time_ms": NOW, "by": ME, "what": "runs", **changed}
    return {"method": "decide", "decision": {"do": "looked", "looks": [entry]}}


def decision(do: str, **words: object) -> dict[str, object]:
    return {"method": "decide", "decision": {"do": do, **words}}


def mute(until_ms: int) -> dict[str, object]:
    return decision("mute", detection="x", until_ms=until_ms)


def ask_for(**words: object) -> dict[str, object]:
    return decision("ask", **{"prefix": "/opt/x", "action": "install", "until_ms": NOW, **words})


def query(method: str = "operations", **words: object) -> dict[str, object]:
    return {"method": method, "query": words}


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (looked(time_ms=HUGE), "$.decision.looks[0].time_ms"),
        (looked(time_ms=-1), "$.decision.looks[0].time_ms"),
        (looked(time_ms=LATEST_MS + 1), "$.decision.looks[0].time_ms"),
        (looked(time_ms=1.5), "$.decision.looks[0].time_ms"),
        (looked(id="0" * 26), "`id`"),
        (looked(what="anything"), "$.decision.looks[0].what"),
        (looked(item="x" * 5000), "$.decision.looks[0].item"),
        (mute(HUGE), "$.decision.until_ms"),
        (mute(-5), "$.decision.until_ms"),
        (ask_for(until_ms=1 << 63), "$.decision.until_ms"),
        (ask_for(uses=-1), "$.decision.uses"),
        (ask_for(uses=HUGE), "$.decision.uses"),
        (ask_for(packages=["six"] * 1001), "$.decision.packages"),
        (ask_for(why="x" * 5000), "$.decision.why"),
        (query(since_ms=HUGE), "$.query.since_ms"),
        (query(until_ms=-HUGE), "$.query.until_ms"),
        (query(limit=-1), "$.query.limit"),
        (query(limit=1 << 40), "$.query.limit"),
        (query(pid=-1), "$.query.pid"),
        (query(session=1 << 32), "$.query.session"),
        (query(tracked_image=1 << 63), "$.query.tracked_image"),
        (query("findings", level="worst"), "$.query.level"),
        ({"method": "snapshot", "text": "/opt", "at_ms": HUGE}, "$.at_ms"),
        ({"method": "m" * 300}, "$.method"),
        ({"method": "nothing"}, "no method `nothing`"),
        ({"method": "status", "more": 1}, "`more`"),
        ({}, "`method`"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_place(service: Service, request_: dict[str, object], place: str) -> None:
    (answer,) = service.ask(json.dumps(request_).encode())
    assert answer["error"]["id"] == "usage"
    assert place in answer["error"]["message"]
    assert answer["error"]["hint"]
    assert service.taken == []
    assert service.ask(b'{"method":"status"}')[-1] == {"end": True}


@pytest.mark.parametrize(
    "line",
    [b"[" * 60_000, b'{"a":' * 12_000, b"\xff\xfe", b"{", b"null", b'"', b"1" * 5000, b"\0" * 100],
    ids=lambda line: line[:4],
)
def test_bytes_that_are_no_request_are_refused(service: Service, line: bytes) -> None:
    (answer,) = service.ask(line)
    assert "is invalid" in answer["error"]["message"]
    assert service.ask(b'{"method":"status"}')[-1] == {"end": True}


def test_what_is_within_bounds_is_taken(service: Service) -> None:
    for request in (
        looked(),
        looked(time_ms=LATEST_MS),
        mute(NOW),
        ask_for(),
        query(since_ms=-1, limit=0),
        query(until_ms=LATEST_MS),
    ):
        assert service.ask(json.dumps(request).encode())[-1] == {"end": True}, request
    assert len(service.taken) == 4


def test_a_fault_of_the_service_ends_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedStore, "status", lambda _: 1 // 0)
        (answer,) = service.ask(b'{"method":"status"}')
        assert "ZeroDivisionError" in answer["error"]["message"]
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert service.ask(b'{"method":"status"}')[-1] == {"end": True}


class TestFloods:
    """As a user of the machine without rights; root sends queries beside."""

    CODE = (
        "import os, socket, sys\n"
        "os.setuid(int(sys.argv[2]))\n"
        "refused = 0\n"
        "for _ in range(int(sys.argv[3])):\n"
        "    with socket.socket(socket.AF_UNIX) as one:\n"
        "        one.connect(sys.argv[1]); one.sendall(sys.argv[4].encode() + b'\\n'); refused += b'in a short time' in one.recv(999)\n"
        "print(refused)\n"
    )

    def flood(self, service: Service, uid: int, times: int, request: Mapping[str, object]) -> int:
        for folder in (service.path.parent, *service.path.parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        words = [sys.executable, "-c", self.CODE, str(service.path), str(uid), str(times), json.dumps(request)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    def test_who_writes_much_into_the_evidence_waits_and_others_do_not(self, service: Service) -> None:
        assert self.flood(service, 65533, 60, looked()) >= 60 - 30 - 5
        assert len(service.taken) <= 35
        assert self.flood(service, 65532, 20, ask_for()) == 0
        assert self.flood(service, 0, 100, looked()) == 0

    def test_large_messages_are_counted_by_their_bytes(self, service: Service) -> None:
        large = {
            "method": "decide",
            "decision": {"do": "looked", "looks": [{"time_ms": NOW, "by": ME, "what": "runs", "item": "x" * 4000}] * 15},
        }
        assert self.flood(service, 65533, 20, large) >= 15

    def test_of_people_before_the_page_each_has_their_own(self, service: Service) -> None:
        def flood(name: str, times: int) -> int:
            request = ask_for() | {"on_behalf": {"name": name, "role": "member", "uid": 1001, "method": "pam"}}
            return sum("error" in service.ask(json.dumps(request).encode())[0] for _ in range(times))

        assert flood("eve", 60) >= 25
        assert flood("bob", 10) == 0


def test_queries_for_events_are_answered_one_after_another(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def events(_store: EmbeddedStore, _query: Query, *, with_records: bool = False) -> Iterator[EventRow]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.1)
        yield EventRow(segment=0, values={"auid": 1, "uid": 1}, records=str(with_records))
        with lock:
            running[0] -= 1

    monkeypatch.setattr(EmbeddedStore, "events", events)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: len(list(RemoteStore(str(service.path)).events(Query()))), range(6)))
    assert found == [1] * 6
    assert most == [1]


def test_a_refused_connection_is_an_error_that_says_why(service: Service) -> None:
    held: list[socket.socket] = []
    try:
        while len(held) < 4 * StoreServer.limits.each:
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(service.path))
        with pytest.raises(CannotRunError, match="connections"):
            RemoteStore(str(service.path)).status()
    finally:
        for one in held:
            one.close()


class TestInbox:
    LOOKED = RecordAccess(
        entries=[ReportedAccess(time_ms=NOW, by=Identity(name="eve", role=Role.MEMBER, uid=1, method="link"), what="runs")]
    )
    VIEWER = Viewer(uid=0, sees_everything=True)

    def test_what_nobody_waits_for_any_more_is_not_decided(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inboxes, "_WAIT_S", 0.05)
        inbox = Inbox()
        with pytest.raises(CannotRunError, match="and will not"):
            inbox.submit(self.LOOKED, self.VIEWER, 1)
        assert list(inbox.take()) == []

    def test_the_loop_takes_so_many_at_a_time_and_answers_all_at_the_end(self) -> None:
        inbox = Inbox()
        with ThreadPoolExecutor(50) as pool:
            waiting = [pool.submit(inbox.submit, self.LOOKED, self.VIEWER, 1) for _ in range(50)]
            while inbox._letters.qsize() < 50:
                time.sleep(0.01)
            first = list(inbox.take())
            assert len(first) == 32
            for letter in first:
                with letter.answered():
                    letter.decided = Decided(what="x", id="y", said="z")
            inbox.close()
        faults = [one.exception() for one in waiting]
        assert sum(fault is None for fault in faults) == 32
        assert sum(isinstance(fault, CannotRunError) for fault in faults) == 18
