"""What was decided, and what was noticed, as observations: the policy's verdicts, findings, requests, grants."""

from __future__ import annotations

from typing import Union

from msgspec import field

from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Approval, Grant, GrantId, Request, RequestId
from envtrail.model.finding import Finding, FindingId, Status, Suppression
from envtrail.model.ids import OperationId
from envtrail.model.observed import Observed


class PolicyLoaded(Observed, frozen=True, tag="policy_loaded"):
    """From now on this policy is in force: what it says of an operation can be looked up for ever."""

    digest: str
    """`sha256:…` over names and texts."""
    files: dict[str, str]
    """Path → text."""
    commit: str | None = None
    """Of the Git repository that the files lie in."""


class OperationJudged(Observed, frozen=True, tag="operation_judged"):
    """What the policy in force said of an operation when it was seen, and the grant that covered it."""

    operation: OperationId
    verdict: str
    rule: str | None
    reason: str
    grant: GrantId | None = None


class FindingMade(Observed, frozen=True, tag="finding_made"):
    """A detection noticed something."""

    finding: Finding


class FindingTriaged(Observed, frozen=True, tag="finding_triaged"):
    """A person said where a finding stands."""

    finding: FindingId
    status: Status
    by: str
    why: str
    assignee: str | None = None


class AccessRecorded(Observed, frozen=True, tag="looks_made"):
    """The web UI showed a user another person's data."""

    entries: list[AccessEntry] = field(name="looks")


class SuppressionSet(Observed, frozen=True, tag="suppression_set"):
    """A person muted a detection, or ended that before its time."""

    suppression: Suppression


class RequestMade(Observed, frozen=True, tag="request_made"):
    """Somebody requested to change an environment."""

    request: Request


class RequestApproved(Observed, frozen=True, tag="request_approved"):
    """One person said yes; the grant follows when enough have."""

    request: RequestId
    approval: Approval


class RequestDenied(Observed, frozen=True, tag="request_denied"):
    """One person said no."""

    request: RequestId
    by: str
    why: str


class GrantGiven(Observed, frozen=True, tag="grant_given"):
    """An approval stands from now on."""

    grant: Grant


class GrantRevoked(Observed, frozen=True, tag="grant_revoked"):
    """An approval was taken back."""

    grant: GrantId
    by: str
    why: str


DecisionObservation = Union[
    PolicyLoaded,
    OperationJudged,
    FindingMade,
    FindingTriaged,
    SuppressionSet,
    AccessRecorded,
    RequestMade,
    RequestApproved,
    RequestDenied,
    GrantGiven,
    GrantRevoked,
]
