"""One document of Auditbeat, translated back into the records that it was made of.

Auditbeat coalesces the records of an event, names what the kernel numbers, decodes what it writes in hexadecimal and moves most of it to
ECS's fields. Here each of these steps is taken back where that can be done exactly; what cannot be known any more is left out, never guessed:
the parser then finds it missing, as in a log with holes.

References:
    github.com/elastic/beats, auditbeat/module/auditd/audit_linux.go (`buildMetricbeatEvent`); github.com/elastic/go-libaudit, aucoalesce
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from envtrail.capture import record_text as text
from envtrail.model.bounds import UNDECODABLE

_Id = str | int | None
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)
_MAPPED_USERS = frozenset(
    {
        "ADD_GROUP", "ADD_USER", "DEL_GROUP", "DEL_USER", "GRP_MGMT", "USER_MGMT", "USER_CHAUTHTOK",
        "GRP_CHAUTHTOK", "CRED_ACQ", "CRED_DISP", "CRED_REFR", "GRP_AUTH", "LOGIN", "USER_ACCT",
        "USER_AUTH", "USER_END", "USER_ERR", "USER_LOGIN", "USER_LOGOUT", "USER_START",
    }
)  # fmt: skip
"""Types of which `user` is the login uid, or the account that was acted on: the uid of the record is lost."""
_CAPABILITIES = ("fver", "fp", "fi", "fe", "old_pp", "old_pi", "old_pe", "old_pa", "pp", "pi", "pe", "pa", "frootid")
"""Fields of BPRM_FCAPS, in the kernel's order."""
_OF_A_CALL = frozenset(["a0", "a1", "a2", "a3", "arch", "argc", "exit", "socket", "syscall", "tty"])
_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,62}|UNKNOWN\[[0-9]{1,5}\]").fullmatch
_NODE = re.compile(r"[!-~]{1,253}").fullmatch
_RECORD = re.compile(r"type=[A-Z0-9_\[\]]{1,64} msg=audit\(([0-9]{1,10})\.([0-9]{3}):([0-9]{1,18})\):[^\n]*").fullmatch


class UnreadableDocumentError(ValueError):
    """A document of the module that cannot be translated, and why."""


class _Named(Struct):
    id: _Id = None
    name: str | None = None


class _Member(_Named):
    group: _Named | None = None


class _User(_Member):
    audit: _Named | None = None
    effective: _Member | None = None
    saved: _Member | None = None
    filesystem: _Member | None = None
    before: _Named | None = msgspec.field(default=None, name="old-auid")


class _Parent(Struct):
    pid: int | None = None


class _Process(Struct):
    pid: int | None = None
    ppid: int | None = None
    """In version 7; from 8 on it is `parent.pid`."""
    parent: _Parent | None = None
    name: str | None = None
    title: str | None = None
    executable: str | None = None
    working_directory: str | None = None
    args: list[str] | None = None


class _Auditd(Struct):
    message_type: str | None = None
    sequence: Annotated[int, Meta(ge=0, lt=10**18)] | None = None
    result: str | None = None
    session: _Id = None
    data: dict[str, Any] = {}
    paths: list[dict[str, str]] = []


class _Host(Struct):
    name: str | None = None
    hostname: str | None = None


class _Event(Struct):
    original: str | list[str] | None = None


class _Source(Struct):
    ip: str | None = None


class Document(Struct):
    """What is read of a document; the names are ECS's and Auditbeat's."""

    timestamp: datetime | None = msgspec.field(default=None, name="@timestamp")
    host: _Host | None = None
    agent: _Host | None = None
    beat: Any = None
    """Written by Auditbeat 6 alone."""
    event: _Event | None = None
    auditd: _Auditd | None = None
    process: _Process = msgspec.field(default_factory=_Process)
    user: _User = msgspec.field(default_factory=_User)
    source: _Source | None = None
    tags: list[str] = []

    @property
    def kind(self) -> str:
        """The record type that leads the event; empty where the document does not say it."""
        return ((self.auditd and self.auditd.message_type) or "").upper()

    @property
    def says_uid(self) -> bool:
        """Whether `user` is the uid of the record."""
        return self.kind not in _MAPPED_USERS


class Translation(NamedTuple):
    """The records of one document, each with its newline."""

    node: str
    """The machine's name; empty where the document has none."""
    time_ms: int
    serial: int
    records: str
    is_verbatim: bool
    """As the kernel wrote them (`include_raw_message`), but for the names at the end."""


_decode = msgspec.json.Decoder(Document).decode


def translate(raw: bytes | msgspec.Raw) -> Translation:
    """Translate a document of the module `auditd`.

    Raises:
        UnreadableDocumentError: it lacks what makes an event, or holds what no record can hold.
    """
    try:
        document = _decode(raw)
    except UNDECODABLE as fault:
        raise UnreadableDocumentError(str(fault)) from None
    if document.beat is not None:
        raise UnreadableDocumentError("it is of Auditbeat 6, whose fields have other names; from 7.0 on they are ECS's")
    node = _node_of(document)
    original = document.event.original if document.event else None
    if original:
        return _verbatim(document, node, original.split("\n") if isinstance(original, str) else original)
    auditd = document.auditd
    if auditd is None or auditd.message_type is None or auditd.sequence is None:
        raise UnreadableDocumentError("it has no `auditd.message_type` and `auditd.sequence`, nor records in `event.original`")
    if not _TYPE(document.kind):
        raise UnreadableDocumentError("`auditd.message_type` is no record type")
    time_ms = _time_of(document.timestamp)
    stamp = f"msg=audit({time_ms // 1000}.{time_ms % 1000:03}:{auditd.sequence}):"
    head = f"node={node} " if node else ""
    records = "".join(f"{head}type={name} {stamp} {body}\n" for name, body in _lines(document, auditd))
    return Translation(node, time_ms, auditd.sequence, records, False)


def _verbatim(document: Document, node: str, lines: list[str]) -> Translation:
    """The kernel's own records; the names that Auditbeat found are added as auditd adds them (`log_format = ENRICHED`)."""
    head = f"node={node} " if node else ""
    records = []
    first: tuple[str, ...] | None = None
    for line in filter(None, lines):
        found = _RECORD(line)
        if found is None:
            raise UnreadableDocumentError("`event.original` holds something else than records")
        first = first or found.groups()
        if found.groups() != first:
            raise UnreadableDocumentError("`event.original` holds records of more than one event")
        names = _names(document) if " auid=" in line and "\x1d" not in line else ""
        records.append(f"{head}{line}{names}\n")
    if first is None:
        raise UnreadableDocumentError("`event.original` is empty")
    return Translation(node, int(first[0]) * 1000 + int(first[1]), int(first[2]), "".join(records), True)


def _node_of(document: Document) -> str:
    node = (document.host and document.host.name) or (document.agent and (document.agent.name or document.agent.hostname)) or ""
    if node and not _NODE(node):
        raise UnreadableDocumentError("`host.name` is no name of a machine")
    return node


def _time_of(moment: datetime | None) -> int:
    if moment is None or moment.tzinfo is None:
        raise UnreadableDocumentError("`@timestamp` is missing, or has no time zone")
    time_ms = (moment - _EPOCH) // _MS
    if not 0 <= time_ms < 1 << 43:
        raise UnreadableDocumentError("`@timestamp` is out of range")
    return time_ms


def _lines(document: Document, auditd: _Auditd) -> list[tuple[str, str]]:
    """Record types and what follows the stamp, in the kernel's order."""
    if "syscall" not in auditd.data:
        return [(document.kind, _record(document, auditd))]
    lines = [("SYSCALL", _call(document, auditd))]
    if document.kind != "SYSCALL":
        lines.insert(0, (document.kind, _leading(auditd)))
    if "fver" in auditd.data and "old_pp" in auditd.data:
        capabilities = (text.field(key, auditd.data.get(key)) for key in _CAPABILITIES)
        lines.append(("BPRM_FCAPS", " ".join(filter(None, capabilities))))
    process = document.process
    if process.args and auditd.data.get("argc") in (None, str(len(process.args))):
        arguments = " ".join(f"a{at}={text.word(argument)}" for at, argument in enumerate(process.args))
        lines.append(("EXECVE", f"argc={len(process.args)} {arguments}"))
    socket = auditd.data.get("socket")
    if isinstance(socket, dict) and (address := text.socket_address(socket)):
        lines.append(("SOCKADDR", f"saddr={address}"))
    if process.working_directory:
        lines.append(("CWD", f"cwd={text.word(process.working_directory)}"))
    lines += [("PATH", text.path(path)) for path in auditd.paths]
    if process.title:
        lines.append(("PROCTITLE", f"proctitle={text.word(process.title)}"))
    return lines


def _call(document: Document, auditd: _Auditd) -> str:
    """The body of a SYSCALL record."""
    data = auditd.data
    parts = text.system_call(data.get("arch"), data["syscall"])
    if auditd.result in ("success", "fail"):
        parts.append("success=yes" if auditd.result == "success" else "success=no")
    parts += text.exit_value(data.get("exit")) + text.addresses(data) + _subject(document, auditd)
    if document.says_uid:
        parts += _other_ids(document.user)
    if terminal := text.field("tty", data.get("tty")):
        parts.append(terminal)
    parts += _program(document.process)
    parts.append(f"key={text.keys(document.tags)}")
    return " ".join(parts) + _names(document)


def _other_ids(user: _User) -> list[str]:
    """`user.effective` is left out where it is the same as `user`, and its group with it."""
    effective = user.effective or _Member(id=user.id)
    saved, filesystem = user.saved or _Member(), user.filesystem or _Member()
    ids = {
        "euid": effective,
        "suid": saved,
        "fsuid": filesystem,
        "egid": effective.group,
        "sgid": saved.group,
        "fsgid": filesystem.group,
    }
    return text.numbers({key: found.id for key, found in ids.items() if found is not None})


def _leading(auditd: _Auditd) -> str:
    """The body of the record before the SYSCALL: its fields stand among those of the call."""
    values = {key: value for key, value in auditd.data.items() if key not in _OF_A_CALL and key not in _CAPABILITIES}
    result = values.pop("result", None)
    parts = [said for key, value in values.items() if (said := text.field(key, value))]
    return " ".join(parts + ([f"res={int(result == 'success')}"] if result in ("success", "fail") else []))


def _record(document: Document, auditd: _Auditd) -> str:
    """The body of a record that says no system call."""
    parts = _subject(document, auditd)
    if document.user.before is not None:
        parts += text.numbers({"old-auid": document.user.before.id})
    values = dict(auditd.data)
    if document.source is not None and document.source.ip is not None:
        values.setdefault("addr", document.source.ip)
    said = [one for key, value in values.items() if (one := text.field(key, value))] + _program(document.process)
    of_user = document.kind in text.user_types()
    if auditd.result in ("success", "fail"):
        words = ("success", "failed") if of_user else ("1", "0")
        said.append(f"res={words[auditd.result == 'fail']}")
    return " ".join([*parts, "msg='" + " ".join(said) + "'"] if of_user else parts + said) + _names(document)


def _subject(document: Document, auditd: _Auditd) -> list[str]:
    process, user = document.process, document.user
    values: dict[str, object] = {
        "ppid": process.parent.pid if process.parent and process.ppid is None else process.ppid,
        "pid": process.pid,
        "auid": user.audit and user.audit.id,
    }
    if document.says_uid:
        values |= {"uid": user.id, "gid": user.group and user.group.id}
    return text.numbers({**values, "ses": auditd.session})


def _program(process: _Process) -> list[str]:
    parts = [f"comm={text.task_name(process.name)}"] if process.name else []
    return [*parts, f"exe={text.word(process.executable)}"] if process.executable else parts


def _names(document: Document) -> str:
    user = document.user
    audit = user.audit.name if user.audit else None
    return (
        text.names(AUID=audit, UID=user.name, EUID=(user.effective or user).name) if document.says_uid else text.names(AUID=audit)
    )
