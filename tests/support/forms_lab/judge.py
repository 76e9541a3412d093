"""Judge a row: what the trail says of it, against the ledger and against what the form must be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

from forms_lab.form import ANY_EXIT, Expected
from forms_lab.ledger import Entry

Document = dict[str, object]
_KINDS = {"venv": "venv", "bare": "venv", "legacy": "venv", "conda": "conda", "system": "system"}


def operations_of(entry: Entry, operations: Iterable[Document]) -> list[Document]:
    """The operations that speak of this row: its name is in its folder, its packages and its files."""
    return [operation for operation in operations if entry.marker in json.dumps(operation)]


def strays(entries: Sequence[Entry], operations: Iterable[Document]) -> list[Document]:
    """Operations that belong to no row of the ledger, or to several."""
    return [item for item in operations if sum(entry.marker in json.dumps(item) for entry in entries) != 1]


def owners(package: str, operations: Iterable[Document]) -> list[Document]:
    """The operations whose changes name this package."""
    return [item for item in operations if package in {_name(change) for change in _list(item["changes"])}]


def faults_of(entry: Entry, operations: Sequence[Document]) -> list[str]:
    """Everything that the trail has wrong about a row; empty when it is right."""
    found = operations_of(entry, operations)
    wanted = entry.form.expects
    if len(found) != len(wanted):
        said = [f"{item['tool']} {item['kind']} {_prefix(item)} {changes_of(item)} {item['outcome']}" for item in found]
        return [f"{len(found)} operations, not {len(wanted)}: {said}"]
    if entry.form.shared:
        return _faults_of_shared(entry, found)
    faults = []
    if entry.form.group:
        found.sort(key=_prefix)
        groups = {item["group"] for item in found}
        faults = [f"groups are {groups}"] if len(groups) != 1 or None in groups else []
    return faults + [
        fault for expected, operation in zip(wanted, found, strict=True) for fault in _faults(entry, expected, operation)
    ]


def changes_of(operation: Document) -> list[str]:
    """`+name`, `-name`, `^name`, sorted."""
    return sorted(map(_sign, _list(operation["changes"])))


def _faults(entry: Entry, expected: Expected, operation: Document) -> list[str]:
    faults = _faults_of_person(entry, operation)
    tool = operation["tool"]
    if expected.kind == "tamper" and {tool, os.path.basename(str(_first(operation["argv"])))} & set(expected.tool.split("|")):
        tool = expected.tool
    kind = expected.environment_kind or _KINDS[entry.form.place]
    said: list[tuple[str, object, object]] = [
        ("tool", tool, expected.tool),
        ("kind", operation["kind"], expected.kind),
        ("outcome", operation["outcome"], expected.outcome),
    ]
    if expected.exit_code != ANY_EXIT:
        said.append(("exit code", operation["exit_code"], expected.exit_code))
    if kind != "*":
        said.append(("environment kind", _dict(operation["environment"])["kind"], kind))
    if expected.via is not None:
        said.append(("via", tuple(map(str, _list(operation["via"]))), expected.via))
    faults += [f"{name} is `{is_}`, not `{must}`" for name, is_, must in said if is_ != must]
    prefix, must = _prefix(operation), entry.fill(expected.prefix)
    if not (prefix.startswith(must[:-1]) if must.endswith("*") else prefix == must):
        faults.append(f"prefix is `{prefix}`, not `{must}`")
    changes, wanted = set(changes_of(operation)), {entry.fill(item) for item in expected.changes if item != "…"}
    if not (wanted <= changes if "…" in expected.changes else wanted == changes) or operation["changes"] is None:
        faults.append(f"changes are {sorted(changes)}, not {sorted(wanted)}")
    files = {_dict(item)["path"] for item in _list(operation.get("files"))}
    if missing := {entry.fill(path) for path in expected.files} - files:
        faults.append(f"files lack {sorted(missing)}")
    return faults


def _faults_of_shared(entry: Entry, found: list[Document]) -> list[str]:
    """Two at once: each change is in the one operation it belongs to, or in both, and then both say that they are shared."""
    exact = [sorted(map(entry.fill, expected.changes)) for expected in entry.form.expects]
    told_apart = sorted(map(changes_of, found)) == sorted(exact)
    together = {change for item in found for change in changes_of(item)} == {change for row in exact for change in row}
    marked = all(item.get("shared") for item in found)
    faults = [fault for item in found for fault in _faults_of_person(entry, item)]
    if not (told_apart or (together and marked)):
        faults.append(
            f"changes are {[changes_of(item) for item in found]}, shared {[item.get('shared') for item in found]}, not {exact}"
        )
    return faults


def _faults_of_person(entry: Entry, operation: Document) -> list[str]:
    actor = _dict(operation["actor"])
    said = (
        ("login uid", actor["auid"], entry.person.auid),
        ("uid", actor["uid"], entry.uid),
        ("method", actor["method"], "auid"),
        ("confidence", actor["confidence"], "certain"),
        ("complete", operation["complete"], True),
        ("a process", operation.get("pid") is not None, True),
    )
    return [f"{name} is `{is_}`, not `{must}`" for name, is_, must in said if is_ != must]


def _sign(change: object) -> str:
    row = _dict(change)
    return ("+" if not row["before"] else "-" if not row["after"] else "^") + str(row["name"])


def _name(change: object) -> str:
    return str(_dict(change)["name"])


def _prefix(operation: Document) -> str:
    return str(_dict(operation["environment"])["prefix"])


def _dict(value: object) -> Document:
    assert isinstance(value, dict), value
    return value


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _first(value: object) -> object:
    return next(iter(_list(value)), "")
