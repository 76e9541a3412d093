"""Runs: Python programs that ran, with what they ran on."""

from __future__ import annotations

from urllib.parse import urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.web.access import Session
from envtrail.web.pages.words import command_of, person, query_of, show_span, show_time
from envtrail.web.parts import filters, frame, table
from envtrail.web.reading import Reading

TITLE = marked("Runs")
PAGE = 100


async def page(session: Session, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """The list, newest first."""
    query = query_of(given, now_ms, limit=PAGE + 1)
    found = await reading.ask(lambda store: list(store.runs(query)))
    shown = found[:PAGE]
    with frame(TITLE, session, "/runs") as _:
        fields = [
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("program", _("Program")),
            ("outcome", _("Outcome")),
            ("text", _("Command")),
        ]
        filters("/runs", given, fields, _)
        rows = [
            [
                show_time(item.started),
                person(item.actor),
                command_of(item.argv),
                item.environment.prefix if item.environment else "",
                item.outcome.value,
                show_span(item.started, item.ended),
                str(item.count),
                (item.script_sha256 or "")[:12],
                (item.snapshot or "").removeprefix("sha256:")[:12],
            ]
            for item in shown
        ]
        columns = [
            _("When"),
            _("Person"),
            _("Command"),
            _("Environment"),
            _("Outcome"),
            _("Took"),
            _("Times"),
            _("Content"),
            _("Snapshot"),
        ]
        table(columns, rows, empty=_("No run fits. Take a longer time, or fewer words."))
        if len(found) > PAGE:
            ui.link(_("Older"), "/runs?" + urlencode({**given, "before": shown[-1].id})).classes("plain q-mt-md")
