"""The cluster behind a page that shows a fleet: what is read of it is everybody's, and nothing is decided in it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from envtrail.state.store import Store


class Fleet:
    """For many threads: a connection each.

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
