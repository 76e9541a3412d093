"""Logins: which sessions there were, whose, from where, until when.

References:
    pam_loginuid(8) (LOGIN), sshd and login (USER_LOGIN), pam (USER_START, USER_END): fields `op`, `acct`, `addr`, `terminal`, `res`
"""

from __future__ import annotations

import posixpath

import msgspec

from envtrail.interpret.rows import Row
from envtrail.model.operation import Evidence, Outcome
from envtrail.model.run import Session
from envtrail.model.times import to_rfc3339

_MOST = 4096
_ENDS = frozenset({"USER_END", "USER_LOGOUT", "CRED_DISP"})


class Sessions:
    """Sessions by the kernel's number; the newest few thousand are kept."""

    def __init__(self, *, node: str) -> None:
        self._node = node
        self._by_number: dict[int, Session] = {}

    def remote_of(self, session: int | None) -> str | None:
        """The address a session came from."""
        found = self._by_number.get(session) if session is not None else None
        return found.remote if found else None

    def take(self, row: Row) -> Session | None:
        """Learn from a user record; the session as it is known now, when the record says something of it."""
        number, fields = row["ses"], row["fields"]
        if number is None:
            return None
        known = self._by_number.get(number)
        if row["type"] == "LOGIN" or known is None:
            known = self._begin(number, row) if row["type"] in {"LOGIN", "USER_LOGIN", "USER_START"} else None
            if known is None:
                return None
        said = {
            "user": fields.get("acct") or fields.get("AUID"),
            "remote": _told(fields.get("addr")) or _told(fields.get("hostname")),
            "terminal": _told(fields.get("terminal")),
            "service": row["exe"] and posixpath.basename(row["exe"]),
            "auid": row["auid"],
        }
        new = {name: value for name, value in said.items() if value is not None and getattr(known, name) is None}
        if row["type"] in _ENDS and self._is_end(row, known):
            new["ended"] = to_rfc3339(row["time"])
            new["outcome"] = Outcome.SUCCESS
        elif row["type"] == "USER_LOGIN" and row["success"] is False:
            new["outcome"] = Outcome.FAILURE
        updated = msgspec.structs.replace(known, **new)
        self._by_number[number] = updated
        return updated if updated != known or row["type"] == "LOGIN" else None

    def _begin(self, number: int, row: Row) -> Session:
        if len(self._by_number) >= _MOST:
            del self._by_number[next(iter(self._by_number))]
        node = row["node"] or self._node
        return Session(
            id=f"{node}/{row['time']}/{number}",
            host=node,
            session=number,
            user=None,
            auid=row["auid"],
            remote=None,
            terminal=None,
            service=None,
            started=to_rfc3339(row["time"]),
            ended=None,
            outcome=Outcome.UNKNOWN,
            evidence=[Evidence(segment=0, serial=row["serial"], time_ms=row["time"])],
        )

    def _is_end(self, row: Row, known: Session) -> bool:
        """PAM's session end by the service that opened it: sudo inside a session ends only its own."""
        return bool(row["exe"]) and posixpath.basename(row["exe"]) == known.service


def _told(value: str | None) -> str | None:
    return None if value in (None, "", "?", "(none)", "UNKNOWN") else value
