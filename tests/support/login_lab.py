"""Records of logins, through the core, to rows of sessions as a store would hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
import pyarrow as pa

from envtrail.core import Assembler
from envtrail.interpret.rows import Row, interesting_rows
from envtrail.interpret.sessions import Sessions
from envtrail.model.run import Session

HERE = "here"
BASE_S = 1_764_000_000
UNSET = 4294967295


def line(kind: str, at_ms: int, serial: int, body: str, *, node: str | None = None) -> str:
    """A record `at_ms` after the base."""
    stamp = f"msg=audit({BASE_S + at_ms // 1000}.{at_ms % 1000:03d}:{serial})"
    return (f"node={node} " if node else "") + f"type={kind} {stamp}: {body}"


def login(at_ms: int, serial: int, *, ses: int, auid: int, pid: int = 700, node: str | None = None, said: str = "res=1") -> str:
    """The kernel's LOGIN."""
    old = f"old-auid={UNSET} auid={auid} tty=(none) old-ses={UNSET} ses={ses}"
    return line("LOGIN", at_ms, serial, f"pid={pid} uid=0 {old} {said}", node=node)


def user(
    kind: str,
    at_ms: int,
    serial: int,
    *,
    ses: int,
    auid: int,
    exe: str = "/usr/sbin/sshd",
    account: str = 'acct="alice"',
    came: str = "hostname=192.0.2.1 addr=192.0.2.1 terminal=ssh",
    op: str = "PAM:session_open",
    res: str = "success",
    pid: int = 700,
    node: str | None = None,
    said: str = "",
) -> str:
    """A program's record."""
    body = f"pid={pid} uid=0 auid={auid} ses={ses} msg='op={op} {account} exe=\"{exe}\" {came} res={res}'{said}"
    return line(kind, at_ms, serial, body, node=node)


def rows_of(lines: Iterable[str]) -> list[Row]:
    """Each line as the row that interpretation sees, in this order."""
    return [row for one in lines for row in _rows_of(one)]


@lru_cache(maxsize=1024)
def _rows_of(one: str) -> list[Row]:
    assembler = Assembler(node=HERE)
    assembler.push(one.encode() + b"\n")
    assembler.flush()
    return interesting_rows(pa.record_batch(assembler.drain().events()), HERE)


class Kept:
    """Sessions as a store holds them after every row."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.held: dict[str, Session] = {}
        self.given: list[Session] = []

    def take(self, lines: Sequence[str]) -> Kept:
        """Take in more records."""
        for row in rows_of(lines):
            session = self.sessions.take(row)
            if session is not None:
                self.given.append(session)
                self.held.pop(session.replaces or "", None)
                self.held[session.id] = msgspec.structs.replace(session, replaces=None)
        return self

    @property
    def all(self) -> list[Session]:
        """Oldest first."""
        return sorted(self.held.values(), key=lambda one: (one.started, one.id))

    def told(self) -> list[tuple[str, int, str | None, str | None, str | None, bool]]:
        """(host, number, user, service, remote, whether it has ended) of each."""
        return [(one.host, one.session, one.user, one.service, one.remote, one.ended is not None) for one in self.all]
