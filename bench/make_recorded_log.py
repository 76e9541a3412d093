"""Write a log of real records for the throughput benchmark: those of the demonstration trail, again and again.

    python bench/make_recorded_log.py FILE [EVENTS] [--netlink]

The records are the kernel's and PAM's own (`tools/record_demo.py`): execs, exits, files and logins of three people. Each copy is moved on in
time and serial; process ids stay, as they come round again. What the recorder itself did as it began is left out.

`disk` is the form of auditd's default (`log_format = ENRICHED`): no EOE, names after 0x1d. `netlink` is the kernel's: EOE, no names.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

TRAIL = Path(__file__).parent.parent / "src/envtrail/demo/trail.tar"
RECORDS = "records.log.zst"
_STAMP = re.compile(rb"audit\((\d+)\.(\d+):(\d+)\)")
_OWN = (b"type=CONFIG_CHANGE ", b'comm="envtrail"')
_NAMES = {0: "root", 1001: "alice", 1002: "bob", 1003: "carol", 4294967295: "unset"}
_SYSCALLS = {
    1: "write",
    59: "execve",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    231: "exit_group",
    257: "openat",
}
_PEOPLE = {
    b"SYSCALL": ("auid", "uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid"),
    b"PATH": ("ouid", "ogid"),
    b"LOGIN": ("uid", "old-auid", "auid"),
    b"USER_": ("uid", "auid"),
    b"CRED_": ("uid", "auid"),
}


class Record(NamedTuple):
    """A record, cut at its stamp."""

    before: bytes
    time_ms: int
    serial: int
    after: bytes


def write_recorded_log(path: Path, events: int, *, form: str) -> int:
    """Write so many events, or the rest of the last copy less; gives the number of records."""
    records = [
        form_of(record, form) for record in read_records() if form == "netlink" or not record.before.startswith(b"type=EOE ")
    ]
    identities = sorted({(record.time_ms, record.serial) for record in records})
    left, written, copy = events, 0, 0
    times, serials = [record.time_ms for record in records], [record.serial for record in records]
    step_ms, step = max(times) - min(times) + 1000, max(serials) - min(serials) + 1
    with path.open("wb") as out:
        while left > 0:
            kept = set(identities[:left])
            lines = [_line(record, copy * step_ms, copy * step) for record in records if (record.time_ms, record.serial) in kept]
            out.write(b"".join(lines))
            left, written, copy = left - len(kept), written + len(lines), copy + 1
    return written


def read_records() -> list[Record]:
    """The demonstration trail's, without what the recorder itself did."""
    found = [record for line in _lines() for record in _cut(line)]
    own = {(record.time_ms, record.serial) for record in found if any(mark in record.before + record.after for mark in _OWN)}
    return [record for record in found if (record.time_ms, record.serial) not in own]


def form_of(record: Record, form: str) -> Record:
    """The record as auditd writes it, or as it came."""
    if form == "netlink":
        return record
    names = enrichment_of(record.before, record.after)
    return record._replace(after=record.after + (b"\x1d" + names if names else b""))


def enrichment_of(before: bytes, after: bytes) -> bytes:
    """What auditd adds to a record (`add_enrichment` of auditd-enrich.c)."""
    kind = before.removeprefix(b"type=").partition(b" ")[0]
    people = next((fields for name, fields in _PEOPLE.items() if kind.startswith(name)), ())
    words = ["ARCH=x86_64", f"SYSCALL={_SYSCALLS[int(_value(after, 'syscall'))]}"] if kind == b"SYSCALL" else []
    words += [f'{field.upper()}="{_NAMES[int(_value(after, field))]}"' for field in people]
    return " ".join(words).encode()


def _value(text: bytes, field: str) -> bytes:
    found = re.search(rb"(?:^| )" + field.encode() + rb"=(\S+)", text)
    if found is None:
        raise ValueError(f"no {field} in {text!r}")
    return found[1]


def _line(record: Record, by_ms: int, by: int) -> bytes:
    seconds, ms = divmod(record.time_ms + by_ms, 1000)
    return b"%s(%d.%03d:%d)%s\n" % (record.before, seconds, ms, record.serial + by, record.after)


def _cut(line: bytes) -> Iterator[Record]:
    if (found := _STAMP.search(line)) is not None:
        seconds, ms, serial = map(int, found.groups())
        yield Record(line[: found.start()] + b"audit", seconds * 1000 + ms, serial, line[found.end() :])


def _lines() -> list[bytes]:
    with tarfile.open(TRAIL) as tar:
        lines: list[bytes] = []
        for member in sorted((one for one in tar.getmembers() if one.name.endswith(RECORDS)), key=lambda one: one.name):
            packed = tar.extractfile(member)
            assert packed is not None
            with pa.CompressedInputStream(pa.PythonFile(packed), "zstd") as stream:
                lines += bytes(stream.read()).split(b"\n")
    return [line for line in lines if line]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("events", type=int, nargs="?", default=200_000)
    parser.add_argument("--netlink", action="store_true")
    chosen = parser.parse_args()
    write_recorded_log(chosen.file, chosen.events, form="netlink" if chosen.netlink else "disk")
