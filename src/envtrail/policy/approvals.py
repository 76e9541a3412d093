"""People's decisions, checked against the policy in force and turned into observations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from typing_extensions import assert_never

from envtrail.environments.impact import parse_spec
from envtrail.errors import CannotRunError, InputError, UsageError
from envtrail.model.approval import (
    ACTIONS,
    Approval,
    Grant,
    GrantKind,
    Request,
    RequestId,
    RequestStatus,
    Terms,
    make_grant_id,
    make_request_id,
    signed_bytes,
    terms_of,
)
from envtrail.model.decided import FindingMade, GrantGiven, GrantRevoked, RequestApproved, RequestDenied, RequestMade
from envtrail.model.decision import (
    Approve,
    BreakGlass,
    Decided,
    Decision,
    Deny,
    Mute,
    Person,
    RecordAccess,
    Revoke,
    SubmitRequest,
    Triage,
    Unmute,
)
from envtrail.model.finding import Finding, Level, make_finding_id
from envtrail.model.observation import Observation
from envtrail.model.operation import EnvironmentRef
from envtrail.policy.grants import approval_rule
from envtrail.policy.language import ApprovalRule, Policy, parse_span
from envtrail.policy.signatures import ServiceKey, verify
from envtrail.policy.triage import need_reason, record_access, triage
from envtrail.state.state import State

_ANSWER = tuple[list[Observation], Decided]


class Deciding:
    """Decisions in, observations out; nothing is written here.

    Args:
        state: Current state of the trail.
        node: Name of this machine.
        key: The service's signing key.
        allowed_signers: File that maps signers to keys.
        uid_of: Name → uid; None when the name does not exist.
        owner_of: Prefix → name of the environment's owner.
    """

    def __init__(
        self,
        state: State,
        *,
        node: str,
        key: ServiceKey,
        allowed_signers: Path,
        uid_of: Callable[[str], int | None],
        owner_of: Callable[[str], str | None],
    ) -> None:
        self._state = state
        self._node = node
        self._key = key
        self._allowed_signers = allowed_signers
        self._uid_of = uid_of
        self._owner_of = owner_of
        self.policy = Policy(rules=[], tests=[])

    def decide(self, decision: Decision, by: Person, now_ms: int) -> _ANSWER:
        """Make one decision.

        Raises:
            CannotRunError: this person may not.
            InputError: its object does not exist, or is in another state.
            UsageError: an argument is invalid.
        """
        if not by.may_decide and not isinstance(decision, RecordAccess):
            raise CannotRunError(f"{by.name} may read but not decide", hint="roles: `web.admins`, `web.security`, `web.auditors`")
        match decision:
            case SubmitRequest():
                return self._submit(decision, by, now_ms)
            case Approve() if decision.operation is not None:
                return self._approve_late(decision, by, now_ms)
            case Approve():
                return self._approve(decision, by, now_ms)
            case Deny():
                return self._deny(decision, by, now_ms)
            case Revoke():
                return self._revoke(decision, by, now_ms)
            case BreakGlass():
                return self._break_glass(decision, by, now_ms)
            case Triage() | Mute() | Unmute():
                return triage(decision, by, now_ms, self._state)
            case RecordAccess():
                return record_access(decision, by, now_ms)
            case _:
                assert_never(decision)

    def may_decide(self, by: Person, prefix: str) -> bool:
        """Whether somebody is an approver of an environment.

        Called in the socket's threads too: SQLite serialises the use of one connection (https://www.sqlite.org/threadsafe.html).
        """
        return _holds(self._rule(prefix).approvers.holds, by)

    def _submit(self, submitted: SubmitRequest, by: Person, now_ms: int) -> _ANSWER:
        need_reason(submitted.why)
        if submitted.action not in ACTIONS:
            raise UsageError(f"`{submitted.action}` is not an action", hint=", ".join(ACTIONS))
        for spec in submitted.packages:
            parse_spec(spec)
        user, uid = by.name, by.login_uid if by.login_uid is not None else by.uid
        if submitted.user is not None and submitted.user != by.name:
            if not by.is_admin:
                raise CannotRunError(
                    "only root may make a request for another user", hint="they run `envtrail request` themselves"
                )
            named = self._uid_of(submitted.user)
            if named is None:
                raise InputError(f"there is no user `{submitted.user}`", hint="`getent passwd` lists the users")
            user, uid = submitted.user, named
        rule = self._rule(submitted.prefix)
        terms = Terms(
            prefix=submitted.prefix,
            user=user,
            uid=uid,
            action=submitted.action,
            packages=submitted.packages,
            dependencies=submitted.dependencies,
            until_ms=min(submitted.until_ms, now_ms + parse_span(rule.longest)),
            uses=submitted.uses,
            why=submitted.why,
            sources=submitted.sources,
        )
        if terms.until_ms <= now_ms:
            raise UsageError("it would have expired already", hint="`--until 7d`")
        id_ = make_request_id(terms, now_ms)
        if self._state.decisions.request(id_) is not None:
            raise InputError(f"request {id_[:10]} was made at this very moment", hint="look at it, or submit it again")
        request = Request(id=id_, time_ms=now_ms, host=self._node, terms=terms, needed=rule.people)
        people = f"{rule.people} people" if rule.people > 1 else "an approver"
        return [RequestMade(time_ms=now_ms, request=request)], Decided(
            what="request", id=request.id, said=f"request {request.id[:10]} waits for {people} to approve it"
        )

    def _approve(self, approve: Approve, by: Person, now_ms: int) -> _ANSWER:
        request = self._pending(approve.request or "", now_ms)
        rule = self._may_approve(request.terms, by)
        if any(one.name == by.name for one in request.approvals):
            raise InputError(f"{by.name} has approved this already", hint="another person must approve it")
        approval = self._approval(request.terms, request.id, by, rule, approve, now_ms)
        observations: list[Observation] = [RequestApproved(time_ms=now_ms, request=request.id, approval=approval)]
        approvals = [*request.approvals, approval]
        if len(approvals) < request.needed:
            left = request.needed - len(approvals)
            return observations, Decided(
                what="approval",
                id=request.id,
                said=f"approved; {left} more {'person' if left == 1 else 'people'} must approve it",
            )
        grant = Grant(
            id=make_grant_id(GrantKind.APPROVAL, request.id, now_ms),
            kind=GrantKind.APPROVAL,
            since_ms=now_ms,
            terms=request.terms,
            approvals=approvals,
            request=request.id,
        )
        return [*observations, GrantGiven(time_ms=now_ms, grant=grant)], Decided(
            what="grant", id=grant.id, said=f"grant {grant.id[:10]} is in force for {request.terms.user}"
        )

    def _approve_late(self, approve: Approve, by: Person, now_ms: int) -> _ANSWER:
        need_reason(approve.why)
        operation = self._state.operation(approve.operation or "")
        if operation is None:
            raise InputError(f"no operation `{approve.operation}`", hint="`envtrail log` lists them")
        if operation.grant is not None:
            raise InputError(f"operation {operation.id[:10]} has the grant {operation.grant[:10]} already", hint="nothing to do")
        terms = terms_of(operation, approve.why)
        rule = self._may_approve(terms, by)
        if rule.people > 1:
            raise CannotRunError(
                f"changes of `{terms.prefix}` need {rule.people} people, and an approval afterwards has one",
                hint="`envtrail findings ack` acknowledges it",
            )
        grant = Grant(
            id=make_grant_id(GrantKind.LATE, operation.id, now_ms),
            kind=GrantKind.LATE,
            since_ms=now_ms,
            terms=terms,
            approvals=[self._approval(terms, operation.id, by, rule, approve, now_ms)],
            operation=operation.id,
        )
        return [GrantGiven(time_ms=now_ms, grant=grant)], Decided(
            what="grant", id=grant.id, said=f"operation {operation.id[:10]} is approved afterwards"
        )

    def _deny(self, deny: Deny, by: Person, now_ms: int) -> _ANSWER:
        need_reason(deny.why)
        request = self._pending(deny.request, now_ms)
        self._may_approve(request.terms, by, is_no=True)
        return [RequestDenied(time_ms=now_ms, request=request.id, by=by.name, why=deny.why)], Decided(
            what="denial", id=request.id, said=f"request {request.id[:10]} is denied"
        )

    def _revoke(self, revoke: Revoke, by: Person, now_ms: int) -> _ANSWER:
        need_reason(revoke.why)
        grant = self._state.decisions.grant(revoke.grant)
        if grant is None:
            raise InputError(f"no grant `{revoke.grant}`", hint="`envtrail grants` lists them")
        if grant.operation is not None:
            raise InputError(
                f"grant {grant.id[:10]} is for an operation that has taken place",
                hint="`envtrail ack FINDING --reopen --why …` opens its finding",
            )
        if grant.revoked_ms is not None:
            raise InputError(f"grant {grant.id[:10]} was revoked by {grant.revoked_by} already", hint="nothing to do")
        if by.name != grant.terms.user:
            self._may_approve(grant.terms, by, is_no=True)
        return [GrantRevoked(time_ms=now_ms, grant=grant.id, by=by.name, why=revoke.why)], Decided(
            what="revocation", id=grant.id, said=f"grant {grant.id[:10]} is revoked"
        )

    def _break_glass(self, taken: BreakGlass, by: Person, now_ms: int) -> _ANSWER:
        need_reason(taken.why)
        rule = self._rule(taken.prefix)
        if not _holds(rule.break_glass.holds, by):
            raise CannotRunError(
                f"{by.name} may not take a break-glass grant for `{taken.prefix}`",
                hint="`break_glass` in the policy's `approvals` names who may",
            )
        terms = Terms(
            prefix=taken.prefix,
            user=by.name,
            uid=by.login_uid if by.login_uid is not None else by.uid,
            action=taken.action,
            packages=taken.packages,
            dependencies=True,
            until_ms=now_ms + parse_span(rule.break_glass_for),
            uses=None,
            why=taken.why,
            sources=["*"],
        )
        id_ = make_grant_id(GrantKind.BREAK_GLASS, f"{by.name} {taken.prefix}", now_ms)
        grant = Grant(
            id=id_,
            kind=GrantKind.BREAK_GLASS,
            since_ms=now_ms,
            terms=terms,
            approvals=[self._signed_by_service(terms, id_, by, taken.why, now_ms)],
        )
        finding = Finding(
            id=make_finding_id("break-glass", grant.id, now_ms),
            detection="break-glass",
            source="trail",
            title="Break-glass grant taken",
            level=Level.HIGH,
            time_ms=now_ms,
            host=self._node,
            reason=taken.why,
            user=by.name,
            uid=by.uid,
            prefix=taken.prefix,
            values={"grant": grant.id, "for": rule.break_glass_for},
        )
        return [GrantGiven(time_ms=now_ms, grant=grant), FindingMade(time_ms=now_ms, finding=finding)], Decided(
            what="grant",
            id=grant.id,
            said=f"grant {grant.id[:10]} is in force for {rule.break_glass_for}; the notification channels report it",
        )

    def _pending(self, id_: str, now_ms: int) -> Request:
        request = self._state.decisions.request(RequestId(id_))
        if request is None:
            raise InputError(f"no request `{id_}`", hint="`envtrail requests` lists them")
        if request.status is not RequestStatus.PENDING:
            raise InputError(f"request {request.id[:10]} is {request.status.value} already", hint="nothing to do")
        if request.terms.until_ms <= now_ms:
            raise InputError(f"request {request.id[:10]} has expired", hint=f"{request.terms.user} may request it again")
        return request

    def _rule(self, prefix: str) -> ApprovalRule:
        known = self._state.environment(prefix)
        place = EnvironmentRef(prefix=prefix, kind=known.kind if known else "unknown")
        return approval_rule(self.policy, place, self._owner_of(prefix))

    def _may_approve(self, terms: Terms, by: Person, *, is_no: bool = False) -> ApprovalRule:
        rule = self._rule(terms.prefix)
        if not _holds(rule.approvers.holds, by):
            raise CannotRunError(
                f"{by.name} may not decide about `{terms.prefix}`", hint="`approvers` in the policy's `approvals` names who may"
            )
        if not is_no and not rule.own and by.name == terms.user:
            raise CannotRunError(
                f"{by.name} made this request, and nobody approves their own request",
                hint="another person must approve it; `own: true` in the policy's `approvals` allows it",
            )
        return rule

    def _approval(self, terms: Terms, subject: str, by: Person, rule: ApprovalRule, approve: Approve, now_ms: int) -> Approval:
        if approve.signature is not None:
            key = verify(signed_bytes(terms, subject), approve.signature, signer=by.name, allowed_signers=self._allowed_signers)
            return Approval(
                name=by.name,
                uid=by.uid,
                time_ms=now_ms,
                method="sshsig",
                why=approve.why,
                signature=approve.signature,
                key=key,
                subject=subject,
            )
        if rule.signed:
            raise CannotRunError(
                f"an approval about `{terms.prefix}` must be signed",
                hint="`--sign ~/.ssh/id_ed25519`, a key of `policy.allowed_signers`",
            )
        return self._signed_by_service(terms, subject, by, approve.why, now_ms)

    def _signed_by_service(self, terms: Terms, subject: str, by: Person, why: str, now_ms: int) -> Approval:
        signature = None
        with contextlib.suppress(CannotRunError, OSError):
            signature = self._key.sign(signed_bytes(terms, subject))
        return Approval(
            name=by.name,
            uid=by.uid if by.uid >= 0 else None,
            time_ms=now_ms,
            method="service",
            why=why,
            signature=signature,
            known_by=by.known_by,
            subject=subject if signature is not None else None,
        )


def _holds(holds: Callable[[str | None, frozenset[str]], bool], by: Person) -> bool:
    return any(holds(name, by.groups) for name in by.names)
