"""Names that documents and converted rules share.

References:
    https://www.elastic.co/docs/reference/ecs
    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/multi-fields
"""

from __future__ import annotations

CASELESS_SUFFIX = ".caseless"
"""The same value, folded to lower case, as Elastic's own integrations name it: Sigma compares without regard to case."""
CASELESS = frozenset(
    {
        "auditd.record_types",
        "envtrail.environment.prefix",
        "envtrail.event.created",
        "envtrail.event.keys",
        "envtrail.operation.files.path",
        "envtrail.run.program",
        "file.path",
        "host.name",
        "package.name",
        "package.reference",
        "process.args",
        "process.command_line",
        "process.executable",
        "process.name",
        "process.title",
        "process.working_directory",
        "user.name",
    }
)
"""Fields that have it; what the others hold is written unchanged, in lower case."""
RECORD_FIELDS = (
    "acct",
    "audit_enabled",
    "dir",
    "op",
    "res",
    "terminal",
    "unit",
    "hostname",
    "grantors",
    "old",
    "new",
    "list",
    "subj",
    "id",
    "old-auid",
    "old-ses",
)
"""Fields of records that are no system calls, which rules query: `auditd.data.<name>`, as Auditbeat has them."""
