"""`envtrail env list`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.render import listing, safe, show_bytes
from envtrail.model.environment import EnvironmentSummary
from envtrail.model.times import show_time

_COLUMNS = ("prefix", "kind", "python", "packages", "size", "creator", "last change", "last use", "drift")


@click.command("list")
@click.option("--csv", "as_csv", is_flag=True, help="CSV.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, as_csv: bool, as_json: bool) -> None:
    """Every environment on the machine: kind, Python, size, packages, creator, last change, last use, drift.

    The data is from the trail; no disk is scanned. A creator in brackets is the owner of the folder: its creation was not recorded.
    At fault: something could not be read; `envtrail env show` has the details.
    """
    with context.store() as store:
        listing(
            store.summaries(),
            as_json=as_json,
            as_csv=as_csv,
            columns=_COLUMNS,
            row=_row,
            nothing="no environment is known yet; `envtrail up` looks for them",
        )


def _row(item: EnvironmentSummary) -> tuple[str, ...]:
    creator = safe(item.creator or "?")
    return (
        item.environment.prefix,
        item.environment.kind + (", at fault" if item.environment.faults else ""),
        item.environment.python or "?",
        "?" if item.packages is None else str(item.packages),
        "?" if item.size_bytes is None else show_bytes(item.size_bytes),
        f"[{creator}]" if item.creator_is_owner else creator,
        _moment(item.last_change, item.last_change_by),
        _moment(item.last_use, item.last_use_by),
        str(item.drift),
    )


def _moment(time: str | None, user: str | None) -> str:
    return "" if time is None else f"{show_time(time)[:16]} {user or '?'}"
