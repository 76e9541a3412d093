"""A request to change an environment, and what people decided about it."""

from __future__ import annotations

from enum import Enum
from typing import Any, NewType

import msgspec
from msgspec import Struct

from envtrail.model.ids import OperationId, make_ulid
from envtrail.model.operation import Operation
from envtrail.model.times import to_ms

ACTIONS = ("install", "remove", "create", "delete", "any")
"""What may be requested: `install` includes updates."""
RequestId = NewType("RequestId", str)
GrantId = NewType("GrantId", str)


class RequestStatus(str, Enum):
    """Where a request stands."""

    PENDING = "pending"
    GRANTED = "granted"
    DENIED = "denied"


class GrantKind(str, Enum):
    """How an approval was given."""

    APPROVAL = "approval"
    """Somebody approved a request."""
    LATE = "late"
    """Somebody approved what had happened already."""
    BREAK_GLASS = "break-glass"
    """Somebody took it, in an emergency, and said why."""
    GIT = "git"
    """It was merged into the policy's repository."""


class Approval(Struct, frozen=True, kw_only=True):
    """One person's yes."""

    name: str
    uid: int | None
    time_ms: int
    method: str
    """`service`: the socket's peer as the kernel names it; `sshsig`: a signature with a key of `allowed_signers`; `git`: a commit."""
    why: str = ""
    signature: str | None = None
    """Armoured SSHSIG over `signed_bytes` of the grant's terms (PROTOCOL.sshsig)."""
    subject: str | None = None
    """The request, operation or grant that the signature is about; None: over the terms alone, by an earlier version."""
    key: str | None = None
    """Fingerprint of the key that signed."""
    known_by: str | None = None
    """How the web UI identified them (`link`, `local`, `pam`, `oidc`, `proxy`), where it was given there."""


class Terms(Struct, frozen=True, kw_only=True):
    """What is requested, and for how long: what approvers sign."""

    prefix: str
    user: str
    uid: int | None
    action: str
    """`install` (updates included), `remove`, `create`, `delete`, or `any`."""
    packages: list[str]
    """Specifications; empty: any."""
    dependencies: bool
    """What the packages bring along is covered."""
    until_ms: int
    uses: int | None
    """How many operations; None: any number."""
    why: str
    sources: list[str] = []
    """Indexes, channels and addresses that the packages may come from beside the machine's own; `*`: any."""


class Request(Struct, frozen=True, kw_only=True):
    """A request by somebody."""

    id: RequestId
    time_ms: int
    host: str
    terms: Terms
    status: RequestStatus = RequestStatus.PENDING
    needed: int = 1
    """People who must approve."""
    approvals: list[Approval] = []
    denied_by: str | None = None
    denied_why: str | None = None
    grant: GrantId | None = None


class Grant(Struct, frozen=True, kw_only=True):
    """An approval that stands until it expires, is used up or is revoked."""

    id: GrantId
    kind: GrantKind
    since_ms: int
    terms: Terms
    approvals: list[Approval]
    request: RequestId | None = None
    operation: OperationId | None = None
    """The one operation that it covers, of a late approval."""
    revoked_ms: int | None = None
    revoked_by: str | None = None
    revoked_why: str | None = None


def make_request_id(terms: Terms, time_ms: int) -> RequestId:
    """The id of a request."""
    return RequestId(make_ulid(time_ms, "request", msgspec.json.encode(say_terms(terms)).decode()))


def make_grant_id(kind: GrantKind, subject: str, time_ms: int) -> GrantId:
    """The id of the grant of a kind about a subject (a request, an operation, a name in Git)."""
    return GrantId(make_ulid(time_ms, "grant", kind.value, subject))


def terms_of(operation: Operation, why: str) -> Terms:
    """What a late approval of an operation says."""
    changes = operation.changes or []
    states = [(change.name, change.after or change.before) for change in changes]
    return Terms(
        prefix=operation.environment.prefix,
        user=operation.actor.name or "",
        uid=operation.actor.number,
        action="any",
        packages=[f"{name}=={state.version}" for name, state in states if state],
        dependencies=False,
        until_ms=to_ms(operation.ended or operation.started),
        uses=1,
        why=why,
    )


def say_terms(terms: Terms) -> dict[str, Any]:
    """The terms as what is signed, and what ids are made of, holds them: without what an earlier version did not know, where it says nothing."""
    said: dict[str, Any] = msgspec.to_builtins(terms)
    if not terms.sources:
        del said["sources"]
    return said


def signed_bytes(terms: Terms, subject: str | None) -> bytes:
    """What an approver signs: the terms as JSON with sorted keys, and what they decide about.

    Args:
        terms: What is approved.
        subject: Id of the request or the operation, which comes once: a signature is good for one approval. None: the form that
            carried none, of approvals made earlier.
    """
    said = say_terms(terms)
    return msgspec.json.encode(said if subject is None else {"subject": subject, "terms": said}, order="sorted")
