"""What is said of an environment that had what an advisory or a spec names: by whom it came, and who ran it."""

from __future__ import annotations

import msgspec
import pytest

from envtrail.environments.advisories import Advisory, Record
from envtrail.environments.impact import (
    Exposure,
    expose,
    expose_requested,
    find_ends,
    merge_spans,
    parse_spec,
    person_of,
    requested_by,
    target_of,
    used_by,
)
from envtrail.errors import UsageError
from envtrail.model.environment import Holding, Package
from envtrail.model.operation import Actor, Confidence, EnvironmentRef, Operation, OperationKind
from envtrail.model.run import Use
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

NOW = 1_764_000_000_000
ALICE = Actor(name="alice", uid=1, auid=1, method="auid", confidence=Confidence.CERTAIN)


def operation(
    *requested: str, at_ms: int = NOW, kind: str = "venv", tool: str = "pip", packages: tuple[str, ...] = (), **more: object
) -> Operation:
    made = operation_of(Case(tool=tool, packages=list(packages)))
    reported = {"requested": list(requested), "changes": made.changes if packages else None, "actor": ALICE, **more}
    return msgspec.structs.replace(
        made, started=to_rfc3339(at_ms), environment=EnvironmentRef(prefix="/v", kind=kind), **reported
    )


def use(user: str | None, uid: int | None, runs: int, last: str) -> Use:
    return Use(user=user, uid=uid, runs=runs, first="", last=last)


class TestRequested:
    @pytest.mark.parametrize(
        ("target", "requested", "said"),
        [
            ("six", ["other", "Six", "six==2"], "Six"),
            ("six>=2", ["six==1", "six==2.1"], "six==2.1"),
            ("six>=2", ["six>=1"], "six>=1"),
            ("six>=2", ["six==1"], None),
            ("six", ["sixty"], None),
            ("pkg:conda/six@2", ["six==2"], None),
        ],
    )
    def test_what_may_be_what_is_looked_for(self, target: str, requested: list[str], said: str | None) -> None:
        assert requested_by(operation(*requested), parse_spec(target)) == said

    def test_in_an_environment_of_conda_condas_tools_bring_condas_packages(self) -> None:
        target = parse_spec("pkg:conda/six@2")
        for kind, tool, said in (("conda", "conda", "six==2"), ("conda", "pip", None), ("venv", "conda", None)):
            assert requested_by(operation("six==2", kind=kind, tool=tool), target) == said

    def test_where_the_changes_are_recorded_or_nothing_is_installed_they_say_it(self) -> None:
        target = parse_spec("six")
        assert requested_by(operation("six", packages=("six==1",)), target) is None
        assert requested_by(operation("six", changes=[]), target) is None
        assert requested_by(operation("six", kind="venv"), target) == "six"
        assert requested_by(msgspec.structs.replace(operation("six"), kind=OperationKind.LOCK), target) is None

    def test_all_that_is_known_of_it_is_said(self) -> None:
        made = operation("six==2.0", image=7)
        exposure = expose_requested(made, "six==2.0", parse_spec("six"), [use("bob", 2, 3, "t2")])
        package = Package(ecosystem="pypi", name="six", version="2.0")
        expected = Exposure(
            holding=Holding(
                prefix="/v", package=package, since_ms=NOW, until_ms=None, since_image=7, until_image=None, host=made.host
            ),
            basis="requested",
            requested="six==2.0",
            brought_by="alice",
            brought_in=made.id,
            removed_by=None,
            removed_in=None,
            runs=3,
            users=["bob"],
            last_used="t2",
        )
        assert exposure == expected
        assert expose_requested(made, "six>1", parse_spec("six"), []).holding.package.version == ""
        advisory = Advisory(records=[Record(id="PYSEC-1", aliases=["CVE-1"], summary="it is bad", withdrawn="2026")])
        reported = {"advisory": "PYSEC-1", "aliases": ["CVE-1"], "withdrawn": "2026", "summary": "it is bad"}
        assert expose(exposure, advisory) == msgspec.structs.replace(expected, **reported)
        target = target_of(advisory, "six")
        assert (target.name, target.advisory) == ("six", advisory)


def test_what_ran_is_put_together() -> None:
    assert used_by([]) == {"runs": 0, "users": [], "last_used": None}
    uses = [
        use("bob", 2, 3, "t1"),
        use(None, 7, 2, "t3"),
        use(None, None, 1, "t2"),
        use("bob", 9, 1, "t0"),
        use(None, 0, 1, "t0"),
    ]
    assert used_by(uses) == {"runs": 8, "users": ["bob", "7", "uid ?", "0"], "last_used": "t3"}


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        (ALICE, "alice"),
        (msgspec.structs.replace(ALICE, name=None, uid=0), "uid 0"),
        (msgspec.structs.replace(ALICE, name=None, uid=None), None),
        (msgspec.structs.replace(ALICE, method="owner"), None),
        (msgspec.structs.replace(ALICE, confidence=Confidence.NONE), None),
        (msgspec.structs.replace(ALICE, confidence=Confidence.WEAK), "alice"),
    ],
)
def test_a_person_is_named_where_somebody_was_seen(actor: Actor, said: str | None) -> None:
    assert person_of(operation(actor=actor)) == said


def test_spans_are_reported_in_order_of_time_each_with_its_beginning_and_end() -> None:
    def held(version: str, since: int, until: int | None, ecosystem: str = "pypi", name: str = "six") -> Holding:
        package = Package(ecosystem=ecosystem, name=name, version=version)
        images = {"since_image": since, "until_image": until}
        return Holding(prefix="/v", package=package, since_ms=since, until_ms=until, **images)

    found = list(
        merge_spans(
            [held("2", 1, 4), held("1", 1, 3), held("1", 3, 6, name="Six"), held("1", 4, None, "conda"), held("2", 5, None)]
        )
    )
    merged = msgspec.structs.replace(held("1", 1, 6, name="Six"), since_image=1)
    assert found == [merged, held("2", 1, 4), held("1", 4, None, "conda"), held("2", 5, None)]


def test_who_was_at_work_before_a_snapshot_or_is_seen_by_it_changed_it() -> None:
    package = Package(ecosystem="pypi", name="six", version="1")
    span = Holding(prefix="/v", package=package, since_ms=NOW, until_ms=None, since_image=None, until_image=None)

    def brought(made: Operation, **more: object) -> bool:
        return find_ends(msgspec.structs.replace(span, **more), [made])[0] is made

    come = {"packages": ("six==1",), "image": 7}
    assert brought(operation(at_ms=NOW, **come))  # type: ignore[arg-type]
    assert not brought(operation(at_ms=NOW + 1, **come))  # type: ignore[arg-type]
    assert brought(operation(at_ms=NOW - 9, ended=to_rfc3339(NOW + 9), **come))  # type: ignore[arg-type]
    seen = {"packages": ("six==1",), "image": None, "at_ms": NOW - 9}
    assert brought(operation(ended=to_rfc3339(NOW), **seen))  # type: ignore[arg-type]
    assert not brought(operation(ended=to_rfc3339(NOW - 1), **seen))  # type: ignore[arg-type]
    assert brought(operation(ended=None, **seen))  # type: ignore[arg-type]
    assert not brought(operation(at_ms=NOW, packages=("six==2",)))
    assert not brought(operation(at_ms=NOW, packages=("sixty==1",)))
    gone = operation(at_ms=NOW, packages=("-six==1",))
    assert find_ends(msgspec.structs.replace(span, until_ms=NOW), [gone]) == (None, gone)
    assert find_ends(span, [gone]) == (None, None)
    other = operation(at_ms=NOW, packages=("-six==2",))
    assert find_ends(msgspec.structs.replace(span, until_ms=NOW), [other]) == (None, None)


def test_of_two_at_work_before_a_snapshot_whose_it_was_changed_it() -> None:
    come = [operation(at_ms=NOW - at, packages=("six==1",), image=at) for at in (1, 5, 9)]
    gone = [operation(at_ms=NOW - at, packages=("-six==1",), image=at) for at in (1, 5, 9)]
    package = Package(ecosystem="pypi", name="six", version="1")
    for image, at in ((5, 1), (9, 2), (1, 0), (None, 0), (7, 0)):
        span = Holding(prefix="/v", package=package, since_ms=NOW, until_ms=None, since_image=image, until_image=None)
        assert find_ends(span, come) == (come[at], None)
        span = msgspec.structs.replace(span, since_ms=0, until_ms=NOW, until_image=image)
        assert find_ends(span, gone) == (None, gone[at])


@pytest.mark.parametrize(
    ("spec", "why", "hint"),
    [
        ("a b c", "`a b c` names no package: Expected", "or an advisory's id"),
        ("a[b]", "`a[b]` has more than a name and versions", "or an advisory's id"),
        ("a; python_version > '3'", "has more than a name and versions", "or an advisory's id"),
        ("a @ https://x/a.whl", "has more than a name and versions", "or an advisory's id"),
        ("pkg:", "`pkg:` is no package URL: ", "`pkg:pypi/numpy@2.0.0`, `pkg:conda/numpy`"),
        ("pkg:npm/x", "`pkg:npm/x`: environments hold packages of type pypi and conda", "`pkg:pypi/…` or `pkg:conda/…`"),
    ],
)
def test_what_names_no_package_is_said_with_what_would(spec: str, why: str, hint: str) -> None:
    with pytest.raises(UsageError) as reported:
        parse_spec(spec)
    assert why in str(reported.value)
    assert (reported.value.hint or "").endswith(hint)
    assert "\n" not in str(reported.value)


@pytest.mark.parametrize(
    ("spec", "reported", "is_meant"),
    [
        ("pkg:conda/x?build=h1", {"build": "h1"}, True),
        ("pkg:conda/x?build=h1", {"build": "h2"}, False),
        ("pkg:conda/X@1.0", {}, True),
        ("pkg:conda/x@1.1", {}, False),
        ("pkg:conda/x@1.1.1w", {"version": "1.1.1w"}, True),
        ("pkg:conda/x@1", {"version": "1.1.1w"}, False),
        ("pkg:conda/x?vers=vers:pypi%2F>=2", {}, False),
        ("pkg:pypi/x@1.0", {"ecosystem": "pypi"}, True),
        ("x>=1", {"version": "1.1.1w"}, False),
        ("x vers:pypi/<1", {}, False),
        ("x>=2 vers:pypi/<3", {}, False),
    ],
)
def test_a_package_is_meant_by_kind_build_and_version(spec: str, reported: dict[str, str], *, is_meant: bool) -> None:
    target = parse_spec(spec)
    assert (target.name, target.advisory) == ("x", None)
    package = Package(**{"ecosystem": "conda", "name": "x", "version": "1.0.0", **reported})  # type: ignore[arg-type]
    assert target.matches(package) is is_meant
