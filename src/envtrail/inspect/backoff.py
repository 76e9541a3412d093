"""What could not be read in time is read again later and later, so that nobody's folders take the time of everybody's."""

from __future__ import annotations

from collections import OrderedDict

_FIRST_S = 10.0
_LONGEST_S = 3600.0
_MOST_KNOWN = 10_000
_OWNER_WINDOW_S = 300.0
_OWNER_FAILURES = 3
"""So many of one owner's within the window, and all of theirs wait for the rest of it."""


class Backoff:
    """Failures of places and of their owners. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._owners: OrderedDict[int, list[float]] = OrderedDict()

    def note_failure(self, place: str, owner_uid: int | None, now_s: float) -> None:
        """A place could not be read: it took too long, or too much, or ended its reader."""
        times = self._places.get(place, (0, 0.0))[0] + 1
        self._places[place] = (times, now_s + min(_FIRST_S * 2 ** min(times - 1, 20), _LONGEST_S))
        self._places.move_to_end(place)
        _trim(self._places)
        if owner_uid:
            self._owners[owner_uid] = [*self._recent(owner_uid, now_s), now_s]
            self._owners.move_to_end(owner_uid)
            _trim(self._owners)

    def note_success(self, place: str) -> None:
        """It could be read."""
        self._places.pop(place, None)

    def place_wait_s(self, place: str, now_s: float) -> float:
        """How long a place has to wait; 0 where it is read at once."""
        return max(0.0, self._places.get(place, (0, 0.0))[1] - now_s)

    def owner_wait_s(self, owner_uid: int, now_s: float) -> float:
        """How long everything of an owner has to wait; root's never does, which is not one person's doing."""
        recent = self._recent(owner_uid, now_s)
        return recent[-_OWNER_FAILURES] + _OWNER_WINDOW_S - now_s if len(recent) >= _OWNER_FAILURES else 0.0

    def _recent(self, owner_uid: int, now_s: float) -> list[float]:
        return [at_s for at_s in self._owners.get(owner_uid, []) if now_s - at_s < _OWNER_WINDOW_S]


def _trim(known: OrderedDict[str, tuple[int, float]] | OrderedDict[int, list[float]]) -> None:
    while len(known) > _MOST_KNOWN:
        known.popitem(last=False)
