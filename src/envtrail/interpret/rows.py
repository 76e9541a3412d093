"""The few events that interpretation looks at one by one; all others are passed over in the core."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TypeGuard

import msgspec
from msgspec import Struct, field

from envtrail import core
from envtrail.model.operation import Evidence


class PathName(Struct, frozen=True, gc=False):
    """A file of an event."""

    name: str | None = None
    nametype: str | None = None
    inode: int | None = None


class Row(Struct, kw_only=True, gc=False):
    """An event; its columns are those of `model.schema`."""

    node: str = ""
    time: int
    """In ms."""
    serial: int
    kind: str
    hint: str | None = None
    success: bool | None = None
    exit_code: int | None = None
    pid: int | None = None
    auid: int | None = None
    uid: int | None = None
    ses: int | None = None
    exe: str | None = None
    argv: list[str] | None = None
    cwd: str | None = None
    paths: list[PathName] | None = None
    words: dict[str, str] | None = field(default=None, name="fields")
    image: int | None = None
    complete: bool | None = None
    segment: int = 0
    """In which its records lie."""
    at: int = 0
    """Its place in the batch."""

    @property
    def fields(self) -> dict[str, str]:
        """What auditd added: the names of its uids."""
        return self.words or {}


class Exec(Row, kw_only=True, gc=False):
    """An exec that began an image."""

    pid: int
    image: int


def is_exec(row: Row) -> TypeGuard[Exec]:
    """Whether a row is an exec that succeeded, of which it is known what began where."""
    return row.kind == "exec" and row.pid is not None and row.image is not None and bool(row.argv) and row.success is not False


_EACH = ("node", "time", "serial", "kind", "pid")
_COLUMNS = {
    "exec": [*_EACH, "hint", "success", "auid", "uid", "ses", "exe", "argv", "cwd", "paths[0]", "fields", "image", "complete"],
    "exit": [*_EACH, "exit_code", "image"],
    "": [*_EACH, "paths", "image"],
}
"""What is read of each kind of event; `paths[0]` is the first of them, which is what was executed."""
_MEMBERS = {
    "fields": ["AUID", "UID"],
    "paths": list(PathName.__struct_encode_fields__),
}
_decode = msgspec.json.Decoder(list[Row]).decode


def interesting_rows(events: object, node: str, segment: int = 0, waited: AbstractSet[int] | None = None) -> list[Row]:
    """Rows that carry a tool's name, and ends in tracked trees; `node` is this machine's where none is recorded.

    Args:
        events: Of one segment; anything with `__arrow_c_array__`.
        node: Name of this machine.
        segment: The segment's number, for `segment` of each row.
        waited: Processes whose end is waited for; of others only what begins and ends here is given. None: the end of each is.
    """
    rows = _decode(core.interesting_rows(events, _COLUMNS, _MEMBERS, waited))
    for row in rows:
        row.segment = segment
        if not row.node:
            row.node = node
    return rows


def evidence_of(row: Row) -> Evidence:
    """Where the records of a row are."""
    return Evidence(segment=row.segment, serial=row.serial, time_ms=row.time)
