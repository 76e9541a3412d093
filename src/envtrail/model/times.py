"""Moments as documents spell them."""

from __future__ import annotations

from datetime import datetime


def to_ms(text: str) -> int:
    """Milliseconds since the epoch of a moment in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
