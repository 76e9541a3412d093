"""`envtrail show`."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.operations import whole
from envtrail.cli.render import command_line, emit_json, emit_text, found_nothing, safe
from envtrail.cli.runs import whole_run
from envtrail.model.operation import Operation
from envtrail.model.text import record_lines
from envtrail.state.evidence import events_of, unfold
from envtrail.state.store import EventRow


@click.command("show")
@click.argument("operation_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The operation, then its events, as JSON lines.")
@click.option("--records/--no-records", default=True, help="The verbatim kernel records.")
@click.pass_obj
def command(context: Context, operation_id: str, as_json: bool, records: bool) -> None:
    """One operation completely: changes, process tree, the records of its first and last event; or one run, with its packages."""
    with context.store() as store:
        operation = store.operation(operation_id)
        run = store.run(operation_id) if operation is None else None
        if run is not None:
            if as_json:
                emit_json([run])
            else:
                emit_text(whole_run(run, store.snapshot(run.environment.prefix, run.image >> 20) if run.environment else None))
            return
        if operation is None:
            found_nothing(f"no operation starts with `{operation_id}`; `envtrail log --oneline` lists them")
            return
        events = list(events_of(store, operation, with_records=records))
        if as_json:
            emit_json([operation, *(msgspec.to_builtins(event) for event in events)])
            return
        emit_text(_paragraphs(operation, events, store.names(), records=records))


def _paragraphs(operation: Operation, events: list[EventRow], names: dict[int, str | None], *, records: bool) -> Iterator[str]:
    yield whole(operation, with_changes=True, names=names)
    tree = list(_tree(operation, events))
    if tree:
        yield f"Processes ({operation.processes} seen):"
        yield from tree
        yield ""
    if operation.absent:
        yield "Not known:"
        yield from (f"    {name}: {safe(why)}" for name, why in sorted(operation.absent.items()))
        yield ""
    if records:
        yield "Evidence:"
        wanted = {(item.time_ms, item.serial) for item in operation.evidence}
        for event in events:
            if (event.values["time"], event.values["serial"]) in wanted and event.records:
                yield from (f"    {safe(line)}" for line in record_lines(event.records))


def _tree(operation: Operation, events: list[EventRow]) -> Iterator[str]:
    for level, pid, argv in unfold(operation, events):
        line = command_line(argv)
        yield f"    {'  ' * level}{pid}  {line if len(line) <= 160 else line[:159] + '…'}"
