"""The one table of columns of the typed event. Rust builds it, Parquet keeps it, DuckDB reads it, docs print it.

A guard test holds that the compiled core's Arrow schema is this table.
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column: name, Arrow type as `str(pyarrow.DataType)` prints it, and one sentence."""

    name: str
    arrow: str
    doc: str


EVENT_KINDS = ("exec", "exit", "file", "user", "config", "daemon", "anomaly", "mac", "other")

_PATHS = "list<item: struct<name: string, nametype: string, inode: uint64, mode: uint32, ouid: uint32>>"
_FIELDS = "map<string, string>"

EVENT_COLUMNS: tuple[Column, ...] = (
    Column(
        "node",
        "dictionary<values=string, indices=int32, ordered=0>",
        "Machine that wrote the event (`node=`, or the configured name).",
    ),
    Column("time", "timestamp[ms, tz=UTC]", "When the kernel stamped it."),
    Column("serial", "uint64", "The number after the colon in `audit(time:serial)`."),
    Column(
        "kind",
        "dictionary<values=string, indices=int32, ordered=0>",
        f"{', '.join(f'`{kind}`' for kind in EVENT_KINDS)}.",
    ),
    Column(
        "type",
        "dictionary<values=string, indices=int32, ordered=0>",
        "Record type that leads the event (`SYSCALL`, `LOGIN`, `CONFIG_CHANGE`, …).",
    ),
    Column("keys", "list<item: string>", "Keys of the rules that made it (`-k`)."),
    Column(
        "hint",
        "dictionary<values=string, indices=int32, ordered=0>",
        "Label of the tool whose name this exec or path carries; null for most events.",
    ),
    Column("arch", "uint32", "Audit architecture number (`c000003e` is x86-64)."),
    Column("syscall", "uint32", "System call number."),
    Column("success", "bool", "What the kernel said of the call."),
    Column("exit", "int64", "Return value of the call."),
    Column("exit_code", "int32", "For `exit_group`: `a0 & 0xff`."),
    Column("pid", "uint32", "Process id."),
    Column("ppid", "uint32", "Parent process id."),
    Column("auid", "uint32", "Login uid; null when unset."),
    Column("uid", "uint32", "Real uid."),
    Column("euid", "uint32", "Effective uid."),
    Column("gid", "uint32", "Real gid."),
    Column("ses", "uint32", "Login session; null when unset."),
    Column("tty", "string", "Terminal; null for `(none)`."),
    Column("comm", "string", "Name of the task."),
    Column("exe", "string", "Path of the executable, without the kernel's ` (deleted)`."),
    Column("argc", "uint32", "Number of arguments as the kernel counted them."),
    Column(
        "argv",
        "list<item: string>",
        "Arguments, redacted; bytes that are not UTF-8 shown as `\\xNN`. An empty one that the kernel left out keeps its place.",
    ),
    Column(
        "argv_bytes",
        "string",
        "The arguments' bytes joined by NUL, base64, when some are not UTF-8; else null.",
    ),
    Column("cwd", "string", "Working directory, without the kernel's ` (deleted)`."),
    Column(
        "paths",
        _PATHS,
        "PATH records in order of `item`. Names relative to `cwd` are absolute; those relative to an open folder stay relative.",
    ),
    Column("proctitle", "string", "Process title as recorded (at most 128 bytes), NUL shown as space."),
    Column("address", "string", "Address of a SOCKADDR record or `addr=` of a user record."),
    Column(
        "fields",
        _FIELDS,
        "All fields of an event that is not a system call (user, config, daemon, …); of a system call what auditd added "
        "(`AUID`, `UID`, `EUID`, `SYSCALL` of an unknown number), and `left_out`: the arguments that the kernel left out.",
    ),
    Column("image", "uint64", "Image that did it: `time_ms << 20 | serial & 0xFFFFF` of its exec event."),
    Column("parent_image", "uint64", "Image that the process was forked from; null when unknown."),
    Column(
        "tracked_image",
        "uint64",
        "Outermost ancestor-or-self image that carries a hint; null outside such trees.",
    ),
    Column("redactions", "uint16", "Values replaced in this event."),
    Column("complete", "bool", "All records that the event must have are there."),
    Column("missing", "list<item: string>", "Record types that are not there."),
    Column(
        "ended_by",
        "dictionary<values=string, indices=int32, ordered=0>",
        "`eoe`, `proctitle`, `single`, `arrival`: what its records say; `late`: something of it was read before; `supplemented`: an import has completed it, and this row is the event.",
    ),
    Column("records", "uint16", "Number of records."),
    Column(
        "offset",
        "uint64",
        "Where its records begin in the block of records handed out with it (later: in the segment).",
    ),
    Column("length", "uint32", "How many bytes they take."),
)
