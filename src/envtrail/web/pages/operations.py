"""Operations: the list, and one of them whole with its process tree, changes, policy and records."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.operation import Operation
from envtrail.model.text import safe
from envtrail.store.store import EventRow, Query, Store
from envtrail.web.access import Session
from envtrail.web.pages.words import change_of, command_of, person, query_of, show_span, show_time, summary, verdict_of
from envtrail.web.parts import card, filters, frame, pairs, table
from envtrail.web.reading import Reading

TITLE = marked("Operations")
ONE = marked("Operation")
PAGE = 100


async def page(session: Session, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """The list, newest first, a page at a time by the last id."""
    query = query_of(given, now_ms, limit=PAGE + 1)
    found = await reading.ask(lambda store: [item for item in store.operations(query) if item.actor.method != "owner"])
    shown = found[:PAGE]
    with frame(TITLE, session, "/operations") as _:
        fields = [
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("package", _("Package")),
            ("tool", _("Tool")),
            ("outcome", _("Outcome")),
            ("kind", _("Kind")),
            ("text", _("Command")),
        ]
        filters("/operations", given, fields, _)
        columns = [_("When"), _("Person"), _("Environment"), _("Command"), _("Outcome"), _("Packages"), _("Policy")]
        rows = [
            [
                show_time(item.started),
                person(item.actor),
                item.environment.prefix,
                command_of(item.argv),
                item.outcome.value,
                summary(item),
                verdict_of(item),
            ]
            for item in shown
        ]
        table(
            columns,
            rows,
            empty=_("No operation fits. Take a longer time, or fewer words."),
            links={3: lambda at: f"/operations/{shown[at].id}"},
        )
        if len(found) > PAGE:
            ui.link(_("Older"), "/operations?" + urlencode({**given, "before": shown[-1].id})).classes("plain q-mt-md")


async def one(session: Session, reading: Reading, id_: str) -> None:
    """One operation whole."""
    operation, events, findings = await reading.ask(lambda store: _read(store, id_))
    with frame(ONE, session, "/operations") as _:
        if operation is None:
            ui.label(_("There is no such operation, or it is not yours to see.")).classes("soft")
            return
        ui.element("pre").classes("text-body1").props("tabindex=0")
        with ui.element("pre"):
            ui.label(safe(command_of(operation.argv)))
        with ui.row().classes("w-full items-stretch q-gutter-md q-mb-md"):
            with card(_("What")).style("flex: 1 1 24rem"):
                pairs(
                    [
                        (_("Id"), operation.id),
                        (_("Person"), f"{person(operation.actor)}: {operation.actor.method}"),
                        (_("From"), operation.actor.remote or "–"),
                        (_("Environment"), operation.environment.prefix),
                        (_("When"), show_time(operation.started)),
                        (_("Took"), show_span(operation.started, operation.ended)),
                        (_("Outcome"), operation.outcome.value + (f": {operation.reason}" if operation.reason else "")),
                        (_("Tool"), " → ".join([operation.tool, *operation.via])),
                        (_("Policy"), verdict_of(operation) or "–"),
                        (_("Approval"), operation.grant or "–"),
                    ]
                )
            with card(_("Packages")).style("flex: 1 1 24rem"):
                for change in (operation.changes or [])[:300]:
                    ui.label(safe(change_of(change)))
                if not operation.changes:
                    ui.label(
                        _("No package came, went or changed.")
                        if operation.changes is not None
                        else operation.absent.get("changes", "?")
                    ).classes("soft")
        if findings:
            with card(_("Findings")).classes("w-full q-mb-md"):
                for finding in findings:
                    ui.link(safe(f"{finding.level.value}: {finding.title}: {finding.reason}"), f"/findings/{finding.id}").classes(
                        "plain"
                    )
        with card(_("Processes")).classes("w-full q-mb-md"):
            tree = list(tree_lines(operation, events))
            for line in tree:
                with ui.element("pre").classes("q-my-none"):
                    ui.label(safe(line))
            if not tree:
                ui.label(
                    _("The records of its processes are not there (imported by name alone, or dropped by retention).")
                ).classes("soft")
        with card(_("How it is known")).classes("w-full q-mb-md"):
            pairs([*operation.why.items(), *((f"{name} –", why) for name, why in sorted(operation.absent.items()))])
        with ui.expansion(_("What the kernel wrote")).classes("w-full"):
            for event in events:
                if event.records:
                    with ui.element("pre").classes("q-my-xs text-caption"):
                        ui.label("\n".join(safe(record) for record in event.records.splitlines()))


def _read(store: Store, id_: str) -> tuple[Operation | None, list[EventRow], list]:  # type: ignore[type-arg]
    operation = store.operation(id_) if len(id_) == 26 else None
    if operation is None:
        return None, [], []
    return operation, list(events_of(store, operation)), list(store.findings(Query(), operation=operation.id))


def events_of(store: Store, operation: Operation) -> Iterator[EventRow]:
    """The events of its processes, and those that are its evidence."""
    times = [item.time_ms for item in operation.evidence]
    if not times:
        return
    wanted = {(item.time_ms, item.serial) for item in operation.evidence}
    members = {operation.image}
    for event in store.events(
        Query(since_ms=min(times), until_ms=max(times), oldest_first=True, limit=20_000), with_records=True
    ):
        values = event.values
        if values["kind"] == "exec" and values["parent_image"] in members:
            members.add(values["image"])
        if values["image"] in members or (values["time"], values["serial"]) in wanted:
            yield event


def tree_lines(operation: Operation, events: list[EventRow]) -> Iterator[str]:
    """Its processes as they unfolded, each below its parent."""
    depth: dict[int | None, int] = {}
    for event in events:
        values = event.values
        if values["kind"] == "exec" and values["image"] is not None:
            level = 0 if values["image"] == operation.image else depth.get(values["parent_image"], 0) + 1
            depth[values["image"]] = level
            yield f"{'  ' * level}{values['pid']}  {command_of(values['argv'] or [values['exe'] or '?'])}"
