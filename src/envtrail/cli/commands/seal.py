"""`envtrail seal`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.errors import InputError


@click.command("seal")
@click.pass_obj
def command(context: Context) -> None:
    """Seal the open segment now; a running agent seals by itself."""
    from envtrail.interpret.tools import hints
    from envtrail.store.layout import Layout
    from envtrail.store.writer import TrailWriter

    if not Layout(context.config.data_dir).exists():
        raise InputError(f"no trail in `{context.config.data_dir}`", hint="name it with --data-dir")
    writer = TrailWriter(context.config, hints())
    try:
        number = writer.number
        writer.seal(wait=True)
        sealed = writer.number != number
    finally:
        writer.close()
    click.echo(f"sealed segment {number}" if sealed else "the open segment is empty")
