"""`envtrail findings`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.findings import FINDING_COLUMNS, finding_row
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import OneOf, span_options
from envtrail.cli.render import listing
from envtrail.model.finding import Level, Status
from envtrail.state.store import Query


@click.command("findings")
@click.option("--environment", "--env", help="Of one environment.")
@click.option("--user", help="Of one person.")
@click.option("--detection", help="Of one rule.")
@click.option("--level", type=OneOf([level.value for level in Level]), help="This level or a higher one.")
@click.option("--status", type=OneOf([status.value for status in Status]), help="Default: open; --all for all.")
@click.option("--all", "everything", is_flag=True, help="Regardless of the status.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV.")
@span_options
@click.pass_obj
def command(
    context: Context,
    environment: str | None,
    user: str | None,
    detection: str | None,
    level: str | None,
    status: str | None,
    everything: bool,
    as_csv: bool,
    span: Query,
    as_json: bool,
) -> None:
    """Findings of the policy and the detections, newest first. Exit code 1 when there is none."""
    query = msgspec.structs.replace(
        span,
        environment=environment,
        user=user,
        detection=detection,
        level=level,
        status=None if everything else status or Status.OPEN.value,
    )
    with context.store() as store:
        query = resolve(context, store, query)
        listing(
            store.findings(query),
            as_json=as_json,
            as_csv=as_csv,
            columns=FINDING_COLUMNS,
            row=finding_row,
            nothing=lambda: explain_nothing(store, query, "no findings" if everything else "no open findings"),
        )
