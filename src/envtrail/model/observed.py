"""What every observation has."""

from __future__ import annotations

from msgspec import Struct


class Observed(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A fact with its moment."""

    time_ms: int
    """When it was observed (UTC)."""
