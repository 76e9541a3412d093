"""Alert rules for a cluster: detections as queries, and what only a cluster can detect: a machine that fell silent.

References:
    https://www.elastic.co/docs/api/doc/kibana/operation/operation-importrules (NDJSON of Elastic Security)
    https://www.elastic.co/docs/explore-analyze/alerts-cases/watcher
    https://docs.opensearch.org/latest/observing-your-data/alerting/api
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from envtrail.documents.fields import stream_name
from envtrail.model.finding import Level
from envtrail.model.heartbeat import SILENT_MS

_INDICES = stream_name("*", "*")
_SCORES = {Level.INFORMATIONAL: 5, Level.LOW: 21, Level.MEDIUM: 47, Level.HIGH: 73, Level.CRITICAL: 99}
"""The scores of Elastic's own rules."""
_SEVERITIES = {Level.CRITICAL: "1", Level.HIGH: "2", Level.MEDIUM: "3", Level.LOW: "4", Level.INFORMATIONAL: "5"}
_EVENTS_MS = 25 * 3_600_000
"""How late an event may come: when its segment is sealed, a day after it began by default."""
_OTHERS_MS = 10 * 60_000


class Alert(Struct, frozen=True, kw_only=True):
    """A detection as a query."""

    id: str
    """A UUID."""
    title: str
    description: str
    level: Level
    query: str
    """Lucene."""
    tags: list[str] = []
    false_positives: list[str] = []

    @property
    def look_back_ms(self) -> int:
        """The lookback of a search, so that no late event is missed."""
        return _EVENTS_MS if "dataset:envtrail.event" in self.query else _OTHERS_MS


OWN: tuple[Alert, ...] = (
    Alert(
        id="3b0f7c5e-5f0e-4d53-9a1b-8e3c1f6f7a01",
        title="Envtrail noticed something",
        description="The policy or a detection on a machine made a finding.",
        level=Level.HIGH,
        query="data_stream.dataset:envtrail.finding AND (envtrail.finding.level:high OR envtrail.finding.level:critical)",
    ),
    Alert(
        id="3b0f7c5e-5f0e-4d53-9a1b-8e3c1f6f7a02",
        title="A gap appeared in a trail",
        description="Records are missing: the kernel lost them, the agent did not run, or somebody took the rules away.",
        level=Level.HIGH,
        query="data_stream.dataset:envtrail.gap AND NOT envtrail.gap.cause:retention",
    ),
)
"""For every fleet, besides the detections."""


def search_of(alert: Alert) -> dict[str, Any]:
    """The search of an alert, without its time range."""
    return {"query_string": {"query": alert.query}}


def silent_search() -> dict[str, Any]:
    """The time of each machine's last heartbeat, within a day."""
    day = {"range": {"@timestamp": {"gte": "now-1d"}}}
    last = {"last": {"max": {"field": "@timestamp"}}}
    return {"size": 0, "query": day, "aggs": {"hosts": {"terms": {"field": "host.name", "size": 10_000}, "aggs": last}}}


def elastic_rules(alerts: Iterable[Alert]) -> Iterator[dict[str, Any]]:
    """Rules of Elastic Security, disabled: whoever imports them enables those they want."""
    for alert in alerts:
        yield {
            "rule_id": alert.id,
            "name": alert.title,
            "description": alert.description,
            "type": "query",
            "language": "lucene",
            "query": alert.query,
            "index": [_INDICES],
            "severity": "low" if alert.level is Level.INFORMATIONAL else alert.level.value,
            "risk_score": _SCORES[alert.level],
            "interval": "1m",
            "from": f"now-{alert.look_back_ms // 60_000}m",
            "enabled": False,
            "tags": ["Envtrail", *alert.tags],
            "false_positives": alert.false_positives,
            "references": [],
            "author": ["The Envtrail authors"],
            "license": "Apache-2.0",
            "version": 1,
        }


def watch() -> dict[str, Any]:
    """A watch of Elasticsearch: a machine fell silent (`PUT _watcher/watch/envtrail-silent`)."""
    request = {"indices": [stream_name("heartbeat", "*")], "body": silent_search()}
    return {
        "trigger": {"schedule": {"interval": "30s"}},
        "input": {"search": {"request": request}},
        "condition": {
            "script": {"lang": "painless", "source": _silent("ctx.payload", "ctx.execution_time.toInstant().toEpochMilli()")}
        },
        "actions": {"log": {"logging": {"level": "warn", "text": "Envtrail: a machine has not been heard of for a minute"}}},
    }


def opensearch_monitors(alerts: Iterable[Alert]) -> Iterator[dict[str, Any]]:
    """Monitors of OpenSearch Alerting, disabled; each is `POST _plugins/_alerting/monitors`."""
    for alert in alerts:
        time = {"gte": f"{{{{period_end}}}}||-{alert.look_back_ms // 60_000}m", "lte": "{{period_end}}", "format": "epoch_millis"}
        search = {"size": 10, "query": {"bool": {"filter": [{"range": {"@timestamp": time}}, search_of(alert)]}}}
        found = "ctx.results[0].hits.total.value > 0"
        yield _monitor(f"Envtrail: {alert.title}", [_INDICES], search, found, _SEVERITIES[alert.level])
    silent = _silent("ctx.results[0]", "ctx.periodEnd.toEpochMilli()")
    yield _monitor("Envtrail: a machine fell silent", [stream_name("heartbeat", "*")], silent_search(), silent, "1")


def _silent(payload: str, now: str) -> str:
    return f"for (def h : {payload}.aggregations.hosts.buckets) {{ if (h.last.value < {now} - {SILENT_MS}) return true; }} return false;"


def _monitor(name: str, indices: list[str], search: dict[str, Any], condition: str, severity: str) -> dict[str, Any]:
    trigger = {
        "name": name,
        "severity": severity,
        "condition": {"script": {"lang": "painless", "source": condition}},
        "actions": [],
    }
    return {
        "type": "monitor",
        "monitor_type": "query_level_monitor",
        "name": name,
        "enabled": False,
        "schedule": {"period": {"interval": 1, "unit": "MINUTES"}},
        "inputs": [{"search": {"indices": indices, "query": search}}],
        "triggers": [{"query_level_trigger": trigger}],
    }
