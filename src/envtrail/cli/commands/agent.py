"""`envtrail agent`: watch without a terminal, for the service manager and for auditd."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from envtrail.cli.commands.inspector import INSPECTOR
from envtrail.cli.context import Context
from envtrail.settings.sections import CaptureSource


@click.command("agent")
@click.option("--source", type=click.Choice(get_args(CaptureSource)), help="Instead of the configured one (`capture.source`).")
@click.option(
    "--no-notify",
    is_flag=True,
    help="Other services send notifications and ship documents (`envtrail-notify`, `envtrail-elastic`, …).",
)
@click.option("--recorder", "is_following", is_flag=True, help="Follow the recorder that runs (`envtrail record --no-agent`).")
@click.option("--channel", hidden=True, help="Descriptors of the recorder that starts it, which records in its place.")
@click.option(
    "--inspector",
    "inspector_path",
    type=click.Path(path_type=Path),
    default=INSPECTOR,
    show_default=True,
    help="Socket of the inspector, for an agent that follows a recorder.",
)
@click.pass_obj
def command(
    context: Context, source: str | None, no_notify: bool, is_following: bool, channel: str | None, inspector_path: Path
) -> None:
    """Watch this machine until SIGTERM, writing the trail and answering `/run/envtrail/envtrail.sock`.

    The rules that it loads stay in the kernel when it ends, so that a restart loses as little as the kernel's queue holds;
    `envtrail rules remove` removes them.
    """
    if channel is not None or is_following:
        _follow(context, channel, inspector_path)
        return
    from envtrail.agent.children import notifier, shipper, writer
    from envtrail.agent.service import serve
    from envtrail.cli.feed import TerminalFeed
    from envtrail.service_manager import ServiceManager

    config = context.config.replaced("--source", {"capture.source": source}) if source else context.config
    serve(
        config,
        keep_rules=True,
        on_fault=TerminalFeed.warn,
        children=() if no_notify else (notifier(config), shipper(config), writer(config)),
        manager=ServiceManager(),
    )


def _follow(context: Context, channel: str | None, inspector_path: Path) -> None:
    """Follow a recorder: over the channel that it gave, or the one that it gives who connects."""
    from envtrail.inspect.client import ServedInspector
    from envtrail.inspect.rights import give_up_rights
    from envtrail.service_manager import ServiceManager
    from envtrail.trail.layout import Layout

    manager = ServiceManager()
    numbers = channel.split(",") if channel is not None else []
    if channel is not None and (len(numbers) != 3 or not all(map(str.isdecimal, numbers))):
        raise click.BadParameter("three descriptors are wanted, as `5,6,7`", param_hint="--channel")
    config = context.config
    derived = Layout(config.data_dir).derived
    # Before anything is imported that starts threads: they would keep the rights.
    owner = derived.stat() if derived.exists() else Path("/").stat()
    give_up_rights(owner.st_uid, owner.st_gid)
    from envtrail.agent.service import follow_recorder
    from envtrail.record.channel import Ends
    from envtrail.record.listener import connect_recorder

    if channel is None:
        ends = connect_recorder(config.data_dir)
    else:
        requests, notices, facts = map(int, numbers)
        ends = Ends(requests=requests, notices=notices, facts=facts)
    follow_recorder(config, ends, manager, ServedInspector(inspector_path))
