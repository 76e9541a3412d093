"""Typed events as documents: any of them can be made again, so only a position has to be stored."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa

from envtrail.documents.base import Site
from envtrail.documents.ecs_events import event_documents
from envtrail.ship.ship_state import BulkItem
from envtrail.trail.active_segment import read_header
from envtrail.trail.layout import Layout
from envtrail.trail.open_events import OpenEvents
from envtrail.trail.typed import read_events


class SegmentReader:
    """Reads on from a position: number of a segment, and a row in it. The open segment is read as far as its rows are final.

    Args:
        layout: Of the trail.
        site: Settings that apply to the documents.
    """

    def __init__(self, layout: Layout, site: Site) -> None:
        self._layout = layout
        self._documents = event_documents(site)
        self._number = -1
        self._table: pa.Table | None = None
        self._open: OpenEvents | None = None

    def read(self, number: int, row: int, limit: int, *, until: int | None = None) -> list[BulkItem]:
        """Documents of the next rows; empty when there are no more yet.

        Args:
            number: Of the segment, as `position` returned it; a deleted one is skipped.
            row: The first; earlier ones are not read again.
            limit: The maximum.
            until: Row before which to stop.
        """
        at, start = self.position(number, row)
        rows = self._rows(at, start)
        if rows is None:
            return []
        count = until - row if until is not None and (at, start) == (number, row) else limit
        return [
            BulkItem(stream="event", id=id_, body=body)
            for batch in rows.slice(start, count).to_batches()
            for id_, body in self._documents.make(batch, at)
        ]

    def has_rows(self, number: int, row: int) -> bool:
        """Whether there is anything to read from a position on; no document is made."""
        number, row = self.position(number, row)
        rows = self._rows(number, row)
        return rows is not None and row < rows.num_rows

    def position(self, number: int, row: int) -> tuple[int, int]:
        """The same position; or the start of the next segment with events, when this one is sealed and read to its end, or deleted."""
        rows = self._rows(number, row)
        if isinstance(rows, OpenEvents) or (rows is not None and row < rows.num_rows):
            return number, row
        for following in self._numbers():
            if following > number:
                rows = self._rows(following, 0)
                if isinstance(rows, OpenEvents) or (rows is not None and rows.num_rows):
                    return following, 0
        return number, row

    def close(self) -> None:
        """Release the open segment."""
        if self._open is not None:
            self._open.close()
            self._open = None

    # A segment is open, then set aside, then sealed: checked in this order, it is found at any stage.

    def _numbers(self) -> list[int]:
        unsealed = [read_header(folder) for folder in (self._layout.active, self._layout.sealing)]
        return sorted({header.number for header in unsealed if header is not None} | {*self._layout.numbers()})

    def _rows(self, number: int, row: int) -> pa.Table | OpenEvents | None:
        """Reader of a segment, from a row on; None when it was deleted, or does not exist yet."""
        if number == self._number:
            return self._table
        if not self._layout.segment(number).exists():
            opened = self._unsealed(number, row)
            if opened is not None:
                opened.look(row)
                return opened
        return self._sealed(number)

    def _unsealed(self, number: int, row: int) -> OpenEvents | None:
        if self._open is not None and self._open.number == number and self._open.first_row <= row:
            return self._open
        for folder in (self._layout.active, self._layout.sealing):
            header = read_header(folder)
            if header is not None and header.number == number:
                with suppress(FileNotFoundError):
                    opened = OpenEvents(folder)
                    if opened.number == number:
                        self.close()
                        self._open = opened
                        return opened
                    opened.close()
        return None

    def _sealed(self, number: int) -> pa.Table | None:
        if self._open is not None and self._open.number == number:
            self.close()
        try:
            table = read_events(self._layout, number)
        except FileNotFoundError:
            return None
        # Data read from a disk may be corrupt; the core trusts it.
        table.validate(full=True)
        self._number, self._table = number, table
        return table
