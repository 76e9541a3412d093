"""Disk that can be got back: which environments nobody uses, and which packages lie in several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtrail.environments.unused import Duplicate, find_duplicates, find_unused
from envtrail.model.environment import Environment, EnvironmentSummary, Package, Snapshot
from envtrail.model.times import to_rfc3339

NOW = 1_764_000_000_000


def summary(prefix: str, *, kind: str = "venv", created_ms: int | None = None, **more: object) -> EnvironmentSummary:
    environment = Environment(prefix=prefix, kind=kind, created_ms=created_ms)
    reported = {
        "packages": 1,
        "size_bytes": None,
        **dict.fromkeys(("last_use", "last_use_by", "last_change", "last_change_by", "creator")),
        "creator_is_owner": True,
        "drift": 0,
        **more,
    }
    return EnvironmentSummary(environment=environment, **reported)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reported", "is_unused"),
    [
        ({}, True),
        ({"kind": "conda"}, True),
        ({"kind": "system"}, False),
        ({"last_use": to_rfc3339(NOW - 1)}, True),
        ({"last_use": to_rfc3339(NOW)}, False),
        ({"last_change": to_rfc3339(NOW - 1)}, True),
        ({"last_change": to_rfc3339(NOW)}, False),
        ({"last_change": to_rfc3339(NOW + 1), "last_use": to_rfc3339(NOW - 1)}, False),
        ({"created_ms": NOW - 1}, True),
        ({"created_ms": NOW}, False),
    ],
)
def test_an_environment_is_unused_when_nothing_was_done_in_it_since(reported: dict[str, object], *, is_unused: bool) -> None:
    one = summary("/v", **reported)  # type: ignore[arg-type]
    assert find_unused([one], NOW) == ([one] if is_unused else [])


def test_the_largest_come_first() -> None:
    held = [
        summary("/c", size_bytes=1),
        summary("/b"),
        summary("/a", size_bytes=0),
        summary("/d", size_bytes=9),
        summary("/a1", size_bytes=1),
    ]
    assert [one.environment.prefix for one in find_unused(held, NOW)] == ["/d", "/a1", "/c", "/a", "/b"]


class TestDuplicates:
    def snapshot(self, prefix: str, *packages: Package) -> Snapshot:
        return Snapshot(prefix=prefix, kind="venv", packages=list(packages))

    def package(self, name: str = "six", **more: object) -> Package:
        reported = {"ecosystem": "pypi", "version": "1", "digest": "sha256:1", "size_bytes": 10, **more}
        return Package(name=name, **reported)  # type: ignore[arg-type]

    def test_copies_of_one_content_are_reported_with_what_they_cost(self) -> None:
        large = self.package("large", size_bytes=50)
        held = [
            self.snapshot("/b", self.package("Six"), large, self.package("eight")),
            self.snapshot("/a", self.package("six"), large, self.package("eight")),
            self.snapshot("/c", self.package("six"), self.package("alone")),
        ]

        def found(name: str, size: int, *prefixes: str) -> Duplicate:
            reported = {"ecosystem": "pypi", "version": "1", "size_bytes": size, "prefixes": list(prefixes)}
            return Duplicate(name=name, spare_bytes=size * (len(prefixes) - 1), **reported)  # type: ignore[arg-type]

        expected = [found("large", 50, "/a", "/b"), found("six", 10, "/a", "/b", "/c"), found("eight", 10, "/a", "/b")]
        assert find_duplicates(held, above_bytes=10) == expected
        assert find_duplicates(held, above_bytes=11) == expected[:1]

    @pytest.mark.parametrize(
        "reported",
        [
            {"ecosystem": "conda"},
            {"version": "2"},
            {"digest": "sha256:2"},
            {"digest": None},
            {"size_bytes": None},
            {"name": "seven"},
        ],
    )
    def test_another_content_is_no_copy(self, reported: dict[str, object]) -> None:
        held = [self.snapshot("/a", self.package()), self.snapshot("/b", self.package(**reported))]  # type: ignore[arg-type]
        assert find_duplicates(held, above_bytes=1) == []

    def test_copies_that_share_their_files_are_one(self, tmp_path: Path) -> None:
        first = tmp_path / "a/six.dist-info/METADATA"
        first.parent.mkdir(parents=True)
        first.touch()
        (tmp_path / "b/six.dist-info").mkdir(parents=True)
        os.link(first, tmp_path / "b/six.dist-info/METADATA")
        one = self.package(location="six.dist-info")
        held = [self.snapshot(str(tmp_path / name), one) for name in ("a", "b")]
        assert find_duplicates(held, above_bytes=0) == []
        (found,) = find_duplicates([*held, self.snapshot("/none", one)], above_bytes=0)
        assert (found.spare_bytes, found.prefixes) == (10, sorted([str(tmp_path / "a"), str(tmp_path / "b"), "/none"]))
