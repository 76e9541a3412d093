"""`envtrail finding`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.findings import find_finding, whole_finding
from envtrail.cli.render import emit_json, emit_text


@click.command("finding")
@click.argument("finding")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, finding: str, as_json: bool) -> None:
    """One finding completely, with the commands that mute, approve or acknowledge it."""
    with context.store() as store:
        found = find_finding(store, finding)
    if as_json:
        emit_json([found])
    else:
        emit_text(whole_finding(found))
