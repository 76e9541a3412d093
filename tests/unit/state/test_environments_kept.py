"""What is kept of environments: what each held when, who used it, and what became of it."""

from __future__ import annotations

from typing import Any

import msgspec

from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Change, EnvironmentRef, Operation, OperationKind, Outcome, PackageState
from envtrail.model.run import Run, Use
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State

NOW = 1_800_000_000_000


def snapshot(*names: str, prefix: str = "/e") -> Snapshot:
    packages = [Package(ecosystem="pypi", name=name, version="1", size_bytes=10, source=f"https://{name}") for name in names]
    return Snapshot(prefix=prefix, kind="venv", packages=packages)


def operation(at: int, prefix: str = "/e", user: str = "alice", **words: Any) -> Operation:
    made = operation_of(Case(environment=prefix, user=user))
    id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix)
    return msgspec.structs.replace(made, **{"id": id_, "host": "h", "started": to_rfc3339(NOW + at), **words})


def run(at: int, user: str = "alice", uid: int = 1001, prefix: str = "/e", **words: Any) -> Run:
    actor = msgspec.structs.replace(operation(at).actor, name=user, uid=uid, auid=uid)
    base: dict[str, Any] = {
        "kind": "script",
        "program": "/w/a.py",
        "argv": ["python"],
        "host": "h",
        "cwd": "/w",
        "pid": at,
        **dict.fromkeys(("ended", "exit_code", "signal", "snapshot")),
        "id": make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix, kind="run"),
        "environment": EnvironmentRef(prefix=prefix, kind="venv"),
        "actor": actor,
        "started": to_rfc3339(NOW + at),
        "outcome": Outcome.UNKNOWN,
        "image": (NOW + at) << 20,
        "absent": {"snapshot": "none was taken before it began", "ended": "x"},
        "evidence": [],
    }
    return Run(**{**base, **words})


def test_a_run_has_the_snapshot_before_it_and_never_a_later_one(state: State, store: EmbeddedStore) -> None:
    early, late = snapshot("six"), snapshot("six", "idna")
    state.put_snapshot(early, time_ms=NOW + 10, reason="baseline")
    state.put_snapshot(late, time_ms=NOW + 20, reason="scheduled")
    state.put_snapshot(snapshot("x", prefix="/f"), time_ms=NOW, reason="baseline")
    for at, digest in ((9, None), (10, early.digest), (19, early.digest), (20, late.digest)):
        state.put_run(run(at))
        found = store.run(run(at).id)
        assert found is not None
        assert found.snapshot == digest
        assert found.absent == ({"ended": "x"} if digest else run(at).absent)
    state.put_run(run(30, snapshot="sha256:mine"))
    assert (store.run(run(30).id) or run(0)).snapshot == "sha256:mine"


def test_what_was_held_from_when_until_when(state: State, store: EmbeddedStore) -> None:
    state.put_environment(Environment(prefix="/e", kind="venv", host="h"), seen_ms=NOW)
    for at, names in ((10, ("idna", "six")), (20, ("six",)), (30, ("six",)), (25, ("toml",)), (40, ("idna", "six"))):
        state.put_snapshot(snapshot(*names), time_ms=NOW + at, reason="scheduled", image=at)

    def spans(**words: Any) -> list[tuple[str, int, int | None, int | None, int | None]]:
        return [
            (one.package.name, one.since_ms - NOW, one.until_ms and one.until_ms - NOW, one.since_image, one.until_image)
            for one in store.holdings(**words)
        ]

    assert spans() == [("idna", 10, 20, 10, 20), ("idna", 40, None, 40, None), ("six", 10, None, 10, None)]
    assert spans(past=False) == [("idna", 40, None, 40, None), ("six", 10, None, 10, None)]
    assert spans(name="IDNA") == spans()[:2]
    assert {one.host for one in store.holdings()} == {"h"}
    assert (state.snapshot("/e", NOW + 22) or snapshot()).packages == snapshot("six").packages
    assert (store.snapshot("/e") or snapshot()).packages == snapshot("idna", "six").packages
    assert state.snapshot("/e", NOW + 9) is None
    assert (state.snapshot_ms("/e"), state.snapshot_ms("/e", NOW + 29), state.snapshot_ms("/f")) == (NOW + 40, NOW + 25, None)
    refs = list(store.snapshots("/e"))
    assert [(one.time_ms - NOW, one.packages, one.size_bytes, one.image, one.host) for one in refs] == [
        (10, 2, 20, 10, "h"),
        (20, 1, 10, 20, "h"),
        (25, 1, 10, 25, "h"),
        (30, 1, 10, 30, "h"),
        (40, 2, 20, 40, "h"),
    ]
    assert {(one.digest, one.kind, one.reason) for one in refs if one.packages == 2} == {
        (snapshot("idna", "six").digest, "venv", "scheduled")
    }
    assert list(store.snapshots("/f")) == []
    assert state.packages(snapshot("six").digest) == snapshot("six").packages
    assert state.packages("sha256:none") is None
    assert state.package_names() == {"idna", "six", "toml"}
    assert state.sources() == {"https://idna", "https://six", "https://toml"}


def test_many_packages_are_read_in_their_order(state: State) -> None:
    many = snapshot(*(f"p{at:04}" for at in range(1203)))
    state.put_snapshot(many, time_ms=NOW, reason="baseline")
    assert state.snapshot("/e") == many


def test_who_ran_most_in_an_environment_comes_first(state: State, store: EmbeddedStore) -> None:
    for item in (
        run(0),
        run(5, count=3, user="bob", uid=1002),
        run(9),
        run(2, kind="system"),
        run(3, part_of=run(0).id),
        run(4, prefix="/f"),
    ):
        state.put_run(item)
    bob = Use(user="bob", uid=1002, runs=3, first=to_rfc3339(NOW + 5), last=to_rfc3339(NOW + 5))
    alice = Use(user="alice", uid=1001, runs=2, first=to_rfc3339(NOW), last=to_rfc3339(NOW + 9))
    assert list(store.uses("/e")) == [bob, alice]
    assert list(store.uses("/e", uid=1002)) == [bob]
    assert [(one.user, one.runs) for one in store.uses("/e", since_ms=NOW + 1)] == [("bob", 3), ("alice", 1)]
    assert [(one.user, one.runs) for one in store.uses("/e", until_ms=NOW + 5)] == [("alice", 1)]


def test_the_summary_of_each_environment(state: State, store: EmbeddedStore) -> None:
    for prefix, gone in (("/e", False), ("/f", False), ("/g", True)):
        state.put_environment(Environment(prefix=prefix, kind="venv", host="h", owner_uid=1001), seen_ms=NOW, gone=gone)
    state.put_name(1001, "old", since_ms=NOW)
    state.put_name(1001, "alice", since_ms=NOW + 1)
    six = Change(ecosystem="pypi", name="six", requested=True, before=None, after=PackageState(version="1"))
    for item in (
        operation(1, user="carol", kind=OperationKind.CREATE),
        operation(2, user="eve", kind=OperationKind.CREATE, outcome=Outcome.FAILURE),
        operation(3, user="bob", changes=[six], ended=to_rfc3339(NOW + 7)),
        operation(4, user="eve"),
        operation(5, user="dora", kind=OperationKind.TAMPER, changes=[six, six], explained=False),
        operation(2, prefix="/f", user="bob", changes=[six]),
    ):
        state.put_operation(item)
    state.put_run(run(6, user="bob"))
    state.put_run(run(7, kind="system"))
    state.put_snapshot(snapshot("six", "idna"), time_ms=NOW, reason="baseline")
    state.put_snapshot(snapshot("six"), time_ms=NOW + 1, reason="scheduled")
    one, other = store.summaries()
    assert (one.environment.prefix, one.packages, one.size_bytes, one.creator, one.creator_is_owner) == (
        "/e",
        1,
        10,
        "carol",
        False,
    )
    assert (one.last_change, one.last_change_by) == (to_rfc3339(NOW + 5), "dora")
    assert (one.last_use, one.last_use_by, one.drift) == (to_rfc3339(NOW + 6), "bob", 2)
    assert (other.environment.prefix, other.packages, other.creator, other.creator_is_owner) == ("/f", None, "alice", True)
    assert (other.last_change_by, other.last_use, other.drift) == ("bob", None, 0)


class TestEnvironments:
    def put(self, state: State, at: int, *, gone: bool = False, **words: Any) -> Environment:
        base: dict[str, Any] = {"prefix": "/e", "kind": "venv", "host": "h", "owner_uid": 1}
        state.put_environment(Environment(**{**base, **words}), seen_ms=NOW + at, gone=gone)
        found = state.environment("/e")
        assert found is not None
        return found

    def test_since_when_it_is_its_owners(self, state: State) -> None:
        assert self.put(state, 1).owned_since_ms == 0
        assert self.put(state, 2).owned_since_ms == 0
        assert self.put(state, 3, owner_uid=2).owned_since_ms == NOW + 3
        assert self.put(state, 4, owner_uid=2).owned_since_ms == NOW + 3
        assert state.owner_uid("/e") == 2
        assert state.owner_uid("/f") is None

    def test_what_cannot_be_read_or_is_gone_stays_as_it_was(self, state: State) -> None:
        self.put(state, 1, python="3.12", created_ms=5)
        unread = self.put(state, 2, kind="unknown", owner_uid=None, faults=["denied"])
        assert (unread.kind, unread.python, unread.faults, unread.gone) == ("venv", "3.12", ["denied"], False)
        gone = self.put(state, 3, gone=True, python=None, owner_uid=None)
        assert (gone.python, gone.owner_uid, gone.gone) == ("3.12", 1, True)
        assert state.environments_of("h") == []
        self.put(state, 4)
        assert [one.prefix for one in state.environments_of("h")] == ["/e"]
        assert state.environments_of("k") == []
        assert state.environment_made_ms("/e") is None
        assert state.environment_made_ms("/f") is None


def test_those_that_were_not_judged(state: State) -> None:
    assert state.is_empty()
    for at, verdict in ((0, None), (5, None), (6, "allow"), (7, None)):
        state.put_operation(operation(at, verdict=verdict))
    assert state.unjudged(NOW + 5) == [operation(5), operation(7)]
    assert not state.is_empty()


def test_how_far_a_source_was_read(state: State) -> None:
    assert state.cursor("x") is None
    state.put_cursor("x", {"offset": 1})
    state.put_cursor("x", {"offset": 2, "inode": 3})
    assert state.cursor("x") == {"offset": 2, "inode": 3}


def test_a_withdrawn_row_is_gone_and_not_counted(state: State, store: EmbeddedStore) -> None:
    state.put_operation(operation(1))
    state.put_run(run(1))
    state.withdraw("operation", operation(1).id)
    state.withdraw("run", "none")
    status = store.status()
    assert (status.operations, status.runs) == (0, 1)
    assert state.operation(operation(1).id) is None
