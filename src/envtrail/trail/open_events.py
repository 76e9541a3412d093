"""Typed events of a segment while it is written: the rows that it has when it is sealed, as they become certain."""

from __future__ import annotations

import os
from collections import deque
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import pyarrow as pa

from envtrail.errors import DamagedStoreError
from envtrail.trail.active_segment import decode_header
from envtrail.trail.files import open_regular
from envtrail.trail.layout import HEADER, OBSERVATIONS, RECORDS
from envtrail.trail.parse import SegmentParser
from envtrail.trail.reader import Place, places_of, steps_of, whole_lines

_CHUNK_BYTES = 1 << 20
_MOST_ROWS = 20_000


class OpenEvents:
    """Rows from the beginning of a segment on, as far as they are certain and were not forgotten.

    A step is certain once something was observed at a later place: until then more may be observed at its own, which says more of
    its processes. It is on the disk before it is output, so that no power cut takes back what somebody has read. (Where a disk
    that is full takes a step back in the moment in which it is seen, whose parent a process of the step before is may be reported differently.)

    Args:
        folder: Of the segment; it may be moved and removed meanwhile.

    Raises:
        FileNotFoundError: it has just been moved or removed.
    """

    def __init__(self, folder: Path) -> None:
        within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with ExitStack() as files:
                header = decode_header(files.enter_context(_open(within, HEADER)).read())
                self._records = files.enter_context(_open(within, RECORDS))
                self._observations = files.enter_context(_open(within, OBSERVATIONS))
                self._files = files.pop_all()
        finally:
            os.close(within)
        self.number = header.number
        self.first_row = 0
        """The first that is not forgotten."""
        self.num_rows = 0
        """With those that are forgotten."""
        self._parser = SegmentParser(header)
        self._batches: deque[pa.RecordBatch] = deque()
        self._schema = self._parser.drain().schema
        self._offset = 0
        """Bytes of the records that were parsed."""
        self._seen = 0
        """Bytes of the observations that were."""
        self._looked = -1
        """Size of the observations when nothing more was certain."""

    def look(self, row: int = 0) -> None:
        """Parse what has become certain since the last time; some thousands of rows ahead, no more.

        Args:
            row: Those before it are not queried any more.

        Raises:
            DamagedStoreError: an observation cannot be read, or its records are not there.
        """
        self._forget(row)
        size = _CHUNK_BYTES
        while self.num_rows - row < _MOST_ROWS:
            written = os.fstat(self._observations.fileno()).st_size
            if written == self._looked:
                return
            lines = os.pread(self._observations.fileno(), size, self._seen)
            places = list(places_of(self.number, whole_lines(lines)))[:-1]
            if places:
                self._parse(places)
                self._forget(row)
            elif len(lines) == size:
                size *= 2  # what was appended at one place is larger
            else:
                self._looked = written

    def slice(self, start: int, count: int) -> pa.Table:
        """At most so many rows from `start` on; those before it are forgotten."""
        self._forget(start)
        return pa.Table.from_batches(self._batches, self._schema).slice(start - self.first_row, count)

    def close(self) -> None:
        """Give its files back."""
        self._files.close()

    def _forget(self, row: int) -> None:
        while self._batches and self.first_row + self._batches[0].num_rows <= row:
            self.first_row += self._batches.popleft().num_rows

    def _parse(self, places: list[Place]) -> None:
        os.fdatasync(self._records.fileno())
        os.fdatasync(self._observations.fileno())
        for place in places:
            wanted = place.offset - self._offset
            records = os.pread(self._records.fileno(), wanted, self._offset) if wanted > 0 else b""
            if len(records) != wanted:
                raise DamagedStoreError(
                    f"records of segment {self.number} are missing at {place.offset}",
                    hint="a power cut took them: `sudo systemctl restart envtrail` fixes it",
                )
            for step in steps_of(self.number, records, place):
                self._parser.push(step)
            self._offset = place.offset
            self._seen += place.size_bytes
        batch = self._parser.drain()
        if batch.num_rows:
            self._batches.append(batch)
            self.num_rows += batch.num_rows


def _open(within: int, name: str) -> FileIO:
    """Of the one folder, whatever stands under its name by now."""
    return FileIO(name, opener=lambda path, _: open_regular(path, within=within))
