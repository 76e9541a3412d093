"""Reads a trail while somebody else writes it: exactly what has been committed, segment after segment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from envtrail.errors import DamagedStoreError
from envtrail.trail.active_segment import DamagedHeaderError, decode_header
from envtrail.trail.files import open_regular, read_regular
from envtrail.trail.layout import HEADER, OBSERVATIONS, RECORDS, Layout
from envtrail.trail.reader import Committed, Step, begin_with, read_file, split_steps

_TRIES, _PAUSE_S = 100, 0.02
"""A segment is put aside within milliseconds."""


class Follower:
    """Steps from the beginning of a segment on.

    Args:
        layout: Of the trail.
        first: Number of that segment.
    """

    def __init__(self, layout: Layout, first: int) -> None:
        self._layout = layout
        self._number = first
        self._part: _Part | None = None
        self._offset = self._seen = self._entry = 0
        self._is_begun = False

    def steps(self, until: Committed) -> Iterator[Step]:
        """What has been committed since the last call; dropped evidence is passed over.

        Raises:
            DamagedStoreError: a segment cannot be read.
        """
        while self._number < until.position.segment:
            yield from self._read()
            self.close()
            self._number += 1
            self._offset = self._seen = self._entry = 0
        yield from self._read(until.position.offset, until.observations_bytes)

    def close(self) -> None:
        """Give the files back."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def _read(self, records_to: int | None = None, observations_to: int | None = None) -> Iterator[Step]:
        """What has not been read of a segment, to a place or to its end."""
        records, observations = self._texts(records_to, observations_to)
        steps = split_steps(self._number, records, observations, begin=self._offset, entry=self._entry)
        if not self._is_begun and (records or observations):
            # Of a segment that is still written, what was going on as it began is there or will be added.
            steps, self._is_begun = begin_with(self._number, steps, observations), True
        self._offset += len(records)
        self._seen += len(observations)
        for step in steps:
            self._entry = step.end.entry
            yield step

    def _texts(self, records_to: int | None, observations_to: int | None) -> tuple[bytes, bytes]:
        part = self._part = self._part or self._open()
        if part is None:
            folder = self._layout.segment(self._number)
            texts = read_file(folder, RECORDS), read_file(folder, OBSERVATIONS)
            return texts[0][self._offset : records_to], texts[1][self._seen : observations_to]
        return part.records.read(self._offset, records_to), part.observations.read(self._seen, observations_to)

    def _open(self) -> _Part | None:
        """The segment's files, where they lie now; None where it is sealed."""
        for _ in range(_TRIES):
            if self._layout.segment(self._number).exists():
                return None
            for folder in (self._layout.active, self._layout.sealing, self._layout.next_active):
                part = _open_part(folder, self._number)
                if part is not None:
                    return part
            time.sleep(_PAUSE_S)
        raise DamagedStoreError(
            f"segment {self._number} is not in `{self._layout.folder}`", hint="`envtrail verify` names all that is damaged"
        )


class _File:
    """A file of a segment without a seal; what it is stays the same when its folder is renamed or removed."""

    def __init__(self, within: int, name: str) -> None:
        self._descriptor = open_regular(name, within=within)

    def read(self, begin: int, end: int | None) -> bytes:
        """What lies between two places; None: to its end."""
        end = os.fstat(self._descriptor).st_size if end is None else end
        parts: list[bytes] = []
        while begin < end:
            part = os.pread(self._descriptor, end - begin, begin)
            if not part:
                raise DamagedStoreError(
                    f"{end - begin} bytes of the open segment are missing", hint="`envtrail verify` names all that is damaged"
                )
            parts.append(part)
            begin += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


class _Part(NamedTuple):
    """A segment without a seal."""

    records: _File
    observations: _File

    def close(self) -> None:
        """Give its files back."""
        self.records.close()
        self.observations.close()


def _open_part(folder: Path, number: int) -> _Part | None:
    with ExitStack() as stack:
        try:
            within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, within)
            if decode_header(read_regular(HEADER, within=within)).number != number:
                return None
            records = _File(within, RECORDS)
            opened = stack.enter_context(ExitStack())
            opened.callback(records.close)
            part = _Part(records, _File(within, OBSERVATIONS))
            opened.pop_all()
        except (FileNotFoundError, DamagedHeaderError):
            return None  # It is being made, or taken apart.
        return part
