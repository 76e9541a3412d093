"""Sealing: an open segment becomes an immutable folder, linked to the one before.

The seal's own hash is SHA-256 over its canonical JSON without `signature` and `anchors`; the next seal holds it as `previous`.
Records and observations are each a Merkle root over salted lines (`envtrail_core::seal`), so that a single one can be blanked later.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from envtrail.core import merkle_root
from envtrail.model.observation import decode_entry
from envtrail.store.hot import HotHeader, decode_header
from envtrail.store.layout import EVENTS, HEADER, OBSERVATIONS, RECORDS, SEAL, ZST, Layout, sync_folder
from envtrail.store.parse import parse_segment
from envtrail.store.reader import read_file, whole_lines

SEAL_FORMAT = 1
GENESIS = "0" * 64
# Level 12 makes a segment about as small as 19 does, at a fifth of the CPU (docs/store.md has the figures).
_ZSTD_LEVEL = 12


class Part(Struct, frozen=True, kw_only=True):
    """One file's share in a seal."""

    bytes: int
    lines: int
    root: str
    seed: str


class EventsPart(Struct, frozen=True, kw_only=True):
    """The typed events; they can be made again from the records."""

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
    events: EventsPart
    files: dict[str, str] = {}
    """SHA-256 of each file as it lies on disk; not part of the hash, so that blanking a line can rewrite a file."""
    signature: str | None = None
    anchors: list[str] = []

    @property
    def hash(self) -> str:
        """What the next seal holds as `previous`."""
        bare = msgspec.structs.replace(self, files={}, signature=None, anchors=[])
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def read_seal(folder: Path) -> Seal:
    """The seal of a segment.

    Raises:
        OSError: there is none.
        msgspec.DecodeError: it is damaged.
    """
    return msgspec.json.decode((folder / SEAL).read_bytes(), type=Seal)


def seal_folder(layout: Layout, source: Path) -> Seal:
    """Seal `source` (a former hot folder) and remove it. May be repeated after a crash at any point."""
    header = decode_header((source / HEADER).read_bytes())
    target = layout.segment(header.number)
    if not target.exists():
        part = layout.segments / f".part-{header.number:06d}"
        shutil.rmtree(part, ignore_errors=True)
        try:
            _build(layout, source, header, part)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(target)
        sync_folder(layout.segments)
    # Renamed before it is taken apart: a crash in between leaves nothing that looks like a segment.
    source.rename(layout.sealed)
    shutil.rmtree(layout.sealed)
    return read_seal(target)


def _build(layout: Layout, source: Path, header: HotHeader, part: Path) -> None:
    part.mkdir(mode=0o700)
    records = whole_lines(read_file(source, RECORDS))
    observations = whole_lines(read_file(source, OBSERVATIONS))
    events = parse_segment(header, records, observations)
    _compress(records, part / (RECORDS + ZST))
    _compress(observations, part / (OBSERVATIONS + ZST))
    pq.write_table(pa.Table.from_batches([events]), part / EVENTS, compression="zstd", compression_level=_ZSTD_LEVEL)
    lines = observations.splitlines()
    times = events.column("time").cast(pa.int64())
    previous = [number for number in layout.numbers() if number < header.number]
    seal = Seal(
        format=SEAL_FORMAT,
        number=header.number,
        previous=read_seal(layout.segment(previous[-1])).hash if previous else GENESIS,
        node=header.node,
        created_ms=header.created_ms,
        sealed_ms=int(time.time() * 1000),
        first_ms=pc.min(times).as_py(),
        last_ms=pc.max(times).as_py(),
        first_entry=decode_entry(lines[0]).number if lines else header.first_entry,
        entries=len(lines),
        records=_part(records),
        observations=_part(observations),
        events=EventsPart(rows=events.num_rows, sha256=_digest(part / EVENTS)),
        files={path.name: _digest(path) for path in sorted(part.iterdir())},
    )
    (part / SEAL).write_bytes(msgspec.json.format(msgspec.json.encode(seal, order="sorted")))
    for path in part.iterdir():
        path.chmod(0o400)
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _part(data: bytes) -> Part:
    seed = os.urandom(32)
    root, lines = merkle_root(data, seed)
    return Part(bytes=len(data), lines=lines, root=root.hex(), seed=seed.hex())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compress(data: bytes, path: Path) -> None:
    path.write_bytes(pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data, asbytes=True))
