"""`envtrail ack`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.findings import find_finding
from envtrail.model.decision import Triage
from envtrail.model.finding import Status


@click.command("ack")
@click.argument("finding")
@click.option("--why", required=True, help="The result.")
@click.option("--assign", "assignee", help="Who is responsible for it.")
@click.option("--reopen", is_flag=True, help="Reopen it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, finding: str, why: str, assignee: str | None, reopen: bool, as_json: bool) -> None:
    """Acknowledge a finding; the acknowledgement is sealed with your name."""
    with context.store() as store:
        found = find_finding(store, finding)
    status = Status.OPEN if reopen else Status.ACKNOWLEDGED
    decide(context, Triage(finding=found.id, status=status, why=why, assignee=assignee), as_json=as_json)
