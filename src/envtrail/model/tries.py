"""How often somebody may guess: each wrong try of a key doubles its wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

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
        self._lock = Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def begin(self, keys: Sequence[tuple[str, Limit]]) -> float:
        """Count a try as wrong before it is checked: of many at once no more are checked than of as many in turn.

        Returns:
            How long it must wait; it is then not to be checked, and not counted. 0: check it, and report the result.
        """
        now = self._clock()
        with self._lock:
            wait_s = max((self._left_s(key, limit, now) for key, limit in keys), default=0.0)
            if wait_s <= 0:
                for key, _ in keys:
                    count, last = self._wrong.pop(key, (0, now))
                    self._wrong[key] = (count + 1 if now - last < _FORGET_S else 1, now)
                while len(self._wrong) > _MOST_KEYS:
                    self._wrong.popitem(last=False)
            return wait_s

    def forgive(self, keys: Sequence[tuple[str, Limit]]) -> None:
        """A try that was counted was not wrong."""
        with self._lock:
            for key, _ in keys:
                count, last = self._wrong.get(key, (0, 0.0))
                if count > 1:
                    self._wrong[key] = (count - 1, last)
                else:
                    self._wrong.pop(key, None)

    def note_right(self, keys: Sequence[tuple[str, Limit]]) -> None:
        """A try that was counted was right: its first key, the name, begins anew."""
        self.forgive(keys[1:])
        with self._lock:
            self._wrong.pop(keys[0][0], None)

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
    """Under which a try to sign in is counted; no address where many people share it."""
    return [(f"name {name}", _NAME), *([(f"address {address}", _ADDRESS)] if address else []), ("all", _ALL)]
