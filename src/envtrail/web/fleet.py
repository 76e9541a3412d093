"""The cluster behind a page that shows a fleet: what is read of it is everybody's, and nothing is decided in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from envtrail.store.asked import OnAsk
from envtrail.store.store import Query, Store


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


class Noted:
    """A store whose questions are told of before they are answered.

    Args:
        store: What is asked.
        on_ask: Told: the method, its query, its text.
    """

    def __init__(self, store: Store, on_ask: OnAsk) -> None:
        self._store = store
        self._on_ask = on_ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._store, name)

        def ask(*words: Any, **more: Any) -> Any:
            query = next((word for word in words if isinstance(word, Query)), Query())
            self._on_ask(name, query, next((word for word in words if isinstance(word, str)), ""))
            return method(*words, **more)

        return ask
