"""Sessions: logins, and one of them with its processes in order."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.operation import Operation
from envtrail.model.run import Run
from envtrail.model.run import Session as Login
from envtrail.model.text import safe
from envtrail.model.times import to_ms
from envtrail.state.evidence import Process, unfold_session
from envtrail.state.store import Query, Store
from envtrail.web.access import WebSession
from envtrail.web.pages.words import command_of, query_of, show_span, show_time, summary
from envtrail.web.parts import Translate, card, filters, lines, page_layout, pairs, table
from envtrail.web.reading import Reading

TITLE = marked("Sessions")
_MOST = 200
_MOST_EVENTS = 5_000
_DAY_MS = 86_400_000


class SessionDetails(NamedTuple):
    """One login and its data."""

    login: Login
    processes: list[Process]
    operations: list[Operation]
    runs: list[Run]


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Logins, newest first."""
    query = query_of(given, now_ms, limit=_MOST, span="30d")
    answer = await reading.find(lambda store, resolved: store.sessions(resolved), query)
    with page_layout(TITLE, session, "/sessions") as _:
        filters("/sessions", given, reading.fields([("user", _("Person"))], _), _)
        show(answer.items, _, fault=answer.fault)


def show(found: list[Login], _: Translate, *, fault: str | None = None) -> None:
    """A table of logins; if it is empty, the fault of the query, if there is one."""
    rows = [
        [
            show_time(item.started),
            item.user or (f"uid {item.auid}" if item.auid is not None else "?"),
            show_span(item.started, item.ended),
            item.service or "",
            item.remote or item.terminal or "",
            str(item.session) if item.session is not None else "–",
        ]
        for item in found
    ]
    columns = [_("When"), _("Person"), _("Duration"), _("Through"), _("From"), _("Session")]
    table(
        columns,
        rows,
        empty=fault or _("No login was recorded."),
        links={0: lambda at: f"/session?id={quote(found[at].id, safe='')}"},
    )


async def one(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """One login."""
    id_ = given.get("id", "")
    seen = await reading.query(lambda store: _read(store, id_, now_ms))
    with page_layout(marked("Session"), session, "/sessions") as _:
        if seen is None:
            ui.label(_("There is no such session, or access is denied.")).classes("soft")
            return
        login = seen.login
        with card(_("Who")).classes("w-full q-mb-md"):
            pairs(
                [
                    (_("Person"), login.user or "?"),
                    (_("From"), login.remote or "–"),
                    (_("Through"), login.service or "–"),
                    (_("Terminal"), login.terminal or "–"),
                    (_("When"), show_time(login.started)),
                    (_("Ended"), show_time(login.ended) or _("it is open, or its end was not recorded")),
                    (_("Session"), str(login.session) if login.session is not None else "–"),
                ]
            )
            ui.link(_("Other activity of this person"), f"/person?name={quote(login.user or str(login.auid), safe='')}").classes(
                "plain"
            )
        with card(_("Processes in order of their start")).classes("w-full q-mb-md"):
            if seen.processes:
                lines([_line(item, seen.processes[0].time_ms) for item in seen.processes])
            else:
                ui.label(
                    _("The trail has no process of this session: the rules record none of them, or retention dropped them.")
                ).classes("soft")
        with card(_("Operations")).classes("w-full q-mb-md"):
            operations = seen.operations
            rows = [
                [show_time(item.started), item.environment.prefix, command_of(item.argv), item.outcome.value, summary(item)]
                for item in operations
            ]
            columns = [_("When"), _("Environment"), _("Command"), _("Outcome"), _("Packages")]
            table(columns, rows, empty=_("It changed no environment."), links={2: lambda at: f"/operations/{operations[at].id}"})
        with card(_("Runs")).classes("w-full"):
            runs = seen.runs
            rows = [[show_time(item.started), command_of(item.argv), item.outcome.value, str(item.count)] for item in runs]
            columns = [_("When"), _("Command"), _("Outcome"), _("Times")]
            table(columns, rows, empty=_("No Python program ran in it."), links={1: lambda at: f"/runs/{runs[at].id}"})


def _line(item: Process, begun_ms: int) -> str:
    after = f"{(item.time_ms - begun_ms) / 1000:9.1f} s"
    end = "" if item.exit_code is None else f"  [{item.exit_code}]"
    return f"{after}  {'  ' * item.level}{item.pid}  {safe(command_of(item.argv))}{end}"


def _read(store: Store, id_: str, now_ms: int) -> SessionDetails | None:
    login = next((item for item in store.sessions(Query()) if item.id == id_), None)
    if login is None:
        return None
    since_ms = to_ms(login.started)
    until_ms = to_ms(login.ended) if login.ended else min(now_ms, since_ms + _DAY_MS)
    of_it = Query(
        session=login.session,
        user=str(login.auid) if login.auid is not None else None,
        since_ms=since_ms,
        until_ms=until_ms,
        oldest_first=True,
        limit=_MOST_EVENTS,
    )
    processes = list(unfold_session(store.events(of_it)))
    images = {item.image for item in processes}
    whose = Query(user=of_it.user, since_ms=since_ms, until_ms=until_ms, limit=_MOST)
    return SessionDetails(
        login,
        processes,
        [item for item in store.operations(whose) if item.image in images],
        [item for item in store.runs(whose) if item.image in images],
    )
