"""What the kernel wrote about an operation: its processes' events, and how they unfolded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from envtrail.model.operation import Operation
from envtrail.state.store import EventRow, Query, Store


class ExecStep(NamedTuple):
    """One exec below an operation's owner."""

    level: int
    """Below how many others."""
    pid: int
    argv: list[str]


class Process(NamedTuple):
    """One program of a session."""

    level: int
    """Below how many others."""
    time_ms: int
    pid: int
    image: int
    argv: list[str]
    exit_code: int | None
    """None while it runs, where its end was not seen, and where it became another program."""


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


def unfold(operation: Operation, events: Iterable[EventRow]) -> Iterator[ExecStep]:
    """Its processes as they began, each below its parent."""
    depth: dict[int | None, int] = {}
    for event in events:
        values = event.values
        if values["kind"] != "exec" or values["image"] is None:
            continue
        level = 0 if values["image"] == operation.image else depth.get(values["parent_image"], 0) + 1
        depth[values["image"]] = level
        yield ExecStep(level, values["pid"], values["argv"] or [values["exe"] or "?"])


def unfold_session(events: Iterable[EventRow]) -> list[Process]:
    """A session's programs as they began, each below its parent, with how they ended.

    Args:
        events: Of the session, oldest first.
    """
    depth: dict[int, int] = {}
    found: dict[int, Process] = {}
    for event in events:
        values = event.values
        image = values["image"]
        if image is None:
            continue
        if values["kind"] == "exec":
            above = values["parent_image"]
            depth[image] = depth[above] + 1 if above in depth else 0
            argv = values["argv"] or [values["exe"] or "?"]
            found[image] = Process(depth[image], values["time"], values["pid"], image, argv, None)
        elif values["kind"] == "exit" and image in found:
            found[image] = found[image]._replace(exit_code=values["exit_code"])
    return list(found.values())
