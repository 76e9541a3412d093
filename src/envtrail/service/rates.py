"""What one of many may take of a service: so much a second, so many at once."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from envtrail.errors import CannotRunError

_MOST_KEYS = 10_000


class Allowance:
    """So much a second for each, and what was not taken adds up to a bound.

    Args:
        per_s: What comes back each second.
        most: What adds up at most, and what each begins with.
        clock: Seconds that only go on.

    References:
        https://en.wikipedia.org/wiki/Token_bucket
    """

    def __init__(self, *, per_s: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, amount: float) -> float:
        """Take an amount, if it is there.

        Returns:
            0: it is taken. Else in how many seconds it will be there; more than `most` is there never, and needs all of it.
        """
        amount = min(amount, self._most)
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(key, (self._most, now))
            left = min(self._most, left + (now - at) * self._per_s)
            is_there = left >= amount
            self._left[key] = (left - amount if is_there else left, now)
            if len(self._left) > _MOST_KEYS:
                self._left.popitem(last=False)
        return 0.0 if is_there else (amount - left) / self._per_s


class Turns:
    """So many at once in all, so many of each; the others wait for a while.

    Args:
        together: In all.
        each: Of one.
        wait_s: Then they are sent away.
    """

    def __init__(self, *, together: int, each: int, wait_s: float) -> None:
        self._together = together
        self._each = each
        self._wait_s = wait_s
        self._taken: Counter[Hashable] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[None]:
        """Hold a turn.

        Raises:
            CannotRunError: none became free in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(key), self._wait_s):
                raise CannotRunError(
                    f"the service answers as many such queries as it may ({self._together}, of one user {self._each})",
                    hint="try again when they have ended",
                )
            self._taken[key] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]
                self._changed.notify_all()

    def _is_free(self, key: Hashable) -> bool:
        return self._taken[key] < self._each and sum(self._taken.values()) < self._together
