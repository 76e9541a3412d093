"""A machine's own report that it is watched: when none arrives any more, something is wrong there."""

from __future__ import annotations

import msgspec

from envtrail.documents.base import EcsDocument, Site, base_document
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.ids import make_ulid
from envtrail.state.agent_status import AgentStatus


def heartbeat_of(host: str, now_ms: int, agent: AgentStatus | None, *, outbox: int, refused: int) -> Heartbeat:
    """What a machine reports of itself."""
    rules = agent.rules if agent is not None else None
    policy = agent.policy if agent is not None else None
    return Heartbeat(
        host=host,
        time_ms=now_ms,
        watching=agent is not None,
        full=agent is not None and agent.full_since_ms is not None,
        version=agent.version if agent is not None else None,
        rules_loaded=rules.loaded if rules is not None else None,
        rules_expected=rules.expected if rules is not None else None,
        lag_ms=agent.lag_ms if agent is not None else None,
        lost=agent.kernel.lost if agent is not None and agent.kernel is not None else None,
        policy_digest=policy.digest if policy is not None else None,
        policy_commit=policy.commit if policy is not None else None,
        outbox=outbox,
        refused=refused,
    )


def heartbeat_document(beat: Heartbeat, site: Site) -> EcsDocument:
    """A heartbeat in ECS."""
    body = base_document("heartbeat", beat.host, beat.time_ms, site)
    body["event"] |= {"kind": "metric", "category": ["host"], "type": ["info"], "action": "heartbeat"}
    body["message"] = f"{beat.host} is watched" if beat.watching else f"{beat.host} ships, and its agent does not run"
    body["envtrail"] |= {"kind": "heartbeat", "heartbeat": msgspec.to_builtins(beat)}
    return EcsDocument(stream="heartbeat", id=make_ulid(beat.time_ms, "heartbeat", beat.host), body=body)
