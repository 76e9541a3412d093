"""How pages read the trail: a store for each question, in a thread, so that a slow answer holds up nobody."""

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
from envtrail.service.protocol import OnAsk
from envtrail.state.lookup import Incomplete, find_incomplete, need_known, resolve_names
from envtrail.state.office_hours import office_hours
from envtrail.state.store import Query, Store
from envtrail.web.figures import Counted, Figures
from envtrail.web.fleet import Fleet

_T = TypeVar("_T")


@dataclass(frozen=True)
class Found(Generic[_T]):
    """A listing, and what is to be said of it."""

    items: list[_T]
    fault: str | None
    """Of a name that is of nothing, or of several."""
    missing: Incomplete | None
    """What it may lack."""


class Reading:
    """Opens the trail for one question at a time.

    Args:
        config: Where it is.
        uid: Of this process.
        fleet: Of whose trails it reads instead of this machine's.
        identity: Who reads: they see what is theirs to see. Null: the page itself, for figures that are nobody's.
        on_ask: Told of each question.
        figures: Counts that are kept, for who sees everything.
        sees_all: They do.
        is_open: Whether they may still ask: a page that is left open outlives its session.
    """

    def __init__(
        self,
        config: Config,
        *,
        uid: int,
        fleet: Fleet | None = None,
        identity: Identity | None = None,
        on_ask: OnAsk | None = None,
        figures: Figures | None = None,
        sees_all: bool = False,
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self.config = config
        self._identity = identity
        self._uid = uid
        self.fleet = fleet
        self._on_ask = on_ask
        self._figures = figures or Figures(office_hours(config))
        self._sees_all = sees_all
        self._is_open = is_open

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The trail, as far as it is theirs to see.

        Raises:
            PermissionError: the session has ended.
            CannotRunError: it is a fleet's, where uids are of many machines and nothing is known to be theirs.
        """
        if not self._is_open():
            raise PermissionError("the session has ended")
        if self.fleet is not None:
            yield self._of_fleet(self.fleet)
            return
        store = open_store(self.config, uid=self._uid, on_behalf=self._identity, on_ask=self._on_ask)
        try:
            yield store
        finally:
            store.close()

    def _of_fleet(self, fleet: Fleet) -> Store:
        if self._identity is None or self._on_ask is None:
            return fleet.store()
        if not self._sees_all:
            raise CannotRunError("a fleet's page is for who may see everything", hint="the page of your own machine shows yours")
        return ViewedStore(
            fleet.store(), viewer_for(self._identity, is_separated=self.config.web.separate_administrators), self._on_ask
        )

    def fields(self, named: Sequence[tuple[str, str]], _: Callable[[str], str]) -> Sequence[tuple[str, str]]:
        """Filters of a page: of a fleet by machine too."""
        return named if self.fleet is None else [("host", _("Machine")), *named]

    @property
    def is_over(self) -> bool:
        """Their session has ended."""
        return not self._is_open()

    def count(self, store: Store, query: Query, now_ms: int) -> Counted:
        """What the panels are made of."""
        return self._figures.count(store, query, now_ms, is_all=self._sees_all)

    def may_see(self, item: Operation | Finding) -> bool:
        """Whether something that has just come is theirs to see; it is then seen."""
        if not self._is_open():
            return False
        if self.fleet is not None and not self._sees_all:
            return False
        whose = item.actor.number if isinstance(item, Operation) else item.uid
        if self._identity is not None and whose is not None and whose == self._identity.uid:
            return True
        if self._sees_all and self._on_ask is not None:
            self._on_ask("operations" if isinstance(item, Operation) else "findings", Query(), "")
        return self._sees_all

    async def find(self, question: Callable[[Store, Query], Iterable[_T]], query: Query) -> Found[_T]:
        """A listing, in a thread."""

        def answer(store: Store) -> Found[_T]:
            try:
                asked = resolve_names(store, query)
                items = list(question(store, asked))
                if not items:
                    need_known(store, asked)
            except InputError as fault:
                return Found([], fault.message, None)
            return Found(items, None, find_incomplete(store, asked))

        return await self.ask(answer)

    async def ask(self, question: Callable[[Store], _T]) -> _T:
        """One question, in a thread."""

        def answer() -> _T:
            with self.store() as store:
                return question(store)

        return await asyncio.to_thread(answer)
