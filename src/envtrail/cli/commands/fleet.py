"""`envtrail fleet`."""

from __future__ import annotations

from contextlib import closing

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.elastic import client_of, urls_option
from envtrail.cli.render import emit_json, emit_table, found_nothing
from envtrail.errors import ExitCode
from envtrail.model.times import show_ms


@click.group("fleet")
def command() -> None:
    """The machines that ship to one cluster."""


@command.command()
@urls_option
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one for each machine, with its faults.")
@click.pass_obj
def status(context: Context, urls: tuple[str, ...], as_json: bool) -> None:
    """Each machine: whether it is watched, rules, policy, lag, losses, last heartbeat. Exit code 1 when one has a fault."""
    from envtrail.fleet.heartbeats import last_heartbeats
    from envtrail.fleet.searching import Searching
    from envtrail.model.heartbeat import faults_of, policy_of_most

    config = context.config_with(urls)
    with closing(client_of(config)) as client:
        beats = last_heartbeats(Searching(client, config.elastic.namespace))
    now_ms = context.now_ms
    policy = policy_of_most(beats)
    faults = {beat.host: faults_of(beat, now_ms, policy=policy) for beat in beats}
    if as_json:
        emit_json([msgspec.to_builtins(beat) | {"faults": faults[beat.host]} for beat in beats])
    elif not beats:
        found_nothing("no machine has reported yet (run `envtrail elastic ship` on each)")
    else:
        rows = [
            [
                beat.host,
                _of(beat.version),
                f"{_of(beat.rules_loaded)}/{_of(beat.rules_expected)}",
                _of(beat.policy, "none"),
                f"{_of(beat.lag_ms)} ms",
                _of(beat.lost),
                str(beat.outbox),
                show_ms(beat.time_ms),
                ", ".join(faults[beat.host]) or "fine",
            ]
            for beat in beats
        ]
        emit_table(["machine", "version", "rules", "policy", "lag", "lost", "waiting", "last heartbeat", "state"], rows)
    if not beats or any(faults.values()):
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _of(value: object, nothing: str = "?") -> str:
    return nothing if value is None else str(value)
