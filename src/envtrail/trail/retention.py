"""Retention: the evidence of old segments goes, their seals stay.

The loss ledger says what is to go before anything is deleted: evidence that is missing without an entry was removed by somebody else.
What a kill left undone is finished at the next start (`finish_retention`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from envtrail.config import Config
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, decode_entry
from envtrail.trail.files import read_regular
from envtrail.trail.layout import OBSERVATIONS, RECORDS, SEAL, ZST, Layout, sync_folder, translate
from envtrail.trail.seal import Seal, read_seal

Enter = Callable[[list[Gap]], bool]
"""Enters gaps into the loss ledger, for good; false: there is no space for them."""
_NAME = "retention-"


def retain(layout: Layout, config: Config, now_ms: int, enter: Enter) -> list[Gap]:
    """Drop the evidence of sealed segments that are too old or too much, as who holds the lock may; gives what is missing then."""
    gaps = _due(layout, config, now_ms)
    if not gaps or not enter(gaps):
        return []
    for gap in gaps:
        _drop(layout.segment(retained_number(gap)))
    return gaps


def finish_retention(layout: Layout) -> None:
    """Delete what the open segment says is to go: its writer was killed over it."""
    try:
        lines = read_regular(layout.active / OBSERVATIONS)
    except FileNotFoundError:
        return
    except OSError as fault:
        raise translate(fault, layout.active / OBSERVATIONS) from None
    for number in sorted(retained_in(lines) & set(layout.numbers())):
        if has_evidence(layout.segment(number)):
            _drop(layout.segment(number))


def retained_in(lines: bytes) -> set[int]:
    """The segments whose evidence was dropped, or is to be dropped, as the loss ledger says in these observations."""
    found = set()
    for line in lines.splitlines():
        if _NAME.encode() not in line:
            continue
        try:
            observation = decode_entry(line).observation
        except UNDECODABLE:
            continue
        if isinstance(observation, GapFound):
            found.add(retained_number(observation.gap))
    return found - {0}


def retained_number(gap: Gap) -> int:
    """The segment that an entry of retention is of; 0 where it names none."""
    name, _, number = gap.id.partition("-")
    is_entry = gap.cause is GapCause.RETENTION and name == "retention" and number.isdecimal() and len(number) < 10
    return int(number) if is_entry else 0


def has_evidence(folder: Path) -> bool:
    """Whether any of it is there."""
    return any(path.name != SEAL for path in folder.iterdir())


def folder_bytes(layout: Layout, number: int) -> int:
    """Bytes on disk of a sealed segment."""
    return sum(path.stat().st_size for path in layout.segment(number).iterdir())


def _due(layout: Layout, config: Config, now_ms: int) -> list[Gap]:
    oldest_ms = now_ms - config.store.retention_days * 86_400_000
    budget = config.store.retention_bytes
    kept = [number for number in layout.numbers() if has_evidence(layout.segment(number))]
    sizes = {number: folder_bytes(layout, number) for number in kept}
    gaps = []
    for number in kept:
        seal = read_seal(layout.segment(number))
        too_old = (seal.last_ms or seal.sealed_ms) < oldest_ms
        too_much = budget and sum(sizes.values()) > budget
        if not too_old and not too_much:
            break
        del sizes[number]
        gaps.append(_gap_of(seal))
    return gaps


def _gap_of(seal: Seal) -> Gap:
    return Gap(
        id=f"{_NAME}{seal.number}",
        cause=GapCause.RETENTION,
        host=seal.node,
        since_ms=seal.first_ms or seal.created_ms,
        until_ms=seal.last_ms or seal.sealed_ms,
        records=seal.records.lines,
        detail=f"evidence of segment {seal.number} dropped as configured; its seal stays",
    )


def _drop(folder: Path) -> None:
    """The records first: without them a segment counts as dropped, whatever is left of it."""
    (folder / (RECORDS + ZST)).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name != SEAL:
            path.unlink()
    sync_folder(folder)
