"""`envtrail env blame`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment, parse_point, snapshot_at
from envtrail.cli.operations import whole
from envtrail.cli.render import command_line, emit_json, emit_text, found_nothing, listing, safe
from envtrail.environments.blame import Blame, blame_packages
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Operation
from envtrail.model.times import show_time
from envtrail.state.store import Query

_COLUMNS = ("package", "version", "operation", "who", "when", "how", "command")


@click.command("blame")
@click.argument("environment")
@click.argument("package", required=False)
@click.option("--at", help="The state at a moment, or just after an operation.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, environment: str, package: str | None, at: str | None, as_json: bool) -> None:
    """The operation that installed each package of ENVIRONMENT, by whom, with which command; requested, or needed by what.

    With PACKAGE: that one, and every operation on it. A question mark after a name: the owner of the files, from before the trail.
    """
    with context.store() as store:
        found = find_environment(store, environment)
        at_ms = parse_point(context, store, found, at) if at else None
        snapshot = snapshot_at(context, store, found, at)
        name = normalise_name(package) if package else None
        query = Query(environment=found.prefix, until_ms=at_ms, package=name)
        rows = blame_packages(snapshot, store.operations(query), python=found.python)
        if name is not None:
            rows = [row for row in rows if normalise_name(row.package.name) == name]
        if as_json:
            if not emit_json(rows):
                found_nothing(f"`{found.prefix}` holds nothing by this name")
        elif name is None:
            listing(rows, as_json=False, columns=_COLUMNS, row=_row, nothing=f"`{found.prefix}` is empty")
        elif not emit_text(_story(name, rows, store.operations(query), store.names())):
            found_nothing(f"`{safe(name)}` is not in `{found.prefix}`, and no operation on it is known")


def _story(name: str, rows: list[Blame], touched: Iterable[Operation], names: Mapping[int, str | None]) -> Iterator[str]:
    """The origin of a package, then every operation on it, newest first."""
    for row in rows:
        yield f"{safe(row.package.name)} {safe(row.package.version)}: {_how(row)}\n"
    for operation in touched:
        changes = [change for change in operation.changes or () if normalise_name(change.name) == name]
        yield whole(msgspec.structs.replace(operation, changes=changes), with_changes=True, names=names)


def _row(row: Blame) -> tuple[str, ...]:
    operation = row.operation
    if operation is None:
        shown = ("", "?", "", _how(row), "no known operation installed it")
    else:
        who = operation.actor.name or (f"uid {operation.actor.uid}" if operation.actor.uid is not None else "?")
        weak = "?" if operation.actor.method == "owner" else ""
        shown = (operation.id[:10], who + weak, show_time(operation.started)[:16], _how(row), command_line(operation.argv))
    return (row.package.name, row.package.version, *shown)


def _how(row: Blame) -> str:
    needed = ", ".join(row.needed_by[:3]) + (", …" if len(row.needed_by) > 3 else "")
    if row.requested:
        return "requested"
    return f"needed by {safe(needed)}" if needed else "needed by nothing" if row.requested is False else "unknown"
