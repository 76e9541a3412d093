"""Findings: the list, and one with its actions."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from nicegui import ui

from envtrail.errors import UsageError
from envtrail.i18n import marked
from envtrail.model.decision import Approve, Decision, Mute, Triage
from envtrail.model.finding import Finding, Status, mute_command, patterns_of
from envtrail.model.identity import Right
from envtrail.model.text import safe
from envtrail.state.store import Query
from envtrail.web.access import WebSession
from envtrail.web.decisions import WebDecisions
from envtrail.web.pages.words import command_of, query_of, reason_of, show_ms
from envtrail.web.parts import Translate, card, filters, lines, page_layout, pairs, table
from envtrail.web.reading import Reading

FINDINGS = marked("Findings")
_MOST = 300
_MOST_DAYS = 366
_DAY_MS = 86_400_000


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Findings, newest first."""
    query = query_of(given, now_ms, limit=_MOST, span="30d")
    answer = await reading.find(lambda store, resolved: store.findings(resolved), query)
    found = answer.items
    with page_layout(FINDINGS, session, "/findings") as _:
        fields = [
            ("status", _("State")),
            ("level", _("Level")),
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("detection", _("Detection")),
        ]
        filters("/findings", given, reading.fields(fields, _), _)
        rows = [
            [
                show_ms(item.time_ms),
                _(item.level.value),
                _(item.status.value),
                reason_of(item),
                item.user or "",
                item.prefix or "",
                item.detection,
            ]
            for item in found
        ]
        columns = [_("When"), _("Level"), _("State"), _("What"), _("Person"), _("Environment"), _("Detection")]
        table(
            columns,
            rows,
            empty=answer.fault or _("No findings in this time."),
            links={3: lambda at: f"/findings/{found[at].id}"},
        )


async def one(session: WebSession, reading: Reading, decisions: WebDecisions, id_: str, now_ms: int) -> None:
    """One finding, with its actions."""
    found = await reading.query(lambda store: next(store.findings(Query(id_prefix=id_, limit=1)), None))
    with page_layout(marked("Finding"), session, "/findings") as _:
        if found is None:
            ui.label(_("There is no such finding, or access is denied.")).classes("soft")
            return
        ui.label(safe(reason_of(found))).classes("text-h6 q-mb-md")
        with card(_("What")).classes("w-full q-mb-md"):
            pairs(
                [
                    (_("Level"), _(found.level.value)),
                    (_("State"), _(found.status.value) + (f": {found.status_by}: {found.status_why}" if found.status_by else "")),
                    (_("When"), show_ms(found.time_ms)),
                    (_("Person"), found.user or "?"),
                    (_("Environment"), found.prefix or "–"),
                    (_("Command"), command_of(found.argv) or "–"),
                    (_("Detection"), f"{found.detection} ({found.source})"),
                    *found.values.items(),
                ]
            )
            if found.operation:
                ui.link(_("The operation"), f"/operations/{found.operation}").classes("plain")
        with card(_("Actions")).classes("w-full"):
            with ui.row().classes("q-my-sm"):
                _buttons(found, decisions, now_ms, _)
            with ui.expansion(_("As commands")).classes("w-full"):
                lines(_commands(found))


def _buttons(found: Finding, decisions: WebDecisions, now_ms: int, _: Translate) -> None:
    if found.source == "policy" and found.operation and found.status is Status.OPEN and Right.DECIDE in decisions.rights:
        decisions.button(_("Approve it afterwards"), lambda why, _given: Approve(operation=found.operation, why=why), _)
    if Right.TRIAGE not in decisions.rights:
        return
    whose = {"assignee": (_("Assigned to"), found.assignee or decisions.identity.name)}

    def triage(status: Status) -> Callable[[str, Mapping[str, str]], Decision]:
        return lambda why, given: Triage(finding=found.id, status=status, why=why, assignee=given.get("assignee") or None)

    if found.status is Status.OPEN:
        decisions.button(_("Acknowledge"), triage(Status.ACKNOWLEDGED), _, fields=whose)
    else:
        decisions.button(_("Reopen"), triage(Status.OPEN), _)
    decisions.button(_("Assign"), triage(found.status), _, fields=whose)
    decisions.button(
        _("Mute similar findings"),
        lambda why, given: _mute(found, given["days"], why, now_ms),
        _,
        fields={"days": (_("For days"), "30")},
    )


def _mute(found: Finding, days: str, why: str, now_ms: int) -> Mute:
    if not days.isdecimal() or not 0 < int(days) <= _MOST_DAYS:
        raise UsageError(f"`{days}` is not a number of days from 1 to {_MOST_DAYS}", hint="for example 30")
    named = patterns_of(found)
    return Mute(
        detection=found.detection,
        until_ms=now_ms + int(days) * _DAY_MS,
        why=why,
        users=named["users"],
        environments=named["environments"],
        packages=named["packages"],
    )


def _commands(found: Finding) -> list[str]:
    lines = [f"envtrail ack {found.id} --why …", shlex.join(mute_command(found))]
    if found.source == "policy" and found.operation:
        lines.insert(0, f"envtrail approve --operation {found.operation} --why …")
    return lines
