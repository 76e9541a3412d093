"""Where documents go: what the shipper asks of a destination, and how each of them waits after a failure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from envtrail.documents.base import EcsDocument
from envtrail.errors import EnvtrailError
from envtrail.ship.ship_state import BulkItem, ShipState

_FIRST_WAIT_MS = 1_000


class Destination(ABC):
    """A cluster, or a file; it settles in the book what it has taken."""

    bulk_bytes: int
    """The most that it is given at once."""
    _pause: Pause

    @property
    def fault(self) -> str | None:
        """What went wrong last; null since something was taken."""
        return self._pause.fault

    @property
    def lasting(self) -> EnvtrailError | None:
        """What went wrong last, where waiting does not mend it."""
        return self._pause.lasting

    @property
    def next_ms(self) -> int:
        """Not before this, after a failure."""
        return self._pause.next_ms

    @abstractmethod
    def send(self, bulk_items: list[BulkItem], now_ms: int) -> None:
        """Take these, of the outbox or of one segment; what fails is told in `fault`, and is offered again."""

    @abstractmethod
    def send_once(self, document: EcsDocument, now_ms: int) -> None:
        """Take something that is worth nothing later."""


class Pause:
    """The wait after a failure, longer with each that follows; told in the book.

    Args:
        book: Where `elastic status` reads it.
        jitter: Between 0 and 1, anew for each call.
        longest_ms: However often it fails.
    """

    def __init__(self, ship_state: ShipState, jitter: Callable[[], float], *, longest_ms: int) -> None:
        self._ship_state = ship_state
        self._jitter = jitter
        self._longest_ms = longest_ms
        self.next_ms = 0
        self.fault: str | None = None
        self.lasting: EnvtrailError | None = None

    def succeed(self, now_ms: int) -> None:
        """Something was taken; called inside of a transaction."""
        self._ship_state.keep("success_ms", now_ms)
        for name in ("fault", "failures", "next_ms"):
            self._ship_state.keep(name, None)
        self.fault = None
        self.lasting = None
        self.next_ms = 0

    def fail(
        self, fault: str, now_ms: int, *, least_ms: float = 0, at_once: bool = False, lasting: EnvtrailError | None = None
    ) -> None:
        """Nothing was taken.

        Args:
            fault: What went wrong, and what mends it.
            now_ms: Of the failure.
            least_ms: As long as was asked for.
            at_once: Another try is of use now.
            lasting: What went wrong, where waiting does not mend it.
        """
        failures = self._ship_state.number("failures") + 1
        wait_ms = max(least_ms, min(self._longest_ms, _FIRST_WAIT_MS << min(failures - 1, 10)) * self._jitter())
        self.next_ms = now_ms + (0 if at_once else int(wait_ms))
        self.fault = fault
        self.lasting = lasting
        with self._ship_state.transaction():
            self._ship_state.keep("failures", failures)
            self._ship_state.keep("fault", fault)
            self._ship_state.keep("fault_ms", now_ms)
            self._ship_state.keep("next_ms", self.next_ms)
