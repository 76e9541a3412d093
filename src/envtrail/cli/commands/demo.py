"""`envtrail demo`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context


@click.command("demo")
@click.option("--fast", is_flag=True, help="Without pauses.")
@click.pass_obj
def command(context: Context, fast: bool) -> None:
    """Play a recorded trail into a separate folder, to explore it with every other command."""
    from envtrail.cli.feed import TerminalFeed
    from envtrail.tasks.demo import play

    folder = play(context.config, on_result=TerminalFeed(as_json=False).show, pause=not fast)
    click.echo(
        f"\nthat was a recorded trail; it is in {folder}. Explore it:\n"
        f"  envtrail --data-dir {folder} log -p\n  envtrail --data-dir {folder} runs\n  envtrail --data-dir {folder} verify",
        err=True,
    )
