"""Overview: what happened today, who does most, what runs most, what happens off hours; what comes now; is all well."""

from __future__ import annotations

from typing import NamedTuple

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.operation import Operation
from envtrail.model.text import safe
from envtrail.store.agent_status import AgentStatus
from envtrail.store.office import office_hours
from envtrail.store.panels import (
    Day,
    Hour,
    OffHours,
    PersonActivity,
    Script,
    by_hour,
    installs_by_day,
    last_week,
    most_active,
    off_hours,
    top_scripts,
)
from envtrail.store.store import Query, Store, StoreStatus
from envtrail.web.access import Session
from envtrail.web.feed import Feed
from envtrail.web.pages.words import command_of, person, query_of, show_time, summary
from envtrail.web.parts import Translate, card, filters, frame, pairs, table
from envtrail.web.reading import Reading

TITLE = marked("Overview")
_FEED_S = 1.0
_MOST_FED = 30


class Figures(NamedTuple):
    """All that the page shows, read at once."""

    days: list[Day]
    people: list[PersonActivity]
    scripts: list[Script]
    off_hours: list[OffHours]
    hours: list[Hour]
    status: StoreStatus
    agent: AgentStatus | None
    newest: list[Operation]


async def page(session: Session, reading: Reading, feed: Feed, given: dict[str, str], now_ms: int) -> None:
    """Build it."""
    figures = await reading.ask(lambda store: _read(store, reading, given, now_ms))
    with frame(TITLE, session, "/") as _:
        filters("/", given, [("environment", _("Environment")), ("user", _("Person"))], _)
        _headline(figures, _)
        with ui.row().classes("w-full items-stretch q-gutter-md q-mb-md"):
            with card(_("Package installs")).style("flex: 1 1 24rem"):
                _installs(figures.days, _)
            with card(_("Most active people")).style("flex: 1 1 24rem"):
                rows = [[one.user, str(one.operations), str(one.changes), str(one.runs)] for one in figures.people[:8]]
                columns = [_("Person"), _("Operations"), _("Changes"), _("Runs")]
                table(
                    columns,
                    rows,
                    empty=_("Nobody did anything in this time."),
                    links={0: lambda at: f"/people/{_quote(figures.people[at].user)}"},
                )
        with ui.row().classes("w-full items-stretch q-gutter-md q-mb-md"):
            with card(_("Top 10 scripts")).style("flex: 1 1 24rem"):
                rows = [[one.program, str(one.runs), ", ".join(one.people[:4])] for one in figures.scripts[:10]]
                table([_("Program"), _("Runs"), _("People")], rows, empty=_("Nothing ran in this time."))
            with card(_("Outside office hours")).style("flex: 1 1 24rem"):
                rows = [[one.user, one.prefix, str(one.operations)] for one in figures.off_hours[:10]]
                table(
                    [_("Person"), _("Environment"), _("Operations")], rows, empty=_("Nothing was changed outside office hours.")
                )
        with card(_("When environments are changed")).classes("w-full q-mb-md"):
            _week(figures.hours, _)
        with card(_("Now")).classes("w-full"):
            _feed(figures.newest, reading, feed, given, _)


def _read(store: Store, reading: Reading, given: dict[str, str], now_ms: int) -> Figures:
    config = reading.config
    office = office_hours(config)
    week = last_week(now_ms, office.place)
    query = query_of(given, now_ms)
    of_week = Query(environment=query.environment, user=query.user, since_ms=week.since_ms)
    counted = reading.count(store, query, now_ms)
    newest = [
        item
        for item in store.operations(Query(environment=query.environment, user=query.user, limit=_MOST_FED))
        if item.actor.method != "owner"
    ]
    return Figures(
        days=installs_by_day(store.activity(of_week), first=week.first, last=week.last, zone=office.place),
        people=most_active(counted.people, counted.programs),
        scripts=top_scripts(counted.programs),
        off_hours=off_hours(counted.people, office),
        hours=by_hour(counted.hours, office.place),
        status=store.status(),
        agent=store.agent(),
        newest=newest,
    )


def _headline(figures: Figures, _: Translate) -> None:
    status = figures.status
    shown = (
        (_("open findings"), status.findings, "/findings"),
        (_("pending requests"), status.requests, "/requests"),
        (_("unexplained changes"), status.unexplained, "/operations?kind=tamper&since=400d"),
        (_("gaps in the trail"), status.gaps, "/health"),
        (_("environments"), status.environments, "/environments"),
    )
    with ui.row().classes("w-full q-gutter-md q-mb-md"):
        for name, count, target in shown:
            with ui.link(target=target).classes("plain"), ui.card().classes("q-pa-md").props("flat bordered"):
                ui.label(f"{count:,}").classes("figure")
                ui.label(name).classes("soft")
        with ui.card().classes("q-pa-md").props("flat bordered"):
            ui.label(_("watching") if figures.agent else _("not watching")).classes("figure")
            ui.label(
                _("`envtrail up` begins") if figures.agent is None else f"{figures.agent.source}, {figures.agent.lag_ms} ms"
            ).classes("soft")


def _installs(days: list[Day], _: Translate) -> None:
    today = days[-1]
    ui.label(f"{today.installs:,}").classes("figure")
    ui.label(_("packages came or changed today, by {count} operations").format(count=today.operations)).classes("soft")
    ui.echart(
        {
            "animation": False,
            "aria": {"enabled": True},
            "grid": {"left": 40, "right": 8, "top": 12, "bottom": 24},
            "tooltip": {"trigger": "axis"},
            "xAxis": {"type": "category", "data": [day.day.strftime("%m-%d") for day in days]},
            "yAxis": {"type": "value", "minInterval": 1},
            "series": [{"type": "bar", "name": _("packages"), "data": [day.installs for day in days], "color": "#0969da"}],
        }
    ).classes("w-full").style("height: 11rem")


def _week(hours: list[Hour], _: Translate) -> None:
    """The hours of the week, darker where more began."""
    most = max((hour.operations for hour in hours), default=0)
    if not most:
        ui.label(_("Nobody did anything in this time.")).classes("soft")
        return
    days = [_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun")]
    ui.echart(
        {
            "animation": False,
            "aria": {"enabled": True},
            "grid": {"left": 48, "right": 8, "top": 8, "bottom": 24},
            "tooltip": {"position": "top"},
            "xAxis": {"type": "category", "data": [f"{hour:02d}" for hour in range(24)]},
            "yAxis": {"type": "category", "data": days, "inverse": True},
            "visualMap": {"min": 0, "max": most, "show": False, "inRange": {"color": ["#ddf4ff", "#0969da", "#0a3069"]}},
            "series": [
                {
                    "type": "heatmap",
                    "name": _("operations"),
                    "data": [[hour.hour, hour.weekday, hour.operations] for hour in hours],
                }
            ],
        }
    ).classes("w-full").style("height: 13rem")


def _feed(newest: list[Operation], reading: Reading, feed: Feed, given: dict[str, str], _: Translate) -> None:
    """The newest operations; new ones appear within a second."""
    number = feed.begin()
    seen = {item.id for item in newest}
    with ui.column().classes("w-full q-gutter-none").props('role="log" aria-live="polite"') as column:
        for item in newest:
            _line(item)
        if not newest:
            ui.label(_("Nothing yet: `pip install` something.")).classes("soft")

    def look() -> None:
        nonlocal number
        if reading.is_over:
            ui.navigate.to("/login")
        for at, item in feed.after(number, reading):
            number = at
            if isinstance(item, Operation) and item.id not in seen and _fits(item, given):
                seen.add(item.id)
                with column:
                    _line(item).move(target_index=0)

    ui.timer(_FEED_S, look)


def _fits(item: Operation, given: dict[str, str]) -> bool:
    environment, user = given.get("environment", "").rstrip("/"), given.get("user", "")
    is_there = not environment or item.environment.prefix == environment or item.environment.prefix.endswith(f"/{environment}")
    return is_there and (not user or user in {item.actor.name, str(item.actor.number)})


def _line(item: Operation) -> ui.element:
    with ui.row().classes("items-baseline q-gutter-sm q-py-xs") as line:
        ui.label(show_time(item.started)).classes("soft")
        ui.label(safe(person(item.actor))).classes("text-bold")
        ui.link(safe(command_of(item.argv)), f"/operations/{item.id}").classes("plain")
        ui.label(f"→ {safe(item.environment.prefix)}").classes("soft")
        ui.label(f"[{summary(item)}] {item.outcome.value}")
    return line


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def health_pairs(agent: AgentStatus | None, status: StoreStatus, _: Translate) -> None:
    """What the health page begins with."""
    if agent is None:
        ui.label(
            _("No agent is running: what happens now is not recorded. `envtrail up`, or `envtrail service install`.")
        ).classes("bad q-mb-sm")
    else:
        rules = agent.rules
        pairs(
            [
                (_("Source"), agent.source),
                (_("Rules"), f"{rules.loaded} / {rules.expected} ({rules.profile})" if rules else "–"),
                (_("Lag"), f"{agent.lag_ms} ms"),
                (_("Kernel's losses"), str(agent.kernel.lost) if agent.kernel else "–"),
                (_("Memory"), f"{agent.rss_bytes // 2**20} MiB"),
                (_("Processor"), f"{agent.cpu_s:.1f} s"),
                *((_("fault"), fault) for fault in (rules.faults if rules else [])),
            ]
        )
    pairs(
        [
            (_("Trail"), status.folder),
            (_("Operations"), f"{status.operations:,}"),
            (_("Runs"), f"{status.runs:,}"),
            (_("Sealed segments"), f"{status.segments:,}"),
            (_("Disk"), f"{status.disk_bytes / 2**20:.1f} MiB"),
            (_("Records"), f"{status.records_bytes / 2**20:.1f} MiB"),
            (_("Secrets replaced"), ", ".join(f"{count} {kind}" for kind, count in status.redactions.items()) or "0"),
        ]
    )
