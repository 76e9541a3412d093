"""The fields that a Sigma rule can use, by its log source: one table of fields for each kind of row.

References:
    https://github.com/SigmaHQ/sigma-specification (appendix: taxonomy)
    auditd fields: https://github.com/linux-audit/audit-documentation (field dictionary)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from msgspec import Struct

from envtrail.model.ecs import RECORD_FIELDS


class FieldType(Enum):
    """Type of a field's value."""

    TEXT = "text"
    TEXTS = "texts"
    """Several; one match is enough."""
    NUMBER = "number"
    YES_NO = "yes/no"


class SigmaField(NamedTuple):
    """One field."""

    sql: str
    """Over the source's columns; text comparison is case-insensitive."""
    shape: FieldType = FieldType.TEXT
    ecs: str | None = None
    """Its name in Elasticsearch documents; None: it has none."""
    columns: tuple[str, ...] = ()
    """The columns of texts that hold its value, as recorded; none where it is made of more than that, or the same in most events."""
    made: frozenset[str] = frozenset()
    """Texts that its value may have beside those."""
    name: str = ""
    """The name in the rule."""


class LogSource(Struct, frozen=True, kw_only=True):
    """The rows of a log source."""

    table: str
    """`events`, `operations`, `changes`, `runs`, `gaps`."""
    where: str
    """Condition that selects them."""
    fields: Mapping[str, SigmaField]
    everything: str
    """Text that values without a field are searched in."""
    ecs_where: str
    """The same in Lucene."""
    refused: Mapping[str, str] = {}
    """Field → why it cannot be used."""


_ARGUMENT = re.compile(r"^a(\d{1,3})$")
_COMMAND = "array_to_string(e.argv, ' ')"
_PATHS = "list_transform(e.paths, lambda p: p.name)"
_USER = "coalesce(n.name, CAST(e.uid AS VARCHAR))"
_MADE_TYPES = frozenset({"EXECVE", "SYSCALL", "PATH", "CWD", "PROCTITLE", "SOCKADDR"})
_TYPES = """list_filter([CAST(e.type AS VARCHAR), CASE WHEN e.argv IS NOT NULL THEN 'EXECVE' END,
 CASE WHEN e.syscall IS NOT NULL THEN 'SYSCALL' END, CASE WHEN len(e.paths) > 0 THEN 'PATH' END,
 CASE WHEN e.cwd IS NOT NULL THEN 'CWD' END, CASE WHEN e.proctitle IS NOT NULL THEN 'PROCTITLE' END,
 CASE WHEN e.address IS NOT NULL THEN 'SOCKADDR' END], lambda t: t IS NOT NULL)""".replace("\n", "")
_CREATED = "list_transform(list_filter(e.paths, lambda p: p.nametype = 'CREATE'), lambda p: p.name)"
_EVERYTHING = (
    f"concat_ws(' ', {_COMMAND}, e.exe, e.comm, e.cwd, e.proctitle, array_to_string({_PATHS}, ' '), "
    "array_to_string(map_values(e.fields), ' '))"
)
_NUMBER = FieldType.NUMBER
_SYSCALL = SigmaField(
    "list_filter([coalesce(s.name, e.fields['SYSCALL']), CAST(e.syscall AS VARCHAR)], lambda t: t IS NOT NULL)",
    FieldType.TEXTS,
    None,
)

_AUDITD: dict[str, SigmaField] = {
    "type": SigmaField(_TYPES, FieldType.TEXTS, "auditd.record_types", columns=("type",), made=_MADE_TYPES),
    "comm": SigmaField("e.comm", ecs="process.name", columns=("comm",)),
    "exe": SigmaField("e.exe", ecs="process.executable", columns=("exe",)),
    "key": SigmaField(
        "list_concat(coalesce(e.keys, []), list_filter([e.fields['key']], lambda t: t IS NOT NULL))",
        FieldType.TEXTS,
        "envtrail.event.keys",
    ),
    "name": SigmaField(_PATHS, FieldType.TEXTS, "file.path", columns=("paths",)),
    "nametype": SigmaField("list_transform(e.paths, lambda p: p.nametype)", FieldType.TEXTS),
    "syscall": _SYSCALL,
    "SYSCALL": _SYSCALL,
    "success": SigmaField("CASE WHEN e.success THEN 'yes' WHEN NOT e.success THEN 'no' END"),
    "exit": SigmaField("e.exit", _NUMBER, "envtrail.event.exit"),
    "auid": SigmaField("e.auid", _NUMBER, "user.audit.id"),
    "uid": SigmaField("e.uid", _NUMBER, "user.id"),
    "euid": SigmaField("e.euid", _NUMBER, "user.effective.id"),
    "gid": SigmaField("e.gid", _NUMBER, "group.id"),
    "pid": SigmaField("e.pid", _NUMBER, "process.pid"),
    "ppid": SigmaField("e.ppid", _NUMBER, "process.parent.pid"),
    "ses": SigmaField("e.ses", _NUMBER, "envtrail.session"),
    "tty": SigmaField("e.tty", columns=("tty",)),
    "cwd": SigmaField("e.cwd", ecs="process.working_directory", columns=("cwd",)),
    "proctitle": SigmaField("e.proctitle", ecs="process.title", columns=("proctitle",)),
    "argc": SigmaField("e.argc", _NUMBER, "process.args_count"),
    "addr": SigmaField("e.address", ecs="source.ip", columns=("address",)),
    "saddr": SigmaField("e.address", ecs="source.ip", columns=("address",)),
    "arch": SigmaField("CASE WHEN e.arch >= 2147483648 THEN 'b64' WHEN e.arch IS NOT NULL THEN 'b32' END"),
}
_AUDITD.update(
    {name: SigmaField(f"e.fields['{name}']", ecs=f"auditd.data.{name}", columns=("fields",)) for name in RECORD_FIELDS}
)

_PROCESS: dict[str, SigmaField] = {
    "Image": SigmaField("e.exe", ecs="process.executable", columns=("exe",)),
    "CommandLine": SigmaField(_COMMAND, ecs="process.command_line", columns=("argv",)),
    "CurrentDirectory": SigmaField("e.cwd", ecs="process.working_directory", columns=("cwd",)),
    "User": SigmaField(_USER),
    "LogonId": SigmaField("CAST(e.ses AS VARCHAR)", ecs="envtrail.session"),
    "ProcessId": SigmaField("e.pid", _NUMBER, "process.pid"),
    "ParentProcessId": SigmaField("e.ppid", _NUMBER, "process.parent.pid"),
    "ParentImage": SigmaField("p.exe"),
    "ParentCommandLine": SigmaField("array_to_string(p.argv, ' ')"),
}
_FILE: dict[str, SigmaField] = {
    "TargetFilename": SigmaField(_CREATED, FieldType.TEXTS, "envtrail.event.created", columns=("paths",)),
    "Image": SigmaField("e.exe", ecs="process.executable", columns=("exe",)),
    "User": SigmaField(_USER),
    "ProcessId": SigmaField("e.pid", _NUMBER, "process.pid"),
}


def _plain(table: str) -> dict[str, SigmaField]:
    return {name: SigmaField(f'e."{name}"', shape, _ECS[table].get(name)) for name, shape in COLUMNS[table].items()}


def _as_text(name: str, shape: FieldType) -> str:
    return f"array_to_string(e.\"{name}\", ' ')" if shape is FieldType.TEXTS else f'e."{name}"'


OPERATION_COLUMNS: dict[str, FieldType] = {
    **dict.fromkeys(
        (
            "id",
            "host",
            "kind",
            "tool",
            "user",
            "class",
            "method",
            "confidence",
            "program",
            "unit",
            "container",
            "remote",
            "prefix",
        ),
        FieldType.TEXT,
    ),
    **dict.fromkeys(
        ("environment_kind", "outcome", "reason", "verdict", "policy_rule", "grant", "command", "owner"), FieldType.TEXT
    ),
    **dict.fromkeys(("uid", "auid", "packages", "files_total"), FieldType.NUMBER),
    **dict.fromkeys(("argv", "via", "files"), FieldType.TEXTS),
    **dict.fromkeys(("explained", "off_hours"), FieldType.YES_NO),
}
CHANGE_COLUMNS: dict[str, FieldType] = {
    **OPERATION_COLUMNS,
    **dict.fromkeys(("package", "ecosystem", "version", "before", "source", "action", "similar_to"), FieldType.TEXT),
    **dict.fromkeys(("requested", "first_source"), FieldType.YES_NO),
}
RUN_COLUMNS: dict[str, FieldType] = {
    **dict.fromkeys(("id", "host", "kind", "program", "user", "class", "prefix", "command", "sha256", "outcome"), FieldType.TEXT),
    **dict.fromkeys(("uid", "auid"), FieldType.NUMBER),
    "off_hours": FieldType.YES_NO,
}
GAP_COLUMNS: dict[str, FieldType] = {
    **dict.fromkeys(("id", "host", "cause", "detail"), FieldType.TEXT),
    **dict.fromkeys(("records", "seconds"), FieldType.NUMBER),
}
COLUMNS = {"operations": OPERATION_COLUMNS, "changes": CHANGE_COLUMNS, "runs": RUN_COLUMNS, "gaps": GAP_COLUMNS}
"""Our own rows: the fields of `product: envtrail`."""
_ECS_OF_ALL = {
    "id": "envtrail.id",
    "host": "host.name",
    "user": "user.name",
    "uid": "user.effective.id",
    "auid": "user.audit.id",
    "class": "envtrail.actor.class",
    "method": "envtrail.actor.method",
    "confidence": "envtrail.actor.confidence",
    "remote": "source.ip",
    "prefix": "envtrail.environment.prefix",
    "environment_kind": "envtrail.environment.kind",
    "argv": "process.args",
    "command": "process.command_line",
}
_ECS: dict[str, dict[str, str]] = {
    "operations": {
        **_ECS_OF_ALL,
        **{
            name: f"envtrail.operation.{name}"
            for name in ("kind", "tool", "outcome", "verdict", "policy_rule", "grant", "explained", "off_hours", "files_total")
        },
        "files": "envtrail.operation.files.path",
        "packages": "envtrail.operation.changed",
    },
    "changes": {
        **_ECS_OF_ALL,
        "package": "package.name",
        "ecosystem": "package.type",
        "version": "package.version",
        "source": "package.reference",
        "before": "envtrail.change.before.version",
        "action": "envtrail.change.action",
        "requested": "envtrail.change.requested",
    },
    "runs": {
        **_ECS_OF_ALL,
        "kind": "envtrail.run.kind",
        "program": "envtrail.run.program",
        "outcome": "envtrail.run.outcome",
        "sha256": "process.hash.sha256",
    },
    "gaps": {"id": "envtrail.id", "host": "host.name", "cause": "envtrail.gap.cause", "records": "envtrail.gap.records"},
}
"""Columns that documents have; a rule that uses another one cannot be converted."""
_NOT_KEPT = "the kernel's audit does not record it"
_EXEC = "e.kind = 'exec'"
_OWN = {"operation": "operations", "change": "changes", "run": "runs", "gap": "gaps"}

_AUDITD_SOURCE = LogSource(
    table="events", where="true", fields=_AUDITD, everything=_EVERYTHING, ecs_where="data_stream.dataset:envtrail.event"
)
SOURCES: dict[tuple[str | None, str | None, str | None], LogSource] = {
    ("linux", None, "auditd"): _AUDITD_SOURCE,
    ("linux", "process_creation", None): LogSource(
        table="events",
        where=_EXEC,
        fields=_PROCESS,
        everything=_EVERYTHING,
        ecs_where="data_stream.dataset:envtrail.event AND event.type:start",
        refused=dict.fromkeys(("OriginalFileName", "Hashes", "Description", "Company", "IntegrityLevel", "Product"), _NOT_KEPT),
    ),
    ("linux", "file_event", None): LogSource(
        table="events",
        where=f"len({_CREATED}) > 0",
        fields=_FILE,
        everything=_EVERYTHING,
        ecs_where="data_stream.dataset:envtrail.event AND _exists_:envtrail.event.created",
    ),
    **{
        ("envtrail", category, None): LogSource(
            table=table,
            where="true",
            fields=_plain(table),
            everything=f"concat_ws(' ', {', '.join(_as_text(name, shape) for name, shape in COLUMNS[table].items())})",
            ecs_where=f"data_stream.dataset:envtrail.{category}",
        )
        for category, table in _OWN.items()
    },
}
JOINS = {
    "n.": "LEFT JOIN names n ON n.uid = e.uid",
    "p.exe": "LEFT JOIN parents p ON p.image = e.parent_image",
    "p.argv": "LEFT JOIN parents p ON p.image = e.parent_image",
    "s.": "LEFT JOIN syscalls s ON s.number = e.syscall AND s.arch = e.arch",
}
"""Additional joins of expressions over events."""


def find_source(product: str | None, category: str | None, service: str | None) -> LogSource | str:
    """The rows of a log source, or why there are none."""
    if product not in {"linux", "envtrail", None}:
        return f"its product is `{product}`; Envtrail watches Linux"
    named = [part for part in (product, category, service) if part]
    exact = SOURCES.get((product, category, service))
    if exact is not None:
        return exact
    if category in {"process_creation", "file_event"} and product in {"linux", None} and service is None:
        return SOURCES["linux", category, None]
    if service == "auditd" and category is None:
        return _AUDITD_SOURCE
    return f"nothing of its log source (`{' '.join(named) or 'none'}`) is recorded: Envtrail reads the kernel's audit, not other logs"


def find_field(source: LogSource, name: str) -> SigmaField | str:
    """A field of a source, or why it cannot be used."""
    if name in source.fields:
        return source.fields[name]._replace(name=name)
    if name in source.refused:
        return f"`{name}`: {source.refused[name]}"
    if source is _AUDITD_SOURCE and (found := _ARGUMENT.match(name)):
        return SigmaField(f"e.argv[{int(found[1]) + 1}]", name=name, columns=("argv",))
    return f"`{name}` is not a field of its log source"
