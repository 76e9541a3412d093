"""`envtrail looks`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import span_options
from envtrail.cli.render import listing, safe
from envtrail.model.look import Look
from envtrail.model.times import show_ms
from envtrail.state.store import Query


@click.command("looks")
@click.option("--user", help="Who looked.")
@span_options
@click.pass_obj
def command(context: Context, user: str | None, span: Query, as_json: bool) -> None:
    """Who looked at whose data on the page; without root: who looked at yours."""
    query = msgspec.structs.replace(
        span,
        user=user,
    )
    with context.store() as store:
        query = resolve(context, store, query)
        listing(
            store.looks(query),
            as_json=as_json,
            columns=("when", "who", "as", "at what", "of whom", "environment", "item"),
            row=_row,
            nothing=lambda: explain_nothing(store, query, "nobody has looked at anybody else's data on the page"),
        )


def _row(look: Look) -> tuple[str, ...]:
    as_whom = f"{look.by.role.value}, {look.by.method}"
    whom = look.user or ("everybody" if look.item is None else "")
    return (
        show_ms(look.time_ms)[:19],
        safe(look.by.name),
        as_whom,
        look.what,
        safe(whom),
        safe(look.environment or ""),
        safe(look.item or ""),
    )
