"""`envtrail status`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text
from envtrail.model.times import show_ms
from envtrail.state.agent_status import AgentStatus, is_recorded
from envtrail.state.store import StoreStatus


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Rules, capture, lag, losses, disk, and the contents of the trail."""
    with context.store() as store:
        trail, agent = store.status(), store.agent()
    if as_json:
        emit_json([{"agent": msgspec.to_builtins(agent), "trail": msgspec.to_builtins(trail)}])
    else:
        is_missed = agent is None and not is_recorded(Path(trail.folder), context.now_ms)
        emit_text([*_agent_lines(agent, context.now_ms, is_missed=is_missed), *_trail_lines(trail)])


def _agent_lines(agent: AgentStatus | None, now_ms: int, *, is_missed: bool) -> Iterator[str]:
    if agent is None:
        why = "current changes are not recorded (`envtrail up`, `envtrail service install`)"
        yield f"agent     not running: {why if is_missed else 'what is recorded is shown when it runs (`systemctl start envtrail-agent`)'}"
        return
    up_s = max(1, (now_ms - agent.started_ms) // 1000)
    yield f"agent     running, pid {agent.pid}, since {show_ms(agent.started_ms)}, source {agent.source}"
    if agent.full_since_ms is not None:
        yield f"          its disk is FULL: nothing is recorded since {show_ms(agent.full_since_ms)} (`envtrail doctor`)"
    if agent.rules is not None:
        locked = ", locked until reboot" if agent.rules.locked else ""
        yield f"rules     {agent.rules.loaded} of {agent.rules.expected} loaded, profile {agent.rules.profile}{locked}"
        yield from (f"          not loaded: {fault}" for fault in agent.rules.faults)
    counters = agent.counters
    yield (
        f"capture   {counters['events']} events of {counters['records']} records, {counters['in_flight']} in flight, "
        f"{counters['late']} late, {counters['faults']} faults; lag {agent.lag_ms} ms"
    )
    if agent.kernel is not None:
        yield f"kernel    lost {agent.kernel.lost} since boot, queue {agent.kernel.backlog} of {agent.kernel.backlog_limit}"
    yield f"cost      {100 * agent.cpu_s / up_s:.1f} % of one CPU, {agent.rss_bytes // 2**20} MiB"


def _trail_lines(trail: StoreStatus) -> Iterator[str]:
    yield f"trail     {trail.folder}: {trail.operations} operations, {trail.runs} runs, {trail.sessions} sessions, {trail.environments} environments"
    if trail.oldest_ms is not None and trail.newest_ms is not None:
        yield f"span      {show_ms(trail.oldest_ms)} to {show_ms(trail.newest_ms)}"
    yield f"disk      {trail.disk_bytes / 2**20:.1f} MiB for {trail.records_bytes / 2**20:.1f} MiB of records, {trail.segments} sealed segments"
    hint = " (`envtrail log --kind tamper -p`)" if trail.unexplained else ""
    yield f"tampering {trail.unexplained} unexplained changes{hint}"
    hint = " (`envtrail findings`)" if trail.findings else ""
    yield f"findings  {trail.findings} open{hint}, {trail.requests} requests pending" + (
        " (`envtrail requests`)" if trail.requests else ""
    )
    yield f"losses    {trail.gaps} entries in the ledger" + (" (`envtrail gaps`)" if trail.gaps else "")
    replaced = ", ".join(f"{count} {kind}" for kind, count in trail.redactions.items())
    yield f"secrets   {replaced or 'none'} replaced before writing"
