"""Who looked at whose data: the page's own trail."""

from __future__ import annotations

from msgspec import Struct

from envtrail.model.identity import Identity
from envtrail.model.ids import make_ulid


class Look(Struct, frozen=True, kw_only=True):
    """Somebody saw what is not their own."""

    id: str
    time_ms: int
    by: Identity
    what: str
    """`operations`, `runs`, `sessions`, `events`, `findings`, `requests` or `grants`."""
    user: str | None = None
    """Whose, by name or number; null: everybody's."""
    environment: str | None = None
    """In which environment only; null: in all."""
    item: str | None = None
    """One operation, run or environment by name; null: a list."""


def make_look(by: Identity, what: str, time_ms: int, *, user: str | None, environment: str | None, item: str | None) -> Look:
    """Its id follows from what it is."""
    id_ = make_ulid(time_ms, "look", by.name, what, user or "", environment or "", item or "")
    return Look(id=id_, time_ms=time_ms, by=by, what=what, user=user, environment=environment, item=item)
