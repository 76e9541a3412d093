"""`envtrail env diff`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment, read_snapshot_spec, snapshot_at
from envtrail.cli.operations import show_change
from envtrail.cli.render import emit_json, emit_text, found_nothing
from envtrail.environments.changes import diff_snapshots
from envtrail.errors import ExitCode, UsageError
from envtrail.model.environment import Snapshot
from envtrail.state.store import Store


@click.command("diff")
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one line for each change.")
@click.pass_obj
def command(context: Context, first: str, second: str, as_json: bool) -> None:
    """Changes in an environment, or differences between two.

    \b
    envtrail env diff ml-exp tuesday..            since Tuesday
    envtrail env diff ml-exp 01KB..01KC           between two operations
    envtrail env diff ml-exp ml-exp2              between two environments
    envtrail env diff ml-exp@monday other.json    with the output of `env show --json` on another host

    Exit code 1 when there is a difference, as for diff.
    """  # noqa: D301 - click's mark for lines that are not wrapped
    with context.store() as store:
        before, after = _sides(context, store, first, second)
    changes = diff_snapshots(before, after)
    if as_json:
        emit_json(changes)
    else:
        emit_text(show_change(change) for change in changes)
    if not changes:
        click.echo("no difference", err=True)
        return
    raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _sides(context: Context, store: Store, first: str, second: str) -> tuple[Snapshot, Snapshot]:
    if ".." not in second or "/" in second:
        return read_snapshot_spec(context, store, first), read_snapshot_spec(context, store, second)
    environment = find_environment(store, first)
    since, _, until = second.partition("..")
    if not since and not until:
        raise UsageError("`..` is not a range", hint="`A..B`, `A..` (until now) or `..B` (from the first known one)")
    if not since:
        oldest = next(store.snapshots(environment.prefix), None)
        if oldest is None:
            found_nothing("the trail has no snapshot of it")
        before = store.snapshot(environment.prefix, oldest.time_ms)
        assert before is not None  # noqa: S101 - it has just been listed
    else:
        before = snapshot_at(context, store, environment, since)
    return before, snapshot_at(context, store, environment, until or None)
