"""Environments: which there are, and one of them with its history, its packages and who uses it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from nicegui import ui

from envtrail.environments.changes import diff_snapshots
from envtrail.i18n import marked
from envtrail.model.environment import Environment, EnvironmentSummary, Snapshot
from envtrail.model.operation import Change, Operation
from envtrail.model.run import Use
from envtrail.model.text import safe
from envtrail.store.store import Query, Store
from envtrail.web.access import Session
from envtrail.web.pages.words import change_of, command_of, person, show_ms, show_time, summary
from envtrail.web.parts import Translate, card, frame, lines, table
from envtrail.web.reading import Reading

TITLE = marked("Environments")
_MOST_TOLD = 200


class Seen(NamedTuple):
    """One environment with what is shown of it."""

    environment: Environment | None
    snapshot: Snapshot | None
    operations: list[Operation]
    uses: list[Use]
    points: list[int]
    """When it was read, in ms, newest first."""
    changes: list[Change] | None
    """Between the two moments that are asked for; null where they are not."""


async def page(session: Session, reading: Reading) -> None:
    """All that are there."""
    found: list[EnvironmentSummary] = await reading.ask(lambda store: list(store.summaries()))
    with frame(TITLE, session, "/environments") as _:
        columns = [
            _("Environment"),
            _("Kind"),
            "Python",
            _("Packages"),
            _("Made by"),
            _("Last change"),
            _("By"),
            _("Last use"),
            _("Unexplained"),
        ]
        rows = [
            [
                item.environment.prefix,
                item.environment.kind,
                item.environment.python or "",
                "" if item.packages is None else str(item.packages),
                (item.creator or "") + ("?" if item.creator_is_owner else ""),
                show_time(item.last_change)[:16],
                item.last_change_by or "",
                show_time(item.last_use)[:16],
                str(item.drift),
            ]
            for item in found
        ]
        table(
            columns,
            rows,
            empty=_("No environment is known yet. The first look takes a minute."),
            links={0: lambda at: address(found[at].environment.prefix)},
        )


async def one(session: Session, reading: Reading, given: dict[str, str]) -> None:
    """One of them; `from` and `to` (ms) compare two moments of it."""
    prefix = given.get("prefix", "")
    seen = await reading.ask(lambda store: _read(store, prefix, given.get("from", ""), given.get("to", "")))
    with frame(marked("Environment"), session, "/environments") as _:
        if seen.environment is None:
            ui.label(_("There is no such environment, or it is not yours to see.")).classes("soft")
            return
        ui.label(safe(prefix)).classes("text-h6")
        about = [seen.environment.kind, seen.environment.python or "", _("no longer there") if seen.environment.gone else ""]
        ui.label(safe(" · ".join(part for part in about if part))).classes("soft q-mb-md")
        with card(_("History")).classes("w-full q-mb-md"):
            rows = [
                [
                    show_time(item.started),
                    person(item.actor),
                    command_of(item.argv),
                    item.outcome.value,
                    ", ".join(map(change_of, (item.changes or [])[:6])) or summary(item),
                ]
                for item in seen.operations
            ]
            columns = [_("When"), _("Person"), _("Command"), _("Outcome"), _("Packages")]
            table(
                columns,
                rows,
                empty=_("Nothing has changed it since the trail began."),
                links={2: lambda at: f"/operations/{seen.operations[at].id}"},
            )
        if len(seen.points) > 1:
            with card(_("Two moments beside each other")).classes("w-full q-mb-md"):
                _compare(prefix, seen, given, _)
        with ui.row().classes("w-full items-stretch q-gutter-md q-mb-md"):
            with card(_("Packages")).style("flex: 2 1 28rem"):
                packages = seen.snapshot.packages if seen.snapshot else []
                rows = [[item.name, item.version, item.ecosystem, item.source or "", item.license or ""] for item in packages]
                table(
                    [_("Package"), _("Version"), _("From"), _("Source"), _("Licence")], rows, empty=_("It has not been read yet.")
                )
            with card(_("Who uses it")).style("flex: 1 1 18rem"):
                rows = [[use.user or f"uid {use.uid}", str(use.runs), show_time(use.last)[:16]] for use in seen.uses]
                table([_("Person"), _("Runs"), _("Last")], rows, empty=_("Nobody ran anything in it."))


def address(prefix: str) -> str:
    """Of an environment's page."""
    return f"/environment?prefix={quote(prefix, safe='')}"


def _compare(prefix: str, seen: Seen, given: dict[str, str], _: Translate) -> None:
    """Choose two moments, and see what came, went and changed between them."""
    options = {str(point): show_ms(point) for point in seen.points}
    chosen = {"from": given.get("from") or str(seen.points[1]), "to": given.get("to") or str(seen.points[0])}

    def go(name: str, value: object) -> None:
        asked = {**chosen, name: str(value)}
        ui.navigate.to(f"{address(prefix)}&from={quote(asked['from'], safe='')}&to={quote(asked['to'], safe='')}")

    with ui.row().classes("items-end q-gutter-sm"):
        for name, label in (("from", _("Before")), ("to", _("After"))):
            value = chosen[name] if chosen[name] in options else None
            entry = ui.select(options, value=value, label=label, on_change=lambda event, name=name: go(name, event.value))
            entry.classes("min-w-48").props("dense outlined")
    if seen.changes:
        lines([change_of(change) for change in seen.changes])
    elif seen.changes is not None:
        ui.label(_("No difference.")).classes("soft")


def _read(store: Store, prefix: str, first: str, last: str) -> Seen:
    environment = next((item for item in store.environments(with_gone=True) if item.prefix == prefix), None)
    if environment is None:
        return Seen(None, None, [], [], [], None)
    operations = list(store.operations(Query(environment=prefix, limit=_MOST_TOLD)))
    points = [item.time_ms for item in store.snapshots(prefix)][::-1][:_MOST_TOLD]
    changes = None
    if first.isdecimal() and last.isdecimal():
        before, after = (store.snapshot(prefix, min(int(moment), 1 << 53)) for moment in (first, last))
        changes = diff_snapshots(before, after) if after is not None else None
    return Seen(environment, store.snapshot(prefix), operations, list(store.uses(prefix)), points, changes)
