"""One environment: its history, two moments of it, its packages and the origin of each, and its users."""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple
from urllib.parse import quote

from nicegui import events, ui

from envtrail.environments.blame import Blame, blame_packages
from envtrail.environments.changes import diff_snapshots
from envtrail.i18n import marked
from envtrail.model.environment import Environment, Snapshot, SnapshotRef
from envtrail.model.naming import clean_path
from envtrail.model.operation import Change, Operation
from envtrail.model.run import Use
from envtrail.model.text import safe
from envtrail.state.store import Query, Store
from envtrail.web.access import WebSession
from envtrail.web.charts import GREEN, ORANGE, RED, bars, timeline
from envtrail.web.pages.words import address, change_of, command_of, person, show_ms, show_time, summary
from envtrail.web.parts import Translate, card, lines, page_layout, panels, table
from envtrail.web.reading import Reading

TITLE = marked("Environment")
_MOST_LISTED = 200
_MOST_LINES = 500


class EnvironmentDetails(NamedTuple):
    """One environment with its data."""

    environment: Environment
    blames: list[Blame]
    operations: list[Operation]
    uses: list[Use]
    points: list[SnapshotRef]
    """Times at which its content changed, oldest first."""


async def page(session: WebSession, reading: Reading, given: dict[str, str]) -> None:
    """Build it; `from` and `to` (ms) compare two moments."""
    prefix = given.get("prefix", "")
    seen = await reading.query(lambda store: _read(store, prefix))
    with page_layout(TITLE, session, "/environments") as _:
        if seen is None:
            ui.label(_("There is no such environment, or access is denied.")).classes("soft")
            return
        environment = seen.environment
        ui.label(safe(prefix)).classes("text-h6")
        about = [environment.kind, environment.python or "", _("no longer there") if environment.gone else ""]
        ui.label(safe(" · ".join(part for part in about if part))).classes("soft")
        if seen.blames:
            bill = _("Bill of materials (CycloneDX)")
            ui.link(bill, f"/environment/sbom?prefix={quote(prefix, safe='')}").classes("plain").props("download")
        with panels().classes("q-mt-md"):
            if len(seen.points) > 1:
                with card(_("Compare two moments")):
                    await _Comparison(prefix, seen.points, reading, _).build(given.get("from", ""), given.get("to", ""))
            with card(_("Packages added, changed and removed")):
                _churn(seen.operations, _)
        with card(_("History")).classes("w-full q-mb-md"):
            _history(seen.operations, _)
        with panels():
            with card(_("Packages")).style("grid-column: span 2"):
                _packages(seen.blames, _)
            with card(_("Who uses it")):
                rows = [[use.user or f"uid {use.uid}", str(use.runs), show_time(use.last)[:16]] for use in seen.uses]
                links = {0: lambda at: f"/person?name={quote(seen.uses[at].user or str(seen.uses[at].uid), safe='')}"}
                table([_("Person"), _("Runs"), _("Last")], rows, empty=_("Nobody ran anything in it."), links=links)


def _history(operations: list[Operation], _: Translate) -> None:
    rows = [
        [
            show_time(item.started),
            person(item.actor),
            command_of(item.argv),
            item.outcome.value,
            ", ".join(map(change_of, (item.changes or [])[:6])) or summary(item),
        ]
        for item in operations
    ]
    table(
        [_("When"), _("Person"), _("Command"), _("Outcome"), _("Packages")],
        rows,
        empty=_("Nothing has changed it since the trail began."),
        links={2: lambda at: f"/operations/{operations[at].id}"},
    )


def _packages(blames: list[Blame], _: Translate) -> None:
    def how(row: Blame) -> str:
        if row.requested:
            return _("requested by name")
        return _("needed by {names}").format(names=", ".join(row.needed_by[:3])) if row.needed_by else ""

    rows = [
        [
            row.package.name,
            row.package.version,
            row.package.source or row.package.ecosystem,
            row.package.license or "",
            how(row),
            person(row.operation.actor) if row.operation is not None else "?",
            show_time(row.operation.started)[:16] if row.operation is not None else _("before the trail, or not recorded"),
        ]
        for row in blames
    ]
    columns = [_("Package"), _("Version"), _("Source"), _("Licence"), _("Why"), _("Brought in by"), _("When")]

    def link(at: int) -> str:
        operation = blames[at].operation
        return f"/operations/{operation.id}" if operation is not None else ""

    table(columns, rows, empty=_("It has not been read yet."), links={6: link})


def _churn(operations: list[Operation], _: Translate) -> None:
    added, changed, removed = Counter[str](), Counter[str](), Counter[str]()
    for item in operations:
        day = show_time(item.started)[:10]
        for change in item.changes or ():
            {"added": added, "removed": removed}.get(change.action, changed)[day] += 1
    days = sorted({*added, *changed, *removed})[-60:]
    if not days:
        ui.label(_("Nothing has changed it since the trail began.")).classes("soft")
        return
    series = {
        _("added"): (GREEN, [added[day] for day in days]),
        _("changed"): (ORANGE, [changed[day] for day in days]),
        _("removed"): (RED, [removed[day] for day in days]),
    }
    bars(_("Packages added, changed and removed"), [day[5:] for day in days], series, height="14rem")


class _Comparison:
    """Two moments, selected with a slider or from two lists, and their differences."""

    def __init__(self, prefix: str, points: list[SnapshotRef], reading: Reading, _: Translate) -> None:
        self._prefix = prefix
        self._points = points
        self._reading = reading
        self._words = _
        self._chosen = (max(0, len(points) - 2), len(points) - 1)

    async def build(self, first: str, last: str) -> None:
        _ = self._words
        self._chosen = (self._point_of(first, self._chosen[0]), self._point_of(last, self._chosen[1]))
        counts = [(point.time_ms, point.packages) for point in self._points]
        chart = timeline(_("packages"), counts, first=self._chosen[0], last=self._chosen[1])
        chart.on("chart:datazoom", self._drag, ["start", "end"], throttle=0.2, leading_events=False)
        options = {at: show_ms(point.time_ms) for at, point in reversed(list(enumerate(self._points)))}
        with ui.row().classes("items-end q-gutter-sm"):
            self._entries = [
                ui.select(options, value=at, label=label, on_change=lambda event, end=end: self._choose(end, event.value))
                .classes("min-w-48")
                .props("dense outlined")
                for end, (at, label) in enumerate(zip(self._chosen, (_("Before"), _("After")), strict=True))
            ]
        self._place = ui.column().classes("w-full").props('role="status"')
        await self._show()

    def _point_of(self, text: str, otherwise: int) -> int:
        """The last point at or before a moment."""
        if not text.isdecimal():
            return otherwise
        return max((at for at, point in enumerate(self._points) if point.time_ms <= int(text)), default=0)

    async def _drag(self, event: events.GenericEventArguments) -> None:
        begin, end = self._points[0].time_ms, self._points[-1].time_ms
        try:
            shares = [min(100.0, max(0.0, float(event.args[name]))) for name in ("start", "end")]
        except (KeyError, TypeError, ValueError):
            return
        moments = [round(begin + (end - begin) * share / 100) for share in shares]
        chosen = (self._point_of(str(moments[0]), 0), self._point_of(str(moments[1] + 1), 0))
        if chosen != self._chosen:
            self._chosen = chosen
            for entry, at in zip(self._entries, chosen, strict=True):
                entry.set_value(at)
            await self._show()

    async def _choose(self, end: int, at: int) -> None:
        chosen = (at, self._chosen[1]) if end == 0 else (self._chosen[0], at)
        if chosen != self._chosen:
            self._chosen = chosen
            await self._show()

    async def _show(self) -> None:
        _ = self._words
        first, last = (self._points[at].time_ms for at in self._chosen)
        changes = await self._reading.query(lambda store: _between(store, self._prefix, first, last))
        self._place.clear()
        with self._place:
            if changes:
                lines([change_of(change) for change in changes[:_MOST_LINES]])
            else:
                ui.label(_("No difference.")).classes("soft")
        here = json.dumps(f"{address(self._prefix)}&from={first}&to={last}")
        ui.run_javascript(f"history.replaceState(null, '', {here})")


def _between(store: Store, prefix: str, first: int, last: int) -> list[Change]:
    before, after = (store.snapshot(prefix, moment) for moment in (first, last))
    return diff_snapshots(before, after) if after is not None else []


def _read(store: Store, prefix: str) -> EnvironmentDetails | None:
    environment = next((item for item in store.environments(with_gone=True) if item.prefix == clean_path(prefix)), None)
    if environment is None:
        return None
    prefix = environment.prefix
    snapshot: Snapshot | None = store.snapshot(prefix)
    operations = list(store.operations(Query(environment=prefix, limit=_MOST_LISTED)))
    blames = blame_packages(snapshot, store.operations(Query(environment=prefix)), python=environment.python) if snapshot else []
    taken = list(store.snapshots(prefix))
    points = [item for at, item in enumerate(taken) if at == 0 or item.digest != taken[at - 1].digest]
    return EnvironmentDetails(environment, blames, operations, list(store.uses(prefix)), points)
