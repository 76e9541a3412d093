"""What an environment shows of the time before the trail: operations of confidence `weak`."""

from __future__ import annotations

from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import BaselineChange
from envtrail.model.operation import (
    Actor,
    Change,
    Confidence,
    EnvironmentRef,
    Operation,
    OperationKind,
    Outcome,
    PackageState,
)
from envtrail.model.times import to_rfc3339


def operation_of_baseline(change: BaselineChange, *, node: str) -> Operation:
    """Spell a baseline change as an operation; what no kernel recorded is None with its reason.

    The actor is the owner of the files, which names who could have done it, not who did: weak.
    """
    not_recorded = dict.fromkeys(("ended", "exit_code", "signal", "evidence", "session", "explained"), "before the trail began")
    if change.argv is None:
        not_recorded["argv"] = "before the trail began"
    return Operation(
        id=make_operation_id(EventId(node=node, time_ms=change.when_ms, serial=0), change.prefix, kind=_fingerprint(change)),
        kind=OperationKind.REMOVE if change.removed and not change.added else OperationKind.INSTALL,
        tool=change.tool,
        via=[],
        argv=change.argv or [],
        host=node,
        environment=EnvironmentRef(prefix=change.prefix, kind=change.kind),
        actor=Actor(name=None, uid=change.owner_uid, auid=None, method="owner", confidence=Confidence.WEAK),
        started=to_rfc3339(change.when_ms),
        ended=None,
        outcome=Outcome.UNKNOWN,
        reason="recorded by the environment itself, not by the kernel",
        exit_code=None,
        signal=None,
        changes=[_change(item, change.tool, added=True) for item in change.added]
        + [_change(item, change.tool, added=False) for item in change.removed],
        processes=0,
        explained=None,
        grant=None,
        complete=False,
        absent=not_recorded,
        evidence=[],
    )


def _change(item: str, tool: str, *, added: bool) -> Change:
    name, _, version = item.partition(" ")
    state = PackageState(version=version, installer=tool)
    return Change(
        ecosystem="conda" if tool == "conda" else "pypi",
        name=name,
        requested=None,
        before=None if added else state,
        after=state if added else None,
    )


def _fingerprint(change: BaselineChange) -> str:
    return "\0".join(["baseline", change.tool, *change.added, "-", *change.removed])
