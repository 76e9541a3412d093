"""New items: one query at a time for all open pages, however many there are."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import Union

from envtrail.errors import EnvtrailError
from envtrail.model.finding import Finding
from envtrail.model.operation import Operation
from envtrail.state.store import Query
from envtrail.web.reading import Reading

News = Union[Operation, Finding]
_LOOK_S = 0.5
_MOST = 50
_KEPT = 1000
_IDLE_S = 10.0


class WebFeed:
    """Polls while at least one page is open.

    Args:
        own: The web UI's own reading; `theirs` decides what of it a user may see.
    """

    def __init__(self, own: Reading) -> None:
        self._own = own
        self._news: deque[tuple[int, News]] = deque(maxlen=_KEPT)
        self._seen: set[str] = set()
        self._number = 0
        self._read_s = 0.0
        self._polling: asyncio.Task[None] | None = None

    def begin(self) -> int:
        """Position at which a new reader starts."""
        self._read_s = time.monotonic()
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        return self._number

    def after(self, number: int, reading: Reading) -> Iterator[tuple[int, News]]:
        """New items since then that the user may see, oldest first, each with its number."""
        self.begin()
        for at, item in list(self._news):
            if at > number and reading.may_see(item):
                yield at, item

    async def _poll(self) -> None:
        is_first = not self._seen
        while time.monotonic() - self._read_s < _IDLE_S:
            try:
                operations, findings = await self._own.query(
                    lambda store: (list(store.operations(Query(limit=_MOST))), list(store.findings(Query(limit=_MOST))))
                )
            except EnvtrailError:
                await asyncio.sleep(_LOOK_S)
                continue
            found: list[News] = [item for item in operations if item.actor.method != "owner"]
            found += findings
            for item in reversed(found):
                if item.id not in self._seen and not is_first:
                    self._number += 1
                    self._news.append((self._number, item))
            self._seen = {item.id for item in found}
            is_first = False
            await asyncio.sleep(_LOOK_S)
        self._seen = set()
