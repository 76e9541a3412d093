"""Environments: which there are, and one of them with its history, its packages and who uses it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.environment import Environment, EnvironmentSummary, Snapshot
from envtrail.model.operation import Operation
from envtrail.model.run import Use
from envtrail.model.text import safe
from envtrail.store.store import Query, Store
from envtrail.web.access import Session
from envtrail.web.pages.words import change_of, command_of, person, show_time, summary
from envtrail.web.parts import card, frame, table
from envtrail.web.reading import Reading

TITLE = marked("Environments")
_MOST_TOLD = 200


class Seen(NamedTuple):
    """One environment with what is shown of it."""

    environment: Environment | None
    snapshot: Snapshot | None
    operations: list[Operation]
    uses: list[Use]


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


async def one(session: Session, reading: Reading, prefix: str) -> None:
    """One of them."""
    seen = await reading.ask(lambda store: _read(store, prefix))
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


def _read(store: Store, prefix: str) -> Seen:
    environment = next((item for item in store.environments(with_gone=True) if item.prefix == prefix), None)
    if environment is None:
        return Seen(None, None, [], [])
    operations = list(store.operations(Query(environment=prefix, limit=_MOST_TOLD)))
    return Seen(environment, store.snapshot(prefix), operations, list(store.uses(prefix)))
