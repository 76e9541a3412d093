"""A fleet's trail on a real server, and what each product shows of it by the files that it imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import panel_searches
from cluster_lab import Cluster
from panel_searches import Row, by_reference

from envtrail.dashboards import grafana, kibana, opensearch_dashboards
from envtrail.dashboards.panels import PANELS
from envtrail.documents.base import Site
from envtrail.documents.fields import stream_name
from envtrail.documents.heartbeat import heartbeat_document
from envtrail.model.decided import FindingMade
from envtrail.model.finding import Finding, Level, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Operation
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

KIBANA = by_reference(kibana.saved_objects())
OPENSEARCH = by_reference(opensearch_dashboards.saved_objects())
GRAFANA = grafana.dashboard()
_BEGIN_MS = 1_795_000_000_000
_TITLES = {panel.id: panel.title for panel in PANELS}


class Shown:
    def __init__(self, cluster: Cluster, trail: Path) -> None:
        self.cluster = cluster
        self.held = EmbeddedStore(trail)

    def rows(self, product: str, name: str, **chosen: str) -> list[Row]:
        """What a product shows of a panel, with a choice made in its filters."""
        filters: list[dict[str, Any]] = [{"term": {"data_stream.namespace": self.cluster.namespace}}]
        if product == "grafana":
            search = panel_searches.of_grafana(GRAFANA, _TITLES[name], chosen)
        else:
            fields = _fields_of_controls(product)
            filters += [{"match_phrase": {fields[id_]: value}} for id_, value in chosen.items()]
            reading = panel_searches.of_lens if product == "kibana" else panel_searches.of_visualization
            search = reading(KIBANA if product == "kibana" else OPENSEARCH, name)
        return search.rows(self._ask, filters)

    def by_people(self) -> list[Operation]:
        """All operations but those that a baseline adds."""
        return [item for item in self.held.operations(Query()) if item.actor.method != "owner"]

    def _ask(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.cluster.server.call("POST", f"/{index}/_search", body)
        return answer


def _fields_of_controls(product: str) -> dict[str, str]:
    if product == "kibana":
        text = KIBANA["dashboard", "envtrail-fleet"]["attributes"]["controlGroupInput"]["panelsJSON"]
        return {id_: control["explicitInput"]["fieldName"] for id_, control in json.loads(text).items()}
    state = json.loads(OPENSEARCH["visualization", "envtrail-filters"]["attributes"]["visState"])
    return {control["id"]: control["fieldName"] for control in state["params"]["controls"]}


def add_what_is_rare(trail: Path) -> None:
    """Other machines, people without a name, what nobody explained, findings and gaps."""
    state = State(Layout(trail).state)
    with state.transaction():
        for at in range(60):
            time_ms, host = _BEGIN_MS + at * 3_600_000, f"gpu{at % 3 + 2}"
            operation = operation_of(Case(packages=[f"package-{at % 7}==1.0", "wheel==0.45"]))
            actor = operation.actor if at % 4 else msgspec.structs.replace(operation.actor, name=None)
            changed = {
                "id": make_operation_id(EventId(node=host, time_ms=time_ms, serial=at), "x"),
                "host": host,
                "actor": actor,
                "tool": ("pip", "uv", "conda")[at % 3],
                "started": to_rfc3339(time_ms),
                "explained": at % 5 != 0,
            }
            state.put_operation(msgspec.structs.replace(operation, **changed))
        for at, level in enumerate([*Level, Level.HIGH, Level.LOW]):
            time_ms = _BEGIN_MS + at * 60_000
            finding = Finding(
                id=make_finding_id("rule", str(at), time_ms),
                detection=f"rule-{at % 2}",
                source="sigma",
                title=f"Noticed {at % 2}",
                level=level,
                time_ms=time_ms,
                host=f"gpu{at % 3 + 2}",
            )
            state.decisions.put(FindingMade(time_ms=time_ms, finding=finding))
        for at in range(9):
            since_ms = _BEGIN_MS + at * 1000
            cause = (GapCause.RESTART, GapCause.KERNEL_LOST)[at % 4 == 0]
            state.put_gap(
                Gap(
                    id=f"gap {at}",
                    cause=cause,
                    host=f"gpu{at % 3 + 2}",
                    since_ms=since_ms,
                    until_ms=since_ms + 500,
                    records=None,
                    detail="missing",
                )
            )
    state.close()


def add_machines(cluster: Cluster) -> None:
    """What three more machines report of themselves, twice; the agent of one has ended since."""
    target = stream_name("heartbeat", cluster.namespace)
    for at in range(3):
        for later in (0, 15_000):
            runs = not (at == 0 and later)
            beat = Heartbeat(
                host=f"gpu{at + 2}",
                time_ms=cluster.now_ms + at * 1000 + later,
                watching=runs,
                rules_loaded=40 - at - later // 15_000 if runs else None,
                rules_expected=40 if runs else None,
                lag_ms=900 - later // 50 if runs else None,
                lost=at if runs else None,
                outbox=later // 5_000 + at,
                refused=at,
            )
            document = heartbeat_document(beat, Site(namespace=cluster.namespace))
            cluster.server.call("PUT", f"/{target}/_create/{document.id}", document.body)
