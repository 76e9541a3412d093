"""What the kernel wrote about an operation: its processes' events, and how they unfolded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from envtrail.model.operation import Operation
from envtrail.store.store import EventRow, Query, Store


class Step(NamedTuple):
    """One exec below an operation's owner."""

    level: int
    """Below how many others."""
    pid: int
    argv: list[str]


def events_of(store: Store, operation: Operation, *, with_records: bool) -> Iterator[EventRow]:
    """The events between its beginning and its end that belong to its processes or are its evidence, oldest first."""
    times = [item.time_ms for item in operation.evidence]
    if not times:
        return
    wanted = {(item.time_ms, item.serial) for item in operation.evidence}
    members = {operation.image}
    for event in store.events(Query(since_ms=min(times), until_ms=max(times), oldest_first=True), with_records=with_records):
        values = event.values
        if values["kind"] == "exec" and values["parent_image"] in members:
            members.add(values["image"])
        if values["image"] in members or (values["time"], values["serial"]) in wanted:
            yield event


def unfold(operation: Operation, events: Iterable[EventRow]) -> Iterator[Step]:
    """Its processes as they began, each below its parent."""
    depth: dict[int | None, int] = {}
    for event in events:
        values = event.values
        if values["kind"] != "exec" or values["image"] is None:
            continue
        level = 0 if values["image"] == operation.image else depth.get(values["parent_image"], 0) + 1
        depth[values["image"]] = level
        yield Step(level, values["pid"], values["argv"] or [values["exe"] or "?"])
