"""The cluster of a web UI that shows a fleet: users see all of it, and decisions are not possible."""

from __future__ import annotations

import threading
from collections.abc import Callable

from envtrail.state.store import Store


class Fleet:
    """For many threads: one connection for each.

    Args:
        connect: Makes one.
    """

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect
        self._of_thread = threading.local()

    def store(self) -> Store:
        """Not to be closed: the thread keeps it."""
        if not hasattr(self._of_thread, "store"):
            self._of_thread.store = self._connect()
        store: Store = self._of_thread.store
        return store
