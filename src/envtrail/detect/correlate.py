"""Hits that are significant together: a number within a time, a number of different values, a sequence.

References:
    https://github.com/SigmaHQ/sigma-specification (Sigma correlation rules specification)
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from envtrail.detect.detection import Correlation, Detection
from envtrail.detect.watch import Hit

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "LT": operator.lt,
    "LTE": operator.le,
    "GT": operator.gt,
    "GTE": operator.ge,
    "EQ": operator.eq,
    "NEQ": operator.ne,
}
_MOST_GROUPS = 10_000
_MOST_HITS = 10_000
"""Per group: further hits displace the oldest, and cannot make a count smaller than it should be."""
_Entry = tuple[int, str, str | None]
"""(time in ms, id of the detection, counted value)."""


class Correlator:
    """Takes hits ordered by time; gives a hit of the correlation when its condition becomes true, once for each group and span."""

    def __init__(self, detections: Sequence[Detection]) -> None:
        self._rules = [(item, item.correlation) for item in detections if item.correlation is not None]
        self._groups: dict[tuple[str, ...], deque[_Entry]] = {}
        self._reported: dict[tuple[str, ...], int] = {}

    @property
    def silent(self) -> frozenset[str]:
        """Detections whose own hits are reported only through a correlation."""
        return frozenset(name for _, correlation in self._rules if correlation.only for name in correlation.rules)

    def take(self, hits: Iterable[Hit]) -> Iterator[Hit]:
        """Count hits."""
        for hit in hits:
            for detection, correlation in self._rules:
                if hit.detection in correlation.rules:
                    yield from self._count(hit, detection, correlation)

    def _count(self, hit: Hit, detection: Detection, correlation: Correlation) -> Iterator[Hit]:
        shown = hit.row["shown"]
        group = {name: shown.get(columns[hit.detection]) for name, columns in correlation.group_by.items()}
        if any(value is None for value in group.values()):
            # Without the value that groups, it belongs to no group (specification, `group-by`).
            return
        key = (detection.id, *(str(value) for value in group.values()))
        span_ms = correlation.span_s * 1000
        if len(self._groups) > _MOST_GROUPS:
            self._forget(hit.time_ms)
        entries = self._groups.setdefault(key, deque(maxlen=_MOST_HITS))
        value = shown.get(correlation.value[hit.detection]) if correlation.value else None
        entries.append((hit.time_ms, hit.detection, None if value is None else str(value)))
        while entries[0][0] <= hit.time_ms - span_ms:
            entries.popleft()
        if self._reported.get(key, -1 << 62) > hit.time_ms - span_ms or not _holds(correlation, entries):
            return
        self._reported[key] = hit.time_ms
        counted = {"count": str(len(entries)), **{name: str(value) for name, value in group.items()}}
        yield Hit(detection=detection.id, time_ms=hit.time_ms, row={**hit.row, "shown": counted})

    def _forget(self, now_ms: int) -> None:
        spans = {detection.id: correlation.span_s * 1000 for detection, correlation in self._rules}
        for key in [key for key, entries in self._groups.items() if not entries or entries[-1][0] < now_ms - spans[key[0]]]:
            del self._groups[key]
            self._reported.pop(key, None)
        if len(self._groups) > _MOST_GROUPS:
            oldest = sorted(self._groups, key=lambda key: self._groups[key][-1][0])[: _MOST_GROUPS // 2]
            for key in oldest:
                del self._groups[key]
                self._reported.pop(key, None)


def _holds(correlation: Correlation, entries: Iterable[_Entry]) -> bool:
    compare = _COMPARE[correlation.operator]
    match correlation.type:
        case "event_count":
            return compare(sum(1 for _ in entries), correlation.count)
        case "value_count":
            return compare(len({value for _, _, value in entries if value is not None}), correlation.count)
        case "temporal":
            return set(correlation.rules) <= {name for _, name, _ in entries}
        case _:
            waiting = iter(correlation.rules)
            wanted = next(waiting)
            for _, name, _ in entries:
                if name == wanted:
                    following = next(waiting, None)
                    if following is None:
                        return True
                    wanted = following
            return False
