"""Where environments are and what is in them: both are found out beside the loop, which takes what is ready at each turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import NamedTuple, Protocol

from envtrail.agent.build import Followed, Opened
from envtrail.agent.file_changes import ChangedFiles, roots_of
from envtrail.agent.scope import holding_of
from envtrail.agent.suspects import Suspects
from envtrail.agent.upkeep import Rules
from envtrail.agent.world import observe_place, observe_read
from envtrail.config import Config
from envtrail.inspect.client import Inspector, find_same_folder, identify_place, read_place
from envtrail.inspect.protocol import EnvironmentRead, ReadEnvironment
from envtrail.inspect.search import EnvironmentSearch, find_environments
from envtrail.model.environment import Environment
from envtrail.model.observation import Observation, RulesApplied
from envtrail.model.operation import EnvironmentRef

_READING_S = 0.1
_READ_AT_ONCE = 2
_MOVED_INTERVAL_MS = 5_000
_WATCHED_ANYWHERE = frozenset({"conda", "venv", "target"})
_PARTS_BEGUN = {"target": ("",), "user": ("/lib", "/bin")}
"""What is watched of a place as soon as a tool begins on it. A virtual environment or one of conda shows itself by its marks."""


class FileSource(Protocol):
    """Changes of files: the watch of this process, or that of the recorder."""

    def set_roots(self, roots: list[str]) -> None: ...
    def read(self) -> Sequence[ChangedFiles]: ...
    def take_overflows(self) -> int: ...
    def close(self) -> None: ...


class _Reading(NamedTuple):
    """An environment that is being read."""

    answer: Future[EnvironmentRead]
    known_ms: int | None
    """When its last snapshot was taken as this began: with another one since, it comes too late."""


class Survey:
    """The loop never waits for it: it queries the inspector in separate threads.

    Args:
        config: Everything.
        opened: The trail.
        rules: Follow where environments are.
        inspector: Reads what users own.
        open_files: Gives changes of files below folders.
        on_reading: Called with the progress of the first reading of what is in the environments: done, and of how many.
    """

    def __init__(
        self,
        config: Config,
        opened: Opened | Followed,
        rules: Rules,
        inspector: Inspector,
        open_files: Callable[[list[str]], FileSource],
        *,
        on_reading: Callable[[int, int], None],
    ) -> None:
        self._config = config
        self._open_files = open_files
        self._opened = opened
        self._pipeline = opened.pipeline
        self._rules = rules
        self._on_reading = on_reading
        self._to_read = 0
        self._searcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="find-environments")
        self._search: Future[EnvironmentSearch] | None = None
        self._inspector = inspector
        self._readers = ThreadPoolExecutor(max_workers=_READ_AT_ONCE, thread_name_prefix="read-environments")
        self._readings: dict[str, _Reading] = {}
        self._known: list[Environment] = []
        self._unread: list[str] = []
        self._without_past: set[str] = set()
        self._begun: dict[str, Environment] = {}
        self._arrived: list[Environment] = []
        self._suspects = Suspects(holding_of(config).settle_ms)
        self._files: FileSource | None = None
        self._due: dict[str, int] = {"search": int(time.time() * 1000)}
        self._pipeline.files.identify = partial(identify_place, inspector)
        self._pipeline.files.find_same = partial(find_same_folder, inspector)

    def begin(self, environments: list[Environment], *, with_past: bool) -> None:
        """Take the environments that were found first; `with_past` reads what they tell of the time before the trail."""
        prefixes = [environment.prefix for environment in environments] if with_past else []
        self._without_past = {prefix for prefix in prefixes if self._opened.state.snapshot_ms(prefix) is None}
        self._known = environments
        self._unread = [environment.prefix for environment in environments]
        self._to_read = len(environments)
        self._watch_files(environments)

    def knows(self, environment: EnvironmentRef) -> bool:
        """Whether an environment is among those that are watched, or is none that is."""
        return environment.kind not in _WATCHED_ANYWHERE or any(one.prefix == environment.prefix for one in self._known)

    def search_soon(self) -> None:
        """Look for environments at the next turn."""
        self._due["search"] = 0

    def follow(self, prefix: str, kind: str) -> None:
        """An environment was moved here: read it, wherever the search looks."""
        self._arrived.append(Environment(prefix=prefix, kind=kind))
        self.search_soon()

    def read_files(self) -> Sequence[ChangedFiles]:
        """What was changed below the environments since the last call."""
        return self._files.read() if self._files is not None else []

    def take_overflows(self) -> int:
        """How often the kernel's queue of changes of files was too small since the last call."""
        return self._files.take_overflows() if self._files is not None else 0

    def close(self) -> None:
        """End the watch of files, and the search."""
        for threads in (self._searcher, self._readers):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._files is not None:
            self._files.close()

    def look(self, now_ms: int) -> None:
        """Take what was found and read, for a moment each turn, so that capture never waits for a large machine."""
        if self._search is not None and self._search.done():
            self._known = self._with_seen(self._search.result().with_known(self._known))
            self._unread = [environment.prefix for environment in self._known]
            self._search = None
            self._watch_files(self._known)
            added = self._rules.landscape_changed(self._known)
            if added:
                applied = RulesApplied(time_ms=now_ms, profile=self._config.rules.profile, added=added, removed=[])
                self._pipeline.observe([applied], now_ms)
        self._watch_begun()
        if self._is_due("moved", now_ms, _MOVED_INTERVAL_MS) and self._rules.is_outdated():
            self._due["search"] = 0
        if self._pipeline.full_since_ms is not None:
            return
        for prefix in self._suspects.due(now_ms):
            self._begin_reading(prefix, now_ms)
        if self._unread or self._readings:
            self._read(now_ms)
        if (
            self._search is None
            and not self._unread
            and self._is_due("search", now_ms, self._config.interpret.environments_interval_s * 1000)
        ):
            self._search = self._searcher.submit(find_environments, self._config, self._inspector)

    def _read(self, now_ms: int) -> None:
        until_s = time.monotonic() + _READING_S
        while True:
            while self._unread and len(self._readings) < _READ_AT_ONCE:
                self._begin_reading(self._unread.pop(), now_ms)
            left_s = until_s - time.monotonic()
            if not self._readings or left_s <= 0:
                break
            wait([reading.answer for reading in self._readings.values()], left_s, FIRST_COMPLETED)
            for prefix in [prefix for prefix, reading in self._readings.items() if reading.answer.done()]:
                reading = self._readings.pop(prefix)
                self._take(prefix, reading.answer.result(), reading.known_ms, now_ms)
            if self._to_read:
                self._on_reading(max(0, self._to_read - len(self._unread) - len(self._readings)), self._to_read)
        self._to_read = self._to_read if self._unread or self._readings else 0

    def _begin_reading(self, prefix: str, now_ms: int) -> None:
        """Have an environment read, unless somebody is changing it."""
        if prefix in self._readings or self._is_busy(prefix, now_ms):
            return
        request = ReadEnvironment(prefix=prefix, past_until_ms=now_ms if prefix in self._without_past else None)
        answer = self._readers.submit(read_place, self._inspector, request)
        self._readings[prefix] = _Reading(answer, self._opened.state.snapshot_ms(prefix))

    def _take(self, prefix: str, read: EnvironmentRead, known_ms: int | None, now_ms: int) -> None:
        """Note an environment and, where they changed, its packages; at the first start its past too."""
        environment, state = read.environment, self._opened.state
        if environment is None:
            self._suspects.clear(prefix)
            return
        if self._is_busy(prefix, now_ms) or state.snapshot_ms(prefix) != known_ms:
            # Somebody has begun to change it: the snapshot is theirs to explain.
            return
        known = state.snapshot(prefix)
        observations: list[Observation] = [observe_place(read, environment, now_ms)]
        if known is None or read.snapshot is None:
            observations = observe_read(read, prefix, now_ms, reason="baseline" if known is None else "scheduled")
        elif known.digest != read.snapshot.digest:
            if not self._suspects.is_settled(prefix, read.snapshot.digest, now_ms):
                return
            observations = observe_read(read, prefix, now_ms, reason="scheduled")
        if prefix in self._without_past:
            observations += read.past
        if self._pipeline.observe(observations, now_ms):
            self._suspects.clear(prefix)
            if read.snapshot is not None:
                self._without_past.discard(prefix)

    def _with_seen(self, found: list[Environment]) -> list[Environment]:
        """And those that were seen elsewhere than the search looks, until they are known to be gone."""
        seen = [*self._opened.state.environments_of(self._pipeline.interpreter.node), *self._arrived]
        self._arrived = []
        known = {environment.prefix for environment in found}
        elsewhere = {one.prefix: one for one in seen if one.prefix not in known and one.kind in _WATCHED_ANYWHERE}
        return [*found, *elsewhere.values()]

    def _watch_begun(self) -> None:
        """Watch places that a tool has begun on: what it makes there may be gone again before any search finds it."""
        interpreter = self._pipeline.interpreter
        begun = interpreter.prefixes() - {one.prefix for one in self._known}
        places = {prefix: Environment(prefix=prefix, kind=interpreter.kind_of(prefix)) for prefix in sorted(begun)}
        before, self._begun = self._begun, {prefix: one for prefix, one in places.items() if one.kind in _PARTS_BEGUN}
        if self._begun.keys() - before.keys():
            self._watch_files(self._known)

    def _watch_files(self, environments: list[Environment]) -> None:
        """Follow where environments are; under `full` the records tell of changes too."""
        begun = {f"{one.prefix}{part}": one for one in self._begun.values() for part in _PARTS_BEGUN[one.kind]}
        roots = begun | roots_of(environments)
        self._pipeline.files.watch(roots)
        if self._config.rules.profile == "full":
            self._pipeline.assembler.set_roots(list(roots))
        if self._files is not None:
            self._files.set_roots(list(roots))
        elif self._config.capture.file_watch:
            # Without the right, or on an old kernel, `doctor` says what is not seen.
            with contextlib.suppress(OSError):
                self._files = self._open_files(list(roots))

    def _is_busy(self, prefix: str, now_ms: int) -> bool:
        if self._files is not None:
            self._pipeline.files.hold(self._files.read(), now_ms)
        return self._pipeline.interpreter.is_busy(prefix) or self._pipeline.files.is_busy(prefix)

    def _is_due(self, name: str, now_ms: int, interval_ms: int) -> bool:
        if now_ms - self._due.get(name, 0) < interval_ms:
            return False
        self._due[name] = now_ms
        return True
