"""Limits of a service for each user: a rate, and a number at the same time."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from envtrail.errors import CannotRunError

_MOST_KEYS = 10_000


class Allowance:
    """A rate for each user; the unused amount accumulates up to a limit.

    Args:
        per_s: Amount added each second.
        most: Upper limit, and the amount that each user starts with.
        clock: Monotonic seconds.

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
        """Take an amount, if it is available.

        Returns:
            0: it is taken. Else the seconds until it is available; an amount above `most` never is, and takes all.
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
    """A number at the same time in total and for each user; the others wait for a limited time.

    Args:
        together: In total.
        each: For each user.
        wait_s: After this they are rejected.
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
                    f"the service answers the maximum number of such queries ({self._together}, {self._each} for each user)",
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
