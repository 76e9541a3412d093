"""The page over 200,000 operations and a million runs: from the request to the whole answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from report import Table
from web_lab import serve_page

from envtrail.detect.cases import operation_of
from envtrail.detect.policy import Case
from envtrail.model.environment import Environment
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import EnvironmentRef, Outcome
from envtrail.model.run import Run
from envtrail.model.times import to_rfc3339
from envtrail.store.layout import Layout
from envtrail.store.state import State

OPERATIONS = 200_000
RUNS = 1_000_000
DAYS = 400
_DAY_MS = 86_400_000


def measure(work: Path, *, quick: bool) -> Table:
    share = 50 if quick else 1
    trail = _fill(work / "trail", OPERATIONS // share, RUNS // share)
    paths = {
        "Overview, 7 days": "/",
        "Overview, everything": "/?since=400d",
        "Overview, one person": "/?user=user7",
        "Operations": "/operations",
        "Operations of a person in 400 days": "/operations?user=user7&since=400d",
        "Operations that failed": "/operations?outcome=failure&since=400d",
        "Environments": "/environments",
        "People, 30 days": "/people",
        "Runs": "/runs",
    }
    rounds = 3 if quick else 7
    seconds: dict[str, list[float]] = {}
    with serve_page(trail) as page:
        page.enter()
        subjects: dict[str, Callable[[], object]] = {name: lambda path=path: page.ask(path) for name, path in paths.items()}  # type: ignore[misc]
        for _ in range(rounds):
            for name, subject in subjects.items():
                started = time.perf_counter()
                subject()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    rows: list[list[str | int | float]] = [[name, round(1000 * statistics.median(values))] for name, values in seconds.items()]
    return Table(
        title="The page",
        what=f"{OPERATIONS // share:,} operations and {RUNS // share:,} runs over {DAYS} days, 50 people, 200 environments; medians of {rounds} "
        f"alternating rounds, from the request to the last byte of the answer.",
        columns=["page", "ms"],
        rows=rows,
    )


def _fill(folder: Path, operations: int, runs: int) -> Path:
    layout = Layout(folder)
    layout.create()
    state = State(layout.state)
    begin_ms = int(time.time() * 1000) - DAYS * _DAY_MS
    model = operation_of(Case(packages=["six==1.17.0", "numpy==2.1.3"]))
    with state.transaction():
        for at in range(operations):
            time_ms = begin_ms + at * DAYS * _DAY_MS // operations
            actor = msgspec.structs.replace(model.actor, name=f"user{at % 50}", uid=1000 + at % 50)
            state.put_operation(
                msgspec.structs.replace(
                    model,
                    id=make_operation_id(EventId(node="h", time_ms=time_ms, serial=at), "x"),
                    actor=actor,
                    argv=["pip", "install", f"package-{at % 1000}"],
                    environment=EnvironmentRef(prefix=f"/srv/envs/e{at % 200}", kind="venv"),
                    started=to_rfc3339(time_ms),
                    ended=to_rfc3339(time_ms + 900),
                    outcome=Outcome.FAILURE if at % 20 == 0 else Outcome.SUCCESS,
                )
            )
        for at in range(200):
            state.put_environment(Environment(prefix=f"/srv/envs/e{at}", kind="venv"), seen_ms=begin_ms)
    for chunk in range(0, runs, 50_000):
        with state.transaction():
            for at in range(chunk, min(chunk + 50_000, runs)):
                time_ms = begin_ms + at * DAYS * _DAY_MS // runs
                actor = msgspec.structs.replace(model.actor, name=f"user{at % 50}", uid=1000 + at % 50)
                state.put_run(
                    Run(
                        id=OperationId(make_operation_id(EventId(node="h", time_ms=time_ms, serial=at), "r")),
                        kind="script",
                        program=f"/home/user{at % 50}/train{at % 500}.py",
                        argv=["train.py"],
                        host="h",
                        environment=EnvironmentRef(prefix=f"/srv/envs/e{at % 200}", kind="venv"),
                        actor=actor,
                        started=to_rfc3339(time_ms),
                        ended=None,
                        outcome=Outcome.SUCCESS,
                        exit_code=0,
                        signal=None,
                        snapshot=None,
                        cwd=None,
                        pid=1,
                        image=time_ms << 20,
                        absent={},
                        evidence=[],
                    )
                )
    state.close()
    return folder
