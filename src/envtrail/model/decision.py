"""What a person sends to the agent to be recorded: requests, approvals, triage. The agent determines who they are, not they."""

from __future__ import annotations

from typing import Annotated, Union

from msgspec import Meta, Struct, field

from envtrail.model.access_log import ReportedAccess
from envtrail.model.bounds import Block, Line, Number, TimeMs, Word
from envtrail.model.finding import Status

_Words = Annotated[list[Line], Meta(max_length=1000)]


class _Decision(Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    why: Line = ""


class SubmitRequest(_Decision, frozen=True, kw_only=True, tag="ask"):
    """May somebody change an environment?"""

    prefix: Line
    action: Word
    packages: _Words = []
    sources: _Words = []
    dependencies: bool = True
    until_ms: TimeMs
    uses: Union[Number, None] = None
    user: Union[Word, None] = None
    """For somebody else: root only."""


class Approve(_Decision, frozen=True, kw_only=True, tag="approve"):
    """Yes, to a request, or afterwards to an operation; by its whole id."""

    request: Union[Word, None] = None
    operation: Union[Word, None] = None
    signature: Union[Block, None] = None
    """Armoured SSHSIG over `signed_bytes` of the terms and of what they are about."""


class Deny(_Decision, frozen=True, kw_only=True, tag="deny"):
    """No, to a request."""

    request: Word


class Revoke(_Decision, frozen=True, kw_only=True, tag="revoke"):
    """A grant stands no longer."""

    grant: Word


class BreakGlass(_Decision, frozen=True, kw_only=True, tag="break_glass"):
    """It cannot wait: a grant without anybody's approval, reported to everybody."""

    prefix: Line
    action: Word = "any"
    packages: _Words = []


class Triage(_Decision, frozen=True, kw_only=True, tag="triage"):
    """Where a finding stands."""

    finding: Word
    status: Status
    assignee: Union[Word, None] = None


class Mute(_Decision, frozen=True, kw_only=True, tag="mute"):
    """Not this again until a moment."""

    detection: Line
    until_ms: TimeMs
    owner: Union[Word, None] = None
    """Who answers for it; the one who mutes, where it is not given."""
    users: _Words = []
    environments: _Words = []
    packages: _Words = []


class Unmute(_Decision, frozen=True, kw_only=True, tag="unmute"):
    """A suppression ends now."""

    suppression: Word


class RecordAccess(_Decision, frozen=True, kw_only=True, tag="looked"):
    """The web UI showed a user another person's data."""

    entries: Annotated[list[ReportedAccess], Meta(max_length=1000)] = field(name="looks")


Decision = Union[SubmitRequest, Approve, Deny, Revoke, BreakGlass, Triage, Mute, Unmute, RecordAccess]


class Person(Struct, frozen=True, kw_only=True):
    """Who decides, as the kernel says; where the web UI sends it for a user, as the web UI knows them."""

    uid: int
    login_uid: int | None = None
    """Kept through su and sudo; None when unset."""
    name: str
    """Of the login uid, else of the uid."""
    groups: frozenset[str] = frozenset()
    is_admin: bool = False
    """Root, or a member of the service's group; of the web UI's users those who may triage."""
    may_decide: bool = True
    """An auditor changes nothing."""
    known_by: str | None = None
    """How the web UI identified them; None: the kernel says who they are."""
    is_web_ui: bool = False
    """The web UI itself, which reports who accessed what."""

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
