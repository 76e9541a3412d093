"""Where environments are and what is in them: looked for beside the loop, read a little at each turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from envtrail.agent.build import Opened
from envtrail.agent.file_changes import roots_of
from envtrail.agent.suspects import Suspects
from envtrail.agent.upkeep import RuleKeeper
from envtrail.agent.world import observe_packages, observe_place, read_packages
from envtrail.config import Config
from envtrail.core import FileGroup, FileWatch
from envtrail.environments.baseline import read_baseline
from envtrail.environments.find import find_environments, identify
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.observation import Observation, RulesApplied

_READING_S = 0.1
_MOVED_INTERVAL_MS = 5_000


class Survey:
    """Looking for environments is the only work beside the loop.

    Args:
        config: Everything.
        opened: The trail.
        rules: Follow where environments are.
        on_reading: Told of the first reading of what is in the environments: done, and of how many.
    """

    def __init__(self, config: Config, opened: Opened, rules: RuleKeeper, *, on_reading: Callable[[int, int], None]) -> None:
        self._config = config
        self._opened = opened
        self._pipeline = opened.pipeline
        self._rules = rules
        self._on_reading = on_reading
        self._to_read = 0
        self._searcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="find-environments")
        self._search: Future[list[Environment]] | None = None
        self._unread: list[Environment] = []
        self._without_past: set[str] = set()
        self._suspects = Suspects()
        self._files: FileWatch | None = None
        self._due: dict[str, int] = {"search": int(time.time() * 1000)}

    def begin(self, environments: list[Environment], *, with_past: bool) -> None:
        """Take the environments that were found first; `with_past` reads what they tell of the time before the trail."""
        self._without_past = {environment.prefix for environment in environments} if with_past else set()
        self._unread = list(environments)
        self._to_read = len(environments)
        self._watch_files(environments)

    def search_soon(self) -> None:
        """Look for environments at the next turn."""
        self._due["search"] = 0

    def read_files(self) -> list[FileGroup]:
        """What was changed below the environments since the last call."""
        return self._files.read() if self._files is not None else []

    def take_overflows(self) -> int:
        """How often the kernel's queue of changes of files was too small since the last call."""
        return self._files.take_overflows() if self._files is not None else 0

    def close(self) -> None:
        """End the watch of files, and the search."""
        self._searcher.shutdown(wait=False, cancel_futures=True)
        if self._files is not None:
            self._files.close()

    def look(self, now_ms: int) -> None:
        """Read environments for a moment each turn, so that capture never waits for a large machine."""
        if self._search is not None and self._search.done():
            self._unread = self._search.result()
            self._search = None
            self._watch_files(self._unread)
            added = self._rules.landscape_changed(self._unread)
            if added:
                applied = RulesApplied(time_ms=now_ms, profile=self._config.rules.profile, added=added, removed=[])
                self._pipeline.observe([applied], now_ms)
        if self._is_due("moved", now_ms, _MOVED_INTERVAL_MS) and self._rules.is_outdated():
            self._due["search"] = 0
        if self._pipeline.full_since_ms is not None:
            return
        for prefix in self._suspects.due(now_ms):
            found = identify(Path(prefix))
            if found is None:
                self._suspects.clear(prefix)
            else:
                self._take_environment(found, now_ms)
        if self._unread:
            until_s = time.monotonic() + _READING_S
            while self._unread and time.monotonic() < until_s:
                self._take_environment(self._unread.pop(), now_ms)
                if self._to_read:
                    self._on_reading(self._to_read - len(self._unread), self._to_read)
            self._to_read = self._to_read if self._unread else 0
        elif self._search is None and self._is_due("search", now_ms, self._config.interpret.environments_interval_s * 1000):
            self._search = self._searcher.submit(find_environments, self._config)

    def _take_environment(self, environment: Environment, now_ms: int) -> None:
        """Note an environment and, where they changed, its packages; at the first start its past too."""
        if self._is_busy(environment.prefix, now_ms):
            return
        known = self._opened.state.snapshot(environment.prefix)
        read = read_packages(environment)
        if self._is_busy(environment.prefix, now_ms):
            # Somebody has begun to change it: the snapshot is theirs to explain.
            return
        observations: list[Observation] = [observe_place(environment, read, now_ms)]
        if known is None or isinstance(read, str):
            observations = observe_packages(environment, read, now_ms, reason="baseline" if known is None else "scheduled")
        elif known.digest != read.digest:
            if not self._suspects.is_settled(environment.prefix, read.digest, now_ms):
                return
            observations = observe_packages(environment, read, now_ms, reason="scheduled")
        if environment.prefix in self._without_past and isinstance(read, Snapshot):
            observations += read_baseline(environment, read, now_ms)
        if self._pipeline.observe(observations, now_ms):
            self._suspects.clear(environment.prefix)
            self._without_past.discard(environment.prefix)

    def _watch_files(self, environments: list[Environment]) -> None:
        """Follow where environments are; under `full` the records tell of changes too."""
        roots = roots_of(environments)
        self._pipeline.files.watch(roots)
        if self._config.rules.profile == "full":
            self._pipeline.assembler.set_roots(list(roots))
        if self._files is not None:
            self._files.set_roots(list(roots))
        elif self._config.capture.file_watch:
            # Without the right, or on an old kernel, `doctor` says what is not seen.
            with contextlib.suppress(OSError):
                self._files = FileWatch(list(roots))

    def _is_busy(self, prefix: str, now_ms: int) -> bool:
        if self._files is not None:
            self._pipeline.files.hold(self._files.read(), now_ms)
        return self._pipeline.interpreter.is_busy(prefix) or self._pipeline.files.is_busy(prefix)

    def _is_due(self, name: str, now_ms: int, interval_ms: int) -> bool:
        if now_ms - self._due.get(name, 0) < interval_ms:
            return False
        self._due[name] = now_ms
        return True
