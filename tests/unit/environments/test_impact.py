"""What is looked for, and which spans it names."""

from __future__ import annotations

import msgspec
import pytest

from envtrail.environments.changes import diff_snapshots
from envtrail.environments.impact import find_ends, is_advisory_id, merge_spans, parse_spec, person_of
from envtrail.errors import UsageError
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Holding, Package, Snapshot
from envtrail.model.operation import Actor, Confidence, Operation

NOW = 1_764_000_000_000


def package(name: str, version: str = "1.0", ecosystem: str = "pypi") -> Package:
    return Package(ecosystem=ecosystem, name=name, version=version)


class TestSpans:
    def held(self, since: int, until: int | None, version: str = "1", prefix: str = "/v", image: int | None = None) -> Holding:
        return Holding(
            prefix=prefix, package=package("six", version), since_ms=since, until_ms=until, since_image=image, until_image=None
        )

    def spans(self, *holdings: Holding) -> list[tuple[str, str, int, int | None, int | None]]:
        return [(one.prefix, one.package.version, one.since_ms, one.until_ms, one.since_image) for one in merge_spans(holdings)]

    def test_a_version_that_is_put_there_again_was_there_all_the_time(self) -> None:
        found = self.spans(self.held(1, 5, image=7), self.held(5, 9, image=8), self.held(9, None))
        assert found == [("/v", "1", 1, None, 7)]

    def test_a_time_without_it_another_version_and_another_place_part_spans(self) -> None:
        assert len(self.spans(self.held(1, 5), self.held(6, None))) == 2
        assert len(self.spans(self.held(1, 5), self.held(5, 6, "2"), self.held(6, None))) == 3
        assert len(self.spans(self.held(1, 5), self.held(5, None, prefix="/w"))) == 2

    def test_two_of_a_name_at_once_are_told_apart(self) -> None:
        found = self.spans(self.held(1, 5, "1"), self.held(2, None, "2"), self.held(5, None, "1"))
        assert found == [("/v", "1", 1, None, None), ("/v", "2", 2, None, None)]


class TestEnds:
    def drift(self, before: list[Package], after: list[Package], *, since: int, until: int) -> Operation:
        old, new = (Snapshot(prefix="/v", kind="conda", packages=packages) for packages in (before, after))
        return operation_of_drift("/v", "conda", diff_snapshots(old, new), since_ms=since, until_ms=until, node="n")

    def test_what_nobody_was_seen_to_do_is_an_operation_without_a_person(self) -> None:
        one = package("ruamel.yaml", "1", "conda")
        come = self.drift([], [one], since=NOW, until=NOW + 5)
        gone = self.drift([one], [], since=NOW + 6, until=NOW + 9)
        span = Holding(prefix="/v", package=one, since_ms=NOW + 5, until_ms=NOW + 9, since_image=None, until_image=None)
        assert find_ends(span, [gone, come]) == (come, gone)
        assert find_ends(msgspec.structs.replace(span, until_ms=None), [gone, come]) == (come, None)
        assert find_ends(msgspec.structs.replace(span, since_ms=NOW + 4), [gone, come]) == (None, gone)
        assert [person_of(operation) for operation in (come, None)] == [None, None]

    def test_a_tools_own_snapshot_names_it_whoever_else_was_there(self) -> None:
        one, two = package("six", "1"), package("six", "2")
        by_alice = self.by(self.drift([], [one], since=NOW, until=NOW + 5), image=7, name="alice")
        by_bob = self.by(self.drift([one], [two], since=NOW + 6, until=NOW + 9), image=8, name="bob")
        span = Holding(prefix="/v", package=one, since_ms=NOW + 5, until_ms=NOW + 9, since_image=7, until_image=8)
        assert [person_of(operation) for operation in find_ends(span, [by_bob, by_alice])] == ["alice", "bob"]
        # Somebody else's snapshot showed it first.
        assert find_ends(msgspec.structs.replace(span, since_image=9), [by_bob, by_alice]) == (by_alice, by_bob)
        assert find_ends(msgspec.structs.replace(span, since_ms=NOW - 1), [by_bob, by_alice])[1] == by_bob
        again = msgspec.structs.replace(
            by_bob, changes=[msgspec.structs.replace(by_bob.changes[0], before=by_bob.changes[0].after)]
        )
        assert (
            find_ends(msgspec.structs.replace(span, package=two, since_ms=NOW + 9, since_image=8), [again, by_bob])[0] == by_bob
        )

    def test_the_owner_of_files_is_not_who_brought_them(self) -> None:
        operation = self.drift([], [package("six")], since=NOW, until=NOW + 5)
        owner = Actor(name="root", uid=0, auid=None, method="owner", confidence=Confidence.WEAK)
        assert person_of(msgspec.structs.replace(operation, actor=owner)) is None
        unnamed = Actor(name=None, uid=7, auid=None, method="uid", confidence=Confidence.STRONG)
        assert person_of(msgspec.structs.replace(operation, actor=unnamed)) == "uid 7"

    def by(self, operation: Operation, *, image: int, name: str) -> Operation:
        actor = Actor(name=name, uid=1, auid=1, method="auid", confidence=Confidence.CERTAIN)
        return msgspec.structs.replace(operation, image=image, actor=actor)


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "yes", "no"),
        [
            ("numpy", package("numpy", "1"), package("numpy2", "1")),
            ("NumPy==2.0", package("numpy", "2.0.0"), package("numpy", "2.0.1")),
            ("numpy>=2,<2.1", package("numpy", "2.0.5", "conda"), package("numpy", "2.1")),
            ("numpy>2", package("numpy", "2.1rc1"), package("numpy", "1.9")),
            ("pkg:pypi/numpy@2.0", package("numpy", "2.0"), package("numpy", "2.0", "conda")),
            ("numpy vers:pypi/>=2.0|<2.1", package("numpy", "2.0.5"), package("numpy", "2.1")),
            ("pkg:pypi/numpy?vers=vers:pypi%2F%3E%3D2.0", package("numpy", "2.0.5"), package("numpy", "1.9")),
            ("pkg:conda/numpy", package("numpy", "2.0", "conda"), package("numpy", "2.0")),
            ("pkg:conda/openssl@1.1.1w", package("openssl", "1.1.1w", "conda"), package("openssl", "1.1.1x", "conda")),
        ],
    )
    def test_matches(self, spec: str, yes: Package, no: Package) -> None:
        target = parse_spec(spec)
        assert target.matches(yes)
        assert not (target.matches(no) and target.name == no.name)

    @pytest.mark.parametrize(
        "spec", ["", "==1", "pkg:npm/left-pad", "pkg:", "a b c", "vers:pypi/1", "a[b]", "a @ https://x/a.whl", "a vers:npm/1"]
    )
    def test_what_names_nothing_is_said_so(self, spec: str) -> None:
        with pytest.raises(UsageError):
            parse_spec(spec)

    def test_ids(self) -> None:
        assert all(
            map(is_advisory_id, ("GHSA-aaaa-bbbb-cccc", "cve-2026-1", "PYSEC-2026-9", "MAL-2026-1", "PYSEC-0000-CVE-2014-1858"))
        )
        assert not any(map(is_advisory_id, ("numpy", "ghsa", "cve_checker==1", "cve-bin-tool", "osv-scanner", "mal-2026")))
