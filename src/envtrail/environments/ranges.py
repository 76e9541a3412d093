"""Versions within ranges, by PEP 440: specifiers, `vers:` ranges, and the events of advisories.

A local version (`2.5.1+cu121`) counts as the release that it is built from, unless a range itself names local versions.

References:
    https://packaging.python.org/en/latest/specifications/version-specifiers/
    https://github.com/package-url/vers-spec (containment)
    https://ossf.github.io/osv-schema/#evaluation
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from envtrail.errors import UsageError

_LOWEST = Version("0.dev0")
_COMPARATORS = (">=", "<=", "!=", ">", "<", "=")


Event = tuple[Version, int]
"""Where a range begins or ends: the version, and a kind; at one version `fixed` comes first, `last_affected` last."""
FIXED, INTRODUCED, LAST_AFFECTED = range(3)


def read_version(text: str) -> Version | None:
    """A version of PEP 440; null where it is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def make_event(kind: int, text: str) -> Event | None:
    """Null where the text is no version; `0` is before all of them."""
    at = _LOWEST if text == "0" else read_version(text)
    return None if at is None else (at, kind)


def is_affected(events: Iterable[Event], version: Version) -> bool:
    """The evaluation of the schema: events in order of version, each switching on or off."""
    affected = False
    for at, kind in sorted(events):
        wanted = _comparable(version, at)
        if wanted < at or (kind == LAST_AFFECTED and wanted == at):
            continue
        affected = kind == INTRODUCED
    return affected


def is_same_release(version: Version, other: Version) -> bool:
    """Whether a version is the other one, or built from it."""
    return _comparable(version, other) == other


def is_within(specifier: SpecifierSet, version: str) -> bool:
    """Whether a version satisfies a specifier, pre-releases included; one that is none by PEP 440, only when it is named."""
    if not specifier:
        return True
    read = read_version(version)
    if read is None:
        return any(one.operator == "===" and one.version == version for one in specifier)
    return specifier.contains(read, prereleases=True)


def parse_vers(text: str) -> Callable[[str], bool]:
    """What a `vers:pypi/…` range contains.

    Raises:
        UsageError: it is no such range.
    """
    scheme, _, constraints = text.partition("/")
    kind = scheme.removeprefix("vers:")
    if not scheme.startswith("vers:") or kind != "pypi":
        raise UsageError(f"`{text}` is no range of PyPI versions", hint="`vers:pypi/>=2.0.0|<2.1`")
    pairs = [_constraint(part.strip(), text) for part in constraints.split("|") if part.strip()]
    if pairs == [("*", None)]:
        return lambda _version: True
    bounds = [(comparator, version) for comparator, version in pairs if version is not None]
    if not bounds or len(bounds) < len(pairs) or not _is_canonical(bounds):
        raise UsageError(
            f"`{text}` is no canonical range: bounds alternate, each version stands once, `*` stands alone",
            hint="`vers:pypi/>=2.0.0|<2.1`",
        )

    def contains(version: str) -> bool:
        read = read_version(version)
        return read is not None and _is_in(read, bounds)

    return contains


def _constraint(part: str, text: str) -> tuple[str, Version | None]:
    from urllib.parse import unquote

    if part == "*":
        return "*", None
    comparator = next((one for one in _COMPARATORS if part.startswith(one)), "")
    version = read_version(unquote(part[len(comparator) :]))
    if version is None:
        raise UsageError(f"`{part}` in `{text}` is no version (PEP 440)", hint="`vers:pypi/>=2.0.0|<2.1`")
    return comparator or "=", version


def _is_canonical(bounds: list[tuple[str, Version]]) -> bool:
    sides = [comparator[0] for _, comparator in _intervals(bounds)]
    return len({version for _, version in bounds}) == len(bounds) and all(one != other for one, other in pairwise(sides))


def _intervals(bounds: list[tuple[str, Version]]) -> list[tuple[Version, str]]:
    return sorted((version, comparator) for comparator, version in bounds if comparator not in {"=", "!="})


def _is_in(version: Version, bounds: list[tuple[str, Version]]) -> bool:
    """The containment of the specification: single versions first, then the intervals between neighbouring bounds."""
    for comparator, at in bounds:
        if comparator in {"=", "!="} and is_same_release(version, at):
            return comparator == "="
    intervals = _intervals(bounds)
    if not intervals:
        return any(comparator == "!=" for comparator, _ in bounds)
    is_above = True
    for at, comparator in intervals:
        wanted = _comparable(version, at)
        is_at = wanted == at and comparator.endswith("=")
        if comparator.startswith(">"):
            is_above = wanted > at or is_at
        elif wanted < at or is_at:
            return is_above
    return is_above and intervals[-1][1].startswith(">")


def _comparable(version: Version, at: Version) -> Version:
    return version if at.local is not None or version.local is None else Version(version.public)
