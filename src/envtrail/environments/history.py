"""conda's own history of an environment against the operations that were recorded: its owner can write what they like into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from envtrail.environments.verify import FileFinding
from envtrail.model.observation import BaselineChange
from envtrail.model.operation import Operation, Outcome
from envtrail.model.times import to_ms

_SLACK_MS = 2000
"""The history has whole seconds."""
_TOOLS = frozenset({"conda", "mamba", "micromamba"})


def check_history(path: str, blocks: Sequence[BaselineChange], operations: Iterable[Operation]) -> list[FileFinding]:
    """What the history reports that nothing recorded, and what it does not report.

    Args:
        path: Of the history.
        blocks: What it reports.
        operations: All that were recorded on the environment; what was before the first of them is not judged.
    """
    recorded = [one for one in operations if one.actor.method != "owner"]
    since_ms = min((to_ms(one.started) for one in recorded), default=None)
    if since_ms is None:
        return []
    found = [
        _finding(path, block.when_ms, why)
        for block in blocks
        if min(_moments(block)) >= since_ms and (why := _why_forged(block, [one for one in recorded if _covers(one, block)]))
    ]
    for one in recorded:
        names = _names(one)
        if one.tool in _TOOLS and one.outcome is Outcome.SUCCESS and not one.shared and names:
            listed = {name for block in blocks if _covers(one, block) for name in _names_of(block.added + block.removed)}
            if names - listed:
                why = f"it does not tell of {', '.join(sorted(names - listed))}, which operation {one.id[:10]} changed"
                found.append(_finding(path, to_ms(one.started), why))
    return found


def _why_forged(block: BaselineChange, operations: Sequence[Operation]) -> str | None:
    if not operations:
        return "it tells of a change at a time when none was recorded"
    if any(one.changes is None for one in operations):
        return None
    known = {name for one in operations for name in _names(one)}
    changed = {*block.added} ^ {*block.removed}  # What is in both was only linked again.
    unknown = _names_of(changed) - known
    return f"it tells of {', '.join(sorted(unknown))}, which no operation of that time changed" if unknown else None


def _covers(operation: Operation, block: BaselineChange) -> bool:
    began_ms, ended_ms = to_ms(operation.started), to_ms(operation.ended or operation.started)
    return any(began_ms - _SLACK_MS <= moment <= ended_ms + _SLACK_MS for moment in _moments(block))


def _moments(block: BaselineChange) -> tuple[int, int]:
    """Its time as local time, which conda writes, and as UTC, which others do."""
    local = datetime.fromtimestamp(block.when_ms / 1000)  # noqa: DTZ006
    return block.when_ms, round(local.replace(tzinfo=timezone.utc).timestamp() * 1000)


def _names(operation: Operation) -> set[str]:
    return {change.name for change in operation.changes or () if change.ecosystem == "conda"}


def _names_of(dists: Iterable[str]) -> set[str]:
    return {dist.partition(" ")[0] for dist in dists}


def _finding(path: str, changed_ms: int, why: str) -> FileFinding:
    return FileFinding(path=path, what="history", package=None, changed_ms=changed_ms, detail=why)
