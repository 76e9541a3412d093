"""What a person asks the agent to write down: requests, approvals, triage. The agent says who they are, not they."""

from __future__ import annotations

from typing import Union

from msgspec import Struct

from envtrail.model.finding import Status
from envtrail.model.look import Look


class _Decision(Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    why: str = ""


class Ask(_Decision, frozen=True, kw_only=True, tag="ask"):
    """May somebody change an environment?"""

    prefix: str
    action: str
    packages: list[str] = []
    dependencies: bool = True
    until_ms: int
    uses: int | None = None
    user: str | None = None
    """For somebody else: root only."""


class Approve(_Decision, frozen=True, kw_only=True, tag="approve"):
    """Yes, to a request, or afterwards to an operation; by its whole id."""

    request: str | None = None
    operation: str | None = None
    signature: str | None = None
    """Armoured SSHSIG over `signed_bytes` of the terms."""


class Deny(_Decision, frozen=True, kw_only=True, tag="deny"):
    """No, to a request."""

    request: str


class Revoke(_Decision, frozen=True, kw_only=True, tag="revoke"):
    """A grant stands no longer."""

    grant: str


class BreakGlass(_Decision, frozen=True, kw_only=True, tag="break_glass"):
    """It cannot wait: a grant without anybody's yes, told to everybody."""

    prefix: str
    action: str = "any"
    packages: list[str] = []


class Triage(_Decision, frozen=True, kw_only=True, tag="triage"):
    """Where a finding stands."""

    finding: str
    status: Status
    assignee: str | None = None


class Mute(_Decision, frozen=True, kw_only=True, tag="mute"):
    """Not this again until a moment."""

    detection: str
    until_ms: int
    owner: str | None = None
    """Who answers for it; the one who mutes, where it is not given."""
    users: list[str] = []
    environments: list[str] = []
    packages: list[str] = []


class Unmute(_Decision, frozen=True, kw_only=True, tag="unmute"):
    """A suppression ends now."""

    suppression: str


class Looked(_Decision, frozen=True, kw_only=True, tag="looked"):
    """The page showed somebody what is not their own."""

    looks: list[Look]


Decision = Union[Ask, Approve, Deny, Revoke, BreakGlass, Triage, Mute, Unmute, Looked]


class Person(Struct, frozen=True, kw_only=True):
    """Who decides, as the kernel says; where the page asks for somebody, as the page knows them."""

    uid: int
    login_uid: int | None = None
    """Kept through su and sudo; null when unset."""
    name: str
    """Of the login uid, else of the uid."""
    groups: frozenset[str] = frozenset()
    is_admin: bool = False
    """Root, or a member of the service's group; of the page's people those who may triage."""
    may_decide: bool = True
    """An auditor changes nothing."""
    known_by: str | None = None
    """How the page knew them; null: the kernel says who they are."""
    is_page: bool = False
    """The page itself, which tells who looked."""

    @property
    def names(self) -> list[str]:
        """The login's, and what they became by su or sudo."""
        return [self.name, "root"] if self.uid == 0 else [self.name]


class Decided(Struct, frozen=True, kw_only=True):
    """What was written down."""

    what: str
    """`request`, `approval`, `grant`, `denial`, `revocation`, `triage`, `mute` or `unmute`."""
    id: str
    said: str
    """In a sentence."""
