"""Versions within ranges: packaging's specifiers are the oracle, the specification's own cases the measure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envtrail.environments.ranges import FIXED, INTRODUCED, LAST_AFFECTED, is_affected, is_within, make_event, parse_vers
from envtrail.errors import UsageError

VERSIONS = st.builds(
    "{}.{}{}{}".format,
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "", "", "rc1", ".post1", ".dev2", "a2"]),
    st.sampled_from(["", "", "", "+cu121"]),
)
RELEASES = st.builds("{}.{}".format, st.integers(0, 3), st.integers(0, 3))


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("<=1.3.0|3.0.0", ["1.0.0", "1.3", "3"], ["1.3.1", "3.0.1"]),
        (">0.0.2", ["0.0.3"], ["0.0.2"]),
        ("<0.0.2", ["0.0.0.1"], ["0.0.2"]),
        (">=1.0.0|<=2.0.0", ["1.5", "1", "2.0+cu121"], ["2.0.3", "0.0.9"]),
        (">=3.0.0|2.0.3", ["2.0.3", "9"], ["2.0.4"]),
        (">=3.0.0|!=2.0.3", ["3"], ["2.0.3"]),
        ("<=1.0.0|>=2.0.0", ["0.9", "2.1"], ["1.5"]),
        ("0.0.2|0.0.6|>=3.0.0|0.0.1|0.0.4|0.0.5|0.0.3", ["0.0.6", "3.1"], ["2.0.3"]),
        (">=1.0a1|<1.0.5|>=1.1b1|<1.1.1", ["1.0.4", "1.1"], ["1.0.5", "1.1a1", "1.1.1"]),
        ("!=5", ["4", "6"], ["5", "5.0+local"]),
        ("*", ["0", "not a version"], []),
    ],
)
def test_vers(span: str, inside: list[str], outside: list[str]) -> None:
    contains = parse_vers(f"vers:pypi/{span}")
    assert [version for version in [*inside, *outside] if contains(version)] == inside


@pytest.mark.parametrize(
    "text",
    ["vers:pypi/", "vers:npm/1", "pypi/1", "vers:pypi/>=x", "vers:pypi/*|1", "vers:pypi/>=1|>=2", "vers:pypi/1|1.0", "vers:", ""],
)
def test_what_is_no_range_is_said_so(text: str) -> None:
    with pytest.raises(UsageError) as reported:
        parse_vers(text)
    assert reported.value.hint == "`vers:pypi/>=2.0.0|<2.1`"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("vers:npm/1", "`vers:npm/1` is no range of PyPI versions"),
        ("pypi/1", "`pypi/1` is no range of PyPI versions"),
        ("vers:pypi/>=1|<x%20y", "`<x%20y` in `vers:pypi/>=1|<x%20y` is no version (PEP 440)"),
        (
            "vers:pypi/1|1.0",
            "`vers:pypi/1|1.0` is no canonical range: bounds alternate, each version stands once, `*` stands alone",
        ),
        ("vers:pypi/|", "`vers:pypi/|` is no canonical range: bounds alternate, each version stands once, `*` stands alone"),
    ],
)
def test_why_a_range_is_none_is_said(text: str, why: str) -> None:
    with pytest.raises(UsageError) as reported:
        parse_vers(text)
    assert str(reported.value) == why


@given(st.lists(RELEASES.map(Version), min_size=1, max_size=5, unique=True), VERSIONS, st.booleans())
def test_alternating_bounds_are_the_union_of_specifiers(places: list[Version], version: str, open_below: bool) -> None:
    bounds = [("<" if (at % 2 == 0) == open_below else ">=") + str(place) for at, place in enumerate(sorted(places))]
    sets: list[str] = []
    for bound in bounds:
        if bound.startswith(">") or not sets:
            sets.append(bound)
        else:
            sets[-1] += f",{bound}"
    wanted = Version(Version(version).public)
    # `<2.0` of a specifier leaves out 2.0's own pre-releases, which in an order of versions come before it.
    expected = any(all(_compare(wanted, one) for one in text.split(",")) for text in sets)
    assert parse_vers("vers:pypi/" + "|".join(reversed(bounds)))(version) == expected


def _compare(version: Version, bound: str) -> bool:
    return version < Version(bound[1:]) if bound.startswith("<") else version >= Version(bound[2:])


@given(RELEASES, RELEASES, VERSIONS, st.sampled_from([FIXED, LAST_AFFECTED]))
def test_a_range_of_an_advisory_is_a_specifier(low: str, high: str, version: str, kind: int) -> None:
    if Version(low) >= Version(high):
        return
    first, last = make_event(INTRODUCED, low), make_event(kind, high)
    assert first is not None
    assert last is not None
    # `<X` leaves out pre-releases of X, which come before the fix: they are affected.
    below = f"<{high}.dev0" if kind == FIXED else f"<={high}"
    reported = is_affected([last, first], Version(version))
    if kind == FIXED and Version(version).is_prerelease and Version(Version(version).base_version) == Version(high):
        assert reported
    else:
        assert reported == SpecifierSet(f">={low},{below}").contains(version, prereleases=True)


@pytest.mark.parametrize(
    ("version", "reported"), [("2.5.1+cu121", True), ("2.5.1", True), ("2.5.2+cu121", False), ("2.5.1.post1", False)]
)
def test_a_local_version_counts_as_its_release(version: str, reported: bool) -> None:
    events = [event for event in (make_event(INTRODUCED, "0"), make_event(LAST_AFFECTED, "2.5.1")) if event]
    assert is_affected(events, Version(version)) is reported


def test_a_fix_in_a_local_version_is_one() -> None:
    events = [event for event in (make_event(INTRODUCED, "0"), make_event(FIXED, "1.0+security1")) if event]
    assert is_affected(events, Version("1.0"))
    assert not is_affected(events, Version("1.0+security1"))


@given(VERSIONS)
def test_zero_is_before_every_version(version: str) -> None:
    event = make_event(INTRODUCED, "0")
    assert event is not None
    assert is_affected([event], Version(version))


def test_a_version_that_is_none_is_within_what_names_it() -> None:
    assert is_within(SpecifierSet("===1.1.1w"), "1.1.1w")
    assert not is_within(SpecifierSet(">=1"), "1.1.1w")
    assert is_within(SpecifierSet(""), "1.1.1w")
