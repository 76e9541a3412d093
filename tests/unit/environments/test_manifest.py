"""What an environment should hold by its metadata, and what lies in it that nobody lists."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from envtrail.environments.manifest import ExpectedFile, Manifest, find_unlisted, read_manifest, read_record
from envtrail.model.environment import Environment

SITE = "lib/python3.11/site-packages"
ONE, TWO = bytes(range(32)), bytes(range(1, 33))
HASH = base64.urlsafe_b64encode(ONE).rstrip(b"=").decode()


def write(prefix: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(text)


def environment(prefix: Path, kind: str = "venv", *, site: str = SITE, faults: tuple[str, ...] = ()) -> Environment:
    return Environment(prefix=str(prefix), kind=kind, site_packages=[f"{prefix}/{site}"], faults=list(faults))


def of(
    path: Path, package: str, sha256: bytes | None = None, size: int | None = None, *, is_copied: bool = False
) -> dict[str, ExpectedFile]:
    return {str(path): ExpectedFile(path=str(path), package=package, sha256=sha256, size=size, is_copied=is_copied)}


class TestRecords:
    @pytest.mark.parametrize(("installer", "is_copied"), [("pip\n", True), ("uv", False), (None, False)])
    def test_what_a_record_lists_is_expected(self, tmp_path: Path, installer: str | None, *, is_copied: bool) -> None:
        info = f"{SITE}/Some_Name-1.0-1.dist-info"
        record = f"x.py,sha256={HASH},3\n./a/../b.py,,\n../../../bin/x,sha256={HASH},\n../../../../out,,\n"
        write(tmp_path, {f"{info}/RECORD": record, **({f"{info}/INSTALLER": installer} if installer else {})})
        found = read_manifest(environment(tmp_path, faults=("it is old",)))
        package = "some-name 1.0-1"
        site = tmp_path / SITE
        assert found == Manifest(
            prefix=str(tmp_path),
            files={
                **of(site / "x.py", package, ONE, 3, is_copied=is_copied),
                **of(site / "b.py", package, is_copied=is_copied),
                **of(tmp_path / "bin/x", package, ONE, is_copied=is_copied),
            },
            faults=["it is old", f"{package}: RECORD lists a path out of the environment: {tmp_path.parent / 'out'}"],
            unlisted=[],
        )

    def test_packages_without_a_list_are_named_and_what_conda_or_nobody_has_put_there_is_not(self, tmp_path: Path) -> None:
        files = {
            "a-1.dist-info/METADATA": "",
            "b-1.egg-info": "",
            "c-1.egg/EGG-INFO/PKG-INFO": "",
            "~d-1.dist-info/RECORD": "d.py,,\n",
            "e-1.dist-info/RECORD": "e.py,,\n",
            "e-1.dist-info/INSTALLER": "conda\n",
            "f.py": "",
        }
        write(tmp_path / SITE, files)
        found = read_manifest(environment(tmp_path))
        assert (found.files, found.unlisted, found.faults) == ({}, ["a-1.dist-info", "b-1.egg-info", "c-1.egg"], [])

    def test_the_distributions_own_folder_is_the_distributions(self, tmp_path: Path) -> None:
        site = "lib/python3/dist-packages"
        write(tmp_path / site, {"a-1.dist-info/RECORD": "a.py,,\n"})
        found = read_manifest(environment(tmp_path, "system", site=site))
        reported = f"{tmp_path}/{site} (the distribution's: `dpkg --verify` or `rpm -Va` checks it)"
        assert (found.files, found.unlisted, found.faults) == ({}, [reported], [])

    def test_of_two_that_list_a_file_the_later_counts_and_what_cannot_be_read_is_a_fault(self, tmp_path: Path) -> None:
        write(tmp_path / SITE, {"a-1.dist-info/RECORD": f"x.py,sha256={HASH},\n", "b-1.dist-info/RECORD": "x.py,,\n"})
        (tmp_path / SITE / "c-1.dist-info/RECORD").mkdir(parents=True)
        found = read_manifest(environment(tmp_path))
        assert found.files == of(tmp_path / SITE / "x.py", "b 1")
        assert (found.faults, found.unlisted) == ([f"{SITE}/c-1.dist-info/RECORD: no regular file"], ["c-1.dist-info"])
        gone = read_manifest(environment(tmp_path, site="none"))
        assert gone.faults == [f"{tmp_path}/none: No such file or directory (os error 2)"]

    def test_more_files_than_any_environment_has_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.environments.manifest._MOST_FILES", 2)
        write(tmp_path / SITE, {"a-1.dist-info/RECORD": "a,,\nb,,\n"})
        assert len(read_manifest(environment(tmp_path)).files) == 2
        write(tmp_path / SITE, {"a-1.dist-info/RECORD": "a,,\nb,,\nc,,\n"})
        with pytest.raises(OSError, match="its packages list more than 2 files"):
            read_manifest(environment(tmp_path))

    def test_a_row_that_is_none_is_a_fault_and_the_rest_goes_on(self) -> None:
        rows = [
            ("a", None, None, ""),
            ("a,,0", None, 0, ""),
            (f"a,sha256={HASH}=,5,more", ONE, 5, ""),
            (f"a,sha512={HASH},٣", None, None, ""),
            (f"a,sha256={HASH[:-3]},{'9' * 18}", None, int("9" * 18), "a hash that is none"),
            (f"a,sha256=é,{'9' * 19}", None, None, "a hash that is none"),
            (",sha256=,1", None, None, "no path"),
            ("a\0b,,", None, None, "no path"),
            ("", None, None, ""),
        ]
        faults: list[str] = []
        found = list(read_record("\n".join(row for row, *_ in rows) + '\n"' + "x" * 200_000 + "\nb,,", "/s", "p 1", faults))
        expected = [(sha256, size) for _, sha256, size, fault in rows[:6]]
        assert [(one.path, one.package, one.sha256, one.size) for one in found[:6]] == [("/s/a", "p 1", *one) for one in expected]
        reported = [f"p 1: RECORD line {at}: {fault}" for at, (*_, fault) in enumerate(rows, start=1) if fault]
        assert faults == [*reported, "p 1: RECORD line 10: field larger than field limit (131072)"]
        assert [one.path for one in found[6:]] == ["/s/b"]


class TestConda:
    def read(self, prefix: Path, paths: list[dict[str, object]], **reported: object) -> Manifest:
        document = {"name": "Six", "version": "1", "paths_data": {"paths": paths}, **reported}
        write(prefix, {"conda-meta/six-1-0.json": json.dumps(document), "conda-meta/history": ""})
        (prefix / SITE).mkdir(parents=True, exist_ok=True)
        return read_manifest(environment(prefix, "conda"))

    @pytest.mark.parametrize(
        ("reported", "sha256", "size"),
        [
            ({}, None, None),
            ({"sha256": ONE.hex(), "size_in_bytes": 3}, ONE, 3),
            ({"sha256": ONE.hex(), "sha256_in_prefix": TWO.hex(), "size_in_bytes": 0, "path_type": "hardlink"}, TWO, 0),
            ({"sha256": ONE.hex(), "prefix_placeholder": "/opt", "size_in_bytes": 3}, None, None),
            ({"sha256": ONE.hex(), "sha256_in_prefix": TWO.hex(), "prefix_placeholder": "/opt"}, TWO, None),
            ({"sha256": ONE.hex(), "path_type": "softlink", "size_in_bytes": 3}, None, None),
            ({"sha256": "xyz", "path_type": "softlink"}, None, None),
            ({"size_in_bytes": -1}, None, None),
            ({"size_in_bytes": 2**63 - 1}, None, 2**63 - 1),
            ({"size_in_bytes": 2**63}, None, None),
        ],
    )
    def test_a_file_has_the_hash_and_size_that_it_has_once_it_is_linked(
        self, tmp_path: Path, reported: dict[str, object], sha256: bytes | None, size: int | None
    ) -> None:
        found = self.read(tmp_path, [{"_path": "lib/a", **reported}])
        assert (found.files, found.faults) == (of(tmp_path / "lib/a", "Six 1", sha256, size), [])

    @pytest.mark.parametrize("digest", ["xyz", "ab"])
    def test_a_hash_that_is_none_is_a_fault(self, tmp_path: Path, digest: str) -> None:
        found = self.read(tmp_path, [{"_path": "lib/a", "sha256": digest}])
        assert found.files == of(tmp_path / "lib/a", "Six 1")
        assert found.faults == ["conda-meta/six-1-0.json: lib/a: a hash that is none"]

    @pytest.mark.parametrize("noarch", ["python", "generic", None])
    def test_files_of_noarch_python_lie_where_its_python_has_them(self, tmp_path: Path, noarch: str | None) -> None:
        names = ("site-packages/a/../six.py", "python-scripts/six", "lib/../share/x", "site-packages-of/x")
        found = self.read(tmp_path, [{"_path": name} for name in names], noarch=noarch)
        is_placed = noarch == "python"
        assert list(found.files) == [
            f"{tmp_path}/{SITE}/six.py" if is_placed else f"{tmp_path}/site-packages/six.py",
            f"{tmp_path}/bin/six" if is_placed else f"{tmp_path}/python-scripts/six",
            f"{tmp_path}/share/x",
            f"{tmp_path}/site-packages-of/x",
        ]

    def test_what_was_made_while_it_was_linked_stands_beside_and_folders_are_no_files(self, tmp_path: Path) -> None:
        paths: list[dict[str, object]] = [
            {"_path": "lib/a", "sha256": ONE.hex()},
            {"_path": "lib/b", "path_type": "directory"},
            {"_path": "../x"},
        ]
        found = self.read(tmp_path, paths, files=["lib/a", "bin/./made", "../y"])
        assert found.files == {**of(tmp_path / "lib/a", "Six 1", ONE), **of(tmp_path / "bin/made", "Six 1")}
        place = "Six 1: conda-meta/six-1-0.json lists a path out of the environment"
        assert found.faults == [f"{place}: {tmp_path.parent}/{name}" for name in ("x", "y")]

    def test_what_pip_has_put_over_it_is_pips(self, tmp_path: Path) -> None:
        write(tmp_path / SITE, {"own-1.dist-info/RECORD": "own.py,,\n", "SIX-2.dist-info/RECORD": f"six.py,sha256={HASH},\n"})
        site = tmp_path / SITE
        assert self.read(tmp_path, [{"_path": "lib/a"}]).files == {
            **of(site / "six.py", "six 2", ONE),
            **of(site / "own.py", "own 1"),
        }
        over = self.read(tmp_path, [{"_path": f"{SITE}/own.py", "sha256": TWO.hex()}, {"_path": "lib/a"}], name="other")
        assert over.files == {
            **of(site / "six.py", "six 2", ONE),
            **of(site / "own.py", "own 1"),
            **of(tmp_path / "lib/a", "other 1"),
        }

    def test_a_document_that_is_none_is_a_fault_and_in_a_venv_there_are_none(self, tmp_path: Path) -> None:
        (tmp_path / SITE).mkdir(parents=True)
        write(tmp_path, {"conda-meta/a.json": "{", "conda-meta/b.json": '{"name": "b", "version": "1"}'})
        found = read_manifest(environment(tmp_path, "conda"))
        assert (found.files, found.faults) == ({}, ["conda-meta/a.json: Input data was truncated"])
        assert read_manifest(environment(tmp_path)).faults == []


class TestUnlisted:
    def look(self, prefix: Path, kind: str = "venv", known: tuple[str, ...] = ()) -> tuple[list[str], Manifest]:
        files = {one: made for name in known for one, made in of(prefix / name, "p 1").items()}
        manifest = Manifest(prefix=str(prefix), files=files, faults=[], unlisted=[])
        found = find_unlisted(environment(prefix, kind), manifest)
        return sorted(os.path.relpath(path, prefix / SITE) for path in found), manifest

    def test_what_nobody_lists_is_reported_and_what_installers_leave_is_not(self, tmp_path: Path) -> None:
        reported = [
            "extra.py",
            "sub/extra.py",
            "x.pth",
            "sub/easy-install.pth",
            "x-1.dist-info/other",
            "sub/RECORD",
            "sub/a.egg-info",
        ]
        reported += ["__pycache__/orphan.cpython-311.pyc", "beside.pyc", "sub/a.egg/inner", "sub/~half/a"]
        silent = ["known.py", "a.egg-info", "a.egg-link", "a.egg", "b.egg-info/inner", "b.egg/inner", "easy-install.pth"]
        silent += ["distutils-precedence.pth", "x-1.dist-info/INSTALLER", "x-1.dist-info/REQUESTED", "x-1.dist-info/RECORD"]
        bytecode = ["__pycache__/known.cpython-311.pyc", "sub/__pycache__/extra.cpython-311.opt-1.pyc"]
        write(tmp_path / SITE, dict.fromkeys([*reported, *silent, *bytecode, "~half/a", "~half/b/c"], ""))
        found, manifest = self.look(tmp_path, known=(f"{SITE}/known.py", f"{SITE}/gone.py"))
        assert found == sorted([*reported, "~half"])
        assert sorted(manifest.bytecode) == sorted(f"{tmp_path}/{SITE}/{name}" for name in bytecode)
        assert manifest.faults == []

    @pytest.mark.parametrize(("kind", "is_looked"), [("venv", True), ("user", True), ("conda", False), ("target", False)])
    def test_scripts_beside_are_looked_at_where_they_are_the_environments(
        self, tmp_path: Path, kind: str, *, is_looked: bool
    ) -> None:
        own = ("activate.fish", "Activate.ps1", "deactivate", "python3.11", "pydoc3", "pypy3", "listed", "sub/x")
        write(tmp_path / "bin", dict.fromkeys((*own, "tool"), ""))
        (tmp_path / SITE).mkdir(parents=True)
        (tmp_path / "bin/link").symlink_to("/none")
        assert self.look(tmp_path, kind, known=("bin/listed",))[0] == (["../../../bin/tool"] if is_looked else [])

    def test_a_folder_that_cannot_be_read_is_a_fault_and_one_that_is_gone_is_none(self, tmp_path: Path) -> None:
        assert self.look(tmp_path)[1].faults == []
        write(tmp_path, {SITE: "", "bin": ""})
        assert self.look(tmp_path)[1].faults == [f"{tmp_path}/{SITE}: no folder", f"{tmp_path}/bin: no folder"]

    def test_of_endless_files_the_first_are_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / SITE, dict.fromkeys(("a", "b"), ""))
        monkeypatch.setattr("envtrail.environments.manifest._MOST_FILES", 2)
        assert self.look(tmp_path)[1].faults == []
        monkeypatch.setattr("envtrail.environments.manifest._MOST_FILES", 1)
        found, manifest = self.look(tmp_path)
        assert (found, manifest.faults) == (["a"], [f"{tmp_path}/{SITE}: more than 1 files; the rest was not looked at"])
