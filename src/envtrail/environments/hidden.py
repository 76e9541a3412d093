"""What a list of files does not show: bytecode that runs whatever its source holds, and files with another name elsewhere.

References:
    PEP 552 (flags of a .pyc: 1 hash-based, 2 the source is checked), PEP 3147 (what lies in `__pycache__` without a source is never run)
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from envtrail.environments.reading import Files

_HEAD_BYTES = 16
_HASHED, _CHECKED = 1, 2


class Hidden(NamedTuple):
    """A file that may hold other code than it seems to."""

    path: str
    what: str
    """`unchecked`, `sourceless` or `linked`."""
    detail: str
    changed_ms: int


def judge_bytecode(head: bytes) -> str | None:
    """What is wrong with the head of a .pyc whose source is there; None for one that is not used once its source is another."""
    flags = int.from_bytes(head[4:8], "little")
    if len(head) < _HEAD_BYTES or flags & ~(_HASHED | _CHECKED):
        return None  # No Python loads it.
    return "it runs whatever its source holds" if flags & _HASHED and not flags & _CHECKED else None


def find_bytecode(files: Files, paths: Iterable[str], sources: Collection[str]) -> Iterator[Hidden]:
    """Bytecode that runs though its source is another, or is not there.

    Args:
        files: Of the environment.
        paths: Absolute, of bytecode of which no hash is recorded.
        sources: Absolute paths that are known to be there.
    """
    for path in paths:
        folder, name = posixpath.split(path)
        is_cached = posixpath.basename(folder) == "__pycache__"
        source = f"{posixpath.dirname(folder)}/{name.partition('.')[0]}.py" if is_cached else path[: -len("c")]
        try:
            changed_ms = files.status(files.below(path)).st_ctime_ns // 1_000_000
            has_source = source in sources or _is_there(files, source)
            if has_source and (why := judge_bytecode(files.read_head(files.below(path), _HEAD_BYTES))):
                yield Hidden(path, "unchecked", why, changed_ms)
            elif not has_source and not is_cached:
                yield Hidden(path, "sourceless", "it runs, and there is no source to compare it with", changed_ms)
        except OSError:  # It is gone, or is said to be unreadable elsewhere.
            continue


def find_links(files: Files, packages: Mapping[str, str]) -> Iterator[Hidden]:
    """Files with another name, under which they can be changed where nobody watches.

    Args:
        files: Of the environment.
        packages: Absolute path → package, of files that their installer has copied: conda and uv make links to their caches themselves.
    """
    for path in packages:
        try:
            status = files.status(files.below(path))
        except OSError:
            continue
        if status.st_nlink > 1:
            others = status.st_nlink - 1
            why = f"it has {others} other name{'s' if others > 1 else ''}, under which it can be changed"
            yield Hidden(path, "linked", why, status.st_ctime_ns // 1_000_000)


def _is_there(files: Files, path: str) -> bool:
    try:
        files.status(files.below(path))
    except OSError:
        return False
    return True
