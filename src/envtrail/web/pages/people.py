"""People: the list, and one person."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.operation import Operation
from envtrail.model.run import Session as Login
from envtrail.model.text import safe
from envtrail.state.panels import PersonActivity, Script, most_active, top_scripts
from envtrail.state.store import Query, Store
from envtrail.web.access import WebSession
from envtrail.web.pages.sessions import show
from envtrail.web.pages.words import command_of, query_of, show_time, summary
from envtrail.web.parts import card, filters, page_layout, table
from envtrail.web.reading import Reading

TITLE = marked("People")


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Everybody with operations or runs."""
    query = query_of(given, now_ms, span="30d")

    def read(store: Store) -> list[PersonActivity]:
        counted = reading.count(store, query, now_ms)
        return most_active(counted.people, counted.programs)

    found = await reading.query(read)
    with page_layout(TITLE, session, "/people") as _:
        filters("/people", given, reading.fields([("environment", _("Environment"))], _), _)
        rows = [[one.user, str(one.operations), str(one.changes), str(one.environments), str(one.runs)] for one in found]
        columns = [_("Person"), _("Operations"), _("Changes"), _("Environments"), _("Runs")]
        table(
            columns,
            rows,
            empty=_("No activity in this time."),
            links={0: lambda at: f"/person?name={quote(found[at].user, safe='')}"},
        )


async def one(session: WebSession, reading: Reading, name: str) -> None:
    """One person: sessions, operations, programs."""
    user = name.removeprefix("uid ")

    def read(store: Store) -> tuple[list[Login], list[Operation], list[Script]]:
        query = Query(user=user, limit=100)
        operations = [item for item in store.operations(query) if item.actor.method != "owner"]
        return list(store.sessions(query)), operations, top_scripts(store.programs(Query(user=user)))

    sessions, operations, scripts = await reading.query(read)
    with page_layout(marked("Person"), session, "/people") as _:
        ui.label(safe(name)).classes("text-h6 q-mb-md")
        with card(_("Operations")).classes("w-full q-mb-md"):
            rows = [
                [show_time(item.started), item.environment.prefix, command_of(item.argv), item.outcome.value, summary(item)]
                for item in operations
            ]
            columns = [_("When"), _("Environment"), _("Command"), _("Outcome"), _("Packages")]
            table(columns, rows, empty=_("No operation by this name."), links={2: lambda at: f"/operations/{operations[at].id}"})
        with card(_("Logins")).classes("w-full q-mb-md"):
            show(sessions, _)
        with card(_("Programs")).classes("w-full"):
            rows = [[item.program, str(item.runs), show_time(item.last)[:16]] for item in scripts[:50]]
            table(
                [_("Program"), _("Runs"), _("Last")],
                rows,
                empty=_("No program ran in this time."),
                links={0: lambda at: "/runs?" + urlencode({"program": scripts[at].program, "user": user, "since": "400d"})},
            )
