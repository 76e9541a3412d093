"""`envtrail runs`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.options import moment, span_options
from envtrail.cli.render import listing
from envtrail.cli.times import show_duration, show_time
from envtrail.store.store import Query


@click.command("runs")
@click.option("--env", help="Environment: its prefix, or the last part of it.")
@click.option("--user", help="Name or uid.")
@click.option("--outcome", type=click.Choice(["success", "failure", "killed", "unknown"]))
@click.option("--grep", "text", help="Part of the command line.")
@span_options
@click.pass_obj
def command(
    context: Context,
    env: str | None,
    user: str | None,
    outcome: str | None,
    text: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    reverse: bool,
    as_json: bool,
) -> None:
    """Python scripts, modules and Jupyter servers that ran, and how they ended."""
    query = Query(
        environment=env,
        user=user,
        outcome=outcome,
        text=text,
        limit=limit,
        oldest_first=reverse,
        since_ms=moment(context, since),
        until_ms=moment(context, until),
    )
    with context.store() as store:
        listing(
            store.runs(query),
            as_json=as_json,
            columns=("started", "who", "kind", "outcome", "took", "program", "environment"),
            row=lambda run: (
                show_time(run.started),
                run.actor.name or str(run.actor.uid),
                run.kind,
                run.outcome.value if run.ended else "running",
                show_duration(run.started, run.ended),
                run.program,
                run.environment.prefix if run.environment else "",
            ),
            nothing="no runs found",
        )
