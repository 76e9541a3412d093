"""The contract of a destination for documents, and the wait after a failure that all destinations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from envtrail.documents.base import EcsDocument
from envtrail.errors import EnvtrailError
from envtrail.ship.ship_state import BulkItem, ShipState

_FIRST_WAIT_MS = 1_000


class Destination(ABC):
    """A cluster or a file; it records what it accepted in the ship state."""

    bulk_bytes: int
    """Size limit of one bulk."""
    _pause: Pause

    @property
    def fault(self) -> str | None:
        """The last failure; None since something was accepted."""
        return self._pause.fault

    @property
    def lasting(self) -> EnvtrailError | None:
        """The last failure that a retry cannot fix."""
        return self._pause.lasting

    @property
    def next_ms(self) -> int:
        """Earliest time of the next try, after a failure."""
        return self._pause.next_ms

    @abstractmethod
    def send(self, bulk_items: list[BulkItem], now_ms: int) -> None:
        """Accept these, from the outbox or from one segment; a failure is reported in `fault`, and they are offered again."""

    @abstractmethod
    def send_once(self, document: EcsDocument, now_ms: int) -> None:
        """Send a document that is useless later: it is not retried."""


class Pause:
    """The wait after a failure, longer with each consecutive one; recorded in the ship state.

    Args:
        ship_state: Where `elastic status` reads it.
        jitter: Between 0 and 1, a new value for each call.
        longest_ms: Upper limit of the wait.
    """

    def __init__(self, ship_state: ShipState, jitter: Callable[[], float], *, longest_ms: int) -> None:
        self._ship_state = ship_state
        self._jitter = jitter
        self._longest_ms = longest_ms
        self.next_ms = 0
        self.fault: str | None = None
        self.lasting: EnvtrailError | None = None

    def succeed(self, now_ms: int) -> None:
        """Something was accepted; called inside a transaction."""
        self._ship_state.keep("success_ms", now_ms)
        for name in ("fault", "failures", "next_ms"):
            self._ship_state.keep(name, None)
        self.fault = None
        self.lasting = None
        self.next_ms = 0

    def fail(
        self, fault: str, now_ms: int, *, least_ms: float = 0, at_once: bool = False, lasting: EnvtrailError | None = None
    ) -> None:
        """Nothing was accepted.

        Args:
            fault: What went wrong, and how to fix it.
            now_ms: Time of the failure.
            least_ms: Minimum wait that the server requested.
            at_once: A retry is useful immediately.
            lasting: The failure, when a retry cannot fix it.
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
