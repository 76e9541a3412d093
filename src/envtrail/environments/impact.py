"""Which environments have, or had, what a spec or an advisory names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypedDict

import msgspec
from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement

from envtrail.environments.advisories import Advisory
from envtrail.environments.ranges import is_within, parse_vers, read_version
from envtrail.errors import UsageError
from envtrail.model.environment import Holding, Package
from envtrail.model.naming import is_package, normalise_name, requested_name, requested_version
from envtrail.model.operation import Change, Confidence, Operation, OperationKind
from envtrail.model.run import Use
from envtrail.model.times import to_ms

# With the number: `cve-bin-tool` is a package.
_ADVISORY = re.compile(
    r"(?:(?:CVE|PYSEC|MAL|OSV|GSD)-\d{4}-\d+|PYSEC-0000-CVE-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3}|SNYK-PYTHON-\w+-\d+|BIT-[\w.-]+-\d{4}-\d+)",
    re.IGNORECASE,
)
_HINT = "`numpy`, `numpy==2.0.0`, `pkg:pypi/numpy@2.0.0`, `numpy vers:pypi/>=2.0|<2.1`, or an advisory's id"


class Target(Struct, frozen=True, kw_only=True):
    """What is looked for."""

    name: str
    """Normalised."""
    matches: Callable[[Package], bool]
    """Whether a version of it is meant."""
    advisory: Advisory | None = None
    """That names it."""


class Exposure(Struct, frozen=True, kw_only=True):
    """A span in which an environment had it, by whom, and what ran with it."""

    holding: Holding
    basis: str = "held"
    """`held`: the environment was seen to hold it. `requested`: a command requested it, and what that changed is not recorded; then
    the version is empty where the command named none, and how long it was there is not known."""
    requested: str | None = None
    """What the command requested, as typed; None where it was seen."""
    advisory: str | None = None
    """The id of the advisory that names it."""
    aliases: list[str] = []
    """The advisory's other ids."""
    withdrawn: str | None = None
    """When the advisory was withdrawn."""
    summary: str = ""
    brought_by: str | None
    """Who; null where nobody was seen."""
    brought_in: str | None
    """Id of the operation."""
    removed_by: str | None
    removed_in: str | None
    runs: int
    users: list[str]
    """Who ran most comes first."""
    last_used: str | None
    """When the last of the runs began (RFC 3339, UTC)."""


def is_advisory_id(spec: str) -> bool:
    """Whether a spec names an advisory."""
    return _ADVISORY.fullmatch(spec) is not None


def parse_spec(spec: str) -> Target:
    """`numpy`, `numpy==2.0.0`, `numpy>=2,<2.1`, `numpy vers:pypi/>=2|<2.1`, or a purl with a version, a `vers`, or neither.

    Raises:
        UsageError: it is none of them.
    """
    if spec.startswith("pkg:"):
        return _of_purl(spec)
    text, _, span = spec.partition("vers:")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as fault:
        raise UsageError(f"`{spec}` names no package: {str(fault).partition(chr(10))[0]}", hint=_HINT) from None
    if requirement.url or requirement.marker or requirement.extras:
        raise UsageError(f"`{spec}` has more than a name and versions", hint=_HINT)
    name = normalise_name(requirement.name)
    specifier = requirement.specifier
    contains = parse_vers(f"vers:{span}") if span else lambda _version: True
    return Target(name=name, matches=lambda package: is_within(specifier, package.version) and contains(package.version))


def target_of(advisory: Advisory, name: str) -> Target:
    """What an advisory says of a project (normalised name).

    conda's packages of the same name are the same project's where they are Python's; malware was PyPI's alone.
    """

    def matches(package: Package) -> bool:
        is_project = package.ecosystem == "pypi" or _is_of_python(package)
        is_of_index = package.ecosystem == "pypi" and package.installer != "conda"
        return (is_of_index if advisory.is_malware else is_project) and advisory.holds_for(name, package.version)

    return Target(name=name, matches=matches, advisory=advisory)


def merge_spans(holdings: Iterable[Holding]) -> Iterator[Holding]:
    """Spans of one version that follow each other are one: a package read anew, or put there again, is no end of it.

    Args:
        holdings: In order of name, prefix and time.
    """
    for _, group in groupby(holdings, key=lambda one: (normalise_name(one.package.name), one.prefix)):
        open_: dict[tuple[str, str], Holding] = {}
        done: list[Holding] = []
        for holding in group:
            key = (holding.package.ecosystem, holding.package.version)
            before = open_.get(key)
            if before is not None and before.until_ms is not None and before.until_ms >= holding.since_ms:
                open_[key] = msgspec.structs.replace(holding, since_ms=before.since_ms, since_image=before.since_image)
                continue
            done += [before] if before is not None else []
            open_[key] = holding
        yield from sorted([*done, *open_.values()], key=lambda one: (one.since_ms, one.package.version))


def requested_by(operation: Operation, target: Target) -> str | None:
    """What an operation whose changes are not recorded requested, where that may be what is looked for; else None.

    A specification that allows several versions may have brought any of them.
    """
    if operation.changes is not None or operation.kind is OperationKind.LOCK:
        return None
    ecosystem = "conda" if operation.environment.kind == "conda" and operation.tool != "pip" else "pypi"
    for spec in operation.requested:
        if requested_name(spec) != target.name:
            continue
        version = requested_version(spec)
        if version is None or target.matches(Package(ecosystem=ecosystem, name=target.name, version=version)):
            return spec
    return None


class Used(TypedDict):
    """The part of an exposure that describes runs."""

    runs: int
    users: list[str]
    last_used: str | None


def used_by(uses: Sequence[Use]) -> Used:
    """What ran, put together."""
    return {
        "runs": sum(use.runs for use in uses),
        "users": list(dict.fromkeys(use.user or ("uid ?" if use.uid is None else str(use.uid)) for use in uses)),
        "last_used": max((use.last for use in uses), default=None),
    }


def expose_requested(operation: Operation, spec: str, target: Target, uses: Sequence[Use]) -> Exposure:
    """What is known of a package that was requested, where the result was not seen."""
    probe = Package(ecosystem="pypi", name=target.name, version=requested_version(spec) or "")
    return Exposure(
        holding=Holding(
            prefix=operation.environment.prefix,
            package=probe,
            since_ms=to_ms(operation.started),
            until_ms=None,
            since_image=operation.image,
            until_image=None,
            host=operation.host,
        ),
        basis="requested",
        requested=spec,
        brought_by=person_of(operation),
        brought_in=operation.id,
        removed_by=None,
        removed_in=None,
        **used_by(uses),
    )


def expose(exposure: Exposure, advisory: Advisory) -> Exposure:
    """The same span, named by an advisory."""
    return msgspec.structs.replace(
        exposure, advisory=advisory.id, aliases=advisory.aliases, withdrawn=advisory.withdrawn, summary=advisory.summary
    )


def find_ends(holding: Holding, operations: Iterable[Operation]) -> tuple[Operation | None, Operation | None]:
    """The operations that began and ended a span; null where none was seen, or the span has no end.

    What nobody was seen to do is an operation too (drift), and so is what was there before the trail (a baseline).

    Args:
        holding: The span.
        operations: On this package in this environment, the newest first.
    """
    name, version = holding.package.name, holding.package.version
    newest_first = [
        (operation, change)
        for operation in operations
        for change in operation.changes or ()
        if is_package(change.name, name) and change.before != change.after
    ]
    brought = _nearest(newest_first, holding.since_image, holding.since_ms)
    removed = _nearest(newest_first, holding.until_image, holding.until_ms) if holding.until_ms is not None else None
    return (
        brought[0] if brought and brought[1].after and brought[1].after.version == version else None,
        removed[0] if removed and removed[1].before and removed[1].before.version == version else None,
    )


def _nearest(
    newest_first: Sequence[tuple[Operation, Change]], image: int | None, time_ms: int
) -> tuple[Operation, Change] | None:
    """What changed a package last before a snapshot: as a rule whoever had it taken, else somebody who was at work then."""
    begun = [(operation, change) for operation, change in newest_first if _has_begun(operation, time_ms)]
    own = [one for one in begun if image is not None and one[0].image == image]
    return next(iter([*own, *begun]), None)


def _has_begun(operation: Operation, time_ms: int) -> bool:
    """Whether a snapshot may show it; what nobody was seen to do ends with the snapshot that showed it."""
    if operation.image is None and operation.ended is not None:
        return to_ms(operation.ended) == time_ms
    return to_ms(operation.started) <= time_ms


def person_of(operation: Operation | None) -> str | None:
    """Who did it; null where that is not known. An owner of files (a baseline) could have, which is not the same."""
    if operation is None or operation.actor.method == "owner" or operation.actor.confidence is Confidence.NONE:
        return None
    actor = operation.actor
    return actor.name or (f"uid {actor.uid}" if actor.uid is not None else None)


def _of_purl(spec: str) -> Target:
    from packageurl import PackageURL

    try:
        purl = PackageURL.from_string(spec)
    except ValueError as fault:
        raise UsageError(f"`{spec}` is no package URL: {fault}", hint="`pkg:pypi/numpy@2.0.0`, `pkg:conda/numpy`") from None
    if purl.type not in {"pypi", "conda"}:
        raise UsageError(f"`{spec}`: environments hold packages of type pypi and conda", hint="`pkg:pypi/…` or `pkg:conda/…`")
    qualifiers = purl.qualifiers if isinstance(purl.qualifiers, dict) else {}
    build, span, wanted = qualifiers.get("build"), qualifiers.get("vers"), purl.version
    contains = parse_vers(span) if span else lambda _version: True

    def matches(package: Package) -> bool:
        is_kind = package.ecosystem == purl.type and (build is None or package.build == build)
        return is_kind and (wanted is None or _is_same(wanted, package.version)) and contains(package.version)

    return Target(name=normalise_name(purl.name), matches=matches)


def _is_of_python(package: Package) -> bool:
    """Whether a conda package is a Python project: conda's `redis` is the server, PyPI's the client."""
    return any(re.match(r"python(?:_abi)?(?:\s|$|[<>=!])", need) for need in package.requires)


def _is_same(one: str, other: str) -> bool:
    first, second = read_version(one), read_version(other)
    return one == other if first is None or second is None else first == second
