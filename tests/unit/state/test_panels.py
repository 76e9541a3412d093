"""The first page's questions, held against a slow count over the documents themselves."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.model.hours import When
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import EnvironmentRef, Operation, Outcome
from envtrail.model.run import Run
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.panels import by_hour, installs_by_day, most_active, off_hours, top_scripts
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout
from envtrail.web.figures import CachedCounts

START = to_ms("2026-01-05T00:00:00Z")
OFFICE_HOURS = When(days=["mon-fri"], hours=["08:00-19:00"], zone="UTC")
WEEK_MIN = 7 * 24 * 60


def operation(at_min: int, user: str, env: str, packages: list[str], outcome: Outcome, serial: int) -> Operation:
    time_ms = START + at_min * 60_000
    made = operation_of(Case(user=user, environment=f"/e/{env}", packages=packages, time=to_rfc3339(time_ms)))
    id_ = make_operation_id(EventId(node="h", time_ms=time_ms, serial=serial), env)
    return msgspec.structs.replace(made, id=id_, outcome=outcome)


def run(at_min: int, user: str, program: str, count: int, serial: int) -> Run:
    time_ms = START + at_min * 60_000
    actor = operation_of(Case(user=user)).actor
    return Run(
        id=OperationId(make_operation_id(EventId(node="h", time_ms=time_ms, serial=serial), program)),
        kind="script",
        program=program,
        argv=[program],
        host="h",
        environment=EnvironmentRef(prefix="/e/a", kind="venv"),
        actor=actor,
        started=to_rfc3339(time_ms),
        ended=None,
        outcome=Outcome.UNKNOWN,
        exit_code=None,
        signal=None,
        snapshot=None,
        cwd=None,
        pid=1,
        image=time_ms << 20,
        absent={},
        evidence=[],
        script_sha256=f"{count:064x}",
        count=count,
    )


OPERATIONS = st.lists(
    st.builds(
        operation,
        st.integers(0, WEEK_MIN - 1),
        st.sampled_from(["al", "bo", "ci"]),
        st.sampled_from(["a", "b"]),
        st.lists(st.sampled_from(["x==1", "y==2", "-z==1"]), max_size=3, unique=True),
        st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]),
        st.integers(0, 1 << 30),
    ),
    max_size=25,
)
RUNS = st.lists(
    st.builds(
        run,
        st.integers(0, WEEK_MIN - 1),
        st.sampled_from(["al", "bo"]),
        st.sampled_from(["/p.py", "/q.py"]),
        st.integers(1, 3),
        st.integers(0, 1 << 30),
    ),
    max_size=15,
)


def store_of(folder: Path, operations: list[Operation], runs: list[Run]) -> EmbeddedStore:
    layout = Layout(folder)
    layout.create()
    state = State(layout.state)
    with state.transaction():
        for item in operations:
            state.put_operation(item)
        for one in runs:
            state.put_run(one)
    state.close()
    return EmbeddedStore(folder)


def moment(item: Operation) -> datetime:
    return datetime.fromtimestamp(to_ms(item.started) / 1000, tz=timezone.utc)


@settings(max_examples=25, deadline=None)
@given(OPERATIONS, RUNS, st.sampled_from([None, "al"]), st.sampled_from([None, "a"]))
def test_figures_are_those_of_the_documents(
    tmp_path_factory: pytest.TempPathFactory, operations: list[Operation], runs: list[Run], user: str | None, env: str | None
) -> None:
    operations = list({item.id: item for item in operations}.values())
    runs = list({item.id: item for item in runs}.values())
    store = store_of(tmp_path_factory.mktemp("panels", numbered=True), operations, runs)
    since, until = START + 60_000, START + (WEEK_MIN - 2) * 60_000
    query = Query(user=user, environment=env, since_ms=since, until_ms=until)
    chosen = [
        item
        for item in operations
        if since <= to_ms(item.started) <= until
        and user in {None, item.actor.name}
        and (env is None or item.environment.prefix == f"/e/{env}")
    ]
    ran = [item for item in runs if since <= to_ms(item.started) <= until and user in {None, item.actor.name}]
    if env not in {None, "a"}:
        ran = []
    activity, programs = list(store.activity(query)), list(store.programs(query))
    installed = Counter[date]()
    for item in chosen:
        if item.outcome is Outcome.SUCCESS:
            installed[moment(item).date()] += sum(change.after is not None for change in item.changes or ())
    days = installs_by_day(activity, first=date(2026, 1, 5), last=date(2026, 1, 11), zone=None)
    assert len(days) == 7
    assert {day.day: day.installs for day in days if day.installs} == {day: count for day, count in installed.items() if count}
    assert sum(day.operations for day in days) == len(chosen)
    people = most_active(activity, programs)
    assert {one.user: (one.operations, one.changes, one.environments) for one in people if one.operations} == {
        name: (
            len(own),
            sum(len(item.changes or ()) for item in own),
            len({item.environment.prefix for item in own}),
        )
        for name in {item.actor.name for item in chosen}
        for own in [[item for item in chosen if item.actor.name == name]]
    }
    assert [one.operations for one in people] == sorted((one.operations for one in people), reverse=True)
    assert {one.program: (one.runs, one.contents, one.people) for one in top_scripts(programs)} == {
        program: (
            sum(item.count for item in own),
            len({item.script_sha256 for item in own}),
            sorted({item.actor.name for item in own}),
        )
        for program in {item.program for item in ran}
        for own in [[item for item in ran if item.program == program]]
    }
    late = [item for item in chosen if moment(item).weekday() > 4 or not 8 <= moment(item).hour < 19]
    assert sum(one.operations for one in off_hours(activity, OFFICE_HOURS)) == len(late)
    assert {(one.weekday, one.hour): one.operations for one in by_hour(activity, None)} == dict(
        Counter((moment(item).weekday(), moment(item).hour) for item in chosen)
    )
    store.close()


def test_a_baseline_is_not_what_somebody_did(tmp_path: Path) -> None:
    made = operation(5, "al", "a", ["x==1"], Outcome.SUCCESS, 1)
    earlier = msgspec.structs.replace(made, actor=msgspec.structs.replace(made.actor, method="owner"))
    store = store_of(tmp_path, [earlier], [])
    assert list(store.activity(Query())) == []
    store.close()


def test_days_are_those_of_the_zone() -> None:
    from zoneinfo import ZoneInfo

    from envtrail.model.operation import Activity

    late = Activity(minute="2026-01-05T20:00", user="al", uid=1, prefix="/e", operations=1, changes=1, installs=1)
    shanghai = installs_by_day([late], first=date(2026, 1, 5), last=date(2026, 1, 6), zone=ZoneInfo("Asia/Shanghai"))
    assert [day.installs for day in shanghai] == [0, 1]
    assert timedelta(days=1) == shanghai[1].day - shanghai[0].day


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40 * 24 * 60), st.sampled_from(["al", "bo"]), st.sampled_from(["a", "b"])), max_size=30),
    st.lists(st.tuples(st.integers(0, 40 * 24 * 60), st.sampled_from(["al", "bo"]), st.integers(1, 3)), max_size=15),
    st.integers(0, 30),
    st.sampled_from([None, "al"]),
)
def test_counts_that_are_kept_give_the_panels_that_fresh_ones_give(
    tmp_path_factory: pytest.TempPathFactory,
    did: list[tuple[int, str, str]],
    ran: list[tuple[int, str, int]],
    since_day: int,
    user: str | None,
) -> None:
    operations = [operation(at, who, env, ["x==1"], Outcome.SUCCESS, number) for number, (at, who, env) in enumerate(did)]
    store = store_of(
        tmp_path_factory.mktemp("kept", numbered=True),
        operations,
        [run(at, who, "/p.py", count, number) for number, (at, who, count) in enumerate(ran)],
    )
    now_ms = START + 40 * 24 * 3_600_000
    query = Query(since_ms=START + since_day * 86_400_000, user=user)
    figures = CachedCounts(OFFICE_HOURS)
    for _ in range(2):
        kept = figures.count(store, query, now_ms, is_all=True)
        activity, programs = list(store.activity(query)), list(store.programs(query))
        assert most_active(kept.people, kept.programs) == most_active(activity, programs)
        assert off_hours(kept.people, OFFICE_HOURS) == off_hours(activity, OFFICE_HOURS)
        assert by_hour(kept.hours, None) == by_hour(activity, None)
        assert top_scripts(kept.programs) == top_scripts(programs)
        assert (store.status().operations, store.status().runs) == (len(did), len(ran))
        state = State(store.layout.state)
        for item in operations[:3]:
            state.put_operation(msgspec.structs.replace(item, changes=[]))
        state.close()
    store.close()
