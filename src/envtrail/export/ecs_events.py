"""A typed event as an ECS document.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envtrail.export.frame import Document, Site, address_of, frame
from envtrail.model.ecs import RECORD_FIELDS
from envtrail.model.ids import make_ulid

# (category, type); kinds that ECS has no category for have none.
_EVENTS: dict[str, tuple[list[str], list[str]]] = {
    "exec": (["process"], ["start"]),
    "exit": (["process"], ["end"]),
    "file": (["file"], ["change"]),
    "user": (["authentication"], ["info"]),
    "config": (["configuration"], ["change"]),
    "daemon": (["configuration"], ["info"]),
}
# Column of the typed event → ECS field; what is not named here stands below `envtrail.event`.
EVENT_FIELDS = {
    "exit_code": "process.exit_code",
    "pid": "process.pid",
    "ppid": "process.parent.pid",
    "auid": "user.audit.id",
    "uid": "user.id",
    "euid": "user.effective.id",
    "gid": "group.id",
    "ses": "envtrail.session",
    "comm": "process.name",
    "exe": "process.executable",
    "argc": "process.args_count",
    "argv": "process.args",
    "cwd": "process.working_directory",
    "proctitle": "process.title",
}
NUMBERS_AS_TEXT = {"auid", "uid", "euid", "gid"}
"""Numbers that ECS has as keywords."""
_OTHERWHERE = {"time", "node", "kind"}


def event_document(row: Mapping[str, Any], segment: int, site: Site) -> Document:
    """A typed event.

    Args:
        row: By column of `model.schema`; `time` in ms since the epoch.
        segment: Number of its segment.
        site: Whose document it is.
    """
    node, time_ms, kind = str(row["node"]), int(row["time"]), str(row["kind"])
    category, types = _EVENTS.get(kind, ([], ["info"]))
    rest = {
        name: value
        for name, value in row.items()
        if name not in EVENT_FIELDS and name not in _OTHERWHERE and value is not None and value not in ([], {})
    }
    # What the agent's own node is called: a log of another machine that was imported names that one.
    body = frame("event", node, time_ms, site)
    body["event"] |= {
        "kind": "event",
        "category": category,
        "type": types,
        "action": row["type"],
        "outcome": {True: "success", False: "failure"}.get(row["success"], "unknown"),
        "sequence": row["serial"],
    }
    body["envtrail"] |= {"kind": "event", "event": rest | {"segment": segment, "kind": kind}}
    for column, field in EVENT_FIELDS.items():
        value = row[column]
        if value is not None and value != []:
            _put(body, field, str(value) if column in NUMBERS_AS_TEXT else value)
    if row["argv"]:
        body["process"]["command_line"] = " ".join(row["argv"])
    paths = row["paths"] or ()
    if named := [path["name"] for path in paths if path["name"] is not None]:
        body["file"] = {"path": named}
    if created := [path["name"] for path in paths if path["nametype"] == "CREATE" and path["name"] is not None]:
        body["envtrail"]["event"]["created"] = created
    body["auditd"] = {"record_types": _record_types(row)}
    fields = row["fields"] or {}
    if told := {name: fields[name] for name in RECORD_FIELDS if fields.get(name) is not None}:
        body["auditd"]["data"] = told
    if row["auid"] is not None:
        body["related"]["user"] = [str(row["auid"])]
    if (address := address_of(row["address"])) is not None:
        body["source"] = {"ip": address}
        body["related"]["ip"] = [address]
    return Document(stream="event", id=make_ulid(time_ms, "event", node, str(row["serial"])), body=body)


def _put(body: dict[str, Any], field: str, value: Any) -> None:
    *parents, leaf = field.split(".")
    for parent in parents:
        body = body.setdefault(parent, {})
    body[leaf] = value


def _record_types(row: Mapping[str, Any]) -> list[str]:
    """The types of the records that an event was made of, as far as its columns tell."""
    told = {
        "SYSCALL": row["syscall"] is not None,
        "EXECVE": row["argv"] is not None,
        "PATH": bool(row["paths"]),
        "CWD": row["cwd"] is not None,
        "PROCTITLE": row["proctitle"] is not None,
        "SOCKADDR": row["address"] is not None,
    }
    leading = str(row["type"])
    return [leading, *(name for name, is_there in told.items() if is_there and name != leading)]
