"""Typed events of the sealed segments, as documents: any of them can be made again, so that only a place has to be remembered."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from envtrail.export.book import Parcel
from envtrail.export.ecs_events import event_documents
from envtrail.export.frame import Site
from envtrail.store.layout import EVENTS, Layout


class SegmentReader:
    """Reads on from a place: number of a segment, and a row in it.

    Args:
        layout: Of the trail.
        site: Whose documents they are.
    """

    def __init__(self, layout: Layout, site: Site) -> None:
        self._layout = layout
        self._documents = event_documents(site)
        self._number = -1
        self._table: pa.Table | None = None

    def read(self, number: int, row: int, limit: int, *, until: int | None = None) -> list[Parcel]:
        """Documents of the next rows; none where no segment is sealed that was not sent.

        Args:
            number: Of the segment, as `position` gave it; one that is gone is passed over.
            row: The first.
            limit: The most.
            until: Row before which to end.
        """
        at, start = self.position(number, row)
        table = self._open(at)
        if table is None:
            return []
        count = until - row if until is not None and (at, start) == (number, row) else limit
        return [
            Parcel(stream="event", id=id_, body=body)
            for batch in table.slice(start, count).to_batches()
            for id_, body in self._documents.make(batch, at)
        ]

    def has_rows(self, number: int, row: int) -> bool:
        """Whether there is anything to be read from a place on; no document is made."""
        number, row = self.position(number, row)
        table = self._open(number)
        return table is not None and row < table.num_rows

    def position(self, number: int, row: int) -> tuple[int, int]:
        """The same place, or the beginning of the next segment that has events where this one is at its end, or gone."""
        table = self._open(number)
        if table is not None and row < table.num_rows:
            return number, row
        for following in self._layout.numbers():
            if following > number:
                table = self._open(following)
                if table is not None and table.num_rows:
                    return following, 0
        return number, row

    def _open(self, number: int) -> pa.Table | None:
        if number != self._number:
            path = self._layout.segment(number) / EVENTS
            try:
                table = pq.read_table(path)
            except FileNotFoundError:
                return None
            # What is read from a disk may be anything; the core takes its word.
            table.validate(full=True)
            self._table = table
            self._number = number
        return self._table
