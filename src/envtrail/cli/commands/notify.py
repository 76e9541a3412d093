"""`envtrail notify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text, safe, style
from envtrail.cli.signals import set_by_signals
from envtrail.errors import ExitCode, InputError
from envtrail.model.times import show_ms

if TYPE_CHECKING:
    from envtrail.notify.channels import Channel
    from envtrail.notify.outbox import ChannelState


@click.group("notify")
def command() -> None:
    """Notify people of findings and requests: mail, chats, webhooks."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one line for each fault.")
@click.pass_obj
def check(context: Context, as_json: bool) -> None:
    """Every fault of the file of channels. Exit code 2 when there is one. Nothing is sent."""
    from envtrail.notify.channels import load_channels

    path = _path(context)
    loaded = load_channels(path)
    if as_json:
        emit_json(loaded.faults)
    else:
        for fault in loaded.faults:
            click.echo(f"{safe(fault.path)}: `{safe(fault.key)}` {safe(fault.message)}", err=True)
            click.echo(f"hint: {safe(fault.hint)}", err=True)
        emit_text(f"{one.name:16} {safe(one.service.shown)}  {_of_what(one)}" for one in loaded.channels)
    if loaded.faults:
        raise click.exceptions.Exit(ExitCode.USAGE)


@command.command()
@click.option("--channel", "names", multiple=True, help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one line for each channel.")
@click.pass_obj
def test(context: Context, names: tuple[str, ...], as_json: bool) -> None:
    """Send a message through each channel, and print its answer. Exit code 4 when one failed."""
    from envtrail.notify.channels import open_channels
    from envtrail.notify.messages import render_test

    channels = open_channels(_path(context))
    unknown = set(names) - {one.name for one in channels}
    if unknown:
        known = ", ".join(one.name for one in channels)
        raise InputError(f"no channel `{min(unknown)}`", hint=f"there are: {known}")
    failed = False
    for channel in channels:
        if names and channel.name not in names:
            continue
        message = render_test(channel.name, context.config.node, context.now_ms, channel.language)
        answer = channel.service.send(message.title, message.body, message.level)
        failed = failed or answer.fault is not None
        if as_json:
            emit_json([{"channel": channel.name, "service": channel.service.shown, "fault": answer.fault}])
        else:
            said = "sent" if answer.fault is None else f"failed: {safe(answer.fault)}"
            click.echo(f"{channel.name:16} {safe(channel.service.shown)}  {style(said, fg='red' if answer.fault else 'green')}")
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one line for each channel.")
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """State of each channel: sent, waiting, last success, last fault, next try."""
    from envtrail.notify.outbox import read_states
    from envtrail.notify.process import running_pid

    folder = context.config.data_dir
    states = read_states(folder / "notify.sqlite")
    if as_json:
        emit_json(states)
        return
    pid = running_pid(folder)
    click.echo(f"notifier  running, pid {pid}" if pid else "notifier  not running: no notifications are sent")
    emit_text(line for state in states for line in _state_lines(state))


@command.command(hidden=True)
@click.option("--parent", type=int, help="End when this process is no longer the parent.")
@click.pass_obj
def run(context: Context, parent: int | None) -> None:
    """Send notifications until SIGTERM; started by the agent."""
    from envtrail.notify.process import run as run_notifier

    stop = set_by_signals()
    run_notifier(
        context.config.data_dir,
        context.config,
        stop,
        parent=parent,
        on_fault=lambda fault: click.echo(f"notify: {safe(fault)}", err=True),
    )


def _path(context: Context) -> Path:
    return context.config.notify.path


def _of_what(channel: Channel) -> str:
    """What is sent to a channel."""
    kinds = [f"{'finding' if kind == 'finding' else kind}s" for kind in sorted(channel.kinds)]
    where = f" in {', '.join(channel.environments)}" if channel.environments else ""
    rules = f" by {', '.join(channel.detections)}" if channel.detections else ""
    return safe(f"{', '.join(kinds)}{where}{rules}, level {channel.level.value}, {channel.language}")


def _state_lines(state: ChannelState) -> Iterator[str]:
    last = show_ms(state.success_ms) if state.success_ms is not None else "never"
    yield (
        f"{state.name:16} {state.sent} sent, {state.digested} digested, {state.waiting} waiting, {state.given_up} given up; "
        f"last success {last}"
    )
    if state.fault is not None and state.fault_ms is not None:
        yield f"{'':16} last fault {show_ms(state.fault_ms)}: {safe(state.fault)}"
    if state.failures:
        kind = "rejected, somebody has to fix it" if state.permanent else "failing"
        again = f"; next try {show_ms(state.next_ms)}" if state.next_ms is not None else ""
        yield style(f"{'':16} {kind}, {state.failures} times in a row{again}", fg="red")
