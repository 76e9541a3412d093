"""Operations, their changes, runs and gaps as flat rows for `product: envtrail` rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from envtrail.model.gap import Gap
from envtrail.model.hours import When
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Actor, Operation
from envtrail.model.run import Run
from envtrail.model.times import to_ms

_POPULAR = Path(__file__).parent / "popular.txt"
Row = dict[str, Any]


class Known(Struct, kw_only=True):
    """Sources and packages seen before, on this machine."""

    sources: set[str] = set()
    """Indexes, channels and addresses."""
    packages: set[str] = set()
    """Normalised names."""


def operation_row(operation: Operation, office_hours: When, owner: str | None) -> Row:
    """One operation."""
    actor = operation.actor
    started_ms = to_ms(operation.started)
    return {
        "time_ms": started_ms,
        "id": operation.id,
        "host": operation.host,
        "kind": operation.kind.value,
        "tool": operation.tool,
        "via": operation.via,
        "user": _user(actor),
        "uid": actor.uid,
        "auid": actor.auid,
        "class": actor.kind,
        "method": actor.method,
        "confidence": actor.confidence.value,
        "program": actor.program,
        "unit": actor.unit,
        "container": (actor.container.image or actor.container.id) if actor.container else None,
        "remote": actor.remote,
        "prefix": operation.environment.prefix,
        "environment_kind": operation.environment.kind,
        "owner": owner,
        "outcome": operation.outcome.value,
        "reason": operation.reason,
        "explained": operation.explained,
        "verdict": operation.verdict,
        "policy_rule": operation.policy_rule,
        "grant": operation.grant,
        "argv": operation.argv,
        "command": " ".join(operation.argv),
        "files": [file.path for file in operation.files],
        "files_total": operation.files_total,
        "packages": len(operation.changes or ()),
        "off_hours": not office_hours.holds_at(started_ms),
    }


def change_rows(operation: Operation, row: Row, known: Known) -> Iterator[Row]:
    """A row for each package change, with the operation's columns; `known` is updated."""
    for change in operation.changes or ():
        state = change.after or change.before
        source = state.source if state else None
        name = normalise_name(change.name)
        # Who builds for a channel of conda has it reviewed; its `python` is one letter from PyPI's cython.
        is_open = change.ecosystem == "pypi" and change.after is not None and name not in known.packages
        yield {
            **row,
            "package": change.name,
            "ecosystem": change.ecosystem,
            "version": state.version if state else None,
            "before": change.before.version if change.before else None,
            "source": source,
            "action": change.action,
            "requested": change.requested,
            "first_source": source is not None and source not in known.sources,
            "similar_to": similar_to(name) if is_open else None,
        }
        if source is not None:
            known.sources.add(source)
        known.packages.add(name)


def run_row(run: Run, office_hours: When) -> Row:
    """One run."""
    started_ms = to_ms(run.started)
    return {
        "time_ms": started_ms,
        "id": run.id,
        "host": run.host,
        "kind": run.kind,
        "program": run.program,
        "user": _user(run.actor),
        "class": run.actor.kind,
        "uid": run.actor.uid,
        "auid": run.actor.auid,
        "prefix": run.environment.prefix if run.environment else None,
        "command": " ".join(run.argv),
        "sha256": run.script_sha256,
        "outcome": run.outcome.value,
        "off_hours": not office_hours.holds_at(started_ms),
    }


def gap_row(gap: Gap) -> Row:
    """One entry of the loss ledger."""
    return {
        "time_ms": gap.until_ms,
        "id": gap.id,
        "host": gap.host,
        "cause": gap.cause.value,
        "detail": gap.detail,
        "records": gap.records,
        "seconds": (gap.until_ms - gap.since_ms) // 1000,
    }


@lru_cache(maxsize=4096)
def similar_to(name: str) -> str | None:
    """The popular project that a name (normalised) could be mistaken for; None for a popular one, and for one that resembles none."""
    popular = _popular()
    if name in popular or len(name) < 4:
        return None
    flat = name.replace("-", "")
    for variant in _variants(name):
        if variant in popular:
            return variant
    return next((item for item in popular if item.replace("-", "") == flat), None)


def _variants(name: str) -> Iterator[str]:
    """Every name with one typing error: a letter missing, two swapped, one replaced, one added."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
    for at in range(len(name)):
        yield name[:at] + name[at + 1 :]
        if at + 1 < len(name):
            yield name[:at] + name[at + 1] + name[at] + name[at + 2 :]
        for letter in letters:
            yield name[:at] + letter + name[at + 1 :]
            yield name[:at] + letter + name[at:]
    for letter in letters:
        yield name + letter


@lru_cache(maxsize=1)
def _popular() -> frozenset[str]:
    return frozenset(_read_names(_POPULAR.read_text().splitlines()))


def _read_names(lines: Iterable[str]) -> Iterator[str]:
    yield from (normalise_name(line) for line in lines if line and not line.startswith("#"))


def _user(actor: Actor) -> str | None:
    """The name; the number when there is none."""
    return actor.name or (str(actor.number) if actor.number is not None else None)
