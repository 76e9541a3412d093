"""What interpretation hands from one segment to the next: operations, runs, loops and logins that are going on, the kinds of environments, people."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from envtrail.errors import DamagedStoreError
from envtrail.interpret.loops import Alike
from envtrail.interpret.open_operations import KnownDone
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.people import KnownPeople
from envtrail.interpret.writes import OpenWrite
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.observation import FilesChanged
from envtrail.model.run import Run


class Going(Struct, frozen=True, kw_only=True):
    """What is going on when a segment begins."""

    runs: list[Run]
    ended: list[Run] = []
    """The newest that have ended: what they started may begin late."""
    loops: list[Alike] = []
    operations: list[OpenOperation] = []
    kinds: dict[str, str] = {}
    """Prefix → kind of the environments that are known."""
    logins: msgspec.Raw
    boots: msgspec.Raw
    """Both are of `sessions.Saved`."""
    imported: list[int] = []
    """Version 1: images of the log that was imported last whose end was not read."""
    logs: dict[str, list[int]] = {}
    """Of each log that was imported."""
    rested: list[FilesChanged] = []
    """The newest that logs recorded; their next part may go on in them."""
    people: KnownPeople = KnownPeople()
    writes: list[OpenWrite] = []
    done: KnownDone = KnownDone()
    boot_id: str | None


encode_going = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Going).decode


def decode_going(text: bytes | msgspec.Raw) -> Going:
    """What a segment took over from the one before.

    Raises:
        DamagedStoreError: it cannot be read.
    """
    try:
        return _decode(text)
    except UNDECODABLE as fault:
        raise DamagedStoreError(
            f"what a segment took over from the one before cannot be read: {fault}",
            hint="`envtrail verify` names all that is damaged",
        ) from None
