"""`envtrail rebuild`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json
from envtrail.errors import ExitCode


@click.command("rebuild")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON, with the missing segments.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Rebuild state.sqlite from the segments alone; the old one is replaced when the new one is complete.

    Segments that are missing and that retention did not drop are named and become entries of the loss ledger; the exit code is then 1.
    """
    from envtrail.tasks.rebuild import rebuild_state
    from envtrail.trail.layout import Layout

    with context.progress("rebuilding") as advance:
        report = rebuild_state(context.config, on_progress=lambda done: advance(done, 0))
    if as_json:
        emit_json([report])
    else:
        click.echo(f"rebuilt {Layout(context.config.data_dir).state} from {report.segments} segments")
    for gap in report.missing:
        click.echo(f"{gap.detail}; see `envtrail gaps`", err=True)
    if report.missing:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
