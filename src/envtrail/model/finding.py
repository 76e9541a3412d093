"""What a detection says of something that happened, and what people said of it since."""

from __future__ import annotations

from enum import Enum
from typing import NewType

from msgspec import Struct

from envtrail.model.ids import OperationId, make_ulid
from envtrail.model.operation import Evidence
from envtrail.model.patterns import as_pattern

FindingId = NewType("FindingId", str)


class Level(str, Enum):
    """How bad it is, in Sigma's words.

    References:
        https://sigmahq.io/sigma-specification/specification/sigma-rules-specification.html#level
    """

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The worst has the highest."""
        return list(Level).index(self)


class Status(str, Enum):
    """Where a finding stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody has looked at it."""
    APPROVED = "approved"
    """What happened was approved afterwards."""
    MUTED = "muted"
    """A suppression covered it: nobody is notified."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was noticed. The same thing noticed again has the same id."""

    id: FindingId
    detection: str
    """Name of the policy's rule, or id of the Sigma rule."""
    source: str
    """`policy`, `sigma` or `trail` (what Envtrail notices of itself)."""
    title: str
    level: Level
    time_ms: int
    """When what was noticed happened (UTC)."""
    host: str
    reason: str = ""
    user: str | None = None
    uid: int | None = None
    prefix: str | None = None
    """Of the environment."""
    package: str | None = None
    argv: list[str] = []
    """The command, redacted."""
    verdict: str | None = None
    """Of the policy."""
    operation: OperationId | None = None
    evidence: list[Evidence] = []
    values: dict[str, str] = {}
    """What else the detection names: a correlation's group and count, a rule's `fields`."""
    tags: list[str] = []
    """Of the Sigma rule, as `attack.t1059`."""
    status: Status = Status.OPEN
    status_by: str | None = None
    """Who triaged it, or the suppression that muted it."""
    status_why: str | None = None
    assignee: str | None = None


def patterns_of(finding: Finding) -> dict[str, list[str]]:
    """What a suppression of a finding's like, and of nothing beside it, names: `environments`, `users`, `packages`."""
    named = (("environments", finding.prefix), ("users", finding.user), ("packages", finding.package))
    return {name: [as_pattern(value)] if value else [] for name, value in named}


def mute_command(finding: Finding) -> list[str]:
    """The words of the command that silences a finding's like, and nothing beside it."""
    words = ["envtrail", "mute", finding.detection]
    for name, patterns in patterns_of(finding).items():
        words += [word for pattern in patterns for word in (f"--{name[:-1]}", pattern)]
    return [*words, "--until", "30d", "--why", "…"]


def make_finding_id(detection: str, subject: str, time_ms: int) -> FindingId:
    """The id of what a detection says of a subject (an operation's id, an event's identity, a correlation's group)."""
    return FindingId(make_ulid(time_ms, "finding", detection, subject))


class Suppression(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Not this again until…: findings that it covers are kept, and nobody is notified. `*` and `?` stand for any text."""

    id: str
    detection: str
    reason: str
    owner: str
    """Who answers for it."""
    until_ms: int
    users: list[str] = []
    environments: list[str] = []
    """Prefixes; a name without a slash fits the last part of one."""
    packages: list[str] = []
    made_ms: int = 0
    ended_ms: int | None = None
    """When it was taken back before its time."""
