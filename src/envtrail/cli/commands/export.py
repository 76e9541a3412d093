"""`envtrail export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.options import moment
from envtrail.cli.render import emit_csv, emit_json
from envtrail.config import Config
from envtrail.errors import UsageError
from envtrail.model.operation import Operation
from envtrail.state.store import Query, Store

_COLUMNS = ("id", "started", "ended", "user", "uid", "tool", "kind", "outcome", "exit_code", "environment", "command", "changes")


@click.command("export")
@click.option("--format", "form", type=click.Choice(["json", "ecs", "csv", "parquet"]), default="json", show_default=True)
@click.option("--what", type=click.Choice(["operations", "events"]), default="operations", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of standard output; needed for parquet.")
@click.option("--since", help="Since a moment.")
@click.option("--until", help="Until a moment.")
@click.pass_obj
def command(context: Context, form: str, what: str, output: Path | None, since: str | None, until: str | None) -> None:
    """Write operations or events as JSON lines, ECS documents, CSV or Parquet, oldest first.

    `ecs`: the documents that `elastic ship` sends, one for each line. For a separate shipper, `elastic write` writes a file continuously.
    """
    if form == "parquet" and output is None:
        raise UsageError("parquet needs a file", hint="-o FILE")
    if form == "ecs":
        context.need_machine("ECS documents are made")
    query = Query(oldest_first=True, since_ms=moment(context, since), until_ms=moment(context, until))
    with context.store() as store:
        if form == "parquet":
            assert output is not None  # noqa: S101 - checked above
            _write_parquet(store, query, what, output)
            return
        if output is not None:
            sys.stdout = output.open("w", encoding="utf-8", newline="")
        if form == "ecs":
            emit_json(_ecs(store, query, what, context.config))
            sys.stdout.flush()
            return
        documents = store.operations(query) if what == "operations" else (msgspec.to_builtins(row) for row in store.events(query))
        if form == "json":
            emit_json(documents)
        elif what == "operations":
            emit_csv(_COLUMNS, (_row(operation) for operation in store.operations(query)))
        else:
            raise UsageError("events contain lists, which CSV does not support", hint="--format json or parquet")
        sys.stdout.flush()


def _ecs(store: Store, query: Query, what: str, config: Config) -> Iterator[dict[str, Any] | msgspec.Raw]:
    from envtrail.documents.base import site_of
    from envtrail.documents.ecs import documents_of
    from envtrail.documents.ecs_events import documents_of_rows

    site = site_of(config)
    if what == "operations":
        for operation in store.operations(query):
            yield from (document.body for document in documents_of(operation, site))
    else:
        yield from (msgspec.Raw(body) for _id, body in documents_of_rows(store.events(query), site))


def _row(operation: Operation) -> tuple[Any, ...]:
    changes = "; ".join(
        f"{change.name} {change.before.version if change.before else '?' if change.absent else ''}>{change.after.version if change.after else ''}"
        for change in operation.changes or ()
    )
    return (
        operation.id,
        operation.started,
        operation.ended,
        operation.actor.name,
        operation.actor.uid,
        operation.tool,
        operation.kind.value,
        operation.outcome.value,
        operation.exit_code,
        operation.environment.prefix,
        " ".join(operation.argv),
        changes,
    )


def _write_parquet(store: Store, query: Query, what: str, output: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if what == "operations":
        rows = [dict(zip(_COLUMNS, _row(operation), strict=True)) for operation in store.operations(query)]
    else:
        rows = [row.values for row in store.events(query)]
    pq.write_table(pa.Table.from_pylist(rows), output, compression="zstd")
