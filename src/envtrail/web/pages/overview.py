"""Overview: today's changes, most active people, most frequent programs, off hours, new items, health."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import NamedTuple
from urllib.parse import quote, urlencode

from nicegui import ui

from envtrail.errors import InputError
from envtrail.i18n import marked
from envtrail.model.heartbeat import Heartbeat, faults_of, policy_of_most
from envtrail.model.naming import is_environment, is_person
from envtrail.model.operation import Operation
from envtrail.model.text import safe
from envtrail.state.agent_status import AgentStatus
from envtrail.state.lookup import resolve_names
from envtrail.state.office_hours import read_office_hours
from envtrail.state.panels import (
    Changed,
    Day,
    Hour,
    OffHours,
    PersonActivity,
    Script,
    by_hour,
    environments_changed,
    installs_by_day,
    last_week,
    most_active,
    off_hours,
    top_scripts,
)
from envtrail.state.store import Query, Store, StoreStatus
from envtrail.web.access import WebSession
from envtrail.web.charts import BLUE, afterwards, bars, calendar, fetch_library, heat
from envtrail.web.feed import WebFeed
from envtrail.web.pages.words import address, command_of, person, query_of, show_ms, show_time, summary
from envtrail.web.parts import Translate, card, filters, page_layout, panels, table
from envtrail.web.reading import Reading

TITLE = marked("Overview")
_FEED_S = 1.0
_MOST_FED = 30
_YEAR_DAYS = 364


class OverviewData(NamedTuple):
    """The data of the page, read at once."""

    days: list[Day]
    people: list[PersonActivity]
    changed: list[Changed]
    scripts: list[Script]
    off_hours: list[OffHours]
    hours: list[Hour]
    status: StoreStatus
    agent: AgentStatus | None
    machines: list[Heartbeat]
    """Of a fleet."""
    newest: list[Operation]


async def page(session: WebSession, reading: Reading, feed: WebFeed, given: dict[str, str], now_ms: int) -> None:
    """Build it."""
    figures = await reading.query(lambda store: _read(store, reading, given, now_ms))
    with page_layout(TITLE, session, "/") as _:
        fetch_library()
        filters("/", given, reading.fields([("environment", _("Environment")), ("user", _("Person"))], _), _)
        _headline(figures, reading, now_ms, _)
        with panels():
            with card(_("Package installs")) as installs:
                _installs(installs, figures.days, _)
            with card(_("Most active people")):
                people = figures.people[:8]
                table(
                    [_("Person"), _("Operations"), _("Changes"), _("Runs")],
                    [[one.user, str(one.operations), str(one.changes), str(one.runs)] for one in people],
                    empty=_("No activity in this time."),
                    links={0: lambda at: f"/person?name={quote(people[at].user, safe='')}"},
                )
            with card(_("Top 10 scripts")):
                scripts = figures.scripts[:10]
                table(
                    [_("Program"), _("Runs"), _("People")],
                    [[one.program, str(one.runs), ", ".join(one.people[:4])] for one in scripts],
                    empty=_("No program ran in this time."),
                    links={
                        0: lambda at: "/runs?" + urlencode({"program": scripts[at].program, "since": given.get("since", "7d")})
                    },
                )
            with card(_("Outside office hours")):
                late = figures.off_hours[:10]
                table(
                    [_("Person"), _("Environment"), _("Operations")],
                    [[one.user, one.prefix, str(one.operations)] for one in late],
                    empty=_("Nothing was changed outside office hours."),
                    links={
                        0: lambda at: f"/person?name={quote(late[at].user, safe='')}",
                        1: lambda at: address(late[at].prefix),
                    },
                )
            with card(_("Environments changed")):
                changed = figures.changed[:10]
                table(
                    [_("Environment"), _("Changes"), _("People"), _("Last")],
                    [[one.prefix, str(one.changes), ", ".join(one.people[:4]), show_time(one.last)[:16]] for one in changed],
                    empty=_("No package was added, removed or changed in this time."),
                    links={0: lambda at: address(changed[at].prefix)},
                )
            with card(_("When environments are changed")) as week:
                _week(week, figures.hours, _)
        with card(_("Changes by day, for a year")).classes("w-full q-mb-md") as year:
            # Counted after the rest is displayed: a year that was never counted takes seconds.
            ui.timer(0.1, lambda: _year(year, session, reading, given, now_ms, _), once=True)
        with card(_("Now")).classes("w-full"):
            _feed(figures.newest, reading, feed, given, _)


def _read(store: Store, reading: Reading, given: dict[str, str], now_ms: int) -> OverviewData:
    office_hours = read_office_hours(reading.config)
    week = last_week(now_ms, office_hours.place)
    query = _named(store, query_of(given, now_ms))
    of_week = Query(host=query.host, environment=query.environment, user=query.user, since_ms=week.since_ms)
    counted = reading.count(store, query, now_ms)
    newest = [
        item
        for item in store.operations(Query(host=query.host, environment=query.environment, user=query.user, limit=_MOST_FED))
        if item.actor.method != "owner"
    ]
    return OverviewData(
        days=installs_by_day(store.activity(of_week), first=week.first, last=week.last, zone=office_hours.place),
        people=most_active(counted.people, counted.programs),
        changed=environments_changed(counted.people),
        scripts=top_scripts(counted.programs),
        off_hours=off_hours(counted.people, office_hours),
        hours=by_hour(counted.hours, office_hours.place),
        status=store.status(),
        agent=store.agent(),
        machines=store.machines(),
        newest=newest,
    )


def _headline(figures: OverviewData, reading: Reading, now_ms: int, _: Translate) -> None:
    status, agent = figures.status, figures.agent
    shown = (
        (_("open findings"), status.findings, "/findings?status=open"),
        (_("pending requests"), status.requests, "/requests"),
        (_("unexplained changes"), status.unexplained, "/operations?kind=tamper&since=400d"),
        (_("gaps in the trail"), status.gaps, "/health"),
        (_("environments"), status.environments, "/environments"),
    )
    with ui.element("div").classes("figures q-mb-md"):
        for name, count, target in shown:
            with ui.link(target=target).classes("plain"), ui.card().classes("q-pa-md").props("flat bordered"):
                ui.label(f"{count:,}").classes("figure")
                ui.label(name).classes("soft")
        with ui.link(target="/health").classes("plain"), ui.card().classes("q-pa-md").props("flat bordered"):
            if reading.fleet is not None:
                policy = policy_of_most(figures.machines)
                wrong = sum(bool(faults_of(beat, now_ms, policy=policy)) for beat in figures.machines)
                ui.label(f"{len(figures.machines):,}").classes("figure")
                ui.label(_("machines, {count} of them with faults").format(count=wrong)).classes("bad" if wrong else "soft")
            else:
                is_recording = agent is not None and agent.full_since_ms is None
                ui.label(_("watching") if is_recording else _("not watching")).classes("figure")
                ui.label(_health(agent, _)).classes("soft")


def _health(agent: AgentStatus | None, _: Translate) -> str:
    if agent is None:
        return _("`envtrail up` starts")
    if agent.full_since_ms is not None:
        return _("the disk is full: nothing is recorded since {when}").format(when=show_ms(agent.full_since_ms))
    rules = f"{agent.rules.loaded}/{agent.rules.expected}" if agent.rules else "–"
    lost = agent.kernel.lost if agent.kernel else 0
    return _("{source}, rules {rules}, {lag} ms behind, {lost} lost").format(
        source=agent.source, rules=rules, lag=agent.lag_ms, lost=lost
    )


def _installs(place: ui.card, days: list[Day], _: Translate) -> None:
    today = days[-1]
    ui.label(f"{today.installs:,}").classes("figure")
    ui.label(_("packages added or changed today, by {count} operations").format(count=today.operations)).classes("soft")
    names, counts = [day.day.strftime("%m-%d") for day in days], [day.installs for day in days]
    afterwards(place, lambda: bars(_("Package installs"), names, {_("packages"): (BLUE, counts)}), height="11rem")


def _week(place: ui.card, hours: list[Hour], _: Translate) -> None:
    """The hours of the week, darker where more operations started."""
    if not hours:
        ui.label(_("No activity in this time.")).classes("soft")
        return
    days = [_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun")]
    cells = [(hour.hour, hour.weekday, hour.operations) for hour in hours]
    hours_of_day = [f"{hour:02d}" for hour in range(24)]
    afterwards(place, lambda: heat(_("operations by hour of the week"), hours_of_day, days, cells), height="13rem")


async def _year(place: ui.card, session: WebSession, reading: Reading, given: dict[str, str], now_ms: int, _: Translate) -> None:
    zone = read_office_hours(reading.config).place
    last = datetime.fromtimestamp(now_ms / 1000, tz=timezone.utc).astimezone(zone).date()
    first = last - timedelta(days=_YEAR_DAYS)
    query = query_of({name: given.get(name, "") for name in ("host", "environment", "user")}, now_ms, span=f"{_YEAR_DAYS + 1}d")

    def read(store: Store) -> list[Day]:
        return installs_by_day(reading.count(store, query, now_ms).days, first=first, last=last, zone=zone)

    days = await reading.query(read)
    with place:
        calendar(
            _("operations by day"),
            first.isoformat(),
            last.isoformat(),
            [(day.day.isoformat(), day.operations) for day in days],
            language=session.language,
        )


def _feed(newest: list[Operation], reading: Reading, feed: WebFeed, given: dict[str, str], _: Translate) -> None:
    """The newest operations; new ones appear within a second."""
    number = feed.begin()
    seen = {item.id for item in newest}
    with ui.column().classes("w-full gap-0").props('role="log" aria-live="polite"') as column:
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


def _named(store: Store, query: Query) -> Query:
    """The query with its environment resolved; if several match, all of them are counted."""
    try:
        return resolve_names(store, query)
    except InputError:
        return query


def _fits(item: Operation, given: dict[str, str]) -> bool:
    name, user, host = given.get("environment"), given.get("user"), given.get("host")
    return (
        (not host or host == item.host)
        and (not name or is_environment(name, item.environment.prefix, host=item.host))
        and (not user or is_person(user, item.actor.name, item.actor.number))
    )


def _line(item: Operation) -> ui.element:
    with ui.row().classes("news items-baseline") as line:
        ui.label(show_time(item.started)).classes("soft")
        ui.label(safe(person(item.actor))).classes("text-bold")
        ui.link(safe(command_of(item.argv)), f"/operations/{item.id}").classes("plain")
        ui.label(f"→ {safe(item.environment.prefix)}").classes("soft")
        ui.label(f"[{summary(item)}] {item.outcome.value}")
    return line
