"""That a machine is watched, told from the machine itself: who hears nothing any more knows that something is wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from envtrail.export.ecs import Document, Site, frame
from envtrail.export.templates import stream_name
from envtrail.model.ids import make_ulid
from envtrail.store.agent_status import AgentStatus

if TYPE_CHECKING:
    from envtrail.export.client import SearchClient

INTERVAL_MS = 15_000
SILENT_MS = 60_000
"""Four of them missing: the machine, its network or its shipper is gone."""
_MOST_HOSTS = 10_000


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One machine at one moment, by its own clock."""

    host: str
    time_ms: int
    watching: bool
    """Its agent runs."""
    version: str | None = None
    """Of the agent."""
    rules_loaded: int | None = None
    rules_expected: int | None = None
    lag_ms: int | None = None
    """From the kernel's time stamp of the newest event to its being stored."""
    lost: int | None = None
    """Records that the kernel could not queue, since its boot."""
    outbox: int = 0
    """Documents that wait to be shipped."""
    refused: int = 0
    """Documents that the cluster did not take."""


def heartbeat_of(host: str, now_ms: int, agent: AgentStatus | None, *, outbox: int, refused: int) -> Heartbeat:
    """What a machine tells of itself."""
    rules = agent.rules if agent is not None else None
    return Heartbeat(
        host=host,
        time_ms=now_ms,
        watching=agent is not None,
        version=agent.version if agent is not None else None,
        rules_loaded=rules.loaded if rules is not None else None,
        rules_expected=rules.expected if rules is not None else None,
        lag_ms=agent.lag_ms if agent is not None else None,
        lost=agent.kernel.lost if agent is not None and agent.kernel is not None else None,
        outbox=outbox,
        refused=refused,
    )


def heartbeat_document(beat: Heartbeat, site: Site) -> Document:
    """A heartbeat in ECS."""
    body = frame("heartbeat", beat.host, beat.time_ms, site)
    body["event"] |= {"kind": "metric", "category": ["host"], "type": ["info"], "action": "heartbeat"}
    body["message"] = f"{beat.host} is watched" if beat.watching else f"{beat.host} ships, and its agent does not run"
    body["envtrail"] |= {"kind": "heartbeat", "heartbeat": msgspec.to_builtins(beat)}
    return Document(stream="heartbeat", id=make_ulid(beat.time_ms, "heartbeat", beat.host), body=body)


def last_heartbeats(client: SearchClient, namespace: str) -> list[Heartbeat]:
    """The newest of each machine, in the order of their names.

    Raises:
        SearchError: the cluster does not answer.
    """
    body = {"size": _MOST_HOSTS, "sort": [{"@timestamp": "desc"}], "collapse": {"field": "host.name"}}
    answer = client.ask("POST", f"/{stream_name('heartbeat', namespace)}/_search", body, fine=(404,))
    found = [
        msgspec.convert(hit["_source"]["envtrail"]["heartbeat"], Heartbeat) for hit in answer.get("hits", {}).get("hits", ())
    ]
    return sorted(found, key=lambda beat: beat.host)


def faults_of(beat: Heartbeat, now_ms: int) -> list[str]:
    """What is wrong with a machine; nothing: all is well."""
    faults = []
    if now_ms - beat.time_ms > SILENT_MS:
        faults.append("silent")
    elif not beat.watching:
        faults.append("agent not running")
    elif beat.rules_loaded != beat.rules_expected:
        faults.append("rules missing")
    if beat.time_ms - now_ms > INTERVAL_MS:
        faults.append(f"its clock is {(beat.time_ms - now_ms) // 1000} s ahead")
    if beat.refused:
        faults.append(f"{beat.refused} documents refused")
    return faults
