"""Logins of every machine in the trail: which sessions there were, whose, from where, until when (`envtrail_core::logins`)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from envtrail.core import Logins
from envtrail.errors import DamagedStoreError
from envtrail.model.run import Session

_decode = msgspec.json.Decoder(list[Session]).decode


class Login(NamedTuple):
    """Whose a session is, as it is known by now."""

    auid: int | None
    user: str | None
    """The name of the login uid; never the account that sudo or su changed to."""
    remote: str | None
    """The address it came from."""


class Saved(Struct, frozen=True, kw_only=True):
    """For the next segment."""

    logins: msgspec.Raw
    """Those that have not ended."""
    boots: msgspec.Raw
    """Node → times of its boots (ms), oldest first."""


class Sessions:
    """The newest logins; those that have ended are forgotten first.

    What a batch says of logins is learnt as far as its other rows are interpreted: `begin`, then `row` before each, then `take_rest`.

    Args:
        most: How many numbers are known, of all machines.
    """

    def __init__(self, most: int = 4096) -> None:
        self._logins = Logins(most)
        self.turn = self._logins.turn
        """What is read next does not follow what was read before: it is of another log."""
        self.row = 0
        """The row of the batch that is interpreted: what is found is known from those before it."""

    def begin(self, events: object, node: str, segment: int) -> None:
        """The events that are interpreted next; of this machine where they name none."""
        self.row = 0
        self._logins.begin(events, node, segment)

    def take_rest(self) -> list[Session]:
        """Learn from the rest of the batch.

        Returns:
            The sessions of which it says more than was known, each as it is now. Where a record may have said whose one is, as it was
            then too: each name counts, also one that the next record corrects, however many records are read at once.
        """
        self._logins.take_rest()
        return _decode(self._logins.take_given())

    def unplaced(self) -> int:
        """How many records say that a session was opened, which name none and of whose process no LOGIN was read."""
        return self._logins.unplaced()

    def find(self, node: str, number: int | None, auid: int | None, time_ms: int) -> Login | None:
        """The login that a process belongs to at a moment."""
        if number is None:
            return None
        self._logins.take_until(self.row)
        found = self._logins.find(node, number, auid, time_ms)
        return Login(*found) if found is not None else None

    def save(self) -> Saved:
        """What is going on, for the next segment."""
        return msgspec.json.decode(self._logins.save(), type=Saved)

    def restore(self, saved: Saved) -> None:
        """Take up what was going on.

        Raises:
            DamagedStoreError: it cannot be read.
        """
        try:
            self._logins.restore(msgspec.json.encode(saved).decode())
        except ValueError as fault:
            raise DamagedStoreError(
                f"what a segment took over from the one before cannot be read: {fault}",
                hint="`envtrail verify` names all that is damaged",
            ) from None
