"""Times as people write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from envtrail.errors import UsageError
from envtrail.model.times import to_ms

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800, "month": 2592000, "year": 31536000}  # fmt: skip
_AGO = re.compile(r"^(\d+)\s*([a-z]+?)s?(?:\s+ago)?$")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parse_time(text: str, now_ms: int) -> int:
    """Ms since the epoch; days start at local midnight, times without a zone are local.

    Raises:
        UsageError: it is not a time.
    """
    words = text.strip().lower()
    now = datetime.fromtimestamp(now_ms / 1000).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if words in {"now", ""}:
        return now_ms
    if words in {"today", "yesterday"}:
        return _to_ms(midnight - timedelta(days=words == "yesterday"))
    if (day := words.removeprefix("last ")) in _DAYS:
        back = (now.weekday() - _DAYS.index(day)) % 7 or 7
        return _to_ms(midnight - timedelta(days=back))
    if (found := _AGO.match(words)) and found[2] in _UNITS:
        try:
            return _to_ms(now - timedelta(seconds=int(found[1]) * _UNITS[found[2]]))
        except OverflowError:
            return 0
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"`{text}` is not a time", hint='write "2h ago", "yesterday", "monday", "2026-11-20" or "2026-11-20 14:00"'
        ) from None
    return _to_ms(moment if moment.tzinfo else moment.astimezone())


def parse_until(text: str, now_ms: int) -> int:
    """A future time, in ms since the epoch: a span from now (`8h`, `30d`) or a date, meaning its end.

    Raises:
        UsageError: it is not a time, or it has passed.
    """
    words = text.strip().lower()
    if (found := _AGO.match(words)) and found[2] in _UNITS and not words.endswith("ago"):
        return now_ms + int(found[1]) * _UNITS[found[2]] * 1000
    until_ms = parse_time(text, now_ms)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", words):
        until_ms += 24 * 3600 * 1000
    if until_ms <= now_ms:
        raise UsageError(f"`{text}` has passed", hint="`8h`, `30d`, or a future date")
    return until_ms


def show_duration(started: str, ended: str | None) -> str:
    """Duration between two times as text; empty while it lasts."""
    if ended is None:
        return ""
    seconds = (to_ms(ended) - to_ms(started)) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _to_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
