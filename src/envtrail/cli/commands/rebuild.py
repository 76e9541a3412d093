"""`envtrail rebuild`: make state.sqlite again from the segments alone."""

from __future__ import annotations

import click

from envtrail.cli.context import Context


@click.command(short_help="Make the state again from the sealed evidence.")
@click.pass_obj
def rebuild(context: Context) -> None:
    """Make state.sqlite again from the segments alone; the old one is replaced when the new one is whole."""
    from envtrail.agent.rebuild import rebuild_state

    with context.progress("rebuilding", unit="segments") as advance:
        report = rebuild_state(context.config, on_progress=advance)
    click.echo(
        f"rebuilt {context.config.data_dir / 'state.sqlite'} from {report.segments} segments: "
        f"{report.operations} operations, {report.runs} runs, {report.sessions} sessions"
    )
