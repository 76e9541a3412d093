"""What is read of environments, what is told of their past, and whom it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from wheels import make_wheel

from envtrail.environments.blame import blame_packages
from envtrail.environments.changes import diff_snapshots
from envtrail.environments.dependencies import find_roots, read_dependencies
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.unused import find_duplicates, find_unused
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.operation import Operation, Outcome, PackageState
from envtrail.model.times import to_rfc3339
from envtrail.service.authorization import ServiceRequest
from envtrail.service.server import answer
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query, Viewer
from envtrail.trail.layout import Layout

NOW = 1_764_000_000_000


def package(name: str, version: str = "1.0", **more: object) -> Package:
    return Package(**{"ecosystem": "pypi", "name": name, "version": version, "digest": f"sha256:{name}{version}", **more})  # type: ignore[arg-type]


def snapshot(*packages: Package, prefix: str = "/v") -> Snapshot:
    return Snapshot(prefix=prefix, kind="venv", packages=sorted(packages, key=lambda item: item.name))


def operation(before: Snapshot, after: Snapshot, at_ms: int, **more: object) -> Operation:
    """Any operation will do: what is asked of it are its changes."""
    changes = diff_snapshots(before, after)
    made = operation_of_drift(after.prefix, "venv", changes, since_ms=at_ms - 1, until_ms=at_ms, node="n")
    return msgspec.structs.replace(made, **{"explained": True, **more})


class TestDependencies:
    def test_markers_are_judged_for_the_environments_python(self) -> None:
        found = snapshot(package("app", requires=('tomli>=1; python_version < "3.11"', "six")), package("tomli"), package("six"))
        assert read_dependencies(found, "3.10.13")["app"] == ("six", "tomli")
        assert read_dependencies(found, "3.12.1")["app"] == ("six",)

    def test_an_extra_that_somebody_wants_brings_its_own(self) -> None:
        web = package("web", requires=('fast; extra == "speed"', 'slow; extra == "size"'))
        found = snapshot(package("app", requires=("web[speed]",)), web, package("fast"), package("slow"))
        assert read_dependencies(found, None)["web"] == ("fast",)

    def test_conda_and_pypi_meet_by_normal_name(self) -> None:
        numpy = package("numpy", ecosystem="conda", requires=("python >=3.10,<3.11.0a0", "libblas"))
        found = snapshot(numpy, package("python", ecosystem="conda"), package("Py_Stats", requires=("NumPy>1",)))
        needs = read_dependencies(found, "3.10.13")
        assert (needs["numpy"], needs["py-stats"]) == (("python",), ("numpy",))

    def test_what_cannot_be_read_is_passed_over(self) -> None:
        found = snapshot(package("app", requires=("not a requirement at all!!", "six")), package("six"))
        assert read_dependencies(found, None)["app"] == ("six",)

    def test_roots_are_the_nearest_first_and_a_ring_ends(self) -> None:
        needs = {"a": ("b",), "b": ("c",), "c": ("b",), "d": ("a",)}
        assert find_roots("c", needs, ["d", "a"]) == ["a", "d"]


class TestBlame:
    def test_the_newest_change_to_what_is_there_now_decides(self) -> None:
        empty, old, new = snapshot(), snapshot(package("six", "1.0")), snapshot(package("six", "2.0"), package("dep"))
        first, second = operation(empty, old, NOW), operation(old, new, NOW + 10)
        rows = {row.package.name: row.operation for row in blame_packages(new, [second, first], python=None)}
        assert rows == {"six": second, "dep": second}
        assert [row.operation for row in blame_packages(old, [first], python=None)] == [first]

    def test_nobody_is_blamed_for_what_nobody_was_seen_to_bring(self) -> None:
        empty, old, now = snapshot(), snapshot(package("six", "1.0")), snapshot(package("six", "3.0"))
        (row,) = blame_packages(now, [operation(empty, old, NOW)], python=None)
        assert row.operation is None

    def test_who_installs_the_same_anew_does_not_bring_it_in(self) -> None:
        empty, now = snapshot(), snapshot(package("six", "1.0"))
        first = operation(empty, now, NOW)
        (change,) = first.changes or []
        again = msgspec.structs.replace(first, changes=[msgspec.structs.replace(change, before=change.after)])
        assert [row.operation for row in blame_packages(now, [again, first], python=None)] == [first]

    def test_who_installs_the_same_version_with_other_content_anew_brings_it_in(self) -> None:
        def state(digest: str | None) -> PackageState:
            return PackageState(version="1.0", installer="pip", digest=digest)

        now = snapshot(package("six", "1.0", digest="sha256:new"))
        first = operation(snapshot(), now, NOW)
        (change,) = first.changes or []
        made = msgspec.structs.replace(change, after=state("sha256:old"))
        first = msgspec.structs.replace(first, changes=[made])
        again = msgspec.structs.replace(
            first, changes=[msgspec.structs.replace(change, before=state(None), after=state("sha256:new"))]
        )
        assert [row.operation for row in blame_packages(now, [again, first], python=None)] == [again]

    @pytest.mark.parametrize(("ended_ms", "is_found"), [(NOW + 300, True), (NOW - 100, False)])
    def test_of_two_at_once_who_replaced_what_the_other_left_is_the_newer(self, ended_ms: int, is_found: bool) -> None:
        """The kernel stamps an exec up to 4 ms early: before the last file of what was before it."""
        empty, old, new = snapshot(), snapshot(package("six", "2.0")), snapshot(package("six", "1.0"))
        by_hand = operation(empty, old, NOW + 4)
        by_tool = operation(old, new, NOW)
        by_tool = msgspec.structs.replace(by_tool, ended=to_rfc3339(ended_ms))
        (row,) = blame_packages(new, [by_hand, by_tool], python=None)
        assert row.operation == (by_tool if is_found else None)

    def test_a_dependency_is_told_with_what_was_asked_for(self) -> None:
        held = snapshot(package("app", requires=("dep",), requested=True), package("dep", requested=False))
        rows = {row.package.name: row for row in blame_packages(held, [], python=None)}
        assert (rows["dep"].requested, rows["dep"].needed_by) == (False, ["app"])


class TestConda:
    def read(self, prefix: Path, *, requested_spec: str | None, has_files: bool, is_noarch: bool = False) -> Snapshot:
        site = prefix / "lib/python3.10/site-packages"
        (prefix / "conda-meta").mkdir()
        site.mkdir(parents=True)
        metadata = "lib/python3.10/site-packages/six-1.16.0.dist-info/METADATA"
        document = {"name": "six", "version": "1.16.0", "build": "py_0", "requested_spec": requested_spec}
        paths = ["lib/python3.10/site-packages/six.py", metadata]
        in_archive = [path.removeprefix("lib/python3.10/") for path in paths] if is_noarch else paths
        document["paths_data"] = {"paths": [{"_path": path} for path in in_archive]}  # type: ignore[assignment]
        document |= {"files": paths} if is_noarch else {}  # type: ignore[dict-item]
        (prefix / "conda-meta/six-1.16.0-py_0.json").write_text(json.dumps(document))
        if has_files:
            (prefix / metadata).parent.mkdir()
            (prefix / metadata).write_text("Name: six\nVersion: 1.16.0\n")
            (prefix / metadata).with_name("INSTALLER").write_text("conda\n")
        found = identify(prefix)
        assert found is not None
        return read_snapshot(found)

    @pytest.mark.parametrize(("spec", "is_requested"), [("six", True), ("None", False), ("", False), (None, False)])
    def test_what_nobody_requested_is_written_as_the_text_none(
        self, tmp_path: Path, spec: str | None, is_requested: bool
    ) -> None:
        (six,) = self.read(tmp_path, requested_spec=spec, has_files=True).packages
        assert (six.ecosystem, six.requested) == ("conda", is_requested)

    @pytest.mark.parametrize(("version", "count"), [("1.16.0", 1), ("1.17.0", 2)])
    def test_what_another_put_over_condas_package_replaces_it_and_what_lies_beside_it_does_not(
        self, tmp_path: Path, version: str, count: int
    ) -> None:
        self.read(tmp_path, requested_spec="six", has_files=True)
        metadata = tmp_path / f"lib/python3.10/site-packages/six-{version}.dist-info/METADATA"
        metadata.parent.mkdir(exist_ok=True)
        metadata.write_text(f"Name: six\nVersion: {version}\n")
        metadata.with_name("INSTALLER").write_text("pip\n")
        found = identify(tmp_path)
        assert found is not None
        packages = read_snapshot(found).packages
        assert max((one.ecosystem, one.version) for one in packages) == ("pypi", version)
        assert len(packages) == count

    @pytest.mark.parametrize("is_noarch", [False, True])
    def test_a_document_whose_package_pip_has_uninstalled_does_not_count(self, tmp_path: Path, is_noarch: bool) -> None:
        assert self.read(tmp_path, requested_spec="six", has_files=False, is_noarch=is_noarch).packages == []


@pytest.mark.parametrize(
    ("line", "sees_system"), [("include-system-site-packages = false", False), ("include-system-site-packages = true", True)]
)
def test_a_venv_says_whether_packages_of_its_interpreter_count(tmp_path: Path, line: str, sees_system: bool) -> None:
    (tmp_path / "pyvenv.cfg").write_text(f"home = /usr/bin\n{line}\n")
    found = identify(tmp_path)
    assert found is not None
    assert found.sees_system is sees_system


class TestDiff:
    def test_between_two_environments_the_place_is_no_difference(self) -> None:
        one = snapshot(package("six", location="lib/python3.10/six.dist-info"), prefix="/a")
        other = snapshot(package("six", location="lib/python3.11/six.dist-info"), prefix="/b")
        assert diff_snapshots(one, other) == []
        assert len(diff_snapshots(one, msgspec.structs.replace(other, prefix="/a"))) == 1


class TestUnused:
    def test_duplicates_are_one_content_and_links_count_once(self, tmp_path: Path) -> None:
        metadata = tmp_path / "a/six.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text("x")
        for name in ("b", "c"):
            (tmp_path / name / "six.dist-info").mkdir(parents=True)
        os.link(metadata, tmp_path / "b/six.dist-info/METADATA")
        (tmp_path / "c/six.dist-info/METADATA").write_text("x")
        held = [
            snapshot(package("six", size_bytes=100, location="six.dist-info"), prefix=str(tmp_path / name))
            for name in ("a", "b", "c")
        ]
        (found,) = find_duplicates(held, above_bytes=100)
        assert (found.spare_bytes, len(found.prefixes)) == (100, 3)
        assert find_duplicates(held, above_bytes=101) == []
        assert find_duplicates(held[:2], above_bytes=1) == []


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    layout = Layout(tmp_path)
    layout.create()
    opened = State(layout.state)
    yield opened
    opened.close()


class TestStore:
    def test_a_package_is_kept_once_and_comes_back_as_it_was(self, state: State) -> None:
        held = snapshot(*(package(f"p{number:03}", requires=("six",), tags=("py3-none-any",)) for number in range(700)))
        fewer = msgspec.structs.replace(held, packages=held.packages[1:])
        state.put_snapshot(held, time_ms=NOW, reason="baseline")
        state.put_snapshot(fewer, time_ms=NOW + 1, reason="operation", image=7)
        assert state.snapshot("/v", NOW) == held
        assert state.snapshot("/v") == fewer
        store = EmbeddedStore(state.path.parents[1])
        assert [(item.packages, item.image) for item in store.snapshots("/v")] == [(700, None), (699, 7)]
        assert store._database.execute("SELECT count(*) FROM packages").fetchone() == (700,)

    def test_a_content_is_found_by_the_digest_it_was_recorded_with(self, state: State) -> None:
        held = snapshot(package("six"))
        state.put_snapshot(held, time_ms=NOW, reason="operation", digest="sha256:of-an-older-envtrail")
        assert state.packages("sha256:of-an-older-envtrail") == held.packages
        assert state.snapshot("/v") == held

    def test_an_environment_that_is_gone_is_remembered_as_it_was(self, state: State) -> None:
        made = Environment(prefix="/v", kind="venv", python="3.11.2", owner_uid=7)
        state.put_environment(made, seen_ms=NOW)
        state.put_environment(Environment(prefix="/v", kind="unknown"), seen_ms=NOW + 1, gone=True)
        store = EmbeddedStore(state.path.parents[1])
        assert list(store.environments()) == []
        assert list(store.environments(with_gone=True)) == [msgspec.structs.replace(made, gone=True)]

    def test_one_that_is_half_removed_stays_what_it_was(self, state: State) -> None:
        state.put_environment(Environment(prefix="/v", kind="venv"), seen_ms=NOW)
        state.put_environment(Environment(prefix="/v", kind="target"), seen_ms=NOW + 1)
        state.put_environment(Environment(prefix="/t", kind="target"), seen_ms=NOW)
        known = EmbeddedStore(state.path.parents[1]).environments()
        assert {item.prefix: item.kind for item in known} == {"/v": "venv", "/t": "target"}

    def test_a_summary_tells_of_changes_and_drift(self, state: State) -> None:
        state.put_environment(Environment(prefix="/v", kind="venv", owner_uid=7), seen_ms=NOW)
        state.put_name(7, "alice", since_ms=1)
        state.put_snapshot(snapshot(package("six", size_bytes=10)), time_ms=NOW, reason="baseline")
        state.put_operation(operation(snapshot(), snapshot(package("six")), NOW))
        state.put_operation(operation(snapshot(), snapshot(package("a"), package("b")), NOW + 5, explained=False))
        (found,) = EmbeddedStore(state.path.parents[1]).summaries()
        assert (found.packages, found.size_bytes, found.drift) == (1, 10, 2)
        assert (found.creator, found.creator_is_owner, found.last_use) == ("alice", True, None)
        assert found.last_change == "2025-11-24T16:00:00.005Z"
        assert find_unused([found], NOW + 6) == [found]
        assert find_unused([found], NOW) == []

    def test_who_made_it_is_its_creator_whatever_the_command_was_and_however_it_ended(self, state: State) -> None:
        state.put_environment(Environment(prefix="/v", kind="venv", owner_uid=7), seen_ms=NOW)
        state.put_name(7, "alice", since_ms=1)
        install = operation(snapshot(), snapshot(package("six")), NOW)
        actor = msgspec.structs.replace(install.actor, name="bob")
        state.put_operation(msgspec.structs.replace(install, made=True, outcome=Outcome.FAILURE, actor=actor))
        state.put_operation(operation(snapshot(), snapshot(package("a")), NOW + 5))
        (found,) = EmbeddedStore(state.path.parents[1]).summaries()
        assert (found.creator, found.creator_is_owner) == ("bob", False)

    def test_the_owner_of_an_environment_sees_what_others_did_to_it(self, state: State) -> None:
        state.put_environment(Environment(prefix="/home/alice/v", kind="venv", owner_uid=1001), seen_ms=NOW)
        state.put_environment(Environment(prefix="/opt/v2", kind="venv", owner_uid=0), seen_ms=NOW)
        for prefix in ("/home/alice/v", "/opt/v2"):
            state.put_operation(operation(snapshot(prefix=prefix), snapshot(package("six"), prefix=prefix), NOW))
        store = EmbeddedStore(state.path.parents[1])

        def asked(uid: int, environment: str | None) -> list[str]:
            viewer = Viewer(uid=uid, sees_everything=False)
            request = ServiceRequest(method="operations", query=Query(environment=environment))
            return [item.environment.prefix for item in answer(store, request, viewer)]

        assert asked(1001, "/home/alice/v") == ["/home/alice/v"]
        assert asked(1001, "v") == ["/home/alice/v"]
        assert asked(1002, "/home/alice/v") == []
        assert asked(1001, "/opt/v2") == []
        assert asked(1001, None) == []

    def test_who_makes_an_environment_again_under_its_name_is_not_told_of_the_one_before(self, state: State) -> None:
        prefix = "/usr"  # A folder that everybody may read.
        before, after = snapshot(package("secret"), prefix=prefix), snapshot(package("six"), prefix=prefix)
        state.put_environment(Environment(prefix=prefix, kind="venv", owner_uid=1001), seen_ms=NOW)
        state.put_snapshot(before, time_ms=NOW, reason="baseline")
        state.put_operation(operation(snapshot(prefix=prefix), before, NOW))
        store = EmbeddedStore(state.path.parents[1])

        def told(uid: int) -> str:
            viewer = Viewer(uid=uid, sees_everything=False)
            requests = [
                ServiceRequest(method="snapshot", text=prefix),
                ServiceRequest(method="snapshot", text=prefix, at_ms=NOW + 5),
                ServiceRequest(method="snapshots", text=prefix),
                ServiceRequest(method="holdings"),
                ServiceRequest(method="operations", query=Query(environment=prefix)),
            ]
            return repr([list(answer(store, request, viewer)) for request in requests])

        assert "secret" in told(1001)
        assert len(list(answer(store, ServiceRequest(method="snapshots"), Viewer(uid=1002, sees_everything=False)))) == 1
        state.put_environment(Environment(prefix=prefix, kind="unknown"), seen_ms=NOW + 1, gone=True)
        state.put_snapshot(snapshot(prefix=prefix), time_ms=NOW + 2, reason="scheduled")
        state.put_environment(Environment(prefix=prefix, kind="venv", owner_uid=1002), seen_ms=NOW + 10)
        assert "secret" not in told(1002)
        assert "secret" not in told(1003)
        state.put_snapshot(after, time_ms=NOW + 10, reason="scheduled")
        state.put_environment(Environment(prefix=prefix, kind="venv", owner_uid=1002), seen_ms=NOW + 20)
        assert "secret" not in told(1002)
        assert "six" in told(1002)
        root = Viewer(uid=0, sees_everything=True)
        assert len(list(answer(store, ServiceRequest(method="snapshots", text=prefix), root))) == 3


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "v")], check=True)
    make_wheel(folder / "wheels", "dep", "1.0")
    wheel = make_wheel(folder / "wheels", "app", "2.0", requires=["dep>=1"], scripts={"app": "app:main"})
    pip = [str(folder / "v/bin/pip"), "install", "-q", "--no-index", f"--find-links={folder}/wheels"]
    subprocess.run([*pip, f"app @ {wheel.as_uri()}"], check=True)
    return folder / "v"


def test_a_package_says_what_it_needs_where_it_came_from_and_how_large_it_is(venv: Path) -> None:
    environment = identify(venv)
    assert environment is not None
    found = {item.name: item for item in read_snapshot(environment).packages}
    wheel = venv.parent / "wheels/app-2.0-py3-none-any.whl"
    digest = subprocess.run(["sha256sum", str(wheel)], check=True, capture_output=True, text=True).stdout.split()[0]
    assert found["app"].archive == f"sha256:{digest}"
    assert found["app"].url == wheel.as_uri()
    assert (found["app"].requires, found["app"].tags, found["app"].requested) == (("dep>=1",), ("py3-none-any",), True)
    listed = [line.rsplit(",", 1)[1] for line in (venv / str(found["app"].location) / "RECORD").read_text().splitlines()]
    assert found["app"].size_bytes == sum(map(int, filter(None, listed)))
    assert (found["dep"].requested, found["dep"].archive) == (False, None)
    assert read_dependencies(read_snapshot(environment), environment.python)["app"] == ("dep",)


def test_metadata_of_a_package_that_is_not_built_yet_is_no_environment(tmp_path: Path) -> None:
    metadata = tmp_path / "app-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").touch()
    assert identify(tmp_path) is None
    (tmp_path / "app.py").touch()
    imported = identify(tmp_path)
    (tmp_path / "app.py").unlink()
    (metadata / "RECORD").touch()
    assert [found.kind for found in (imported, identify(tmp_path)) if found] == ["target", "target"]


def test_snapshots_survive_json(venv: Path) -> None:
    environment = identify(venv)
    assert environment is not None
    held = read_snapshot(environment)
    assert msgspec.json.decode(json.dumps(msgspec.to_builtins(held)), type=Snapshot) == held
