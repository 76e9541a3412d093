"""Rotated files of one log: which belong together, and in which order they were written.

References:
    auditd.conf(5) (`num_logs`: audit.log, audit.log.1, …), logrotate(8) (`dateext`, `compress`)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

_COMPRESSED = re.compile(r"(\.(gz|xz|bz2|zst|lzma|lz4|Z|zip|tar|tgz))+$")
_ROTATED = re.compile(r"([.-]\d+)+$")
_FIRST_DATE = 10_000_000


class LogFile(Protocol):
    """A file of records."""

    path: Path

    def first_ms(self) -> int | None: ...


class RotatedFile(NamedTuple):
    """One file of a log."""

    log: str
    """Of which it is a part."""
    first_ms: int | None
    """Of its first record; None where none was found in its beginning."""


Source = TypeVar("Source", bound=LogFile)


def log_name(path: Path) -> str:
    """What the rotated files of one log have in common: the path without number, date and compression."""
    return _ROTATED.sub("", _COMPRESSED.sub("", str(path.absolute())))


def log_files(log: Path) -> Iterator[Path]:
    """The rotated files of a log, oldest first as their names say, then the log itself."""
    beside = (
        [path for path in log.parent.iterdir() if path != log and path.name.startswith(log.name)] if log.parent.exists() else []
    )
    yield from sorted((path for path in beside if log_name(path) == log_name(log)), key=_age_of)
    if log.exists():
        yield log


def _age_of(path: Path) -> tuple[bool, list[int], str]:
    """Dates grow, numbers fall; who has both has changed from dates to numbers."""
    rotated = _ROTATED.search(_COMPRESSED.sub("", path.name))
    numbers = [int(number) for number in re.findall(r"\d+", rotated[0])] if rotated else []
    is_dated = bool(numbers) and numbers[0] >= _FIRST_DATE
    return not is_dated, numbers if is_dated else [-number for number in numbers], path.name


def part_of(source: LogFile) -> RotatedFile:
    """Of which log a file is a part."""
    return RotatedFile(log=log_name(source.path), first_ms=source.first_ms())


def in_order(sources: Iterable[Source]) -> list[tuple[Source, RotatedFile]]:
    """The files of each log one after the other as they were written, logs by their first records; files without a record last."""
    parts = [(source, part_of(source)) for source in sources]
    begins: dict[str, tuple[int, int]] = {}
    for at, (_, part) in enumerate(parts):
        before_ms, first = begins.get(part.log, (_LAST, at))
        begins[part.log] = min(before_ms, _when(part)), first
    return sorted(parts, key=lambda pair: (begins[pair[1].log], _when(pair[1])))


_LAST = 1 << 62


def _when(part: RotatedFile) -> int:
    return _LAST if part.first_ms is None else part.first_ms
