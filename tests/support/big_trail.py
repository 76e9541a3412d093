"""Trails as large as one likes: the state is made by the product's own, the events are those of the recorded trail again and again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from envtrail.model.environment import Environment
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import EnvironmentRef, Outcome
from envtrail.model.run import Run
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.state import State
from envtrail.trail.layout import EVENTS as EVENTS_FILE
from envtrail.trail.layout import OBSERVATIONS, RECORDS, SEAL, ZST, Layout
from envtrail.trail.seal import read_seal

DAYS = 400
_DAY_MS = 86_400_000
_PER_SEGMENT = 100_000


def fill_events(work: Path, trail: Path, count: int) -> int:
    """Sealed segments of the recorded trail's events, again and again, up to now."""
    subprocess.run([sys.executable, "-m", "envtrail", "--data-dir", str(work), "demo", "--fast"], check=True, capture_output=True)
    source = Layout(work / "demo").segment(1)
    seal = read_seal(source)
    table = pq.read_table(source / EVENTS_FILE)
    repeats = max(1, _PER_SEGMENT // table.num_rows)
    segments = max(1, count // (repeats * table.num_rows))
    step_ms = DAYS * _DAY_MS // segments
    begin_ms = int(time.time() * 1000) - segments * step_ms
    first_ms = seal.first_ms or 0
    for number in range(1, segments + 1):
        parts = []
        for at in range(repeats):
            shift = begin_ms + (number - 1) * step_ms + at * step_ms // repeats - first_ms
            moved = pc.add(table.column("time"), pa.scalar(shift, pa.duration("ms")))
            parts.append(table.set_column(table.schema.get_field_index("time"), "time", moved))
        folder = Layout(trail).segment(number)
        folder.mkdir(parents=True)
        pq.write_table(pa.concat_tables(parts).combine_chunks(), folder / EVENTS_FILE, compression="zstd")
        for name in (RECORDS + ZST, OBSERVATIONS + ZST):
            shutil.copy(source / name, folder / name)
        until_ms = begin_ms + number * step_ms
        there = msgspec.structs.replace(seal, number=number, first_ms=until_ms - step_ms, last_ms=until_ms - 1)
        (folder / SEAL).write_bytes(msgspec.json.encode(there))
    return segments * repeats * table.num_rows


def fill(folder: Path, operations: int, runs: int) -> Path:
    """A trail with operations and runs, evenly over the days, of 50 people in 200 environments."""
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
                        host=model.host,
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
