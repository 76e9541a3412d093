"""What is new, as those see it who report or ship it while another process writes the state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Grant, GrantKind, Request, Terms, make_grant_id, make_request_id
from envtrail.model.decided import AccessRecorded, FindingMade, GrantGiven, RequestDenied, RequestMade, SuppressionSet
from envtrail.model.environment import Environment, Holding, Package, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Level, Suppression, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.operation import EnvironmentRef, Operation, Outcome
from envtrail.model.run import Run, Session
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.change_log import KINDS, ChangeLog
from envtrail.state.state import State

NOW = 1_800_000_000_000


@pytest.fixture
def log(state: State) -> Iterator[ChangeLog]:
    with closing(ChangeLog(state.path)) as opened:
        yield opened


def operation() -> Operation:
    return msgspec.structs.replace(operation_of(Case(environment="/e", packages=["six==1"])), host="h")


def finding(at: int) -> Finding:
    base: dict[str, Any] = {"detection": "d", "source": "policy", "title": "t", "level": Level.LOW, "host": "h"}
    return Finding(**base, id=make_finding_id("d", str(at), NOW + at), time_ms=NOW + at)


def terms() -> Terms:
    base: dict[str, Any] = {"prefix": "/e", "user": "alice", "uid": 1001, "action": "install", "packages": [], "why": "w"}
    return Terms(**base, dependencies=True, until_ms=NOW, uses=None)


def request(at: int) -> Request:
    return Request(id=make_request_id(terms(), NOW + at), time_ms=NOW + at, host="h", terms=terms())


def one_of_each() -> dict[str, Any]:
    """What is stored, by the name that it is logged under."""
    done, six = operation(), Package(ecosystem="pypi", name="six", version="1", size_bytes=10)
    looked = make_access_entry(
        Identity(name="eve", role=Role.AUDITOR, uid=9, method="pam"), "runs", NOW, user="bob", environment=None, item=None
    )
    return {
        "operation": done,
        "run": Run(
            id="01RUN", kind="script", program="/a.py", argv=["python"], host="h", environment=EnvironmentRef(prefix="/e", kind="venv"),
            actor=done.actor, started=done.started, ended=None, outcome=Outcome.UNKNOWN, exit_code=None, signal=None,
            snapshot="sha256:x", cwd=None, pid=1, image=1, absent={}, evidence=[],
        ),
        "finding": finding(1),
        "gap": Gap(id="g", cause=GapCause.RESTART, host="h", since_ms=1, until_ms=2, records=None, detail=""),
        "login": Session(
            id="h/1/3", host="h", session=3, user="alice", auid=1001, remote=None, terminal=None, service="sshd",
            started=done.started, ended=None, outcome=Outcome.SUCCESS, evidence=[],
        ),
        "environment": Environment(prefix="/e", kind="venv", host="h"),
        "snapshot": Snapshot(prefix="/e", kind="venv", packages=[six], faults=["f"]),
        "package": Holding(prefix="/e", package=six, since_ms=NOW, until_ms=None, since_image=7, until_image=None, host="h"),
        "request": request(1),
        "grant": Grant(
            id=make_grant_id(GrantKind.APPROVAL, "1", NOW), kind=GrantKind.APPROVAL, since_ms=NOW, terms=terms(), approvals=[]
        ),
        "mute": Suppression(id="m", detection="d", reason="r", owner="o", until_ms=NOW),
        "look": looked,
    }  # fmt: skip


def put(state: State, items: dict[str, Any]) -> None:
    with state.transaction():
        state.put_operation(items["operation"])
        state.put_run(items["run"])
        state.decisions.put(FindingMade(time_ms=NOW, finding=items["finding"]))
        state.put_gap(items["gap"])
        state.put_session(items["login"])
        state.put_environment(items["environment"], seen_ms=NOW)
        state.put_snapshot(items["snapshot"], time_ms=NOW, reason="baseline", image=7)
        state.decisions.put(RequestMade(time_ms=NOW, request=items["request"]))
        state.decisions.put(GrantGiven(time_ms=NOW, grant=items["grant"]))
        state.decisions.put(SuppressionSet(time_ms=NOW, suppression=items["mute"]))
        state.decisions.put(AccessRecorded(time_ms=NOW, entries=[items["look"]]))


def test_one_of_each_kind_is_logged_listed_and_read_as_it_is(state: State, log: ChangeLog) -> None:
    items = one_of_each()
    put(state, items)
    assert log.changed()
    keys = {kind: getattr(item, "id", "1") for kind, item in items.items()} | {"environment": "/e"}
    assert log.written(0, 100) == [(at, kind, keys[kind]) for at, kind in enumerate(items, 1)]
    assert log.written(2, 3) == log.written(0, 100)[2:5]
    assert log.span_written() == (1, len(KINDS))
    assert set(items) == set(KINDS)
    held = items["snapshot"]
    stored = SnapshotRef(
        prefix="/e", time_ms=NOW, digest=held.digest, kind="venv", reason="baseline", image=7, packages=1, size_bytes=10,
        faults=["f"], host="h",
    )  # fmt: skip
    for kind, item in (items | {"snapshot": stored}).items():
        assert log.ids(kind, "", 10) == [keys[kind]]
        assert log.ids(kind, keys[kind], 10) == []
        assert log.item(kind, keys[kind]) == item
        assert log.item(kind, "77") is None
    assert log.finding(items["finding"].id) == items["finding"]
    assert log.request(items["request"].id) == items["request"]
    assert log.finding("none") is log.request("none") is None


def test_keys_are_given_in_their_order_after_one_and_so_many(state: State, log: ChangeLog) -> None:
    for at in (3, 1, 2):
        state.decisions.put(FindingMade(time_ms=NOW, finding=finding(at)))
        state.put_snapshot(Snapshot(prefix=f"/{at}", kind="venv", packages=[]), time_ms=NOW, reason="baseline")
    assert log.changed()
    ids = [finding(at).id for at in (1, 2, 3)]
    assert log.ids("finding", "", 10) == ids
    assert log.ids("finding", ids[0], 1) == [ids[1]]
    assert log.ids("snapshot", "1", 10) == ["2", "3"]


def test_findings_come_as_they_were_noticed(state: State, log: ChangeLog) -> None:
    assert log.changed()
    assert log.last_number() == 0
    for at in (5, 3, 4):
        state.decisions.put(FindingMade(time_ms=NOW, finding=finding(at)))
    assert log.last_number() == 3
    assert list(log.findings(0, 0)) == [(1, finding(5)), (2, finding(3)), (3, finding(4))]
    assert list(log.findings(1, NOW + 4)) == [(3, finding(4))]


def test_how_requests_stand_that_were_made_from_a_moment_on(state: State, log: ChangeLog) -> None:
    assert log.changed()
    for at in (1, 2, 3):
        state.decisions.put(RequestMade(time_ms=NOW, request=request(at)))
    state.decisions.put(RequestDenied(time_ms=NOW, request=request(3).id, by="bob", why="no"))
    assert log.request_states(NOW + 2) == {request(2).id: "pending", request(3).id: "denied"}


def test_it_has_changed_once_for_each_writing(state: State, log: ChangeLog) -> None:
    assert [log.changed(), log.changed(), log.epoch] == [True, False, 1]
    state.put_name(1, "a", since_ms=1)
    assert [log.changed(), log.changed(), log.epoch] == [True, False, 1]


def test_a_state_that_took_the_place_of_another_is_followed(tmp_path: Path) -> None:
    shown, other = tmp_path / "state.sqlite", tmp_path / "other.sqlite"
    with closing(ChangeLog(shown)) as log:
        with closing(State(shown)) as state:
            put(state, one_of_each())
            assert log.changed()
            before = log.identity()
        with closing(State(other)):
            pass
        other.replace(shown)
        assert [log.changed(), log.changed(), log.epoch] == [True, False, 2]
        assert log.identity() not in {before, None}
        assert log.span_written() == (1, 0)
        shown.unlink()
        assert [log.changed(), log.epoch, log.identity()] == [False, 2, None]


def test_while_there_is_no_state_there_is_nothing(tmp_path: Path) -> None:
    with closing(ChangeLog(tmp_path / "state.sqlite")) as log:
        for _ in range(2):
            assert not log.changed()
            assert (log.epoch, log.last_number(), log.identity(), log.span_written()) == (0, 0, None, (1, 0))
            assert (log.written(0, 9), log.ids("run", "", 9), log.request_states(0)) == ([], [], {})
            assert list(log.findings(0, 0)) == []
            assert log.item("run", "x") is log.finding("x") is log.request("x") is None
            (tmp_path / "state.sqlite").touch()  # It is just being made.
