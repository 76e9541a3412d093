"""Health: whether the machine is watched, gaps, cost, and how long the disk will last."""

from __future__ import annotations

import shutil
from typing import NamedTuple
from urllib.parse import urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat, faults_of, policy_of_most
from envtrail.model.text import safe
from envtrail.state.agent_status import AgentStatus
from envtrail.state.store import Query, Store, StoreStatus
from envtrail.web.access import WebSession
from envtrail.web.pages.words import show_ms
from envtrail.web.parts import Translate, card, page_layout, pairs, panels, table
from envtrail.web.reading import Reading

TITLE = marked("Health")
_MOST = 200
_DAY_MS = 86_400_000
_SHORTEST_MS = 3_600_000
"""Growth over less than an hour allows no forecast."""


class Disk(NamedTuple):
    """Forecast of the disk."""

    free_bytes: int | None
    a_day_bytes: int | None
    days: int | None
    """Until the trail stops growing (`store.min_free_bytes`) at the rate so far; None: unknown yet, or not before retention."""


async def page(session: WebSession, reading: Reading, unwritten: str | None, now_ms: int) -> None:
    """Rules, capture, losses, cost, disk; the reason when access entries cannot be written."""

    def read(store: Store) -> tuple[StoreStatus, AgentStatus | None, list[Gap], list[Heartbeat]]:
        return store.status(), store.agent(), list(store.gaps(Query(limit=_MOST))), store.machines()

    status, agent, gaps, machines = await reading.query(read)
    config = reading.config
    disk = forecast(status, now_ms, keep_free=config.store.min_free_bytes, days=config.store.retention_days)
    with page_layout(TITLE, session, "/health") as _:
        if unwritten is not None:
            ui.label(safe(_("Access log entries cannot be written to the trail: {why}").format(why=unwritten))).classes("bad")
        if reading.fleet is not None:
            with card(_("Machines")).classes("w-full q-mb-md"):
                _machines(machines, now_ms, _)
        else:
            with panels():
                with card(_("Rules")):
                    _rules(agent, _)
                with card(_("Capture")):
                    _capture(agent, _)
                with card(_("Cost")):
                    _cost(agent, now_ms, _)
                with card(_("Trail")):
                    _trail(status, disk, _)
        with card(_("Gaps in the trail")).classes("w-full"):
            rows = [
                [
                    show_ms(item.since_ms),
                    show_ms(item.until_ms),
                    item.cause.value,
                    "" if item.records is None else str(item.records),
                    item.detail,
                ]
                for item in gaps
            ]
            table([_("Since"), _("Until"), _("Cause"), _("Records"), _("Detail")], rows, empty=_("No gap is known."))


def _machines(machines: list[Heartbeat], now_ms: int, _: Translate) -> None:
    def said(value: object) -> str:
        return "–" if value is None else str(value)

    policy = policy_of_most(machines)
    columns = [
        _("Machine"),
        _("State"),
        _("Last heartbeat"),
        _("Version"),
        _("Rules"),
        _("Policy"),
        _("Lag"),
        _("Lost"),
        _("Waiting"),
    ]
    rows = [
        [
            beat.host,
            ", ".join(faults_of(beat, now_ms, policy=policy)) or _("fine"),
            show_ms(beat.time_ms),
            said(beat.version),
            f"{said(beat.rules_loaded)} / {said(beat.rules_expected)}",
            said(beat.policy),
            "–" if beat.lag_ms is None else f"{beat.lag_ms} ms",
            said(beat.lost),
            str(beat.outbox),
        ]
        for beat in machines
    ]
    empty = _("No machine has reported yet: run `envtrail elastic ship` on each.")
    table(columns, rows, empty=empty, links={0: lambda at: "/operations?" + urlencode({"host": machines[at].host})})


def forecast(status: StoreStatus, now_ms: int, *, keep_free: int, days: int) -> Disk:
    """At the rate of the trail so far.

    Args:
        status: Of the trail.
        now_ms: Now.
        keep_free: `store.min_free_bytes`.
        days: `store.retention_days`: then the oldest segments are dropped for new ones.
    """
    try:
        free = shutil.disk_usage(status.folder).free
    except OSError:
        # The web UI's account may not see the trail's folder.
        free = None
    begun_ms = status.watched_since_ms if status.watched_since_ms is not None else status.oldest_ms
    if begun_ms is None or now_ms - begun_ms < _SHORTEST_MS:
        return Disk(free, None, None)
    age_days = min((now_ms - begun_ms) / _DAY_MS, days)
    a_day = round(status.disk_bytes / age_days)
    left = max(0, round((free - keep_free) / a_day)) if free is not None and a_day else None
    return Disk(free, a_day, left if left is None or age_days + left < days else None)


def _rules(agent: AgentStatus | None, _: Translate) -> None:
    if agent is None or agent.rules is None:
        ui.label(
            _("No agent is running: current changes are not recorded. Run `envtrail up`, or `envtrail service install`.")
            if agent is None
            else _("This source reads the records of other programs' rules.")
        ).classes("bad" if agent is None else "soft")
        return
    rules = agent.rules
    pairs(
        [
            (_("In the kernel"), f"{rules.loaded} / {rules.expected}"),
            (_("Profile"), rules.profile),
            (_("Locked"), _("yes") if rules.locked else _("no")),
            *((_("not loaded"), fault) for fault in rules.faults),
        ]
    )
    if rules.proofs is None:
        ui.label(_("No canary was sent yet: `envtrail rules check` sends one through each rule.")).classes("soft q-mt-sm")
        return
    proven = sum(proof.result == "proven" for proof in rules.proofs.results)
    said = _("{proven} of {all} rules were proven by a canary on {time}")
    time = show_ms(rules.proofs.time_ms)[:16]
    ui.label(said.format(proven=proven, all=len(rules.proofs.results), time=time)).classes("q-mt-sm")
    rows = [[proof.result, proof.rule, proof.how] for proof in rules.proofs.results if proof.result != "proven"]
    if rows:
        table([_("Result"), _("Rule"), _("How")], rows, empty="")


def _capture(agent: AgentStatus | None, _: Translate) -> None:
    if agent is None:
        ui.label(_("not watching")).classes("soft")
        return
    if agent.full_since_ms is not None:
        text = _("the disk is full: nothing is recorded since {when}").format(when=show_ms(agent.full_since_ms))
        ui.label(text).classes("bad")
    counters, kernel = agent.counters, agent.kernel
    pairs(
        [
            (_("Source"), agent.source),
            (_("Lag"), f"{agent.lag_ms} ms"),
            (_("Events"), f"{counters.get('events', 0):,}"),
            (_("Records"), f"{counters.get('records', 0):,}"),
            (_("Records at fault"), f"{counters.get('faults', 0):,}"),
            (_("Lost by the kernel since boot"), str(kernel.lost) if kernel else "–"),
            (_("Waiting in the kernel"), f"{kernel.backlog} / {kernel.backlog_limit}" if kernel else "–"),
        ]
    )


def _cost(agent: AgentStatus | None, now_ms: int, _: Translate) -> None:
    if agent is None:
        ui.label(_("not watching")).classes("soft")
        return
    up_s = max(1.0, (now_ms - agent.started_ms) / 1000)
    pairs(
        [
            (_("Running since"), show_ms(agent.started_ms)),
            (_("Processor"), f"{agent.cpu_s:.1f} s ({100 * agent.cpu_s / up_s:.2f} %)"),
            (_("Memory"), f"{agent.rss_bytes // 2**20} MiB"),
        ]
    )


def _trail(status: StoreStatus, disk: Disk, _: Translate) -> None:
    def size(count: int | None) -> str:
        return "–" if count is None else f"{count / 2**20:,.1f} MiB"

    if disk.a_day_bytes is None:
        lasts = _("available after an hour")
    elif disk.days is None:
        lasts = _("as long as the retention (`store.retention_days`)")
    else:
        lasts = _("{days} days").format(days=disk.days)
    pairs(
        [
            (_("Folder"), status.folder),
            (_("Operations"), f"{status.operations:,}"),
            (_("Runs"), f"{status.runs:,}"),
            (_("Sealed segments"), f"{status.segments:,}"),
            (_("On disk"), size(status.disk_bytes)),
            (_("Growth per day"), size(disk.a_day_bytes)),
            (_("Free"), size(disk.free_bytes)),
            (_("The disk lasts"), lasts),
            (_("Secrets replaced"), ", ".join(f"{count} {kind}" for kind, count in status.redactions.items()) or "0"),
        ]
    )
