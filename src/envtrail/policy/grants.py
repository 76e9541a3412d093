"""Which grant covers an operation, and who may give one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from envtrail.model.approval import Grant, Terms
from envtrail.model.finding import Finding, Suppression
from envtrail.model.naming import fits_environment, fits_package_name, fits_person, is_person
from envtrail.model.operation import Change, EnvironmentRef, Operation, OperationKind
from envtrail.model.times import to_ms
from envtrail.policy.judge import Decision, fits_package, not_where
from envtrail.policy.language import ApprovalRule, Policy
from envtrail.policy.sources import why_not_from

_ACTIONS = {
    OperationKind.INSTALL: "install",
    OperationKind.UPDATE: "install",
    OperationKind.SYNC: "install",
    OperationKind.LOCK: "install",
    OperationKind.REMOVE: "remove",
    OperationKind.CREATE: "create",
    OperationKind.DELETE: "delete",
    OperationKind.MOVE: "delete",
}


def find_cover(
    grants: Iterable[Grant],
    operation: Operation,
    decision: Decision,
    *,
    uses_of: Callable[[str], int],
    configured: Sequence[str],
) -> tuple[Grant | None, list[str]]:
    """The first grant that covers every change that needs one, and why earlier ones do not.

    Args:
        grants: About the operation's environment.
        operation: The operation to cover.
        decision: The policy's decision about it.
        uses_of: How many other operations a grant has covered.
        configured: The machine's own indexes and channels (`policy.sources`).
    """
    reasons: list[str] = []
    for grant in grants:
        why = why_not_covered(grant, operation, decision, uses=uses_of(grant.id), configured=configured)
        if why is None:
            return grant, reasons
        reasons.append(f"{grant.id[:10]}: {why}")
    return None, reasons


def why_not_covered(
    grant: Grant, operation: Operation, decision: Decision, *, uses: int, configured: Sequence[str]
) -> str | None:
    """Why a grant does not cover an operation; None when it does."""
    terms = grant.terms
    if grant.operation is not None:
        return None if grant.operation == operation.id else "it was given for another operation"
    started_ms = to_ms(operation.started)
    actor = operation.actor
    number = actor.own_number
    is_their_own = terms.uid == number if terms.uid is not None else is_person(terms.user, actor.name, number)
    checks: tuple[tuple[bool, str], ...] = (
        (terms.prefix == operation.environment.prefix, "it is for another environment"),
        (is_their_own, f"it is for {terms.user}"),
        (operation.actor.confidence.value in {"certain", "strong"}, "who did this is not certain enough"),
        (started_ms >= grant.since_ms, "it began before the grant"),
        (started_ms < terms.until_ms, "the grant had expired"),
        (grant.revoked_ms is None or started_ms < grant.revoked_ms, "the grant had been revoked"),
        (terms.uses is None or uses < terms.uses, "the grant was used up"),
        (not decision.denied, "the policy denies it to everybody"),
        (
            terms.action in {"any", _ACTIONS.get(operation.kind)},
            f"it is for {terms.action}, not {operation.kind.value}",
        ),
    )
    reason = next((why for holds, why in checks if not holds), None)
    return reason or _why_no_package(terms, operation, decision) or _why_no_source(terms, operation, decision, configured)


def _why_no_package(terms: Terms, operation: Operation, decision: Decision) -> str | None:
    if not terms.packages:
        return None
    if operation.changes is None:
        return "which packages changed is not known"
    held = [change for change in operation.changes if change.name in decision.held]
    for change in held:
        if any(_is_named(spec, change) for spec in terms.packages):
            continue
        if not terms.dependencies or change.requested is not False:
            return f"{change.name} is not in it"
        if change.after is None and terms.action != "any":
            return f"{change.name} was removed"
    return None


def _why_no_source(terms: Terms, operation: Operation, decision: Decision, configured: Sequence[str]) -> str | None:
    """What a package is called says nothing of what it is: a grant is for packages of certain sources."""
    held = [change for change in operation.changes or () if change.name in decision.held]
    why = why_not_from([*configured, *terms.sources], operation, held)
    return why and f"{why}, which it does not name"


def _is_named(spec: str, change: Change) -> bool:
    return fits_package(spec, change, change.after or change.before)


def approval_rule(policy: Policy, environment: EnvironmentRef, owner: str | None) -> ApprovalRule:
    """How changes of an environment are approved."""
    return next(
        (rule for rule in policy.approvals if not_where(rule.where, environment, owner, policy.tags) is None), ApprovalRule()
    )


def find_suppression(suppressions: Iterable[Suppression], finding: Finding, packages: Iterable[str]) -> Suppression | None:
    """The first that covers a finding: of every given list, one item must match.

    Args:
        suppressions: Those in force.
        finding: As it would be reported.
        packages: Of the operation, by name: all of them must match, so that none hides behind another.
    """
    changed = list(packages)
    for item in suppressions:
        if (
            fnmatchcase(finding.detection, item.detection)
            and fits_person(item.users, finding.user or "")
            and fits_environment(item.environments, finding.prefix or "")
            and (not item.packages or (bool(changed) and all(_is_listed(item.packages, name) for name in changed)))
        ):
            return item
    return None


def _is_listed(patterns: Iterable[str], name: str) -> bool:
    return any(fits_package_name(pattern, name) for pattern in patterns)
