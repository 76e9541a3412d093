"""How often somebody may guess: each wrong try of a key doubles its wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from msgspec import Struct

_MOST_KEYS = 10_000
_FORGET_S = 3600.0


class Limit(Struct, frozen=True, kw_only=True):
    """How one kind of key is slowed down."""

    free: int
    """Wrong tries without a wait."""
    longest_s: float
    """No wait is longer: who guesses may not lock somebody out for good."""


class Tries:
    """Remembers wrong tries by key (a name, an address, everybody).

    Args:
        clock: Seconds that only go on.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, keys: Sequence[tuple[str, Limit]]) -> float:
        """How long the next try must wait; 0: it may be made."""
        now = self._clock()
        return max((self._left_s(key, limit, now) for key, limit in keys), default=0.0)

    def note_wrong(self, keys: Sequence[tuple[str, Limit]]) -> None:
        """A try was wrong."""
        now = self._clock()
        for key, _ in keys:
            count, last = self._wrong.pop(key, (0, now))
            self._wrong[key] = (count + 1 if now - last < _FORGET_S else 1, now)
        while len(self._wrong) > _MOST_KEYS:
            self._wrong.popitem(last=False)

    def note_right(self, keys: Sequence[tuple[str, Limit]]) -> None:
        """A try was right: these keys begin anew."""
        for key, _ in keys:
            self._wrong.pop(key, None)

    def _left_s(self, key: str, limit: Limit, now: float) -> float:
        count, last = self._wrong.get(key, (0, now))
        if count < limit.free or now - last >= _FORGET_S:
            return 0.0
        wait = min(limit.longest_s, 2.0 ** min(1 + count - limit.free, 30))
        return max(0.0, wait - (now - last))


_NAME = Limit(free=5, longest_s=60)
_ADDRESS = Limit(free=10, longest_s=300)
_ALL = Limit(free=100, longest_s=30)


def keys_of(name: str, address: str) -> list[tuple[str, Limit]]:
    """Under which a try to come in is counted."""
    return [(f"name {name}", _NAME), (f"address {address}", _ADDRESS), ("all", _ALL)]
