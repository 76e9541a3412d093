"""Which environments have, or had, what a spec or an advisory names."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from envtrail.environments.advisories import Advisory
from envtrail.errors import UsageError
from envtrail.model.environment import Holding, Package, normalise_name

_ADVISORY = re.compile(r"^(?:GHSA|CVE|PYSEC|OSV|MAL|PYPA|SNYK)-[\w.-]+$", re.IGNORECASE)


class Target(Struct, frozen=True, kw_only=True):
    """What is looked for."""

    name: str
    """Normalised."""
    matches: Callable[[Package], bool]
    advisory: str | None = None
    """The id that names it."""
    summary: str = ""


class Exposure(Struct, frozen=True, kw_only=True):
    """A span in which an environment had it, by whom, and what ran with it."""

    holding: Holding
    advisory: str | None
    summary: str
    brought_by: str | None
    """Who; null where nobody was seen."""
    brought_in: str | None
    """Id of the operation."""
    removed_by: str | None
    removed_in: str | None
    runs: int
    users: list[str]


def is_advisory_id(spec: str) -> bool:
    """Whether a spec names an advisory."""
    return _ADVISORY.match(spec) is not None


def parse_spec(spec: str) -> Target:
    """`numpy`, `numpy==2.0.0`, `numpy>=2,<2.1`, or a purl with or without version.

    Raises:
        UsageError: it is none of them.
    """
    if spec.startswith("pkg:"):
        return _of_purl(spec)
    try:
        requirement = Requirement(spec)
    except InvalidRequirement as fault:
        raise UsageError(
            f"`{spec}` names no package: {str(fault).partition(chr(10))[0]}",
            hint="`numpy`, `numpy==2.0.0`, `pkg:pypi/numpy@2.0.0`, or an advisory's id",
        ) from None
    name = normalise_name(requirement.name)
    return Target(name=name, matches=lambda package: _is_within(requirement.specifier, package.version))


def targets_of(advisory: Advisory) -> list[Target]:
    """What an advisory is about. conda's packages of the same name are the same project's, in all but rare cases."""
    return [
        Target(
            name=name,
            matches=lambda package, name=name: advisory.holds_for(name, package.version),  # type: ignore[misc]
            advisory=advisory.id,
            summary=advisory.summary,
        )
        for name in sorted(advisory.names)
    ]


def _of_purl(spec: str) -> Target:
    from packageurl import PackageURL

    try:
        purl = PackageURL.from_string(spec)
    except ValueError as fault:
        raise UsageError(f"`{spec}` is no package URL: {fault}", hint="`pkg:pypi/numpy@2.0.0`, `pkg:conda/numpy`") from None
    if purl.type not in {"pypi", "conda"}:
        raise UsageError(f"`{spec}`: environments hold packages of type pypi and conda", hint="`pkg:pypi/…` or `pkg:conda/…`")
    wanted = purl.version
    return Target(
        name=normalise_name(purl.name),
        matches=lambda package: package.ecosystem == purl.type and (wanted is None or _is_same(wanted, package.version)),
    )


def _is_within(specifier: SpecifierSet, version: str) -> bool:
    if not specifier:
        return True
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return any(one.operator in {"==", "==="} and one.version == version for one in specifier)


def _is_same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
