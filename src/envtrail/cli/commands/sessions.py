"""`envtrail sessions`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import span_options
from envtrail.cli.render import listing
from envtrail.model.times import show_time
from envtrail.state.store import Query


@click.command("sessions")
@click.option("--user", help="Name or uid.")
@span_options
@click.pass_obj
def command(context: Context, user: str | None, span: Query, as_json: bool) -> None:
    """Logins: who, from where, through which service, until when."""
    query = msgspec.structs.replace(
        span,
        user=user,
    )
    with context.store() as store:
        query = resolve(context, store, query)
        listing(
            store.sessions(query),
            as_json=as_json,
            columns=("started", "session", "user", "from", "service", "terminal", "ended"),
            row=lambda session: (
                show_time(session.started),
                str(session.session) if session.session is not None else "-",
                session.user or str(session.auid if session.auid is not None else ""),
                session.remote or "",
                session.service or "",
                session.terminal or "",
                show_time(session.ended) if session.ended else "",
            ),
            nothing=lambda: explain_nothing(store, query, "no sessions found"),
        )
