"""`envtrail events`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import OneOf, span_options
from envtrail.cli.render import command_line, emit_text, found_nothing, listing, safe
from envtrail.model.schema import EVENT_KINDS
from envtrail.model.text import record_lines
from envtrail.model.times import show_ms
from envtrail.state.store import EventRow, Query


@click.command("events")
@click.option("--key", help="Key of the audit rule (`ausearch -k`).")
@click.option("--kind", type=OneOf(EVENT_KINDS))
@click.option("--user", help="Name or uid, of the login where there is one.")
@click.option("--pid", type=int)
@click.option("--grep", "text", help="Part of the arguments, of the program's path or name.")
@click.option("--records", is_flag=True, help="The verbatim records instead of a table.")
@span_options
@click.pass_obj
def command(
    context: Context,
    key: str | None,
    kind: str | None,
    user: str | None,
    pid: int | None,
    text: str | None,
    records: bool,
    span: Query,
    as_json: bool,
) -> None:
    """Search the raw trail: every event that the kernel wrote, sealed or not."""
    query = msgspec.structs.replace(
        span,
        key=key,
        kind=kind,
        user=user,
        pid=pid,
        text=text,
    )
    with context.store() as store:
        query = resolve(context, store, query)
        found = store.events(query, with_records=records or as_json)
        if records and not as_json:
            if not emit_text("\n".join(safe(line) for line in record_lines(event.records or "")) for event in found):
                found_nothing(explain_nothing(store, query, "no events found"))
            return
        listing(
            (msgspec.to_builtins(event) for event in found) if as_json else found,
            as_json=as_json,
            columns=("time", "serial", "kind", "key", "auid", "uid", "pid", "what"),
            row=_row,
            nothing=lambda: explain_nothing(store, query, "no events found"),
        )


def _row(event: EventRow) -> tuple[str, ...]:
    values = event.values
    numbers = (values["auid"], values["uid"], values["pid"])
    what = command_line(values["argv"]) if values["argv"] else values["exe"] or values["type"]
    return (
        show_ms(values["time"]),
        str(values["serial"]),
        values["kind"],
        ",".join(values["keys"] or ()),
        *("" if number is None else str(number) for number in numbers),
        what,
    )
