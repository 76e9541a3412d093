"""Who uses the web UI, and what their role lets them do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct


class Role(str, Enum):
    """What somebody is for.

    References:
        GB/T 22239-2019 (MLPS 2.0) 8.1.5: system, audit and security administration by different people.
    """

    ADMIN = "admin"
    """Runs the machine and its agent."""
    SECURITY = "security"
    """Policy, approvals, findings."""
    AUDITOR = "auditor"
    """Reads everything, changes nothing."""
    MEMBER = "member"
    """Sees their own operations, and the environments that they can read."""


class Right(str, Enum):
    """What a page or a button requires."""

    SEE_ALL = "see_all"
    """What others did: operations, runs, sessions, findings, and the kernel's records."""
    SEE_ACCESS_LOG = "see_looks"
    """Who looked at whose data."""
    SEE_SETTINGS = "see_settings"
    DECIDE = "decide"
    """Request changes; approve, deny and revoke where the policy makes them an approver."""
    TRIAGE = "triage"
    """Acknowledge, assign and mute findings."""


_EVERYTHING = frozenset(Right)
_AUDIT = frozenset({Right.SEE_ALL, Right.SEE_ACCESS_LOG, Right.SEE_SETTINGS})
_RIGHTS = {
    Role.ADMIN: _EVERYTHING,
    Role.SECURITY: frozenset({Right.SEE_ALL, Right.DECIDE, Right.TRIAGE}),
    Role.AUDITOR: _AUDIT,
    Role.MEMBER: frozenset({Right.DECIDE}),
}
_RIGHTS_SEPARATED = {**_RIGHTS, Role.ADMIN: frozenset({Right.SEE_SETTINGS})}
"""Three administrators: who runs the machine neither decides nor reads what others did."""


class Identity(Struct, frozen=True, kw_only=True):
    """Somebody who has signed in."""

    name: str
    role: Role
    uid: int | None
    """Their account on this machine: what is theirs; None where they have none."""
    method: str
    """How they were known: `link`, `token`, `local`, `pam`, `oidc` or `proxy`."""

    def rights(self, *, is_separated: bool) -> frozenset[Right]:
        """What they may do.

        Args:
            is_separated: `web.separate_administrators`.
        """
        return (_RIGHTS_SEPARATED if is_separated else _RIGHTS)[self.role]


def highest(roles: Iterable[Role]) -> Role:
    """One person has one role: the first that they were given, in the order of `Role`."""
    given = set(roles)
    return next((role for role in Role if role in given), Role.MEMBER)
