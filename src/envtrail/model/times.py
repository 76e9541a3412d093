"""Moments as documents spell them, and as people read them."""

from __future__ import annotations

from datetime import datetime, timezone


def to_ms(text: str) -> int:
    """Milliseconds since the epoch of a moment in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def to_rfc3339(time_ms: int) -> str:
    """`2026-11-23T08:29:32.690Z` (RFC 3339, UTC, ms)."""
    moment = datetime.fromtimestamp(time_ms // 1000, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def show_ms(time_ms: int) -> str:
    """Ms since the epoch → local time of this machine with its offset."""
    return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def show_time(text: str) -> str:
    """RFC 3339 → local time of this machine with its offset."""
    return show_ms(to_ms(text))
