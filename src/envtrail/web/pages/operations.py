"""Operations: the list, and one of them completely, with its process tree, changes, policy and records."""

from __future__ import annotations

from itertools import islice
from urllib.parse import quote, urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.finding import Finding
from envtrail.model.operation import Operation
from envtrail.model.run import Session as Login
from envtrail.model.text import record_lines, safe
from envtrail.model.times import to_ms
from envtrail.state.evidence import events_of, unfold
from envtrail.state.lookup import how_matched
from envtrail.state.store import EventRow, Query, Store
from envtrail.web.access import WebSession
from envtrail.web.pages.words import (
    address,
    change_of,
    command_of,
    person,
    query_of,
    reason_of,
    show_span,
    show_time,
    summary,
    verdict_of,
)
from envtrail.web.parts import card, filters, lines, page_layout, pairs, table
from envtrail.web.reading import Reading

TITLE = marked("Operations")
ONE = marked("Operation")
PAGE = 100
_MOST_EVENTS = 2_000


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """The list, newest first, in pages that continue after the last id."""
    query = query_of(given, now_ms, limit=PAGE + 1)
    answer = await reading.find(
        lambda store, resolved: (item for item in store.operations(resolved) if item.actor.method != "owner"), query
    )
    found = answer.items
    shown = found[:PAGE]
    with page_layout(TITLE, session, "/operations") as _:
        fields = [
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("package", _("Package")),
            ("tool", _("Tool")),
            ("outcome", _("Outcome")),
            ("kind", _("Kind")),
            ("text", _("Command")),
        ]
        filters("/operations", given, reading.fields(fields, _), _)
        columns = [_("When"), _("Person"), _("Environment"), _("Command"), _("Outcome"), _("Packages"), _("Policy")]
        if answer.missing is not None:
            ui.label(safe(str(answer.missing))).classes("soft").props('role="status"')
        rows = [
            [
                show_time(item.started),
                person(item.actor),
                item.environment.prefix,
                command_of(item.argv),
                item.outcome.value,
                summary(item) + (" " + _("requested") if query.package and how_matched(item) == "requested" else ""),
                verdict_of(item),
            ]
            for item in shown
        ]
        table(
            columns,
            rows,
            empty=answer.fault or _("No operation matches. Select a longer time, or fewer filters."),
            links={3: lambda at: f"/operations/{shown[at].id}"},
        )
        if len(found) > PAGE:
            ui.link(_("Older"), "/operations?" + urlencode({**given, "before": shown[-1].id})).classes("plain q-mt-md")


async def one(session: WebSession, reading: Reading, id_: str) -> None:
    """One operation completely."""
    operation, events, findings, login = await reading.query(lambda store: _read(store, id_))
    with page_layout(ONE, session, "/operations") as _:
        if operation is None:
            ui.label(_("There is no such operation, or access is denied.")).classes("soft")
            return
        lines([command_of(operation.argv)])
        with ui.row().classes("w-full items-stretch q-gutter-md q-mb-md"):
            with card(_("What")).style("flex: 1 1 24rem"):
                pairs(
                    [
                        (_("Id"), operation.id),
                        (_("Person"), f"{person(operation.actor)}: {operation.actor.method}"),
                        (_("From"), operation.actor.remote or "–"),
                        (_("Environment"), operation.environment.prefix),
                        (_("When"), show_time(operation.started)),
                        (_("Duration"), show_span(operation.started, operation.ended)),
                        (_("Outcome"), operation.outcome.value + (f": {operation.reason}" if operation.reason else "")),
                        (_("Tool"), " → ".join([operation.tool, *operation.via])),
                        (_("Policy"), verdict_of(operation) or "–"),
                        (_("Approval"), operation.grant or "–"),
                    ]
                )
                with ui.row().classes("q-gutter-md"):
                    ui.link(_("The environment"), address(operation.environment.prefix)).classes("plain")
                    whose = operation.actor.name or str(operation.actor.number)
                    ui.link(_("The person"), f"/person?name={quote(whose, safe='')}").classes("plain")
                    if login is not None:
                        ui.link(_("The session"), f"/session?id={quote(login.id, safe='')}").classes("plain")
                    if operation.grant is not None:
                        ui.link(_("The approval"), f"/requests/{operation.grant}").classes("plain")
            with card(_("Packages")).style("flex: 1 1 24rem"):
                if operation.changes:
                    lines([change_of(change) for change in operation.changes[:300]])
                else:
                    ui.label(
                        _("No package was added, removed or changed.")
                        if operation.changes is not None
                        else operation.absent.get("changes", "?")
                    ).classes("soft")
        if findings:
            with card(_("Findings")).classes("w-full q-mb-md"):
                for finding in findings:
                    ui.link(safe(f"{finding.level.value}: {reason_of(finding)}"), f"/findings/{finding.id}").classes("plain")
        with card(_("Processes")).classes("w-full q-mb-md"):
            tree = [f"{'  ' * step.level}{step.pid}  {command_of(step.argv)}" for step in unfold(operation, events)]
            if tree:
                lines(tree)
            else:
                ui.label(_("The records of its processes are missing (imported by name only, or dropped by retention).")).classes(
                    "soft"
                )
        with card(_("Evidence")).classes("w-full q-mb-md"):
            pairs([*operation.why.items(), *((f"{name} –", why) for name, why in sorted(operation.absent.items()))])
        with ui.expansion(_("Kernel records")).classes("w-full"):
            for event in events:
                if event.records:
                    lines(record_lines(event.records))


def _read(store: Store, id_: str) -> tuple[Operation | None, list[EventRow], list[Finding], Login | None]:
    operation = store.operation(id_) if len(id_) == 26 else None
    if operation is None:
        return None, [], [], None
    events = list(islice(events_of(store, operation, with_records=True), _MOST_EVENTS))
    number = next((event.values["ses"] for event in events if event.values["ses"] is not None), None)
    whose = Query(user=str(operation.actor.auid), until_ms=to_ms(operation.started))
    logins = store.sessions(whose) if number is not None and operation.actor.auid is not None else iter(())
    login = next((item for item in logins if item.session == number and item.host == operation.host), None)
    return operation, events, list(store.findings(Query(), operation=operation.id)), login
