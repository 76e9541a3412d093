"""Hours of the week: when a rule holds, and what is outside office hours."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from msgspec import Struct

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([0-9]{2}):([0-9]{2})-(?:24:00|([0-9]{2}):([0-9]{2}))")


class When(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The moment at which the operation began."""

    days: list[str] = []
    """`mon`, or a span: `mon-fri`."""
    hours: list[str] = []
    """`09:00-18:00`; `22:00-06:00` goes over midnight."""
    zone: str = "UTC"
    """An IANA name; empty: this machine's."""
    holidays: list[date] = []
    """Days on which it does not hold, whatever the rest says."""

    @property
    def place(self) -> ZoneInfo | None:
        """The zone; None: this machine's.

        Raises:
            ValueError: this machine knows none of this name.
        """
        return parse_zone(self.zone) if self.zone else None

    def holds_at(self, time_ms: int) -> bool:
        """Whether a moment lies within."""
        moment = datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).astimezone(self.place)
        if moment.date() in self.holidays or (self.days and moment.weekday() not in parse_days(self.days)):
            return False
        if not self.hours:
            return True
        now = moment.time()
        spans = [parse_hours(word) for word in self.hours]
        return any(begin <= now < end if begin < end else now >= begin or now < end for begin, end in spans)


def parse_days(words: list[str]) -> frozenset[int]:
    """Numbers of days, Monday is 0.

    Raises:
        ValueError: a word is no day and no span of days.
    """
    found: set[int] = set()
    for word in words:
        first, dash, last = word.lower().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"`{word}` is no day; {', '.join(DAYS)} or a span like `mon-fri`")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update(range(begin, end + 1) if begin <= end else [*range(begin, 7), *range(end + 1)])
    return frozenset(found)


def parse_hours(word: str) -> tuple[time, time]:
    """Begin and end of a span of hours.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.fullmatch(word)
    if found is None:
        raise ValueError(f"`{word}` is not a span of hours like `09:00-18:00`")
    try:
        return time(int(found[1]), int(found[2])), time(int(found[3] or 0), int(found[4] or 0))
    except ValueError:
        raise ValueError(f"`{word}` is not a span of hours like `09:00-18:00`") from None


@lru_cache(maxsize=64)
def parse_zone(name: str) -> ZoneInfo:
    """A time zone.

    Raises:
        ValueError: this machine knows none of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"`{name}` is no time zone that this machine knows; `Europe/Berlin`, `Asia/Shanghai`, `UTC`") from None
