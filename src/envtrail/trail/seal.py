"""The seal of a segment: what it held when it was closed, linked to the one before.

The seal's own hash is SHA-256 over its canonical JSON without `signature` and `anchors`; the next seal holds it as `previous`.
Records and observations are each a Merkle root over salted lines (`envtrail_core::seal`), so that a single one can be blanked later.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from envtrail.errors import DamagedStoreError
from envtrail.model.bounds import UNDECODABLE
from envtrail.trail.files import SEALED_MODE, read_regular
from envtrail.trail.layout import SEAL

SEAL_FORMAT = 2
"""1: the typed events were part of the chain."""
GENESIS = "0" * 64


class Part(Struct, frozen=True, kw_only=True):
    """One file's share in a seal."""

    bytes: int
    lines: int
    root: str
    seed: str


class EventsPart(Struct, frozen=True, kw_only=True):
    """The typed events of a segment of format 1."""

    rows: int
    sha256: str


class Seal(Struct, frozen=True, kw_only=True):
    """`seal.json`."""

    format: int
    number: int
    previous: str
    node: str
    created_ms: int
    sealed_ms: int
    first_ms: int | None
    last_ms: int | None
    first_entry: int
    entries: int
    records: Part
    observations: Part
    events: EventsPart | UnsetType = UNSET
    """Format 1 only. They are derived, and no evidence."""
    files: dict[str, str] = {}
    """SHA-256 of each file as it lies on disk; not part of the hash, so that blanking a line can rewrite a file."""
    signature: str | None = None
    anchors: list[str] = []

    @property
    def hash(self) -> str:
        """What the next seal holds as `previous`."""
        bare = msgspec.structs.replace(self, files={}, signature=None, anchors=[])
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file as it lies on disk, as `Seal.files` has it."""
    return hashlib.sha256(read_regular(path)).hexdigest()


def write_seal(folder: Path, seal: Seal) -> None:
    """Put a seal into its folder, in place of one that is there."""
    part = folder / f".{SEAL}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(seal, order="sorted")))
    part.chmod(SEALED_MODE)
    part.replace(folder / SEAL)


def read_seal(folder: Path) -> Seal:
    """The seal of a segment.

    Raises:
        OSError: there is none.
        DamagedStoreError: it is damaged.
    """
    try:
        return msgspec.json.decode(read_regular(folder / SEAL), type=Seal)
    except UNDECODABLE as fault:
        raise DamagedStoreError(f"`{folder / SEAL}` cannot be read: {fault}", hint="restore it from a copy") from None
