"""Runs: Python programs that ran, with their environments."""

from __future__ import annotations

from urllib.parse import urlencode

from nicegui import ui

from envtrail.environments.changes import diff_snapshots
from envtrail.i18n import marked
from envtrail.model.operation import Change
from envtrail.model.run import Run
from envtrail.model.text import safe
from envtrail.state.store import Store
from envtrail.web.access import WebSession
from envtrail.web.pages.words import address, change_of, command_of, person, query_of, show_span, show_time
from envtrail.web.parts import card, filters, lines, page_layout, pairs, panels, table
from envtrail.web.reading import Reading

TITLE = marked("Runs")
PAGE = 100
_ID_LENGTH = 26


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """The list, newest first."""
    query = query_of(given, now_ms, limit=PAGE + 1)
    answer = await reading.find(lambda store, resolved: store.runs(resolved), query)
    found = answer.items
    shown = found[:PAGE]
    with page_layout(TITLE, session, "/runs") as _:
        fields = [
            ("environment", _("Environment")),
            ("user", _("Person")),
            ("program", _("Program")),
            ("outcome", _("Outcome")),
            ("text", _("Command")),
        ]
        filters("/runs", given, reading.fields(fields, _), _)
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
            _("Duration"),
            _("Times"),
            _("Content"),
            _("Snapshot"),
        ]
        table(
            columns,
            rows,
            empty=answer.fault or _("No run matches. Select a longer time, or fewer filters."),
            links={2: lambda at: f"/runs/{shown[at].id}"},
        )
        if len(found) > PAGE:
            ui.link(_("Older"), "/runs?" + urlencode({**given, "before": shown[-1].id})).classes("plain q-mt-md")


async def one(session: WebSession, reading: Reading, id_: str) -> None:
    """One run: program, environment, and changes there since."""
    seen = await reading.query(lambda store: _read(store, id_))
    with page_layout(marked("Run"), session, "/runs") as _:
        if seen is None:
            ui.label(_("There is no such run, or access is denied.")).classes("soft")
            return
        run, changes = seen
        lines([command_of(run.argv)])
        with panels():
            with card(_("What")):
                pairs(
                    [
                        (_("Person"), f"{person(run.actor)}: {run.actor.method}"),
                        (_("From"), run.actor.remote or "–"),
                        (_("When"), show_time(run.started)),
                        (_("Duration"), show_span(run.started, run.ended)),
                        (_("Outcome"), run.outcome.value),
                        (_("Program"), f"{run.program} ({run.kind})"),
                        (_("Folder"), run.cwd or "–"),
                        (_("Content"), run.script_sha256 or run.absent.get("script_sha256", "–")),
                        (_("Snapshot"), run.snapshot or run.absent.get("snapshot", "–")),
                        (_("Times"), str(run.count)),
                    ]
                )
                if run.environment is not None:
                    ui.link(safe(run.environment.prefix), address(run.environment.prefix)).classes("plain")
            with card(_("Changes in its environment since")):
                if changes is None:
                    ui.label(_("The contents of its environment are unknown.")).classes("soft")
                elif not changes:
                    ui.label(_("No difference.")).classes("soft")
                else:
                    lines([change_of(change) for change in changes[:500]])


def _read(store: Store, id_: str) -> tuple[Run, list[Change] | None] | None:
    run = store.run(id_) if len(id_) == _ID_LENGTH else None
    if run is None:
        return None
    if run.environment is None or run.snapshot is None:
        return run, None
    before = store.snapshot(run.environment.prefix, run.image >> 20)
    after = store.snapshot(run.environment.prefix)
    return run, diff_snapshots(before, after) if before is not None and after is not None else None
