"""`envtrail seal`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.errors import InputError


@click.command("seal")
@click.pass_obj
def command(context: Context) -> None:
    """Seal the open segment now; a running agent seals by itself."""
    from envtrail.agent.build import open_trail
    from envtrail.agent.world import ImportedWorld
    from envtrail.trail.layout import Layout

    if not Layout(context.config.data_dir).exists():
        raise InputError(f"no trail in `{context.config.data_dir}`", hint="name it with --data-dir")
    with open_trail(context.config, world=ImportedWorld()) as opened:
        number = opened.writer.number
        opened.writer.seal(wait=True)
        sealed = opened.writer.number != number
    click.echo(f"sealed segment {number}" if sealed else "the open segment is empty")
