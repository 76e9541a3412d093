"""Who brought each package in, what differs between two moments, which package needs which, and what the files say of the past."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.environments.baseline import read_baseline, read_conda_history
from envtrail.environments.blame import blame_packages, settled_by
from envtrail.environments.changes import diff_snapshots
from envtrail.environments.dependencies import find_python, find_roots, read_dependencies
from envtrail.environments.verify import FileFinding, attribute
from envtrail.model.environment import Environment, Package, Snapshot, SnapshotRef
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import BaselineChange
from envtrail.model.operation import Change, FileChange, Operation, PackageState
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

NOW = 1_764_000_000_000


def package(name: str, version: str = "1", **words: Any) -> Package:
    return Package(**{"ecosystem": "pypi", "name": name, "version": version, **words})


def snapshot(*packages: Package, prefix: str = "/e") -> Snapshot:
    return Snapshot(prefix=prefix, kind="venv", packages=list(packages))


def change(name: str, before: str | None, after: str | None, **words: Any) -> Change:
    states = [PackageState(version=one, **words) if one is not None else None for one in (before, after)]
    return Change(ecosystem="pypi", name=name, requested=True, before=states[0], after=states[1])


def operation(at: int, *changes: Change, **words: Any) -> Operation:
    id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), "/e")
    base: dict[str, Any] = {"id": id_, "changes": list(changes), "started": to_rfc3339(NOW + at), "image": at}
    return msgspec.structs.replace(operation_of(Case()), **{**base, **words})


class TestBlame:
    def brought(self, packages: list[Package], *newest_first: Operation) -> dict[str, int | None]:
        rows = blame_packages(snapshot(*packages), newest_first, python="3.12")
        assert [row.package for row in rows] == packages
        return {row.package.name: row.operation.image if row.operation else None for row in rows}

    def test_the_newest_change_of_a_name_decides(self) -> None:
        six = [package("six", "2")]
        assert self.brought(six, operation(2, change("Six", "1", "2")), operation(1, change("six", None, "1"))) == {"six": 2}
        assert self.brought(six, operation(2, change("six", "2", "3")), operation(1, change("six", None, "2"))) == {"six": None}
        assert self.brought(six, operation(2, change("six", "2", None)), operation(1, change("six", None, "2"))) == {"six": None}
        assert self.brought(six, operation(2, change("idna", None, "2"))) == {"six": None}
        assert self.brought(six, operation(2, change("six", "2", "2")), operation(1, change("six", None, "2"))) == {"six": 1}
        assert self.brought(six, operation(2, changes=None), operation(1, change("six", None, "2"))) == {"six": 1}
        assert self.brought([]) == {}

    def test_of_several_at_once_each_is_looked_at(self) -> None:
        six = [package("six", "1")]
        until = to_rfc3339(NOW + 9)
        newest = operation(8, change("six", None, "2"), ended=until)
        between = operation(7, change("six", None, "3"), ended=until)
        replaced = operation(6, change("six", "2", "1"), ended=until)
        before = operation(5, change("six", "2", "1"), ended=to_rfc3339(NOW + 7))
        assert self.brought(six, newest, between, replaced) == {"six": 6}
        assert self.brought(six, newest, between, before, replaced) == {"six": None}
        assert self.brought(six, newest, replaced, operation(4, change("six", "2", "1"), ended=until)) == {"six": 6}

    def test_another_content_of_the_version_is_not_this_one(self) -> None:
        six = [package("six", digest="a")]
        assert self.brought(six, operation(1, change("six", None, "1", digest="b"))) == {"six": None}
        assert self.brought(six, operation(1, change("six", None, "1", digest="a"))) == {"six": 1}
        assert self.brought(six, operation(1, change("six", None, "1"))) == {"six": 1}, "a baseline has no digest"
        assert self.brought([package("six")], operation(1, change("six", None, "1", digest="b"))) == {"six": 1}

    def test_no_more_is_read_than_is_needed(self) -> None:
        def given() -> Any:
            yield operation(1, change("six", None, "1"))
            pytest.fail("all of them are known")

        assert blame_packages(snapshot(package("six")), given(), python=None)[0].operation is not None

    def test_who_needs_it(self) -> None:
        packages = [package("app", requires=["six"], requested=True), package("six", requested=False)]
        rows = blame_packages(snapshot(*packages), [], python=None)
        assert [(row.requested, row.needed_by) for row in rows] == [(True, []), (False, ["app"])]

    def test_who_was_still_at_work_at_a_moment_has_not_changed_it(self) -> None:
        def taken(image: int | None) -> SnapshotRef:
            words: dict[str, Any] = {"prefix": "/e", "time_ms": NOW, "digest": "d", "kind": "venv", "reason": "operation"}
            return SnapshotRef(**words, image=image, packages=0, size_bytes=0)

        items = [
            operation(1, ended=to_rfc3339(NOW + 5)),
            operation(2, ended=to_rfc3339(NOW + 6)),
            operation(3, ended=to_rfc3339(NOW + 6)),
            operation(4, ended=None, image=None),
            operation(5, ended=to_rfc3339(NOW + 6), image=None),
            operation(6, ended=None),
        ]
        found = settled_by(items, [taken(3), taken(None)], NOW + 5)
        assert list(found) == [items[0], items[2], items[3]]


class TestDifference:
    def test_what_was_added_removed_and_changed_by_name(self) -> None:
        before = snapshot(package("b"), package("a", "1"), package("same"))
        after = snapshot(package("A", "2"), package("c"), package("same"))
        found = diff_snapshots(before, after)
        assert [(one.name, one.before and one.before.version, one.after and one.after.version) for one in found] == [
            ("A", "1", "2"),
            ("b", "1", None),
            ("c", None, "1"),
        ]
        assert [one.name for one in diff_snapshots(None, after)] == ["A", "c", "same"]

    @pytest.mark.parametrize(
        "words", [{"version": "2"}, {"build": "x"}, {"digest": "x"}, {"source": "x"}, {"ecosystem": "conda"}, {"location": "x"}]
    )
    def test_each_aspect_is_a_change(self, words: dict[str, str]) -> None:
        other = package("a", **words)
        (found,) = diff_snapshots(snapshot(package("a")), snapshot(other))
        assert (found.before is None, found.after is None, found.ecosystem) == (False, False, other.ecosystem)
        in_another = diff_snapshots(snapshot(package("a"), prefix="/f"), snapshot(other))
        assert len(in_another) == (0 if "location" in words else 1)

    def test_a_change_says_both_sides_and_whether_it_was_requested(self) -> None:
        state = {"build": "x", "source": "s", "installer": "pip", "digest": "d"}
        old, new = package("a", "1", requested=False, **state), package("a", "2", requested=True)
        before, after = PackageState(version="1", **state), PackageState(version="2")
        reported = {"ecosystem": "pypi", "name": "a"}
        assert diff_snapshots(snapshot(old), snapshot(new)) == [Change(**reported, requested=True, before=before, after=after)]
        assert diff_snapshots(snapshot(old), snapshot()) == [Change(**reported, requested=False, before=before, after=None)]

    def test_two_of_one_name_are_paired_in_order(self) -> None:
        before = snapshot(package("a", "1", location="x"), package("a", "1", location="y"))
        after = snapshot(package("a", "1", location="y"), package("a", "2", location="z"), package("a", "3", location="w"))
        found = [(one.before and one.before.version, one.after and one.after.version) for one in diff_snapshots(before, after)]
        assert found == [("1", "2"), (None, "3")]


class TestDependencies:
    def test_what_needs_what_with_extras_and_markers(self) -> None:
        packages = [
            package("App", requires=["lib[fast]>=1", "absent", "App", "old; python_version < '3.9'", "!!"]),
            package("lib", requires=["speed; extra == 'fast'", "slow; extra == 'slow'", "base"]),
            *map(package, ("speed", "slow", "base", "old")),
            package("tool", ecosystem="conda", requires=["conda-forge::lib >=1", "__glibc", "base"]),
        ]
        needs = read_dependencies(snapshot(*packages), "3.12")
        assert needs == {
            "app": ("lib",),
            "base": (),
            "lib": ("base", "speed"),
            "old": (),
            "slow": (),
            "speed": (),
            "tool": ("base", "lib"),
        }
        assert read_dependencies(snapshot(*packages), "3.8.1")["app"] == ("lib", "old")
        assert list(needs) == sorted(needs)

    def test_a_full_version_is_judged_as_such(self) -> None:
        packages = [package("app", requires=["x; python_full_version >= '3.9.5'"]), package("x")]
        assert read_dependencies(snapshot(*packages), "3.9.4")["app"] == ()
        assert read_dependencies(snapshot(*packages), "3.9.5")["app"] == ("x",)
        assert read_dependencies(snapshot(*packages), "3.10")["app"] == ("x",)
        minor = [package("app", requires=["x; python_version == '3.9'"]), package("x")]
        assert [read_dependencies(snapshot(*minor), python)["app"] for python in ("3.9.5", "3.9", "3.10")] == [("x",), ("x",), ()]

    def test_the_nearest_that_were_requested_come_first(self) -> None:
        needs = {"a": ["m", "x"], "m": ["x"], "z": ["m"], "b": ["x"], "x": ["a"]}
        assert find_roots("x", needs, ["z", "b", "a", "other", "x"]) == ["a", "b", "z"]
        assert find_roots("z", needs, ["a"]) == []

    def test_the_python_of_that_moment(self) -> None:
        def found(now: str | None, *packages: Package) -> str | None:
            return find_python(snapshot(*packages), Environment(prefix="/e", kind="venv", python=now))

        three_nine = package("a", location="lib/python3.9/site-packages/a-1.dist-info")
        three_twelve = package("b", location="/e/lib64/python3.12/site-packages/b-1.dist-info")
        assert found("3.9.1", three_nine) == "3.9.1"
        assert found("3.12.1", three_nine) == "3.9"
        assert found(None, three_nine, three_twelve) == "3.12"
        assert found("3.10.1", package("a")) == "3.10.1"
        assert found("3.9.1", package("python", "3.11.2", ecosystem="conda"), three_nine) == "3.11.2"
        assert found("3.9.1", package("python", "3.11.2")) == "3.9.1", "pip's package of that name is no Python"


class TestBaseline:
    def history(self, folder: Path, text: str) -> list[BaselineChange]:
        (folder / "conda-meta").mkdir()
        (folder / "conda-meta/history").write_text(text)
        return read_conda_history(Environment(prefix=str(folder), kind="conda", owner_uid=7), NOW)

    def test_each_block_of_condas_history(self, tmp_path: Path) -> None:
        text = (
            "==> 2025-01-02 03:04:05 <==\n# cmd: /opt/c/bin/conda install six\n+defaults::six-1.16.0-py_0\n-old-1-0\n"
            "==> 2025-01-03 03:04:05 <==\n# update specs: ['x']\n==> 2025-01-04 03:04:05 <==\n+a-b-2-0\n==> 2025-13-45 00:00:00 <==\n+c-1-0\n"
        )
        first, second = self.history(tmp_path, text)
        assert (first.argv, first.tool, first.added, first.removed) == (
            ["conda", "install", "six"],
            "conda",
            ["six 1.16.0"],
            ["old 1"],
        )
        assert (first.prefix, first.kind, first.owner_uid, first.time_ms) == (str(tmp_path), "conda", 7, NOW)
        assert second.when_ms - first.when_ms == 2 * 86_400_000
        assert (second.argv, second.added, second.removed) == (None, ["a-b 2"], [])

    def test_all_of_the_past_is_reported_in_its_order_and_no_more_than_its_latest(self, tmp_path: Path) -> None:
        (tmp_path / "pip-made").mkdir()
        os.utime(tmp_path / "pip-made", (NOW / 1000 - 5,) * 2)
        moments = {"first": -9, "last": 0, "late": 1}
        begin, end, late = (
            time.strftime("==> %Y-%m-%d %H:%M:%S <==\n", time.localtime(NOW / 1000 + at_s)) + f"+{name}-1-0\n"
            for name, at_s in moments.items()
        )
        self.history(tmp_path, late + end + begin)
        held = snapshot(package("pip-made", location="pip-made", installer="Pip 24"), prefix=str(tmp_path))

        def reported(kind: str) -> list[tuple[str, list[str]]]:
            environment = Environment(prefix=str(tmp_path), kind=kind)
            return [(one.tool, one.added) for one in read_baseline(environment, held, NOW)]

        assert reported("conda") == [("conda", ["first 1"]), ("pip", ["pip-made 1"]), ("conda", ["last 1"])]
        assert reported("venv") == [("pip", ["pip-made 1"])]
        (tmp_path / "conda-meta/history").write_text(begin * 2001 + end)
        found = read_baseline(Environment(prefix=str(tmp_path), kind="conda"), snapshot(prefix=str(tmp_path)), NOW)
        assert (len(found), found[0].added, found[-1].added) == (2000, ["first 1"], ["last 1"])

    def test_packages_whose_metadata_was_written_within_a_minute_came_together(self, tmp_path: Path) -> None:
        items = {"a": 0, "b": 60, "c": 121, "uv-made": 0, "late": 10**9, "old": -(10**10)}
        packages = []
        for name, at_s in items.items():
            (tmp_path / name).mkdir()
            os.utime(tmp_path / name, (NOW / 1000 + at_s - 1000,) * 2)
            tool = "uv 1.0" if name == "uv-made" else "pip"
            packages.append(package(name, location=name, installer=tool, requested=name == "b"))
        others = [package("no-place"), package("gone", location="gone"), package("x", ecosystem="conda", location="a")]
        packages = [*others, *reversed(packages)]
        environment = Environment(prefix=str(tmp_path), kind="venv")
        found = read_baseline(environment, snapshot(*packages, prefix=str(tmp_path)), NOW)
        assert [(one.tool, one.added, (one.when_ms - NOW) // 1000) for one in found] == [
            ("pip", ["b 1", "a 1"], -1000),
            ("uv", ["uv-made 1"], -1000),
            ("pip", ["c 1"], -879),
        ]
        assert {(one.owner_uid, one.argv, one.time_ms, one.kind) for one in found} == {(os.getuid(), None, NOW, "venv")}
        assert read_baseline(Environment(prefix=str(tmp_path / "none"), kind="venv"), snapshot(*packages), NOW) == []


def test_a_finding_has_the_operation_that_changed_the_file_or_was_at_work_then() -> None:
    def finding(path: str, changed_ms: int | None) -> FileFinding:
        return FileFinding(path=path, what="modified", package=None, changed_ms=changed_ms)

    actor = operation(0).actor
    early = operation(10_000, ended=to_rfc3339(NOW + 20_000), files=[FileChange(path="/e/seen", what="written")])
    late = operation(90_000, ended=None, actor=msgspec.structs.replace(actor, name=None, uid=7))
    owner = operation(50_000, ended=None, actor=msgspec.structs.replace(actor, method="owner"))
    nobody = operation(50_001, ended=None, actor=msgspec.structs.replace(actor, method="none"))
    at = {"/e/seen": 90_000, "/e/a": 8000, "/e/b": 7999, "/e/c": 22_000, "/e/d": 22_001, "/e/f": 90_000, "/e/g": 50_000}
    findings = [finding(path, NOW + at_ms) for path, at_ms in at.items()] + [finding("/e/h", None)]
    found = {one.path: (one.operation, one.by) for one in attribute(findings, [early, late, owner, nobody])}
    by_early, by_late = (early.id, actor.name), (late.id, "uid 7")
    assert found == {
        **dict.fromkeys(("/e/seen", "/e/a", "/e/c"), by_early),
        "/e/f": by_late,
        **dict.fromkeys(("/e/b", "/e/d", "/e/g", "/e/h"), (None, None)),
    }


def test_of_several_operations_the_newest_that_changed_a_file_or_was_at_work_did_it() -> None:
    written = [FileChange(path="/e/seen", what="written")]
    first, second, third = (operation(at, ended=to_rfc3339(NOW + 9), files=written if at < 3 else []) for at in (1, 2, 3))
    findings = [FileFinding(path=path, what="changed", package=None, changed_ms=NOW + 5) for path in ("/e/seen", "/e/other")]
    for order in ([first, second, third], [third, second, first]):
        assert [one.operation for one in attribute(findings, order)] == [second.id, third.id]
