"""Changes of files that the recorder has seen, kept until the agent has done with them: it may be killed, stopped and started again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

_MOST_BYTES = 32 << 20
"""Of all groups that are kept, about: their paths and arguments are as long as their owners like."""
_MOST_AT_ONCE = 500


class SeenFiles(Struct, frozen=True, kw_only=True):
    """`core.FileGroup` of the file watch, as it goes to another process: the same names."""

    time_ms: int
    until_ms: int
    pid: int
    root: str
    files: list[tuple[str, str]]
    total: int
    gone: bool
    exe: str | None = None
    comm: str | None = None
    argv: list[str] | None = None
    ppid: int | None = None
    uid: int | None = None
    auid: int | None = None
    ses: int | None = None
    argv_cut: bool = False
    names: dict[str, str] = {}
    events: list[tuple[int, int, int]] = []
    marked: bool = False
    metadata: list[tuple[str, str, int]] = []

    @property
    def recorded(self) -> None:
        """No records report it."""


class FileQueue:
    """Groups in their order, each with a number."""

    def __init__(self) -> None:
        self._groups: deque[SeenFiles] = deque()
        self._first = 0
        self._bytes = 0
        self.lost = 0
        """Groups for which there was no room."""

    def put(self, groups: Iterable[SeenFiles]) -> None:
        """Add what was seen; of too much, what is oldest is lost."""
        for group in groups:
            self._groups.append(group)
            self._bytes += _size(group)
            while self._bytes > _MOST_BYTES and len(self._groups) > 1:
                self._drop()
                self.lost += 1

    def take(self, done: int, wanted: int) -> tuple[int, list[SeenFiles]]:
        """The number of the first, and groups from `wanted` on; those before `done` are kept no longer."""
        while self._groups and self._first < done:
            self._drop()
        first = max(wanted, self._first)
        begin = first - self._first
        return first, [self._groups[at] for at in range(begin, min(begin + _MOST_AT_ONCE, len(self._groups)))]

    def _drop(self) -> None:
        self._bytes -= _size(self._groups.popleft())
        self._first += 1


def _size(group: SeenFiles) -> int:
    paths = [*(path for path, _ in group.files), *(path for path, *_ in group.metadata)]
    return 1000 + sum(len(path) + 150 for path in paths) + sum(len(word) + 60 for word in group.argv or ())
