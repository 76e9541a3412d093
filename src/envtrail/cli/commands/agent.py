"""`envtrail agent`: watch without a terminal, for the service manager and for auditd."""

from __future__ import annotations

from typing import get_args

import click

from envtrail.cli.context import Context
from envtrail.settings.sections import CaptureSource


@click.command("agent")
@click.option("--source", type=click.Choice(get_args(CaptureSource)), help="Instead of the configured one (`capture.source`).")
@click.option(
    "--no-notify",
    is_flag=True,
    help="Other services send notifications and ship documents (`envtrail-notify`, `envtrail-elastic`, …).",
)
@click.pass_obj
def command(context: Context, source: str | None, no_notify: bool) -> None:
    """Watch this machine until SIGTERM, writing the trail and answering `/run/envtrail/envtrail.sock`.

    The rules that it loads stay in the kernel when it ends, so that a restart loses as little as the kernel's queue holds;
    `envtrail rules remove` removes them.
    """
    from envtrail.agent.children import notifier, shipper, writer
    from envtrail.agent.service import serve
    from envtrail.cli.feed import TerminalFeed

    config = context.config.replaced("--source", {"capture.source": source}) if source else context.config
    serve(
        config,
        keep_rules=True,
        on_fault=TerminalFeed.warn,
        children=() if no_notify else (notifier(config), shipper(config), writer(config)),
    )
