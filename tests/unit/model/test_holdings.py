"""Since when an environment holds a package, and who ran what in that time, from the state alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envtrail.model.environment import Package, Snapshot
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Actor, Confidence, EnvironmentRef, Outcome
from envtrail.model.run import Run
from envtrail.model.times import to_rfc3339
from envtrail.service.authorization import ServiceRequest
from envtrail.service.client import RemoteStore
from envtrail.service.server import StoreServer, answer
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query, Viewer
from envtrail.trail.layout import Layout

NOW = 1_764_000_000_000


def package(name: str, version: str = "1.0", ecosystem: str = "pypi") -> Package:
    return Package(ecosystem=ecosystem, name=name, version=version)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    layout = Layout(tmp_path)
    layout.create()
    opened = State(layout.state)
    yield opened
    opened.close()


def put(state: State, at: int, *packages: Package, prefix: str = "/v", image: int | None = None) -> None:
    held = Snapshot(prefix=prefix, kind="venv", packages=list(packages))
    state.put_snapshot(held, time_ms=NOW + at, reason="operation", image=image)


class TestHoldings:
    def spans(self, state: State, name: str | None = None, *, past: bool = True) -> list[tuple[str, str, int, int | None]]:
        store = EmbeddedStore(state.path.parents[1])
        return [
            (item.prefix, item.package.version, item.since_ms - NOW, item.until_ms - NOW if item.until_ms else None)
            for item in store.holdings(name, past=past)
        ]

    def test_a_span_begins_and_ends_with_a_snapshot(self, state: State) -> None:
        put(state, 0, package("six", "1"))
        put(state, 1, package("six", "1"), package("other"))
        put(state, 2, package("six", "2"), package("other"))
        put(state, 3, package("other"))
        put(state, 4, package("six", "1"), prefix="/w")
        assert self.spans(state, "six") == [("/v", "1", 0, 2), ("/v", "2", 2, 3), ("/w", "1", 4, None)]
        assert self.spans(state, "six", past=False) == [("/w", "1", 4, None)]
        assert self.spans(state, "other", past=False) == [("/v", "1.0", 1, None)]

    def test_what_was_there_before_comes_back_as_a_span_of_its_own(self, state: State) -> None:
        for at, held in enumerate([[package("six")], [], [package("six")]]):
            put(state, at, *held)
        assert self.spans(state, "six") == [("/v", "1.0", 0, 1), ("/v", "1.0", 2, None)]

    def test_putting_again_changes_nothing(self, state: State) -> None:
        for _ in range(2):
            put(state, 0, package("six"))
            put(state, 1)
            put(state, 2, package("six"))
        for at, held in enumerate([[package("six")], [], [package("six")]]):
            put(state, at, *held)
        assert self.spans(state, "six") == [("/v", "1.0", 0, 1), ("/v", "1.0", 2, None)]

    def test_who_began_and_ended_it_is_known_by_image(self, state: State) -> None:
        put(state, 0, package("six"), image=7)
        put(state, 1, image=8)
        (found,) = EmbeddedStore(state.path.parents[1]).holdings("six")
        assert (found.since_image, found.until_image) == (7, 8)

    def test_a_question_is_as_quick_with_many_snapshots(self, state: State) -> None:
        with state.transaction():
            for at in range(1500):
                put(state, at, package("six", str(at % 7)), package(f"p{at}"), prefix=f"/v{at % 30}")
        assert len(self.spans(state, "p77")) == 1
        plan = state._database.execute(
            "EXPLAIN QUERY PLAN SELECT 1 FROM packages p JOIN holdings h ON h.package = p.id WHERE p.name = 'six'"
        ).fetchall()
        assert not [row for row in plan if row[3].startswith("SCAN")], plan


class TestUses:
    def put_run(self, state: State, at: int, *, name: str | None = "alice", uid: int = 1001, **more: Any) -> None:
        event = EventId(node="h", time_ms=NOW + at, serial=at)
        confidence = Confidence.CERTAIN
        actor = Actor(name=name, uid=uid, auid=uid, method="auid", confidence=confidence)
        fields: dict[str, Any] = {
            "id": make_operation_id(event, "/v", kind="run"),
            "kind": "script",
            "program": "/x.py",
            "argv": ["x"],
            "host": "h",
            "environment": EnvironmentRef(prefix="/v", kind="venv"),
            "actor": actor,
            "started": to_rfc3339(NOW + at),
            "ended": None,
            "outcome": Outcome.UNKNOWN,
            "exit_code": None,
            "signal": None,
            "snapshot": None,
            "cwd": None,
            "pid": 1,
            "image": 1,
            "absent": {},
            "evidence": [],
        }
        state.put_run(Run(**{**fields, **more}))

    def asked(self, state: State, since: int | None = None, until: int | None = None) -> list[tuple[str | None, int | None, int]]:
        at = [None if moment is None else NOW + moment for moment in (since, until)]
        return [
            (use.user, use.uid, use.runs)
            for use in EmbeddedStore(state.path.parents[1]).uses("/v", since_ms=at[0], until_ms=at[1])
        ]

    def test_each_person_is_summed_and_loops_count_as_many_as_they_are(self, state: State) -> None:
        self.put_run(state, 1)
        self.put_run(state, 2, count=5)
        self.put_run(state, 3, part_of="01ABC")
        self.put_run(state, 4, kind="system")
        self.put_run(state, 5, environment=EnvironmentRef(prefix="/v2", kind="venv"))
        self.put_run(state, 6, name="bob", uid=1002)
        self.put_run(state, 7, name=None, uid=7)
        assert self.asked(state) == [("alice", 1001, 6), (None, 7, 1), ("bob", 1002, 1)]
        first = next(EmbeddedStore(state.path.parents[1]).uses("/v"))
        assert (first.first, first.last) == (to_rfc3339(NOW + 1), to_rfc3339(NOW + 2))

    def test_a_span_has_its_first_moment_and_not_its_last(self, state: State) -> None:
        for at in (1, 2, 3):
            self.put_run(state, at)
        assert self.asked(state, 2, 3) == [("alice", 1001, 1)]
        assert self.asked(state, 2) == [("alice", 1001, 2)]
        assert self.asked(state, None, 2) == [("alice", 1001, 1)]
        assert self.asked(state, 4) == []

    def test_sums_agree_with_the_runs_that_are_listed(self, state: State) -> None:
        for at in range(200):
            self.put_run(state, at, uid=1000 + at % 3, count=1 + at % 4, kind=("script", "system", "module")[at % 3])
        listed = EmbeddedStore(state.path.parents[1]).runs(Query(environment="/v", since_ms=NOW + 50, until_ms=NOW + 149))
        assert sum(run.count for run in listed) == sum(row[2] for row in self.asked(state, 50, 150)) > 0

    def test_a_member_is_told_of_their_own_runs_alone(self, state: State) -> None:
        self.put_run(state, 1)
        self.put_run(state, 2, name="bob", uid=1002)
        store = EmbeddedStore(state.path.parents[1])

        def asked(uid: int, *, everything: bool = False) -> list[str | None]:
            viewer = Viewer(uid=uid, sees_everything=everything)
            return [use.user for use in answer(store, ServiceRequest(method="uses", text="/v"), viewer)]

        assert asked(1001) == ["alice"]
        assert asked(1003) == []
        assert asked(0, everything=True) == ["alice", "bob"]

    def test_the_service_answers_as_the_folder_does(self, state: State, tmp_path: Path) -> None:
        self.put_run(state, 1)
        put(state, 0, package("six"))
        server = StoreServer(tmp_path / "s.sock", state.path.parents[1], group="envtrail")
        try:
            remote, embedded = RemoteStore(str(tmp_path / "s.sock")), EmbeddedStore(state.path.parents[1])
            span = {"since_ms": NOW, "until_ms": NOW + 9}
            assert list(remote.uses("/v", **span)) == list(embedded.uses("/v", **span)) != []
            assert list(remote.uses("/v", since_ms=NOW + 2)) == []
            assert list(remote.holdings("six")) == list(embedded.holdings("six")) != []
            assert list(remote.holdings(past=False)) == list(embedded.holdings(past=False)) != []
        finally:
            server.close()

    def test_runs_are_read_from_the_index(self, state: State) -> None:
        asked: list[str] = []
        store = EmbeddedStore(state.path.parents[1])
        store._database.set_trace_callback(asked.append)
        list(store.uses("/v", since_ms=1))
        list(store.runs(Query(environment="/v")))
        list(store.operations(Query(environment="/v", package="six")))
        plans = {text: " ".join(row[3] for row in store._database.execute(f"EXPLAIN QUERY PLAN {text}")) for text in list(asked)}
        assert all("INDEX" in plan and "SCAN operations" not in plan and "SCAN runs" not in plan for plan in plans.values()), (
            plans
        )
        said = " ".join(plans.values())
        assert all(index in said for index in ("COVERING INDEX runs_prefix", "INDEX runs_prefix", "INDEX operations_prefix"))
