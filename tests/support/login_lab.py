"""Records of logins, through the core, to rows of sessions as a store would hold them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import pyarrow as pa

from envtrail.core import Assembler
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


@lru_cache(maxsize=1024)
def batch_of(one: str) -> pa.RecordBatch:
    """A line as the events that interpretation is given."""
    assembler = Assembler(node=HERE)
    assembler.push(one.encode() + b"\n")
    assembler.flush()
    return pa.record_batch(assembler.drain().events())


class Kept:
    """Sessions as a store holds them after every row.

    Args:
        is_at_once: All records of a call are of one step.
        sessions: Those that are known.
    """

    def __init__(self, *, is_at_once: bool = False, sessions: Sessions | None = None) -> None:
        self.is_at_once = is_at_once
        self.sessions = sessions or Sessions()
        self.held: dict[str, Session] = {}
        self.given: list[Session] = []

    def take(self, lines: Sequence[str]) -> Kept:
        """Take in more records."""
        batches = [batch_of(one) for one in lines]
        if self.is_at_once and batches:
            batches = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()
        for batch in batches:
            self.sessions.begin(batch, HERE, 0)
            for session in self.sessions.take_rest():
                self.given.append(session)
                self.held.pop(session.replaces or "", None)
                self.held[session.id] = msgspec.structs.replace(session, replaces=None)
        return self

    def turn(self) -> Kept:
        """What is taken next is of another log."""
        self.sessions.turn()
        return self

    @property
    def all(self) -> list[Session]:
        """Oldest first."""
        return sorted(self.held.values(), key=lambda one: (one.started, one.id))

    @property
    def people(self) -> set[tuple[str, int, str]]:
        """Every name of a login uid that a session was given with."""
        named = ((one.host, one.auid, one.user) for one in self.given)
        return {(host, auid, user) for host, auid, user in named if auid is not None and user is not None}

    def reported(self) -> list[tuple[str, int, str | None, str | None, str | None, bool]]:
        """(host, number, user, service, remote, whether it has ended) of each."""
        return [(one.host, one.session, one.user, one.service, one.remote, one.ended is not None) for one in self.all]
