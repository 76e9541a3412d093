"""The newest heartbeat of each machine in a cluster."""

from __future__ import annotations

import msgspec

from envtrail.fleet.searching import Searching
from envtrail.model.heartbeat import Heartbeat

_MOST_HOSTS = 10_000


def last_heartbeats(searching: Searching) -> list[Heartbeat]:
    """The newest heartbeat of each machine, ordered by name.

    Raises:
        SearchError: the cluster does not answer, or has no data of this namespace.
    """
    body = {"size": _MOST_HOSTS, "sort": [{"@timestamp": "desc"}], "collapse": {"field": "host.name"}}
    answer = searching.search(["heartbeat"], body)
    found = [msgspec.convert(hit["_source"]["envtrail"]["heartbeat"], Heartbeat) for hit in answer["hits"]["hits"]]
    return sorted(found, key=lambda beat: beat.host)
