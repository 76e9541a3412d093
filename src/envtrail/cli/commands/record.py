"""`envtrail record`: the recorder, and the agent that it starts, as two processes."""

from __future__ import annotations

from typing import get_args

import click

from envtrail.cli.context import Context
from envtrail.settings.sections import CaptureSource


@click.command("record")
@click.option("--source", type=click.Choice(get_args(CaptureSource)), help="Instead of the configured one (`capture.source`).")
@click.option("--no-agent", is_flag=True, help="Start no agent: one connects by itself (`envtrail agent --recorder`).")
@click.pass_obj
def command(context: Context, source: str | None, no_agent: bool) -> None:
    """Record this machine until SIGTERM, and keep an agent running that interprets what is recorded.

    What the agent does, and how often it has to be started again, makes no gap in what is recorded. The rules that are loaded stay in
    the kernel at the end, as with `envtrail agent`.
    """
    from envtrail.agent.recorder_service import record
    from envtrail.cli.feed import TerminalFeed
    from envtrail.service_manager import ServiceManager

    config = context.config.replaced("--source", {"capture.source": source}) if source else context.config
    record(config, keep_rules=True, on_fault=TerminalFeed.warn, starts_agent=not no_agent, manager=ServiceManager())
