"""What comes now: one question a moment for all pages that are open, however many there are."""

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
    """Looks while somebody reads.

    Args:
        own: The page's own reading: what of it somebody may see is asked of `theirs`.
    """

    def __init__(self, own: Reading) -> None:
        self._own = own
        self._news: deque[tuple[int, News]] = deque(maxlen=_KEPT)
        self._seen: set[str] = set()
        self._number = 0
        self._read_s = 0.0
        self._looking: asyncio.Task[None] | None = None

    def begin(self) -> int:
        """Where somebody who comes now begins to read."""
        self._read_s = time.monotonic()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return self._number

    def after(self, number: int, reading: Reading) -> Iterator[tuple[int, News]]:
        """What has come since, as far as it is theirs to see, oldest first, each with its number."""
        self.begin()
        for at, item in list(self._news):
            if at > number and reading.may_see(item):
                yield at, item

    async def _look(self) -> None:
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
