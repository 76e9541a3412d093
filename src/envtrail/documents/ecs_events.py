"""Typed events as ECS documents. The compiled core makes them from the tables in this module, which also serve to read documents back.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-process, ecs-user
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import msgspec

from envtrail.core import EventDocuments, event_schema
from envtrail.documents.base import Site, constants_of, leaves_of
from envtrail.model.ecs import RECORD_FIELDS
from envtrail.state.store import EventRow

if TYPE_CHECKING:
    import pyarrow as pa

# Column of the typed event → ECS field; columns not listed here are stored below `envtrail.event`.
EVENT_FIELDS = {
    "exit_code": "process.exit_code",
    "pid": "process.pid",
    "ppid": "process.parent.pid",
    "auid": "user.audit.id",
    "uid": "user.id",
    "euid": "user.effective.id",
    "gid": "group.id",
    "ses": "envtrail.session",
    "comm": "process.name",
    "exe": "process.executable",
    "argc": "process.args_count",
    "argv": "process.args",
    "cwd": "process.working_directory",
    "proctitle": "process.title",
}
NUMBERS_AS_TEXT = {"auid", "uid", "euid", "gid"}
"""Numbers that are keywords in ECS."""
_BATCH_ROWS = 1_000


def event_documents(site: Site) -> EventDocuments:
    """Makes the documents of a site."""
    return EventDocuments(
        constants=[(name, msgspec.json.encode(value).decode()) for name, value in leaves_of(constants_of("event", site))],
        fields=list(EVENT_FIELDS.items()),
        numbers_as_text=sorted(NUMBERS_AS_TEXT),
        record_fields=RECORD_FIELDS,
    )


def documents_of_rows(rows: Iterable[EventRow], site: Site) -> Iterator[tuple[str, bytes]]:
    """(`_id`, JSON) of events from a store, in their order."""
    documents = event_documents(site)
    for segment, group in groupby(rows, key=lambda row: row.segment):
        while values := [row.values for row in islice(group, _BATCH_ROWS)]:
            yield from documents.make(batch_of(values), segment)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Typed events by column of `model.schema` (`time` in ms since the epoch), as Arrow."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(event_schema()))
