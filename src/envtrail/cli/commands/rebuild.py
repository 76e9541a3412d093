"""`envtrail rebuild`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context


@click.command("rebuild")
@click.pass_obj
def command(context: Context) -> None:
    """Rebuild state.sqlite from the segments alone; the old one is replaced when the new one is complete."""
    from envtrail.tasks.rebuild import rebuild_state

    with context.progress("rebuilding") as advance:
        report = rebuild_state(context.config, on_progress=lambda done: advance(done, 0))
    click.echo(f"rebuilt {context.config.data_dir / 'state.sqlite'} from {report.segments} segments")
