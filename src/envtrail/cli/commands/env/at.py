"""`envtrail env at`."""

from __future__ import annotations

import click

from envtrail.cli.commands.env.show import command as show


@click.command("at")
@click.argument("environment")
@click.argument("point")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_context
def command(ctx: click.Context, environment: str, point: str, as_json: bool) -> None:
    """What was in ENVIRONMENT at POINT: a time, or an operation (`ID`: just after it, `ID^`: just before)."""
    ctx.invoke(show, environment=environment, at=point, as_json=as_json)
