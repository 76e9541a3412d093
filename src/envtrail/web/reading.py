"""How pages read the trail: a store for each question, in a thread, so that a slow answer holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from envtrail.config import Config
from envtrail.store.opening import open_store
from envtrail.store.store import Store

_T = TypeVar("_T")


class Reading:
    """Opens the trail for one question at a time.

    Args:
        config: Where it is.
        uid: As whom it is read.
    """

    def __init__(self, config: Config, *, uid: int) -> None:
        self.config = config
        self._uid = uid

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The trail."""
        store = open_store(self.config, uid=self._uid)
        try:
            yield store
        finally:
            store.close()

    async def ask(self, question: Callable[[Store], _T]) -> _T:
        """One question, in a thread."""

        def answer() -> _T:
            with self.store() as store:
                return question(store)

        return await asyncio.to_thread(answer)
