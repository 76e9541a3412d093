"""How pages read the trail: a store for each query, in a thread, so that a slow answer delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from envtrail.config import Config
from envtrail.errors import CannotRunError, InputError
from envtrail.model.finding import Finding
from envtrail.model.identity import Identity
from envtrail.model.operation import Operation
from envtrail.service.authorization import ViewedStore, viewer_for
from envtrail.service.opening import open_store
from envtrail.service.protocol import OnQuery
from envtrail.state.lookup import Incomplete, find_incomplete, need_known, resolve_names
from envtrail.state.office_hours import read_office_hours
from envtrail.state.store import Query, Store
from envtrail.web.figures import CachedCounts, Counted
from envtrail.web.fleet import Fleet

_T = TypeVar("_T")


@dataclass(frozen=True)
class Found(Generic[_T]):
    """A listing, with messages about it."""

    items: list[_T]
    fault: str | None
    """A name that matches nothing, or more than one item."""
    missing: Incomplete | None
    """Why it may be incomplete."""


class Reading:
    """Opens the trail for one query at a time.

    Args:
        config: For the trail.
        uid: Of this process.
        fleet: Read this fleet's trails instead of this machine's.
        identity: Restricts the result to what they may see. None: the web UI itself, for figures that belong to nobody.
        on_query: Called with each query.
        figures: Cached counts, for users who see everything.
        sees_all: The user sees everything.
        is_open: Whether the session is still valid: an open page outlives it.
    """

    def __init__(
        self,
        config: Config,
        *,
        uid: int,
        fleet: Fleet | None = None,
        identity: Identity | None = None,
        on_query: OnQuery | None = None,
        figures: CachedCounts | None = None,
        sees_all: bool = False,
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self.config = config
        self._identity = identity
        self._uid = uid
        self.fleet = fleet
        self._on_query = on_query
        self._figures = figures or CachedCounts(read_office_hours(config))
        self._sees_all = sees_all
        self._is_open = is_open

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The trail, restricted to what the user may see.

        Raises:
            PermissionError: the session has ended.
            CannotRunError: it is a fleet's, where uids belong to many machines and nothing is known to be the user's.
        """
        if not self._is_open():
            raise PermissionError("the session has ended")
        if self.fleet is not None:
            yield self._of_fleet(self.fleet)
            return
        store = open_store(self.config, uid=self._uid, on_behalf=self._identity, on_query=self._on_query)
        try:
            yield store
        finally:
            store.close()

    def _of_fleet(self, fleet: Fleet) -> Store:
        if self._identity is None or self._on_query is None:
            return fleet.store()
        if not self._sees_all:
            raise CannotRunError(
                "a fleet is shown only to users who may see everything", hint="the web UI of your own machine shows your data"
            )
        return ViewedStore(
            fleet.store(), viewer_for(self._identity, is_separated=self.config.web.separate_administrators), self._on_query
        )

    def fields(self, named: Sequence[tuple[str, str]], _: Callable[[str], str]) -> Sequence[tuple[str, str]]:
        """Filters of a page; for a fleet also by machine."""
        return named if self.fleet is None else [("host", _("Machine")), *named]

    @property
    def is_over(self) -> bool:
        """The user's session has ended."""
        return not self._is_open()

    def count(self, store: Store, query: Query, now_ms: int) -> Counted:
        """The counts of the panels."""
        return self._figures.count(store, query, now_ms, is_all=self._sees_all)

    def may_see(self, item: Operation | Finding) -> bool:
        """Whether the user may see a new item; this counts as access to it."""
        if not self._is_open():
            return False
        if self.fleet is not None and not self._sees_all:
            return False
        whose = item.actor.number if isinstance(item, Operation) else item.uid
        if self._identity is not None and whose is not None and whose == self._identity.uid:
            return True
        if self._sees_all and self._on_query is not None:
            self._on_query("operations" if isinstance(item, Operation) else "findings", Query(), "")
        return self._sees_all

    async def find(self, question: Callable[[Store, Query], Iterable[_T]], query: Query) -> Found[_T]:
        """A listing, in a thread."""

        def answer(store: Store) -> Found[_T]:
            try:
                resolved = resolve_names(store, query)
                items = list(question(store, resolved))
                if not items:
                    need_known(store, resolved)
            except InputError as fault:
                return Found([], fault.message, None)
            return Found(items, None, find_incomplete(store, resolved))

        return await self.query(answer)

    async def query(self, question: Callable[[Store], _T]) -> _T:
        """One query, in a thread."""

        def answer() -> _T:
            with self.store() as store:
                return question(store)

        return await asyncio.to_thread(answer)
