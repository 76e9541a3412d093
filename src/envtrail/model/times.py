"""Moments as documents spell them."""

from __future__ import annotations

from datetime import datetime, timezone


def to_ms(text: str) -> int:
    """Milliseconds since the epoch of a moment in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def to_rfc3339(time_ms: int) -> str:
    """`2026-11-23T08:29:32.690Z` (RFC 3339, UTC, ms)."""
    moment = datetime.fromtimestamp(time_ms // 1000, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
