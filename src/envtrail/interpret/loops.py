"""Runs alike, one after the other: a loop is one row with a count."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from envtrail.model.run import Run

_WITHIN_MS = 60_000
_SHOWN_SINGLY = 5
"""As many runs alike within a minute are shown one by one; one more makes all of them a loop."""
_MOST_KEYS = 4096
_CARRIED_MS = 600_000

_Key = tuple[object, ...]


class Alike(Struct):
    """The runs that are alike in everything but their time."""

    recent: list[Run] = []
    """In order of their beginnings, at most five."""
    loop: Run | None = None
    ended_ms: int = 0
    """The last end in the loop."""


class Loops:
    """Those that are under way, by what they repeat."""

    def __init__(self) -> None:
        self._alike: dict[_Key, Alike] = {}

    def take(self, run: Run, ended_ms: int) -> list[Run]:
        """What a run that has ended makes of itself and of those before it: the rows that are new or changed.

        In a loop the row of the first run counts all of them, and each other one says which row counts it.
        """
        known = self._alike_of(run)
        if known.loop is not None:
            if began_ms(run) - known.ended_ms <= _WITHIN_MS and not _differ(known.loop, run):
                known.ended_ms = max(known.ended_ms, ended_ms)
                known.loop = _grown(known.loop, run)
                return [msgspec.structs.replace(run, part_of=known.loop.id), known.loop]
            known.loop = None
        near = [one for one in known.recent if began_ms(run) - began_ms(one) <= _WITHIN_MS and not _differ(one, run)]
        known.recent = sorted([*near, run], key=began_ms)
        known.ended_ms = max(known.ended_ms, ended_ms) if near else ended_ms
        if len(known.recent) <= _SHOWN_SINGLY:
            return [run]
        first, *others = known.recent
        for one in others:
            first = _grown(first, one)
        known.loop, known.recent = first, []
        return [*(msgspec.structs.replace(one, part_of=first.id) for one in others), first]

    def learn(self, run: Run) -> None:
        """More was reported of a run after its end."""
        known = self._alike.get(_key(run))
        if known is None:
            return
        known.recent = [run if one.image == run.image else one for one in known.recent]
        if known.loop is not None and known.loop.image == run.image:
            known.loop = run

    def going(self) -> list[Alike]:
        """Those that a run may still belong to: the last of them ended within the last minutes."""
        newest_ms = max((known.ended_ms for known in self._alike.values()), default=0)
        return [known for known in self._alike.values() if known.ended_ms + _CARRIED_MS >= newest_ms]

    def restore(self, going: Iterable[Alike]) -> None:
        """Take up those that were under way."""
        for known in going:
            if one := known.loop or next(iter(known.recent), None):
                self._alike[_key(one)] = known

    def _alike_of(self, run: Run) -> Alike:
        key = _key(run)
        known = self._alike.pop(key, None) or Alike()
        while len(self._alike) >= _MOST_KEYS:
            del self._alike[next(iter(self._alike))]
        self._alike[key] = known
        return known


def began_ms(run: Run) -> int:
    """When a run began, as its image says."""
    return run.image >> 20


def _key(run: Run) -> _Key:
    prefix = run.environment.prefix if run.environment else None
    return (run.host, run.program, tuple(run.argv), prefix, run.actor.number, run.actor.uid, run.cwd, run.exit_code, run.signal)


def _grown(loop: Run, run: Run) -> Run:
    ended = max(loop.ended or "", run.ended or "")
    return msgspec.structs.replace(loop, count=loop.count + 1, started=min(loop.started, run.started), ended=ended)


def _differ(one: Run, other: Run) -> bool:
    """Whether the script was another one, as far as its content was read."""
    return None not in {one.script_sha256, other.script_sha256} and one.script_sha256 != other.script_sha256
