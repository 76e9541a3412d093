"""`envtrail revoke`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.findings import find_grant
from envtrail.model.decision import Revoke


@click.command("revoke")
@click.argument("grant")
@click.option("--why", required=True, help="The reason.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, grant: str, why: str, as_json: bool) -> None:
    """End a GRANT before its time. Operations that it has covered stay covered."""
    with context.store() as store:
        found = find_grant(store, grant)
    decide(context, Revoke(grant=found.id, why=why), as_json=as_json)
