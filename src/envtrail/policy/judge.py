"""The policy's verdict on an operation: each observed change is decided by the first rule that matches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from envtrail.environments.impact import Target, parse_spec
from envtrail.model.environment import Package
from envtrail.model.naming import environment_names, fits_environment, fits_package_name, fits_person, is_package
from envtrail.model.operation import Actor, Change, EnvironmentRef, Operation, PackageState
from envtrail.model.patterns import fits_any
from envtrail.model.times import to_ms
from envtrail.policy.language import Policy, PolicyRule, Verdict, What, Where, Who, parse_span

_MUST_JUDGE = frozenset({"create", "delete", "move", "tamper"})
"""Actions that count even when no package was added or removed."""


class PackageFacts(Struct, frozen=True, kw_only=True):
    """Facts about the package's new version (for a removal, the old one) that a change does not hold."""

    licence: str | None = None
    malicious: bool | None = None
    """None when there are no advisories."""
    age_ms: int | None = None
    """Time between upload to the index and installation; None when the index does not report it."""


class PolicyFacts(Struct, frozen=True, kw_only=True):
    """Facts that the operation's document does not hold."""

    groups: frozenset[str] = frozenset()
    """Groups of the person."""
    owner: str | None = None
    """Name of the environment's owner."""
    packages: Mapping[tuple[str, str], PackageFacts] = {}
    """By ecosystem and name, as in the change."""


class RuleOutcome(Struct, frozen=True, kw_only=True):
    """Result of a rule for a change."""

    rule: str
    package: str | None
    matched: bool
    why: str
    """The condition that did not hold; for a match, all of them."""


class Decision(Struct, frozen=True, kw_only=True):
    """The verdict, and how it was reached."""

    verdict: Verdict
    rule: str | None
    """None when none matched: allowed."""
    reason: str
    package: str | None
    """The change that decided; None for the operation as a whole."""
    steps: list[RuleOutcome]
    held: list[str | None] = []
    """The changes (None: the operation as a whole) that need an approval."""
    denied: bool = False
    """Some of them are forbidden."""


def judge(policy: Policy, operation: Operation, facts: PolicyFacts) -> Decision:
    """The strictest verdict over all changes; of equal ones, the first."""
    steps: list[RuleOutcome] = []
    decisions = [_judge_one(policy, operation, change, facts, steps) for change in _subjects(operation)]
    if not decisions:
        return Decision(verdict=Verdict.ALLOW, rule=None, reason="nothing was changed", package=None, steps=[])
    verdict, rule, package = max(decisions, key=lambda item: item[0].rank)
    return Decision(
        verdict=verdict,
        rule=rule.name if rule else None,
        reason=(rule.reason or f"the policy's rule {rule.name}") if rule else "no rule matches",
        package=package,
        steps=steps,
        held=[name for said, _, name in decisions if said is Verdict.REQUIRE_APPROVAL],
        denied=verdict is Verdict.DENY,
    )


def _subjects(operation: Operation) -> list[Change | None]:
    """The changes; the operation as a whole when its changes are unknown, or no package is concerned."""
    if operation.changes is None or (not operation.changes and operation.kind.value in _MUST_JUDGE):
        return [None]
    return [*operation.changes]


def _judge_one(
    policy: Policy, operation: Operation, change: Change | None, facts: PolicyFacts, steps: list[RuleOutcome]
) -> tuple[Verdict, PolicyRule | None, str | None]:
    package = change.name if change else None
    for rule in policy.rules:
        why = _why_not(rule, policy.tags, operation, change, facts)
        steps.append(RuleOutcome(rule=rule.name, package=package, matched=why is None, why=why or "every condition holds"))
        if why is None:
            return rule.verdict, rule, package
    return Verdict.ALLOW, None, package


def _why_not(
    rule: PolicyRule, tags: Mapping[str, list[str]], operation: Operation, change: Change | None, facts: PolicyFacts
) -> str | None:
    """The first condition that does not hold; None when all do."""
    started_ms = to_ms(operation.started)
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _not_who(rule.who, operation, facts, allows=rule.verdict is Verdict.ALLOW),
        lambda: not_where(rule.where, operation.environment, facts.owner, tags),
        lambda: _not_what(rule.what, operation, change, facts, is_strict=rule.verdict is not Verdict.ALLOW),
        lambda: None if rule.when is None or rule.when.holds_at(started_ms) else "it was at another time",
        lambda: None if rule.outside is None or not rule.outside.holds_at(started_ms) else "it was within the time",
    )
    return next((why for check in checks if (why := check()) is not None), None)


def _not_who(who: Who, operation: Operation, facts: PolicyFacts, *, allows: bool) -> str | None:
    actor = operation.actor
    if allows and who.classes and actor.kind == "agent":
        # Anybody can give a program the name of one.
        return "class is agent, which a program's name alone says"
    # A container below a unit may be a name that the unit's account made up; the machine's own daemons' are none.
    made = actor.container if actor.container and actor.container.unit is None else None
    container = [made.image or "", made.id] if made else []
    return (
        _no_person(who.users, actor)
        or _none_of("group", who.groups, facts.groups)
        or _none_of("class", who.classes, [actor.kind] if actor.kind else [])
        or _none_of("unit", who.units, [actor.unit] if actor.unit else [])
        or _none_of("container", who.containers, container)
    )


def not_where(where: Where, environment: EnvironmentRef, owner: str | None, tags: Mapping[str, list[str]]) -> str | None:
    """Why an environment does not match; None when it does."""
    prefix = environment.prefix
    borne = [tag for tag, patterns in tags.items() if patterns and fits_environment(patterns, prefix)]
    return (
        (None if fits_environment(where.environments, prefix) else f"environment is {' or '.join(environment_names(prefix))}")
        or _none_of("kind of environment", where.kinds, [environment.kind])
        or _none_of("owner", where.owners, [owner] if owner else [])
        or _none_of("tag", where.tags, borne)
    )


def _not_what(what: What, operation: Operation, change: Change | None, facts: PolicyFacts, *, is_strict: bool) -> str | None:
    mismatch = _none_of("action", what.actions, [operation.kind.value]) or _none_of(
        "tool", what.tools, [operation.tool, *operation.via]
    )
    needs_package = what.packages or what.sources or what.licences or what.younger_than is not None
    if mismatch or not (needs_package or what.requested is not None or what.malicious is not None):
        return mismatch
    if change is None:
        # The changes are unknown: a rule that allows does not cover them, a stricter one does.
        return None if is_strict and operation.changes is None else "which packages changed is not known"
    package = _package_of(change, change.after or change.before)
    if what.packages and not any(_fits(pattern, package) for pattern in what.packages):
        return f"{change.name} {package.version} is none of the packages"
    if what.requested is not None and change.requested is not what.requested:
        return f"{change.name} was {'not ' if what.requested else ''}requested by name"
    return _none_of("source", what.sources, [package.source] if package.source else []) or _not_by_facts(
        what, facts.packages.get((change.ecosystem, change.name), PackageFacts())
    )


def _not_by_facts(what: What, known: PackageFacts) -> str | None:
    """Unknown facts match no rule: `doctor` reports when licences, advisories or ages are missing."""
    if mismatch := _none_of("licence", what.licences, [known.licence or "none"]):
        return mismatch
    if what.malicious is not None and known.malicious is not what.malicious:
        return {None: "whether it is malicious is not known", True: "it is malicious", False: "it is not malicious"}[
            known.malicious
        ]
    if what.younger_than is None:
        return None
    if known.age_ms is None:
        return "how long it has been on its index is not known"
    if known.age_ms >= parse_span(what.younger_than):
        return f"it had been on its index for {known.age_ms // 86_400_000} days"
    return None


def fits_package(pattern: str, change: Change, state: PackageState | None) -> bool:
    """Whether a pattern names one side of a change."""
    return _fits(pattern, _package_of(change, state))


def _package_of(change: Change, state: PackageState | None) -> Package:
    return Package(
        ecosystem=change.ecosystem,
        name=change.name,
        version=state.version if state else "",
        source=state.source if state else None,
    )


def _fits(pattern: str, package: Package) -> bool:
    target = _target(pattern)
    if target is None:
        return fits_package_name(pattern, package.name)
    return is_package(target.name, package.name) and target.matches(package)


def check_pattern(pattern: str) -> None:
    """Whether a pattern is a valid package pattern.

    Raises:
        UsageError: it is not.
    """
    _target(pattern)


@lru_cache(maxsize=4096)
def _target(pattern: str) -> Target | None:
    """None for a pattern with a wildcard."""
    return None if set(pattern) & set("*?") and not pattern.startswith("pkg:") and "=" not in pattern else parse_spec(pattern)


def _no_person(patterns: list[str], actor: Actor) -> str | None:
    if fits_person(patterns, actor.name, actor.own_number):
        return None
    return f"user is {actor.name or 'not known'}"


def _none_of(what: str, patterns: Iterable[str], values: Iterable[str]) -> str | None:
    patterns, values = list(patterns), list(values)
    if fits_any(patterns, values):
        return None
    return f"{what} is {' or '.join(values) or 'not known'}"
