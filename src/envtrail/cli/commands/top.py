"""`envtrail top`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import islice
from typing import Any

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import resolve
from envtrail.cli.options import moment
from envtrail.cli.render import listing, safe
from envtrail.model.hours import DAYS
from envtrail.model.times import show_time
from envtrail.state.lookup import need_known
from envtrail.state.office_hours import read_office_hours
from envtrail.state.panels import (
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
from envtrail.state.store import Query


@click.group("top")
def command() -> None:
    """Figures: installs by day, most active people, most frequent programs, off hours."""


def _options(since: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Conditions as a `Query`; `since`: None when the panel has its own period."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_query(
            *,
            since: str | None = None,
            until: str | None = None,
            host: str | None,
            environment: str | None,
            user: str | None,
            **rest: Any,
        ) -> Any:
            context = click.get_current_context().obj
            since_ms, until_ms = moment(context, since), moment(context, until)
            query = Query(since_ms=since_ms, until_ms=until_ms, host=host, environment=environment, user=user)
            return function(context, query=query, **rest)

        given = with_query
        for option in (
            click.option("--json", "as_json", is_flag=True, help="JSON lines."),
            click.option("--csv", "as_csv", is_flag=True, help="CSV."),
            click.option("--user", help="Of one person."),
            click.option("--host", help="Of one machine (a fleet's, with `--store`)."),
            click.option("--environment", "--env", help="Of one environment."),
        ):
            given = option(given)
        if since is not None:
            given = click.option(
                "-n", "limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most this many."
            )(given)
            given = click.option("--until", help="Until a moment.")(given)
            given = click.option("--since", default=since, show_default=True, help="Since a moment.")(given)
        return given

    return add


@command.command()
@_options(None)
def installs(context: Context, query: Query, as_csv: bool, as_json: bool) -> None:
    """Packages that were added or changed, today and on each day of the week before."""
    zone = read_office_hours(context.config).place
    week = last_week(context.now_ms, zone)
    with context.store() as store:
        query = resolve(context, store, query)
        activity = list(store.activity(msgspec.structs.replace(query, since_ms=week.since_ms)))
        if not activity:
            need_known(store, query)
        days = installs_by_day(activity, first=week.first, last=week.last, zone=zone)

    def row(item: Day) -> tuple[str, ...]:
        return (f"{item.day} {DAYS[item.day.weekday()]}", str(item.installs), str(item.operations))

    listing(reversed(days), as_json=as_json, as_csv=as_csv, columns=("day", "installs", "operations"), row=row, nothing="nothing")


@command.command()
@_options("7d")
def people(context: Context, query: Query, limit: int, as_csv: bool, as_json: bool) -> None:
    """The people with most operations on environments, and most runs."""

    def row(item: PersonActivity) -> tuple[str, ...]:
        return (safe(item.user), str(item.operations), str(item.changes), str(item.environments), str(item.runs))

    with context.store() as store:
        query = resolve(context, store, query)
        found = most_active(store.activity(query), store.programs(query))
        if not found:
            need_known(store, query)
    columns = ("user", "operations", "changes", "environments", "runs")
    listing(found[:limit], as_json=as_json, as_csv=as_csv, columns=columns, row=row, nothing="no activity in this time")


@command.command()
@_options("7d")
def scripts(context: Context, query: Query, limit: int, as_csv: bool, as_json: bool) -> None:
    """The most frequent programs."""

    def row(item: Script) -> tuple[str, ...]:
        names = ", ".join(map(safe, islice(item.people, 5))) + (" …" if len(item.people) > 5 else "")
        return (safe(item.program), item.kind, str(item.runs), str(item.contents), names, show_time(item.last)[:16])

    with context.store() as store:
        query = resolve(context, store, query)
        found = top_scripts(store.programs(query))
        if not found:
            need_known(store, query)
    columns = ("program", "kind", "runs", "contents", "people", "last")
    listing(found[:limit], as_json=as_json, as_csv=as_csv, columns=columns, row=row, nothing="no program ran in this time")


@command.command("off-hours")
@_options("7d")
def off_hours_(context: Context, query: Query, limit: int, as_csv: bool, as_json: bool) -> None:
    """Changes outside office hours (`office.*` in the settings)."""

    def row(item: OffHours) -> tuple[str, ...]:
        return (safe(item.user), safe(item.prefix), str(item.operations), str(item.changes), show_time(item.last)[:16])

    with context.store() as store:
        query = resolve(context, store, query)
        found = off_hours(store.activity(query), read_office_hours(context.config))
        if not found:
            need_known(store, query)
    columns = ("user", "environment", "operations", "changes", "last")
    listing(
        found[:limit],
        as_json=as_json,
        as_csv=as_csv,
        columns=columns,
        row=row,
        nothing="nothing was changed outside office hours",
    )


@command.command()
@_options("30d")
def hours(context: Context, query: Query, limit: int, as_csv: bool, as_json: bool) -> None:
    """The hours of the week with most changes."""
    zone = read_office_hours(context.config).place

    def row(item: Hour) -> tuple[str, ...]:
        return (DAYS[item.weekday], f"{item.hour:02d}:00", str(item.operations))

    with context.store() as store:
        query = resolve(context, store, query)
        found = by_hour(store.activity(query), zone)
        if not found:
            need_known(store, query)
    most = sorted(found, key=lambda item: -item.operations)[:limit]
    listing(
        most,
        as_json=as_json,
        as_csv=as_csv,
        columns=("day", "hour", "operations"),
        row=row,
        nothing="nothing was changed in this time",
    )
