"""`envtrail sessions`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.options import moment, span_options
from envtrail.cli.render import listing
from envtrail.model.times import show_time
from envtrail.store.store import Query


@click.command("sessions")
@click.option("--user", help="Name or uid.")
@span_options
@click.pass_obj
def command(
    context: Context, user: str | None, since: str | None, until: str | None, limit: int | None, reverse: bool, as_json: bool
) -> None:
    """Logins: who, from where, by which service, until when."""
    query = Query(user=user, limit=limit, oldest_first=reverse, since_ms=moment(context, since), until_ms=moment(context, until))
    with context.store() as store:
        listing(
            store.sessions(query),
            as_json=as_json,
            columns=("started", "session", "user", "from", "service", "terminal", "ended"),
            row=lambda session: (
                show_time(session.started),
                str(session.session),
                session.user or str(session.auid if session.auid is not None else ""),
                session.remote or "",
                session.service or "",
                session.terminal or "",
                show_time(session.ended) if session.ended else "",
            ),
            nothing="no sessions found",
        )
