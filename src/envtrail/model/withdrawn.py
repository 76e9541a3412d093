"""What was reported and is reported no longer."""

from __future__ import annotations

from msgspec import Struct


class Withdrawn(Struct, frozen=True, kw_only=True):
    """A row that was given before is reported again under another id, or is none after all: more of its log has been read."""

    kind: str
    """`operation` or `run`."""
    id: str
