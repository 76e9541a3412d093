"""`envtrail access-log`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import span_options
from envtrail.cli.render import listing, safe
from envtrail.model.access_log import AccessEntry
from envtrail.model.times import show_ms
from envtrail.state.store import Query


@click.command("access-log")
@click.option("--user", help="Who looked.")
@span_options
@click.pass_obj
def command(context: Context, user: str | None, span: Query, as_json: bool) -> None:
    """Who looked at whose data in the web UI; without root: who looked at yours."""
    query = msgspec.structs.replace(span, user=user)
    with context.store() as store:
        query = resolve(context, store, query)
        listing(
            store.access_log(query),
            as_json=as_json,
            columns=("when", "who", "as", "at what", "of whom", "environment", "item"),
            row=_row,
            nothing=lambda: explain_nothing(store, query, "nobody has looked at another person's data in the web UI"),
        )


def _row(entry: AccessEntry) -> tuple[str, ...]:
    as_whom = f"{entry.by.role.value}, {entry.by.method}"
    whom = entry.user or ("everybody" if entry.item is None else "")
    return (
        show_ms(entry.time_ms)[:19],
        safe(entry.by.name),
        as_whom,
        entry.what,
        safe(whom),
        safe(entry.environment or ""),
        safe(entry.item or ""),
    )
