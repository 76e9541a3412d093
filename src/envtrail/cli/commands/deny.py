"""`envtrail deny`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.findings import find_request
from envtrail.model.decision import Deny


@click.command("deny")
@click.argument("request")
@click.option("--why", required=True, help="The reason; the requester sees it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, request: str, why: str, as_json: bool) -> None:
    """Deny a REQUEST."""
    with context.store() as store:
        found = find_request(store, request)
    decide(context, Deny(request=found.id, why=why), as_json=as_json)
