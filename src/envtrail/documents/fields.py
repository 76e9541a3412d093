"""The one table of indexed fields. Their number is constant: other fields of a document are stored and not indexed.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-field-reference
    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dynamic (`false`: kept in `_source`, not indexed)
"""

from __future__ import annotations

from typing import Any, get_args

from envtrail.model.ecs import CASELESS, CASELESS_SUFFIX, RECORD_FIELDS
from envtrail.settings.sections import Stream

ECS_VERSION = "8.17.0"
STANDING = ("environment", "package", "snapshot")
"""Kinds that describe the present state: they are not deleted with age."""
OWN: tuple[str, ...] = get_args(Stream)
"""Kinds of documents; each has its fields below `envtrail.<kind>`, under the names that `--json` uses."""
STREAMS = (*OWN, "amendment", "heartbeat")

_LONGEST_TERM = 8_191
"""Characters: in UTF-8 at most Lucene's 32,766 bytes."""

# By type. A name is ECS's, or is below `envtrail`.
_KEYWORDS = [
    "ecs.version",
    "data_stream.type",
    "data_stream.dataset",
    "data_stream.namespace",
    "agent.type",
    "agent.version",
    "event.kind",
    "event.category",
    "event.type",
    "event.action",
    "event.outcome",
    "event.module",
    "event.dataset",
    "event.id",
    "auditd.record_types",
    *(f"auditd.data.{name}" for name in RECORD_FIELDS),
    "host.name",
    "host.hostname",
    "user.name",
    "user.id",
    "user.audit.id",
    "user.effective.id",
    "group.id",
    "process.name",
    "process.executable",
    "process.args",
    "process.working_directory",
    "process.title",
    "process.hash.sha256",
    "container.id",
    "container.runtime",
    "container.image.name",
    "file.path",
    "package.name",
    "package.version",
    "package.type",
    "package.reference",
    "package.build_version",
    "package.checksum",
    "package.license",
    "rule.id",
    "rule.name",
    "rule.ruleset",
    "threat.technique.id",
    "related.user",
    "related.hosts",
    "related.ip",
    "related.hash",
    "envtrail.id",
    "envtrail.kind",
    "envtrail.digest",
    "envtrail.environment.prefix",
    "envtrail.environment.name",
    "envtrail.environment.kind",
    "envtrail.environment.python",
    "envtrail.amends.kind",
    "envtrail.amends.id",
    "envtrail.actor.class",
    "envtrail.actor.method",
    "envtrail.actor.confidence",
    "envtrail.operation.id",
    "envtrail.operation.kind",
    "envtrail.operation.tool",
    "envtrail.operation.outcome",
    "envtrail.operation.verdict",
    "envtrail.operation.grant",
    "envtrail.operation.policy_rule",
    "envtrail.operation.group",
    "envtrail.operation.files.path",
    "envtrail.change.operation",
    "envtrail.change.action",
    "envtrail.change.before.version",
    "envtrail.change.after.version",
    "envtrail.change.after.source",
    "envtrail.run.kind",
    "envtrail.run.outcome",
    "envtrail.run.program",
    "envtrail.run.snapshot",
    "envtrail.run.parent",
    "envtrail.finding.detection",
    "envtrail.finding.source",
    "envtrail.finding.level",
    "envtrail.finding.status",
    "envtrail.finding.operation",
    "envtrail.finding.assignee",
    "envtrail.gap.cause",
    "envtrail.grant.kind",
    "envtrail.package.name",
    "envtrail.request.status",
    "envtrail.snapshot.digest",
    "envtrail.snapshot.reason",
    "envtrail.event.kind",
    "envtrail.event.type",
    "envtrail.event.keys",
    "envtrail.event.created",
    "envtrail.event.hint",
    "envtrail.heartbeat.version",
    "envtrail.heartbeat.policy_digest",
    "envtrail.heartbeat.policy_commit",
]
_LONGS = [
    "event.duration",
    "event.severity",
    "event.sequence",
    "process.pid",
    "process.args_count",
    "process.exit_code",
    "process.parent.pid",
    "envtrail.session",
    "envtrail.operation.processes",
    "envtrail.operation.files_total",
    "envtrail.operation.changed",
    "envtrail.operation.installed",
    "envtrail.operation.unexplained",
    "envtrail.operation.signal",
    "envtrail.run.count",
    "envtrail.gap.records",
    "envtrail.snapshot.packages",
    "envtrail.snapshot.size_bytes",
    "package.size",
    "envtrail.event.exit",
    "envtrail.event.serial",
    "envtrail.event.segment",
    "envtrail.event.syscall",
    "envtrail.event.image",
    "envtrail.event.parent_image",
    "envtrail.event.tracked_image",
    "envtrail.heartbeat.rules_loaded",
    "envtrail.heartbeat.rules_expected",
    "envtrail.heartbeat.lag_ms",
    "envtrail.heartbeat.lost",
    "envtrail.heartbeat.outbox",
    "envtrail.heartbeat.refused",
]
_BOOLEANS = [
    "envtrail.operation.explained",
    "envtrail.operation.made",
    "envtrail.operation.off_hours",
    "envtrail.operation.complete",
    "envtrail.change.requested",
    "envtrail.environment.gone",
    "envtrail.event.success",
    "envtrail.heartbeat.watching",
    "envtrail.heartbeat.full",
]
_DATES = ["@timestamp", "event.start", "event.end", "event.created", "package.installed", "envtrail.amends.made"]
_ADDRESSES = ["source.ip", "process.entry_leader.entry_meta.source.ip"]
_TEXTS = ["message", "event.reason"]
_LONG_KEYWORDS = ["process.command_line"]


def _keyword(name: str, longest: int) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "keyword", "ignore_above": longest}
    if name not in CASELESS:
        return described
    return described | {"fields": {CASELESS_SUFFIX.lstrip("."): described | {"normalizer": "lowercase"}}}


FIELDS: dict[str, dict[str, Any]] = {
    **{name: _keyword(name, 1024) for name in _KEYWORDS},
    **{name: _keyword(name, _LONGEST_TERM) for name in _LONG_KEYWORDS},
    **{name: {"type": "long"} for name in _LONGS},
    **{name: {"type": "boolean"} for name in _BOOLEANS},
    **{name: {"type": "date"} for name in _DATES},
    **{name: {"type": "ip"} for name in _ADDRESSES},
    **{name: {"type": "text"} for name in _TEXTS},
}


def mapping(*, dynamic: str = "false") -> dict[str, Any]:
    """The mapping of every data stream.

    Args:
        dynamic: Treatment of a field that is not in the table, at the root and in ECS's fields; `strict` rejects the document.
            Below `envtrail.<kind>` it is always stored and not indexed.
    """
    root: dict[str, Any] = {"dynamic": dynamic, "properties": {}}
    for name, described in sorted(FIELDS.items()):
        *parents, leaf = name.split(".")
        at = root
        for parent in parents:
            at = at["properties"].setdefault(parent, {"properties": {}})
        at["properties"][leaf] = described
    own = root["properties"]["envtrail"]["properties"]
    for kind in (*OWN, "heartbeat"):
        own.setdefault(kind, {"properties": {}})["dynamic"] = "false"
    return root


def stream_name(kind: str, namespace: str) -> str:
    """The data stream of a kind of documents."""
    return f"logs-envtrail.{kind}-{namespace}"
