"""Sealing: an open segment becomes an immutable folder, linked to the one before."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pyarrow as pa
from msgspec import UNSET

from envtrail.core import merkle_root
from envtrail.model.observation import decode_entry
from envtrail.trail.active_segment import DamagedHeaderError, SegmentHeader, decode_header, read_header, write_header
from envtrail.trail.files import GROUP_ENTERS, SEALED_MODE, allow_group, read_regular
from envtrail.trail.layout import EVENTS, HEADER, OBSERVATIONS, RECORDS, ZST, ZSTD_LEVEL, Layout, sync_folder
from envtrail.trail.parse import parse_segment
from envtrail.trail.reader import read_file, whole_lines
from envtrail.trail.seal import GENESIS, SEAL_FORMAT, Part, Seal, file_digest, read_seal, write_seal
from envtrail.trail.typed import write_events


def seal_folder(layout: Layout, source: Path) -> Seal:
    """Seal `source` (a former folder of the open segment) and remove it. May be repeated after a crash at any point."""
    header = decode_header(read_regular(source / HEADER))
    target = layout.segment(header.number)
    if not target.exists():
        part = layout.segments / f".part-{header.number:06d}"
        shutil.rmtree(part, ignore_errors=True)
        try:
            _build(layout, source, header, part)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(part)
        part.rename(target)
        sync_folder(layout.segments)
    seal = read_seal(target)
    for following in (layout.active, layout.next_active):  # The latter, where its writer was killed as it put `source` aside.
        _link(following, seal)
    # Renamed before it is taken apart: a crash in between leaves nothing that looks like a segment.
    source.rename(layout.sealed)
    shutil.rmtree(layout.sealed)
    return seal


def _link(folder: Path, seal: Seal) -> None:
    """The segment that was opened after it holds the hash of its seal, as soon as there is one. What it holds already stays."""
    with suppress(DamagedHeaderError):
        header = read_header(folder)
        if header is not None and header.number == seal.number + 1 and header.previous is UNSET:
            write_header(folder, msgspec.structs.replace(header, previous=seal.hash))


def _build(layout: Layout, source: Path, header: SegmentHeader, part: Path) -> None:
    import pyarrow.compute as pc  # a tenth of a second, which a command that seals nothing need not spend

    part.mkdir(mode=0o750)
    allow_group(part, GROUP_ENTERS)
    records = whole_lines(read_file(source, RECORDS))
    observations = whole_lines(read_file(source, OBSERVATIONS))
    events = parse_segment(header, records, observations)
    _compress(records, part / (RECORDS + ZST))
    _compress(observations, part / (OBSERVATIONS + ZST))
    write_events(part / EVENTS, events, header.hints)
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
        files={path.name: file_digest(path) for path in sorted(part.iterdir())},
    )
    write_seal(part, seal)
    for path in part.iterdir():
        path.chmod(SEALED_MODE)
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def _part(data: bytes) -> Part:
    seed = os.urandom(32)
    root, lines = merkle_root(data, seed)
    return Part(bytes=len(data), lines=lines, root=root.hex(), seed=seed.hex())


def _compress(data: bytes, path: Path) -> None:
    path.write_bytes(pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(data, asbytes=True))
