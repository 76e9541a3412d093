"""The access log: who looked at whose data in the web UI."""

from __future__ import annotations

from typing import Literal, Union

from msgspec import Struct

from envtrail.model.bounds import Line, TimeMs
from envtrail.model.identity import Identity
from envtrail.model.ids import make_ulid
from envtrail.model.times import bounded_ms


class AccessEntry(Struct, frozen=True, kw_only=True):
    """An access to another person's data."""

    id: str
    time_ms: int
    by: Identity
    what: str
    """`operations`, `runs`, `sessions`, `events`, `findings`, `requests` or `grants`."""
    user: str | None = None
    """Whose, by name or number; None: everybody's."""
    environment: str | None = None
    """In which environment only; None: in all."""
    item: str | None = None
    """One operation, run or environment by name; None: a list."""


class ReportedAccess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An access as a client reports it: the agent makes the id, and the bounds are checked when it is decoded."""

    time_ms: TimeMs
    by: Identity
    what: Literal["operations", "runs", "sessions", "events", "findings", "requests", "grants"]
    user: Union[Line, None] = None
    environment: Union[Line, None] = None
    item: Union[Line, None] = None


def access_entry_of(seen: ReportedAccess | AccessEntry, *, at_ms: int) -> AccessEntry:
    """An entry with the id that is derived from its content, whatever id it had.

    Args:
        seen: What was reported.
        at_ms: Time of arrival, used for the id when its own time is not a valid calendar time.
    """
    time_ms = seen.time_ms if seen.time_ms == bounded_ms(seen.time_ms) else at_ms
    id_ = make_ulid(time_ms, "look", seen.by.name, seen.what, seen.user or "", seen.environment or "", seen.item or "")
    return AccessEntry(
        id=id_,
        time_ms=seen.time_ms,
        by=seen.by,
        what=seen.what,
        user=seen.user,
        environment=seen.environment,
        item=seen.item,
    )


def make_access_entry(
    by: Identity, what: str, time_ms: int, *, user: str | None, environment: str | None, item: str | None
) -> AccessEntry:
    """A new entry."""
    made = AccessEntry(id="", time_ms=time_ms, by=by, what=what, user=user, environment=environment, item=item)
    return access_entry_of(made, at_ms=time_ms)
