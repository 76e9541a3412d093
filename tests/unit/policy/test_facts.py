"""What a policy may ask of an operation that its document does not hold."""

from __future__ import annotations

import os
import pwd

import msgspec
import pytest

from envtrail.environments.advisories import Advisories, Record, group_records
from envtrail.host_directory import groups_of
from envtrail.model.environment import Package, Snapshot
from envtrail.model.operation import Operation
from envtrail.policy.cases import operation_of
from envtrail.policy.facts import AgeOf, FactFinder
from envtrail.policy.judge import PackageFacts
from envtrail.policy.language import Case

ME = pwd.getpwuid(os.getuid()).pw_name


def advisories() -> Advisories:
    affected = [{"package": {"ecosystem": "PyPI", "name": "evil"}, "versions": ["1"]}]
    records = [{"id": "MAL-1", "affected": affected}, {"id": "PYSEC-1", "affected": [{**affected[0], "versions": ["2"]}]}]
    by_id = group_records(msgspec.convert(records, list[Record]))
    return Advisories(by_id=by_id, by_name={"evil": list(by_id.values())}, faults=[])


def packages_of(operation: Operation, *, known: Advisories | None = None, born_ms_of: AgeOf | None = None) -> list[PackageFacts]:
    held = [Package(ecosystem="pypi", name="Six", version="1", license="MIT")]
    finder = FactFinder(
        owner_uid_of={"/e": os.getuid()}.get,
        snapshot_of=lambda prefix: Snapshot(prefix=prefix, kind="venv", packages=held) if prefix == "/e" else None,
        advisories=known,
        born_ms_of=born_ms_of,
    )
    return list(finder.facts_of(operation, 10_000).packages.values())


def test_who_did_it_and_whose_it_is() -> None:
    finder = FactFinder(owner_uid_of={"/e": os.getuid()}.get, snapshot_of=lambda _: None)
    facts = finder.facts_of(operation_of(Case(user=ME, environment="/e")), 0)
    assert (facts.groups, facts.owner) == (groups_of(ME), ME)
    assert facts.groups
    other = operation_of(Case(environment="/other"))
    facts = finder.facts_of(msgspec.structs.replace(other, actor=msgspec.structs.replace(other.actor, name=None)), 0)
    assert (facts.groups, facts.owner, facts.packages) == (frozenset(), None, {})


def test_a_licence_is_that_of_the_version_that_is_there() -> None:
    operation = operation_of(Case(environment="/e", packages=["Six==1", "-Six==1", "Six==2", "idna==1"]))
    each = [msgspec.structs.replace(operation, changes=[change]) for change in operation.changes or ()]
    assert [packages_of(one) for one in each] == [[PackageFacts(licence=licence)] for licence in ("MIT", "MIT", None, None)]
    elsewhere = operation_of(Case(environment="/other", packages=["Six==1"]))
    assert packages_of(elsewhere) == [PackageFacts()]
    (change,) = elsewhere.changes or ()
    nothing = msgspec.structs.replace(elsewhere, changes=[msgspec.structs.replace(change, before=None, after=None)])
    assert packages_of(nothing, known=advisories()) == [PackageFacts()]


@pytest.mark.parametrize(("package", "is_malicious"), [("evil==1", True), ("evil==2", False), ("six==1", False)])
def test_malware_is_what_an_advisory_calls_so(package: str, is_malicious: bool) -> None:
    operation = operation_of(Case(environment="/e", packages=[package]))
    assert [one.malicious for one in packages_of(operation, known=advisories())] == [is_malicious]
    assert [one.malicious for one in packages_of(operation)] == [None]


def test_the_age_of_a_version_is_that_at_the_operation() -> None:
    asked: list[tuple[str, str]] = []

    def born_ms(name: str, version: str) -> int | None:
        asked.append((name, version))
        return {"1": 4_000}.get(version)

    operation = operation_of(Case(environment="/e", packages=["Ruamel.Yaml==1", "six==2"]))
    assert [one.age_ms for one in packages_of(operation, born_ms_of=born_ms)] == [6_000, None]
    assert asked == [("ruamel-yaml", "1"), ("six", "2")]
    conda = msgspec.structs.replace(
        operation, changes=[msgspec.structs.replace(change, ecosystem="conda") for change in operation.changes or ()]
    )
    assert [one.age_ms for one in packages_of(conda, born_ms_of=born_ms)] == [None, None]
