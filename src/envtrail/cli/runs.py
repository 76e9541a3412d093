"""Output of runs as text: the status, or complete."""

from __future__ import annotations

from collections.abc import Iterator

from envtrail.cli.render import command_line, safe
from envtrail.cli.times import show_duration
from envtrail.model.environment import Snapshot
from envtrail.model.run import STILL_RUNNING, Run
from envtrail.model.times import show_time


def outcome_of(run: Run) -> str:
    """`success`, `exit 3`, `signal 9`, `running`, or `unknown`."""
    if run.ended is None:
        return "running" if run.absent.get("ended") == STILL_RUNNING else "unknown"
    if run.signal:
        return f"signal {run.signal}"
    return f"exit {run.exit_code}" if run.exit_code else run.outcome.value


def whole_run(run: Run, snapshot: Snapshot | None) -> Iterator[str]:
    """A run completely, with the packages of its environment."""
    times = f", {run.count} times" if run.count > 1 else ""
    yield f"run {run.id}  {run.kind}  {outcome_of(run)}  {show_duration(run.started, run.ended)}{times}"
    yield f"Who:    {safe(run.actor.name or str(run.actor.uid))}"
    yield f"When:   {show_time(run.started)}" + (f" to {show_time(run.ended)}" if run.ended else "")
    where = f"{safe(run.environment.prefix)} ({run.environment.kind})" if run.environment else "unknown"
    yield f"Where:  {where} on {safe(run.host)}"
    digest = f"  sha256 {run.script_sha256}" if run.script_sha256 else ""
    yield f"Script: {safe(run.program)}{digest}"
    if run.parent:
        yield f"Below:  run {run.parent}"
    if run.part_of:
        yield f"Loop:   counted by run {run.part_of}"
    yield f"\n    {command_line(run.argv)}\n"
    if run.absent:
        yield "Not known:"
        yield from (f"    {name}: {safe(why)}" for name, why in sorted(run.absent.items()))
        yield ""
    if snapshot is not None:
        yield f"Packages ({len(snapshot.packages)}), {run.snapshot}:"
        yield from (f"    {safe(package.name)} {safe(package.version)}" for package in snapshot.packages)
