"""Moments as documents spell them, and as people read them."""

from __future__ import annotations

from datetime import date, datetime, timezone
from functools import lru_cache

EARLIEST_MS = -62_135_596_800_000
"""The beginning of the year 1."""
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999, the last that RFC 3339 and `datetime` can write."""
_EPOCH = date(1970, 1, 1).toordinal()
_CLOCK = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)]


def to_ms(text: str) -> int:
    """Milliseconds since the epoch of a moment in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def bounded_ms(time_ms: int) -> int:
    """The nearest moment that a calendar has: what others wrote may be any number."""
    return time_ms if EARLIEST_MS <= time_ms <= LATEST_MS else min(max(time_ms, EARLIEST_MS), LATEST_MS)


def to_rfc3339(time_ms: int) -> str:
    """`2026-11-23T08:29:32.690Z` (RFC 3339, UTC, ms); a number that is no such moment is written as the nearest one that is."""
    second, ms = divmod(bounded_ms(time_ms), 1000)
    day, second = divmod(second, 86_400)
    return f"{_date(day)}T{_CLOCK[second // 60]}:{second % 60:02d}.{ms:03d}Z"


@lru_cache(256)
def _date(day: int) -> str:
    """Much of what is written down happened on the same days."""
    return date.fromordinal(_EPOCH + day).isoformat()


def show_ms(time_ms: int) -> str:
    """Ms since the epoch → local time of this machine with its offset; a number that is no moment is shown as it is."""
    if time_ms != bounded_ms(time_ms):
        return f"{time_ms} ms"
    try:
        return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (OverflowError, ValueError):  # a day that begins or ends outside, in this zone
        return to_rfc3339(time_ms)


def show_time(text: str) -> str:
    """RFC 3339 → local time of this machine with its offset."""
    return show_ms(to_ms(text))
