"""What a user of the socket could read without Envtrail, as the kernel says: by a worker with their rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock

from envtrail.inspect.client import Inspector
from envtrail.inspect.protocol import PathsProbed, ProbePaths
from envtrail.inspect.rights import NOBODY
from envtrail.service.file_access import find_readable

_KEPT_S = 2.0
_MOST_KEPT = 64
_Key = tuple[int, tuple[str, ...]]


class ReadablePaths:
    """Answers as `file_access.find_readable`. Several threads may call it.

    Args:
        inspector: Has the right to become them.
        clock_s: Monotonic.
    """

    def __init__(self, inspector: Inspector, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._inspector = inspector
        self._clock_s = clock_s
        self._kept: dict[_Key, tuple[float, frozenset[str]]] = {}
        """A page of the web UI makes several queries of one user."""
        self._lock = Lock()

    def __call__(self, paths: Sequence[str], uid: int) -> frozenset[str]:
        if uid == 0 or not paths:
            return frozenset(paths)
        key, now_s = (uid, tuple(paths)), self._clock_s()
        with self._lock:
            self._kept = {known: kept for known, kept in self._kept.items() if now_s - kept[0] < _KEPT_S}
            if key in self._kept:
                return self._kept[key][1]
        found = self._look(paths, uid)
        with self._lock:
            if len(self._kept) < _MOST_KEPT:
                self._kept[key] = (now_s, found)
        return found

    def _look(self, paths: Sequence[str], uid: int) -> frozenset[str]:
        wanted = uid if uid > 0 else NOBODY  # Who has no account here sees what everybody may.
        answer = self._inspector.ask(ProbePaths(uid=wanted, paths=list(paths)))
        if not isinstance(answer, PathsProbed) or len(answer.found) != len(paths):
            return frozenset()
        if answer.uid != wanted:
            return find_readable(paths, uid)  # Nobody here can become them: the modes decide.
        return frozenset(path for path, found in zip(paths, answer.found, strict=True) if found is not None and found.is_readable)
