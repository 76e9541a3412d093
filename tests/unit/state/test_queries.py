"""Each condition of a query of operations, runs, sessions and gaps holds what it names and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envtrail.errors import InputError
from envtrail.model.decided import FindingMade
from envtrail.model.environment import Environment
from envtrail.model.finding import Finding, Level, Status, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Change, EnvironmentRef, Operation, OperationKind, Outcome, PackageState
from envtrail.model.run import Run, Session
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query

NOW = 1_800_000_000_000
MINUTE_MS = 60_000


def operation(at: int, *, user: str = "alice", uid: int = 1001, prefix: str = "/e/a", **words: Any) -> Operation:
    made = operation_of(Case(environment=prefix))
    actor = msgspec.structs.replace(made.actor, name=user, uid=uid, auid=uid)
    id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix)
    base: dict[str, Any] = {"id": id_, "actor": actor, "host": "h", "started": to_rfc3339(NOW + at)}
    return msgspec.structs.replace(made, **{**base, **words})


def run(at: int, *, prefix: str = "/e/a", user: str = "alice", uid: int = 1001, **words: Any) -> Run:
    base: dict[str, Any] = {
        "id": make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix, kind="run"),
        "kind": "script",
        "program": "/w/a.py",
        "argv": ["python", "a.py"],
        "host": "h",
        "environment": EnvironmentRef(prefix=prefix, kind="venv"),
        "actor": operation(at, user=user, uid=uid).actor,
        "started": to_rfc3339(NOW + at),
        "ended": None,
        "outcome": Outcome.UNKNOWN,
        "exit_code": None,
        "signal": None,
        "snapshot": None,
        "cwd": "/w",
        "pid": at,
        "image": (NOW + at) << 20,
        "absent": {},
        "evidence": [],
    }
    return Run(**{**base, **words})


def session(at: int, **words: Any) -> Session:
    base: dict[str, Any] = {"host": "h", "session": at, "user": "alice", "auid": 1001, "remote": None, "terminal": None}
    base |= {"service": "sshd", "ended": None, "outcome": Outcome.SUCCESS, "evidence": []}
    return Session(**{**base, "id": f"h/{NOW + at}/{at}", "started": to_rfc3339(NOW + at), **words})


class TestOperations:
    @pytest.mark.parametrize(
        ("words", "query"),
        [
            ({"host": "k"}, {"host": "k"}),
            ({"prefix": "/e/b"}, {"environment": "b"}),
            ({"user": "bob", "uid": 1002}, {"user": "bob"}),
            ({"user": "bob", "uid": 1002}, {"user": "1002"}),
            ({"outcome": Outcome.KILLED}, {"outcome": "killed"}),
            ({"tool": "uv"}, {"tool": "uv"}),
            ({"kind": OperationKind.LOCK}, {"kind": "lock"}),
            ({"changes": None}, {"unrecorded": True}),
            ({"argv": ["pip", "50%_off"]}, {"text": "50%_o"}),
            ({"argv": ["pip", "a\\b"]}, {"text": "a\\b"}),
        ],
    )
    def test_each_condition(self, state: State, store: EmbeddedStore, words: dict[str, Any], query: dict[str, Any]) -> None:
        special = operation(1, **words)
        for item in (operation(0), special, operation(2)):
            state.put_operation(item)
        assert [item.id for item in store.operations(Query(**query))] == [special.id]

    def test_times_order_limit_and_what_was_given_last(self, state: State, store: EmbeddedStore) -> None:
        items = [operation(at) for at in range(4)]
        for item in items:
            state.put_operation(item)

        def found(**words: Any) -> list[int]:
            return [items.index(item) for item in store.operations(Query(**words))]

        assert found() == [3, 2, 1, 0]
        assert found(oldest_first=True) == [0, 1, 2, 3]
        assert found(limit=2) == [3, 2]
        assert found(limit=2, oldest_first=True) == [0, 1]
        assert found(since_ms=NOW + 2) == [3, 2]
        assert found(until_ms=NOW + 1) == [1, 0]
        assert found(before_id=items[2].id) == [1, 0]

    def test_pages_hold_all_of_it_once(self, state: State, store: EmbeddedStore) -> None:
        with state.transaction():
            for at in range(1101):
                state.put_operation(operation(at))
                state.put_session(session(at))
        newest = [operation(at).id for at in reversed(range(1101))]
        assert [item.id for item in store.operations(Query())] == newest
        assert [item.id for item in store.operations(Query(limit=750))] == newest[:750]
        assert [item.id for item in store.operations(Query(oldest_first=True))] == newest[::-1]
        assert [item.session for item in store.sessions(Query())] == list(reversed(range(1101)))

    def test_one_is_found_by_the_beginning_of_its_id(self, state: State, store: EmbeddedStore) -> None:
        one, other = operation(1), operation(1 << 30)
        for item in (one, other):
            state.put_operation(item)
        assert store.operation(one.id[:12].lower()) == store.operation(one.id) == one
        assert store.operation("ZZZ") is None
        with pytest.raises(InputError, match="more than one of the operations begins with `0`"):
            store.operation("0")
        state.put_run(run(1))
        assert store.run(run(1).id[:20]) == run(1)


class TestRuns:
    @pytest.mark.parametrize(
        ("words", "query"),
        [
            ({"host": "k"}, {"host": "k"}),
            ({"prefix": "/e/b"}, {"environment": "b"}),
            ({"user": "bob", "uid": 1002}, {"user": "bob"}),
            ({"outcome": Outcome.KILLED}, {"outcome": "killed"}),
            ({"kind": "module"}, {"kind": "module"}),
            ({"kind": "system"}, {"kind": "system"}),
            ({"program": "/w/b.py"}, {"program": "b.py"}),
            ({"program": "/w/b.py"}, {"program": "/w/b.py"}),
            ({"script_sha256": "abc1"}, {"sha256": "ABC"}),
            ({"argv": ["python", "x_y"]}, {"text": "x_y"}),
        ],
    )
    def test_each_condition(self, state: State, store: EmbeddedStore, words: dict[str, Any], query: dict[str, Any]) -> None:
        special = run(1, **words)
        for item in (run(0), special, run(2)):
            state.put_run(item)
        assert [item.id for item in store.runs(Query(**query))] == [special.id]

    def test_the_distributions_own_and_those_of_a_loop_are_shown_on_request(self, state: State, store: EmbeddedStore) -> None:
        items = [run(0), run(1, kind="system"), run(2, part_of=run(0).id)]
        for item in items:
            state.put_run(item)
        assert [item.pid for item in store.runs(Query())] == [0]
        assert [item.pid for item in store.runs(Query(everything=True))] == [2, 1, 0]


def test_sessions_by_person_time_and_host(state: State, store: EmbeddedStore) -> None:
    for item in (session(0), session(1, user="bob", auid=1002), session(2, host="k")):
        state.put_session(item)

    def found(**words: Any) -> list[int | None]:
        return [item.session for item in store.sessions(Query(**words))]

    assert found() == [2, 1, 0]
    assert found(oldest_first=True) == [0, 1, 2]
    assert found(user="bob") == found(user="1002") == [1]
    assert found(host="k") == [2]
    assert found(since_ms=NOW + 1) == [2, 1]
    assert found(until_ms=NOW + 1) == [1, 0]
    assert found(limit=1) == [2]
    assert found(environment="a", text="x", outcome="killed") == [2, 1, 0], "a login has none of these"


def test_gaps_that_touch_a_span(state: State, store: EmbeddedStore) -> None:
    for at in range(3):
        gap = Gap(
            id=str(at),
            cause=GapCause.RESTART,
            host="hhk"[at],
            since_ms=NOW + 10 * at,
            until_ms=NOW + 10 * at + 5,
            records=None,
            detail="",
        )
        state.put_gap(gap)

    def found(**words: Any) -> list[str]:
        return [item.id for item in store.gaps(Query(**words))]

    assert found() == ["2", "1", "0"]
    assert found(oldest_first=True, limit=2) == ["0", "1"]
    assert found(host="k") == ["2"]
    assert found(since_ms=NOW + 15) == ["2", "1"]
    assert found(since_ms=NOW + 16) == ["2"]
    assert found(until_ms=NOW + 10) == ["1", "0"]
    assert found(until_ms=NOW + 9) == ["0"]


def test_what_is_counted_by_minute_person_and_environment(state: State, store: EmbeddedStore) -> None:
    six = Change(ecosystem="pypi", name="six", requested=True, before=None, after=PackageState(version="1"))
    for at, words in enumerate(
        (
            {"changes": [six]},
            {"changes": [six], "outcome": Outcome.FAILURE},
            {"prefix": "/e/b"},
            {"user": "bob", "uid": 1002},
            {"host": "k"},
        )
    ):
        state.put_operation(operation(at, **words))  # type: ignore[arg-type]
    later = operation(MINUTE_MS)
    state.put_operation(later)
    owned = operation(9)
    state.put_operation(msgspec.structs.replace(owned, actor=msgspec.structs.replace(owned.actor, method="owner")))

    def found(**words: Any) -> set[tuple[str, str | None, str | None, int, int, int]]:
        return {
            (one.minute[14:], one.user, one.prefix, one.operations, one.changes, one.installs)
            for one in store.activity(Query(**words))
        }

    minute, after = to_rfc3339(NOW)[14:16], to_rfc3339(NOW + MINUTE_MS)[14:16]
    alice, bob = (minute, "alice", "/e/a", 3, 2, 1), (minute, "bob", "/e/a", 1, 0, 0)
    other, last = (minute, "alice", "/e/b", 1, 0, 0), (after, "alice", "/e/a", 1, 0, 0)
    assert found() == {alice, bob, other, last}
    assert [one.minute[14:] for one in store.activity(Query())] == [minute] * 3 + [after]
    assert found(user="bob") == found(user="1002") == {bob}
    assert found(environment="b") == {other}
    assert found(since_ms=NOW + MINUTE_MS) == {last}
    assert found(until_ms=NOW + 1) == {(minute, "alice", "/e/a", 2, 2, 1)}
    assert found(host="k") == {(minute, "alice", "/e/a", 1, 0, 0)}


def test_programs_that_ran_most_come_first(state: State, store: EmbeddedStore) -> None:
    items = [
        run(0),
        run(1, count=5, program="/w/b.py", script_sha256="x"),
        run(2),
        run(3, kind="system"),
        run(4, part_of=run(0).id),
        run(5, prefix="/e/b", user="bob", uid=1002, program="/w/c.py"),
    ]
    for item in items:
        state.put_run(item)

    def found(**words: Any) -> list[tuple[str, str | None, int, int | None, str]]:
        return [(one.program, one.user, one.runs, one.uid, one.last) for one in store.programs(Query(**words))]

    most = [
        ("/w/b.py", "alice", 5, 1001, to_rfc3339(NOW + 1)),
        ("/w/a.py", "alice", 2, 1001, to_rfc3339(NOW + 2)),
        ("/w/c.py", "bob", 1, 1002, to_rfc3339(NOW + 5)),
    ]
    assert found() == most
    assert found(environment="b") == found(user="bob") == most[2:]
    assert found(until_ms=NOW) == [("/w/a.py", "alice", 1, 1001, to_rfc3339(NOW))]


def test_the_figures_of_the_status(state: State, store: EmbeddedStore) -> None:
    empty = store.status()
    assert (empty.operations, empty.runs, empty.oldest_ms, empty.newest_ms, empty.first_segment) == (0, 0, None, None, None)
    for at in range(2):
        state.put_operation(operation(at))
        state.put_environment(Environment(prefix=f"/e/{at}", kind="venv", host="h"), seen_ms=NOW, gone=at == 1)
    state.put_run(run(0))
    state.put_session(session(0))
    for at, status in enumerate((Status.OPEN, Status.OPEN, Status.ACKNOWLEDGED)):
        words: dict[str, Any] = {"detection": "d", "source": "policy", "title": "t", "level": Level.LOW, "host": "h"}
        made = Finding(**words, id=make_finding_id("d", str(at), NOW), time_ms=NOW, status=status)
        state.decisions.put(FindingMade(time_ms=NOW, finding=made))
    state.put_gap(Gap(id="1", cause=GapCause.RESTART, host="h", since_ms=1, until_ms=2, records=None, detail=""))
    state.add_redactions({"password": 2, "token": 1})
    state.add_redactions({"password": 1})
    found = store.status()
    assert (found.folder, found.format, found.segments) == (str(state.path.parents[1]), 1, 0)
    assert (found.operations, found.runs, found.sessions, found.environments) == (2, 1, 1, 1)
    assert (found.findings, found.requests, found.gaps, found.unexplained) == (2, 0, 1, 0)
    assert (found.oldest_ms, found.newest_ms) == (NOW, NOW + 1)
    assert found.redactions == {"password": 3, "token": 1}
    assert [item.prefix for item in store.environments()] == ["/e/0"]
    assert [item.prefix for item in store.environments(with_gone=True)] == ["/e/0", "/e/1"]
