"""`envtrail requests`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.findings import REQUEST_COLUMNS, request_row
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import OneOf
from envtrail.cli.render import listing
from envtrail.model.approval import RequestStatus
from envtrail.state.store import Query


@click.command("requests")
@click.option("--environment", "--env", help="About one environment.")
@click.option("--user", help="Of one person.")
@click.option("--status", type=OneOf([status.value for status in RequestStatus]), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, environment: str | None, user: str | None, status: str | None, as_json: bool) -> None:
    """Requests for changes and their status; newest first. Without root you see your own."""
    query = Query(environment=environment, user=user, status=status)
    with context.store() as store:
        query = resolve(context, store, query)
        listing(
            store.requests(query),
            as_json=as_json,
            columns=REQUEST_COLUMNS,
            row=request_row,
            nothing=lambda: explain_nothing(store, query, "no requests"),
        )
