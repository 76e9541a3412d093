"""Shared by every command: the settings, the store, the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from envtrail.errors import CannotRunError

if TYPE_CHECKING:
    from envtrail.config import Config
    from envtrail.fleet.cluster import ClusterStore
    from envtrail.state.store import Store


class Context:
    """Created once for each call; settings are read on first use."""

    def __init__(
        self, *, data_dir: Path | None, config_file: Path | None, verbose: bool, store_urls: tuple[str, ...] = ()
    ) -> None:
        self._data_dir = data_dir
        self._store_urls = store_urls
        self._config_file = config_file
        self.verbose = verbose
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """Settings in force."""
        if self._config is None:
            from envtrail.config import load_config  # `--help` has no need of the settings

            flags = {"data_dir": str(self._data_dir.absolute())} if self._data_dir else {}
            config = load_config(file=self._config_file, flags=flags)
            self._config = config.replaced("--store", {"elastic.urls": list(self._store_urls)}) if self._store_urls else config
        return self._config

    @property
    def is_fleet(self) -> bool:
        """`--store` was given: a fleet's trails are read, not this machine's."""
        return bool(self._store_urls)

    @property
    def now_ms(self) -> int:
        """Wall clock in ms since the epoch."""
        return int(time.time() * 1000)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The trail, for reading: this machine's, or with `--store` a fleet's."""
        store = self.open_cluster() if self.is_fleet else self._open_trail()
        try:
            yield store
        finally:
            store.close()

    def _open_trail(self) -> Store:
        from envtrail.service.opening import open_store

        return open_store(self.config, uid=os.geteuid())

    def open_cluster(self) -> ClusterStore:
        """A connection to the fleet in `--store`; not thread-safe."""
        from envtrail.cli.elastic import client_of
        from envtrail.fleet.cluster import ClusterStore

        return ClusterStore(client_of(self.config), self.config.elastic.namespace, ", ".join(self._store_urls))

    def config_with(self, urls: tuple[str, ...]) -> Config:
        """The settings, with the servers given by `--url`."""
        return self.config.replaced("--url", {"elastic.urls": list(urls)}) if urls else self.config

    def need_machine(self, what: str) -> None:
        """Reject a command that only works on the machine itself.

        Raises:
            CannotRunError: a fleet is read.
        """
        if self.is_fleet:
            raise CannotRunError(f"{what} on its machine", hint="the same command there, without --store")

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar on a terminal, nothing elsewhere; called with (done, of)."""
        import sys

        if not sys.stderr.isatty():
            yield lambda _done, _total: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total or None)
