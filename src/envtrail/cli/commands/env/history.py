"""`envtrail env history`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import click
import msgspec
from msgspec import Struct

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment
from envtrail.cli.operations import summary
from envtrail.cli.options import span_options
from envtrail.cli.render import command_line, listing
from envtrail.model.environment import SnapshotRef
from envtrail.model.operation import Operation
from envtrail.model.times import show_time
from envtrail.state.store import Query, Store

_COLUMNS = ("operation", "when", "who", "what", "outcome", "changes", "packages", "command")


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """An operation on the environment, and its result."""

    operation: Operation
    snapshot: SnapshotRef | None
    """None when no snapshot was taken after it."""


@click.command("history")
@click.argument("environment")
@span_options
@click.option("--all", "everything", is_flag=True, help="Include operations that changed nothing.")
@click.pass_obj
def command(
    context: Context,
    environment: str,
    span: Query,
    as_json: bool,
    everything: bool,
) -> None:
    """Operations on ENVIRONMENT, newest first, and the number of packages after each.

    `envtrail env show ENVIRONMENT --at OPERATION` shows its contents at that time.
    """
    with context.store() as store:
        found = find_environment(store, environment)
        query = msgspec.structs.replace(
            span,
            environment=found.prefix,
        )
        listing(
            _entries(store, query, everything=everything),
            as_json=as_json,
            columns=_COLUMNS,
            row=_row,
            nothing=f"no operation on `{found.prefix}` is known; `--all` shows those that changed nothing",
        )


def _entries(store: Store, query: Query, *, everything: bool) -> Iterator[HistoryEntry]:
    # One that was moved has been read at more than one place.
    left = cache(lambda prefix: {item.image: item for item in store.snapshots(prefix) if item.image is not None})
    for operation in store.operations(query):
        if everything or operation.changes or operation.files or operation.kind.value in {"create", "delete", "move"}:
            yield HistoryEntry(operation=operation, snapshot=left(operation.environment.prefix).get(operation.image or 0))


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    operation = entry.operation
    return (
        operation.id[:10],
        show_time(operation.started)[:19],
        operation.actor.name or (f"uid {operation.actor.uid}" if operation.actor.uid is not None else "?"),
        f"{operation.kind.value} ({operation.tool})",
        operation.outcome.value,
        summary(operation),
        "?" if entry.snapshot is None else str(entry.snapshot.packages),
        command_line(operation.argv),
    )
