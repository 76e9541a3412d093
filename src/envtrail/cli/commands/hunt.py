"""`envtrail hunt`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.findings import FINDING_COLUMNS, finding_row
from envtrail.cli.options import moment
from envtrail.cli.render import listing
from envtrail.cli.sigma import find_detection


@click.command("hunt")
@click.argument("rule")
@click.option("--since", default="90d", show_default=True, help="Since a moment.")
@click.option("--until", help="Until a moment.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, rule: str, since: str, until: str | None, as_csv: bool, as_json: bool) -> None:
    """Run a Sigma RULE (a file, or a detection's name) over the past. Exit code 1 when nothing matches.

    Findings are printed, and not recorded.
    """
    found, loaded = find_detection(context, rule)
    from envtrail.detect.hunt import hunt
    from envtrail.state.office_hours import read_office_hours

    with context.store() as store:
        findings = hunt(
            store,
            loaded.detections,
            found,
            since_ms=moment(context, since) or 0,
            until_ms=moment(context, until) or context.now_ms,
            office_hours=read_office_hours(context.config),
        )
        listing(
            findings,
            as_json=as_json,
            as_csv=as_csv,
            columns=FINDING_COLUMNS,
            row=finding_row,
            nothing=f"nothing matches `{found.title}`",
        )
