"""`envtrail up`: watch this machine in the foreground, with a live feed."""

from __future__ import annotations

from typing import get_args

import click

from envtrail.cli.context import Context
from envtrail.errors import ExitCode
from envtrail.settings.sections import Profile


@click.command("up")
@click.option("--profile", type=click.Choice(get_args(Profile)), help="Instead of the configured one (`rules.profile`).")
@click.option("--json", "as_json", is_flag=True, help="The feed as JSON lines.")
@click.option("--web", "with_page", is_flag=True, help="Serve the web UI too; its link is printed.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Of the web UI.")
@click.pass_obj
def command(context: Context, profile: str | None, as_json: bool, with_page: bool, port: int) -> None:
    """Load the rules, capture the kernel's records, and print each operation when it ends.

    Ctrl-C ends it and removes the rules it loaded; the trail stays.
    """
    from envtrail.agent.children import notifier, page, shipper, writer
    from envtrail.agent.service import serve
    from envtrail.cli.feed import TerminalFeed

    config = context.config.replaced("--profile", {"rules.profile": profile}) if profile else context.config
    feed = TerminalFeed(as_json=as_json)
    ended_by_hand = serve(
        config,
        keep_rules=False,
        on_start=feed.start,
        on_result=feed.show,
        on_fault=feed.warn,
        on_reading=feed.reading,
        children=(notifier(config), shipper(config), writer(config), *((page(config, port),) if with_page else ())),
    )
    if ended_by_hand:
        raise click.exceptions.Exit(ExitCode.INTERRUPTED)
