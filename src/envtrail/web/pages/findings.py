"""Findings, requests and grants: what was noticed, who asked, who decided."""

from __future__ import annotations

import shlex

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.finding import Finding, mute_command
from envtrail.model.text import safe
from envtrail.store.store import Query
from envtrail.web.access import Session
from envtrail.web.pages.words import command_of, query_of, reason_of, show_ms, terms_of
from envtrail.web.parts import Translate, card, filters, frame, lines, pairs, table
from envtrail.web.reading import Reading

FINDINGS = marked("Findings")
REQUESTS = marked("Requests")
_MOST = 300


async def page(session: Session, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """What was noticed, newest first."""
    query = query_of(given, now_ms, limit=_MOST, span="30d")
    found = await reading.ask(lambda store: list(store.findings(query)))
    with frame(FINDINGS, session, "/findings") as _:
        fields = [
            ("status", _("State")),
            ("level", _("Level")),
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("detection", _("Detection")),
        ]
        filters("/findings", given, fields, _)
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
        table(columns, rows, empty=_("Nothing was noticed in this time."), links={3: lambda at: f"/findings/{found[at].id}"})


async def one(session: Session, reading: Reading, id_: str) -> None:
    """One finding, with the commands that do something about it."""
    found = await reading.ask(lambda store: next(store.findings(Query(id_prefix=id_, limit=1)), None))
    with frame(marked("Finding"), session, "/findings") as _:
        if found is None:
            ui.label(_("There is no such finding, or it is not yours to see.")).classes("soft")
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
        with card(_("What can be done")).classes("w-full"):
            lines(_commands(found))


async def requests(session: Session, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Who asked for what, and what stands."""
    query = Query(environment=given.get("environment") or None, user=given.get("user") or None)
    asked, granted = await reading.ask(lambda store: (list(store.requests(query))[:_MOST], list(store.grants(query))[:_MOST]))
    with frame(REQUESTS, session, "/requests") as _:
        filters("/requests", given, [("environment", _("Environment")), ("user", _("Person"))], _, spans=False)
        with card(_("Requests")).classes("w-full q-mb-md"):
            rows = [
                [
                    show_ms(item.time_ms),
                    item.terms.user,
                    terms_of(item.terms),
                    item.terms.why,
                    _(item.status.value),
                    f"{len(item.approvals)}/{item.needed}",
                    item.id[:12],
                ]
                for item in asked
            ]
            columns = [_("When"), _("Person"), _("What"), _("Why"), _("State"), _("Yes"), _("Id")]
            table(columns, rows, empty=_("Nobody has asked for anything: `envtrail request install …`."))
        with card(_("Approvals")).classes("w-full"):
            rows = [
                [
                    show_ms(item.since_ms),
                    _(item.kind.value),
                    item.terms.user,
                    terms_of(item.terms),
                    item.terms.why,
                    ", ".join(one.name for one in item.approvals),
                    _standing(item.terms.until_ms, item.revoked_by, now_ms, _),
                ]
                for item in granted
            ]
            columns = [_("Since"), _("Kind"), _("Person"), _("What"), _("Why"), _("Approved by"), _("Until")]
            table(columns, rows, empty=_("No approval was given."))


def _standing(until_ms: int, revoked_by: str | None, now_ms: int, _: Translate) -> str:
    if revoked_by is not None:
        return _("revoked by {person}").format(person=revoked_by)
    return show_ms(until_ms) if until_ms > now_ms else _("expired")


def _commands(found: Finding) -> list[str]:
    lines = [f"envtrail ack {found.id} --why …", shlex.join(mute_command(found))]
    if found.source == "policy" and found.operation:
        lines.insert(0, f"envtrail approve --operation {found.operation} --why …")
    return lines
