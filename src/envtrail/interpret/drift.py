"""What an environment became and nobody was seen to do: the other side of the proof."""

from __future__ import annotations

from collections.abc import Sequence

from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import Actor, Change, Confidence, EnvironmentRef, Operation, OperationKind, Outcome
from envtrail.model.times import to_rfc3339

UNSEEN = "nobody was seen to do it: the agent was not running, was not notified (another mount, a container), or was overrun"


def operation_of_drift(
    prefix: str,
    kind: str,
    changes: Sequence[Change],
    *,
    since_ms: int,
    until_ms: int,
    node: str,
    at_work: Sequence[OperationId] = (),
) -> Operation:
    """Changes between two snapshots that no operation explains, as one tamper operation of an unknown actor.

    Args:
        prefix: Of the environment.
        kind: Of the environment.
        changes: Not empty.
        since_ms: When the earlier snapshot was taken.
        until_ms: When the later one was.
        node: This machine.
        at_work: Operations that worked there meanwhile, any of which may have done it.
    """
    absent = dict.fromkeys(("actor.name", "actor.uid", "actor.auid", "argv", "exit_code", "signal", "evidence"), UNSEEN)
    return Operation(
        id=make_operation_id(EventId(node=node, time_ms=until_ms, serial=0), prefix, kind="drift"),
        kind=OperationKind.TAMPER,
        tool="unknown",
        via=[],
        argv=[],
        host=node,
        environment=EnvironmentRef(prefix=prefix, kind=kind),
        actor=Actor(name=None, uid=None, auid=None, method="none", confidence=Confidence.NONE),
        started=to_rfc3339(since_ms),
        ended=to_rfc3339(until_ms),
        outcome=Outcome.UNKNOWN,
        reason="unexplained: the environment is not as the operations left it",
        exit_code=None,
        signal=None,
        changes=list(changes),
        processes=0,
        explained=False,
        grant=None,
        complete=False,
        absent=absent,
        evidence=[],
        shared=list(at_work),
        why={
            "changes": "snapshots before and after were compared",
            "kind": "several were at work between the two snapshots, and none of them was seen to do it"
            if at_work
            else "nobody was seen to do it between the two snapshots",
        },
    )
