"""One login: what its records say of it, in whatever order they come.

A login has records of several programs: of the one that opened it (sshd, login, gdm, cron, …) and of those that ran in it (sudo, su,
a screen lock). Each program's statements are kept apart, the least stamp of each kind wins, and the opener is chosen at the end;
nothing depends on the order of the records.

References:
    pam_loginuid(8) (LOGIN), libpam's _pam_audit_writelog (`op=PAM:…`, `acct`), sshd's audit-linux.c and login(1) (`op=login`, `id`)
"""

from __future__ import annotations

import posixpath
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

import msgspec
from msgspec import Struct

from envtrail.interpret.rows import Row
from envtrail.model.operation import Evidence, Outcome
from envtrail.model.run import Session
from envtrail.model.times import to_rfc3339

Stamp = tuple[int, int, int]
"""Time in ms and serial of an event, and the segment of its records."""
_Statement = tuple[int, Stamp, str]
"""Rank (0 is best), when, value: the least one wins."""

_OPENS = frozenset({"USER_START", "USER_LOGIN"})
_ENDS = frozenset({"USER_END", "USER_LOGOUT", "CRED_DISP"})
_SESSION = (_OPENS | _ENDS) - {"CRED_DISP"}
_AUTHENTICATES = frozenset({"USER_AUTH", "USER_ACCT"})
_NEVER_OPENERS = frozenset(
    [
        "su",
        "sudo",
        "sudo-rs",
        "su-rs",
        "doas",
        "pkexec",
        "runuser",
        "setpriv",
        "newgrp",
        "sg",
        "userhelper",
        "polkit-agent-helper-1",
        "unix_chkpwd",
        "passwd",
        "chage",
        "chsh",
        "chfn",
        "crontab",
        "shutdown",
        "reboot",
        "useradd",
        "userdel",
        "usermod",
        "groupadd",
        "groupdel",
        "xscreensaver",
        "kcheckpass",
        "kscreenlocker_greet",
        "i3lock",
        "swaylock",
        "vlock",
        "screen",
    ]
)
"""Programs whose PAM session is inside a login; they neither begin, name nor end it."""
_SERVICES = {
    "sshd-session": "sshd",
    "sshd-auth": "sshd",
    "gdm-session-worker": "gdm",
    "sddm-helper": "sddm",
    "cockpit-session": "cockpit",
    "systemd": "systemd-user",
    "systemd-executor": "systemd-user",
}
"""Helper programs, by the service they are part of."""
_MOST_PROGRAMS = 16
_MOST_PIDS = 16
_MOST_WORDS = 1024
"""Programs, accounts and addresses that are remembered: a log says the same ones again and again."""
_NEVER = (1 << 62, 0, 0)
_UNKNOWN = frozenset({None, "", "?", "(none)", "(null)", "UNKNOWN", "unset"})


class Program(Struct, kw_only=True):
    """What the records of one program say of a login."""

    since: Stamp | None = None
    """Of its first record of a session's begin or end; without one it opened none."""
    pids: set[int] = set()
    user: _Statement | None = None
    remote: _Statement | None = None
    terminal: _Statement | None = None
    has_opened: bool = False
    """Its PAM session was opened: then only its close ends the login; sshd also reports the end of each channel."""
    closed_ms: int | None = None
    left_ms: int | None = None
    """The last end of another kind."""
    has_succeeded: bool = False
    has_failed: bool = False

    @property
    def ended_ms(self) -> int | None:
        """When it ended the login."""
        return self.closed_ms if self.closed_ms is not None or self.has_opened else self.left_ms

    def learn(self, row: Row, stamp: Stamp) -> None:
        """Take one of its records."""
        kind = row.type
        if row.pid is not None and len(self.pids) < _MOST_PIDS:
            self.pids.add(row.pid)
        if kind in _OPENS:
            self.has_failed |= row.success is False
            self.has_succeeded |= row.success is not False
        if row.success is False and kind not in _ENDS:
            return
        if kind in _SESSION:
            self.since = min(self.since or stamp, stamp)
        # A service that was started again inside a login authenticates others under its number.
        rank = 0 if kind in _SESSION else 2 if kind in _AUTHENTICATES else 1
        if _may_win(self.user, rank, stamp):
            self.user = _least(self.user, rank, stamp, _account_of(row))
        if _may_win(self.remote, rank, stamp):
            self.remote = _least(self.remote, rank, stamp, remote_of(row))
        if _may_win(self.terminal, rank, stamp):
            self.terminal = _least(self.terminal, rank, stamp, _known(row.fields.get("terminal")))
        if kind == "USER_START" and _is_pam(row):
            self.has_opened = True
        elif kind == "USER_END" and _is_pam(row):
            self.closed_ms = max(self.closed_ms or stamp[0], stamp[0])
        elif kind in _ENDS:
            self.left_ms = max(self.left_ms or stamp[0], stamp[0])


_NOTHING = Program()


class Login(Struct, kw_only=True):
    """One login of a node: number and login uid of the kernel, and what was recorded of it."""

    node: str
    number: int
    auid: int | None
    first: Stamp
    """Of its earliest record."""
    login: Stamp | None = None
    """Of its LOGIN record; absent in a log that begins later."""
    pid: int | None = None
    """Of the process that set the login uid: the opener's."""
    name: _Statement | None = None
    """Of the login uid, as auditd wrote it into the records (`AUID="alice"`)."""
    programs: dict[str, Program] = {}
    shown: Session | None = None
    """As it was given last."""

    @property
    def began(self) -> Stamp:
        """Its LOGIN record, else its earliest record."""
        return self.login or self.first

    @property
    def ended_ms(self) -> int | None:
        """When its opener ended it."""
        return (self.opener()[1] or _NOTHING).ended_ms

    @property
    def user(self) -> str | None:
        """The name of its login uid; never the account that sudo or su changed to."""
        return _value_of(self.name or (self.opener()[1] or _NOTHING).user)

    @property
    def remote(self) -> str | None:
        """The address it came from."""
        return _value_of((self.opener()[1] or _NOTHING).remote)

    def learn(self, row: Row) -> None:
        """Take one of its records."""
        stamp = stamp_of(row)
        self.first = min(self.first, stamp)
        if _may_win(self.name, 0, stamp):
            self.name = _least(self.name, 0, stamp, _name_of(row))
        if row.type == "LOGIN":
            self.login, self.pid = stamp, row.pid
            return
        service = service_of(row.exe)
        if service is None or (service not in self.programs and len(self.programs) >= _MOST_PROGRAMS):
            return
        self.programs.setdefault(service, Program()).learn(row, stamp)

    def opener(self) -> tuple[str | None, Program | None]:
        """The program that opened it, by its service's name.

        It is the one that set the login uid, where the LOGIN record was read; else the first that begins or ends a session for
        the account that the login uid is of.
        """
        first: tuple[Stamp, str] | None = None
        for service, one in self.programs.items():
            is_candidate = one.since is not None if self.pid is None else self.pid in one.pids
            if is_candidate and self._may_be_of(one):
                begin = one.since or _NEVER, service
                first = begin if first is None else min(first, begin)
        return (None, None) if first is None else (first[1], self.programs[first[1]])

    def show(self) -> Session | None:
        """The session as it is known now; None where that was shown already."""
        began_ms, serial, segment = self.began
        service, opener = self.opener()
        said = opener or _NOTHING
        ended_ms = said.ended_ms
        session = Session(
            id=f"{self.node}/{began_ms}/{self.number}",
            host=self.node,
            session=self.number,
            user=_value_of(self.name or said.user),
            auid=self.auid,
            remote=_value_of(said.remote),
            terminal=_value_of(said.terminal),
            service=service,
            started=to_rfc3339(began_ms),
            ended=to_rfc3339(ended_ms) if ended_ms is not None else None,
            outcome=_outcome_of(opener),
            evidence=[Evidence(segment=segment, serial=serial, time_ms=began_ms)],
        )
        if session == self.shown:
            return None
        known, self.shown = self.shown, session
        is_renamed = known is not None and known.id != session.id
        return msgspec.structs.replace(session, replaces=known.id) if known is not None and is_renamed else session

    def _may_be_of(self, program: Program) -> bool:
        """Whether the account a program names can be the one of the login uid: only root has uid 0."""
        if program.user is None:
            return True
        account = program.user[2]
        if self.auid is not None and (account == "root") != (self.auid == 0):
            return False
        return self.name is None or _bare(account) == _bare(self.name[2])


def stamp_of(row: Row) -> Stamp:
    """The stamp of a row's event."""
    return row.time, row.serial, row.segment


def is_opening(row: Row) -> bool:
    """Whether a record says that a PAM session was opened."""
    return bool(row.type == "USER_START" and row.success is not False and _is_pam(row))


@lru_cache(_MOST_WORDS)
def service_of(exe: str | None) -> str | None:
    """The service a program is, or is part of; None for what runs inside of logins."""
    name = posixpath.basename((exe or "").removesuffix(" (deleted)"))
    return None if not name or name in _NEVER_OPENERS else _SERVICES.get(name, name)


def remote_of(row: Row) -> str | None:
    """The address a record names, else the host; the machine's own name, which gdm and su write beside `addr=?`, is neither."""
    fields = row.fields
    hostname = _known(fields.get("hostname"))
    for value in (_known(row.address) or _known(fields.get("addr")), hostname):
        if value is not None and (address := _address_of(value)) is not None:
            return address
    is_local = (
        (fields.get("terminal") or "?").removeprefix("/dev/").startswith(("tty", "pts", "hvc", "console", ":", "cron", "?"))
    )
    return hostname if hostname is not None and not is_local and _address_of(hostname) is None else None


@lru_cache(_MOST_WORDS)
def _address_of(value: str) -> str | None:
    """An IP address in its usual form; None for a name, and for the address that means none."""
    try:
        address = ip_address(value)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_unspecified else str(address)


def _is_pam(row: Row) -> bool:
    """Whether a record is of PAM's session, not of one terminal or channel in it (`op=login`)."""
    return bool(row.fields.get("op") != "login")


def _account_of(row: Row) -> str | None:
    """The account; `(unknown)` and `(invalid user)` are none."""
    account = _known(row.fields.get("acct"))
    return None if account is None or account.startswith("(") else account


def _name_of(row: Row) -> str | None:
    """The login uid's name as auditd wrote it; `unknown(1000)` is none."""
    name = _known(row.fields.get("AUID"))
    return None if name is None or name.startswith("unknown(") or name.isdecimal() else name


@lru_cache(_MOST_WORDS)
def _bare(account: str) -> str:
    """An account without its domain, which stands before a backslash or behind an `@`."""
    return account.rpartition("\\")[2].partition("@")[0].lower()


def _outcome_of(opener: Program | None) -> Outcome:
    if opener is None:
        return Outcome.UNKNOWN
    if opener.ended_ms is not None:
        return Outcome.SUCCESS
    return Outcome.FAILURE if opener.has_failed and not opener.has_succeeded else Outcome.UNKNOWN


def _may_win(known: _Statement | None, rank: int, stamp: Stamp) -> bool:
    """Whether a statement of this rank and moment counts more than what is known, whatever it says."""
    return known is None or (rank, stamp) <= known[:2]


def _least(known: _Statement | None, rank: int, stamp: Stamp, value: str | None) -> _Statement | None:
    if value is None:
        return known
    statement = (rank, stamp, value)
    return statement if known is None else min(known, statement)


def _value_of(statement: _Statement | None) -> str | None:
    return statement[2] if statement is not None else None


def _known(value: str | None) -> str | None:
    value = value.removesuffix(",") if value is not None else None  # RHEL 5: `(hostname=?, addr=?, terminal=ssh res=success)`
    return None if value in _UNKNOWN else value
