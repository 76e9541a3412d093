"""Identities that are the same on rebuild, on import and on a second sending."""

from __future__ import annotations

import hashlib
from typing import NewType

from msgspec import Struct

OperationId = NewType("OperationId", str)
"""26 characters, written as a ULID: 48 bits of start time in ms, 80 bits of a hash."""
ImageId = NewType("ImageId", int)
"""One exec in a process: `time_ms << 20 | serial & 0xFFFFF` of its exec event (64 bits)."""

UNSET = 4294967295
"""What the kernel writes for an auid or a session that was never set."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


class EventId(Struct, frozen=True, order=True, kw_only=True):
    """The identity of an event: (node, time in ms, serial). Boot is an attribute, not identity."""

    node: str
    time_ms: int
    serial: int

    def __str__(self) -> str:
        return f"{self.node}@{self.time_ms // 1000}.{self.time_ms % 1000:03d}:{self.serial}"


def make_operation_id(event: EventId, prefix: str, *, kind: str = "operation") -> OperationId:
    """Derive the id of what began with `event` and touched `prefix`.

    References:
        https://github.com/ulid/spec (the spelling; the 80 bits are a hash here, so that a rebuild agrees)
    """
    return OperationId(make_ulid(event.time_ms, kind, event.node, str(event.time_ms), str(event.serial), prefix))


def make_ulid(time_ms: int, *parts: str) -> str:
    """A ULID of a moment whose 80 bits are a hash of the parts."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return _spell(((time_ms & (1 << 48) - 1) << 80) | int.from_bytes(digest[:10], "big"))


def lowest_id(time_ms: int) -> str:
    """Before every id of what began at that moment or later, and after every other one."""
    return _spell(max(0, time_ms) << 80)


def time_of(id_: str) -> int:
    """When what an id names began, in ms."""
    number = 0
    for letter in id_[:10]:
        number = number << 5 | _CROCKFORD.index(letter)
    return number


def _spell(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
