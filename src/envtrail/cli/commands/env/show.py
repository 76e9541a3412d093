"""`envtrail env show`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment, parse_point, snapshot_at
from envtrail.cli.render import command_line, emit_json, emit_table, safe, show_bytes
from envtrail.model.environment import Package
from envtrail.model.times import show_time
from envtrail.state.store import Query

_COLUMNS = ("package", "version", "build", "installer", "requested", "size", "source")


@click.command("show")
@click.argument("environment")
@click.option("--at", help="A moment, or an operation: the state just after it (`ID^`: just before).")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, environment: str, at: str | None, as_json: bool) -> None:
    """What is in ENVIRONMENT (a prefix, or the last part of one), now or at a moment."""
    with context.store() as store:
        found = find_environment(store, environment)
        snapshot = snapshot_at(context, store, found, at)
        until_ms = parse_point(context, store, found, at) if at else None
        operations = store.operations(Query(environment=found.prefix, until_ms=until_ms))
        made = None if as_json else next((one for one in operations if one.is_creation), None)
    if as_json:
        emit_json([snapshot])
        return
    size_bytes = sum(package.size_bytes or 0 for package in snapshot.packages)
    gone = "  (no longer there)" if found.gone else ""
    click.echo(f"{safe(found.prefix)}  {found.kind}  Python {found.python or '?'}{gone}")
    if made is not None:
        name = made.actor.name or (f"uid {made.actor.number}" if made.actor.number is not None else "unknown")
        click.echo(f"created by {safe(name)}, {show_time(made.started)[:19]}: {command_line(made.argv)}  ({made.id[:10]})")
    click.echo(f"{len(snapshot.packages)} packages, {show_bytes(size_bytes)}, {snapshot.digest[:19]}\n")
    emit_table(_COLUMNS, map(_row, snapshot.packages))
    for fault in [*found.faults, *snapshot.faults]:
        click.echo(f"fault: {safe(fault)}")


def _row(package: Package) -> tuple[str, ...]:
    requested = {True: "yes", False: "no", None: "?"}[package.requested]
    return (
        package.name,
        package.version,
        package.build or "",
        package.installer or "?",
        requested,
        "?" if package.size_bytes is None else show_bytes(package.size_bytes),
        ("editable " if package.editable else "") + (package.source or ""),
    )
