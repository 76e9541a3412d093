"""Documents that the owner of an environment has written for whoever reads it as root: nothing ends the reader, and nothing grows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
from hostile_lab import INFO, NOW, SECRET, SITE, VENV_FILES, look, make, names, verify, wrong

from envtrail.environments.baseline import read_baseline
from envtrail.inspect.client import LocalInspector
from envtrail.model.environment import Snapshot

pytestmark = pytest.mark.timeout(30)


class TestDocuments:
    @pytest.mark.parametrize(
        "raw",
        [
            b'{"name":"a","version":"1","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            b'{"name":"\\ud800","version":"1"}',
            b'{"name":"\xff","version":"1"}',
            b'{"name":"","version":"1"}',
            b'{"name":"' + b"a" * 300 + b'","version":"1"}',
            b"",
        ],
    )
    def test_a_document_that_is_none_is_a_fault_and_the_rest_is_read(self, tmp_path: Path, raw: bytes) -> None:
        prefix = make(tmp_path, conda=True)
        (prefix / "conda-meta/a-1-0.json").write_bytes(raw)
        (prefix / INFO / "direct_url.json").write_bytes(raw)
        _, taken = look(prefix)
        assert names(taken) == ["six", "x", "y"]
        assert any(fault.startswith("conda-meta/a-1-0.json: ") for fault in taken.faults)
        verify(prefix)

    @pytest.mark.parametrize("size", [-1, 2**63, 2**64, 10**30])
    def test_a_size_that_no_database_holds(self, tmp_path: Path, size: int) -> None:
        prefix = make(tmp_path, conda=True)
        paths = [{"_path": "lib/a", "size_in_bytes": size, "sha256": "0" * 64}] * 3
        document = {"name": "a", "version": "1", "paths_data": {"paths": paths}}
        (prefix / "conda-meta/a-1-0.json").write_text(json.dumps(document))
        (prefix / INFO / "RECORD").write_text(f"a,,{2**64 - 1}\nb,,{2**64 - 1}\n")
        assert {"a", "x"} <= set(names(look(prefix)[1]))
        verify(prefix)

    @pytest.mark.parametrize("date", ["2025-13-01 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "2025-02-30 99:99:99"])
    def test_a_moment_that_never_was(self, tmp_path: Path, date: str) -> None:
        prefix = make(tmp_path, conda=True)
        sound = "==> 2025-01-02 03:04:05 <==\n# cmd: conda install --password hunter2 b\n+b-1-0\n"
        (prefix / "conda-meta/history").write_text(f"==> {date} <==\n+a-1-0\n{sound}")
        environment, taken = look(prefix)
        snapshot = Snapshot(prefix=taken.prefix, kind=taken.kind, packages=[])
        (change,) = read_baseline(environment, snapshot, NOW)
        assert change.added == ["b 1"]
        assert "hunter2" not in str(change.argv)

    @pytest.mark.parametrize("at_s", [-1, 2**33, 2**34])
    def test_times_that_their_owner_has_set(self, tmp_path: Path, at_s: int) -> None:
        for prefix in (make(tmp_path), make(tmp_path / "c", conda=True)):
            for path in [prefix, *prefix.rglob("*")]:
                os.utime(path, (at_s, at_s))
            look(prefix)


class TestEggs:
    def faults(self, prefix: Path) -> list[str]:
        _, taken = look(prefix)
        assert "y" in names(taken)
        return taken.faults

    def pack(self, prefix: Path, content: bytes, how: int = zipfile.ZIP_DEFLATED) -> Path:
        egg = prefix / SITE / "old-1.0-py3.11.egg"
        with zipfile.ZipFile(egg, "w", how) as archive:
            archive.writestr("EGG-INFO/PKG-INFO", content)
        return egg

    def test_a_bomb_gives_its_first_bytes(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        self.pack(prefix, b"Name: old\nVersion: 1.0\n\n" + bytes(200_000_000))
        assert "old" in names(look(prefix)[1])

    def test_one_that_is_encrypted_or_packed_strangely_or_damaged(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        egg = self.pack(prefix, b"Name: old\nVersion: 1.0\n")
        raw = egg.read_bytes()
        central = raw.index(b"PK\1\2")
        for change in (
            raw[:6] + b"\1" + raw[7 : central + 8] + b"\1" + raw[central + 9 :],
            raw[: central + 10] + b"\x63" + raw[central + 11 :],
            raw[:40] + b"\xff" * 10 + raw[50:],
            raw[:-10],
            b"PK",
        ):
            egg.write_bytes(change)
            assert any(fault.startswith("old-1.0-py3.11.egg: ") for fault in self.faults(prefix))
        self.pack(prefix, b"Name: old\nVersion: 1.0\n", zipfile.ZIP_LZMA)
        assert "packed as none is" in self.faults(prefix)[0]

    def test_one_that_tells_of_gigabytes_of_contents(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        egg = self.pack(prefix, b"Name: old\nVersion: 1.0\n")
        end = egg.read_bytes()[-22:]
        with egg.open("r+b") as file:
            file.truncate(3 << 30)
            file.seek(3 << 30)
            file.write(end[:12] + (2_000_000_000).to_bytes(4, "little") + end[16:])
        assert "tells more of itself" in self.faults(prefix)[0]

    @pytest.mark.parametrize("content", [b"/a\0b\n", b"/proc/self\n", b"\xff\n", b"x" * 100_000, b"", b"/" + b"x" * 5000])
    def test_a_link_that_leads_nowhere(self, tmp_path: Path, content: bytes) -> None:
        prefix = make(tmp_path)
        (prefix / SITE / "work.egg-link").write_bytes(content)
        assert any(fault.startswith("work.egg-link: ") for fault in self.faults(prefix))


class TestGrowth:
    @pytest.mark.parametrize("name", [*VENV_FILES[:4], "pyvenv.cfg"])
    def test_a_file_of_gigabytes_is_a_fault_or_its_beginning(self, tmp_path: Path, name: str) -> None:
        prefix = make(tmp_path)
        with (prefix / name).open("ab") as file:
            file.truncate(3 << 30)
        environment, taken = look(prefix)
        assert "y" in names(taken)
        assert len(msgspec.json.encode([environment, taken])) < 100_000

    def test_a_thousand_links_to_one_large_document(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        large = tmp_path / "large.json"
        large.write_text(json.dumps({"url": "https://" + "x" * 1_000_000}))
        metadata = tmp_path / "METADATA"
        metadata.write_text("Name: z\nVersion: 1\n" + "Requires-Dist: six\n" * 3000)
        for number in range(600):
            info = prefix / SITE / f"z{number}-1.dist-info"
            info.mkdir()
            os.link(large, info / "direct_url.json")
            os.link(metadata, info / "METADATA")
        environment, taken = look(prefix)
        assert len(msgspec.json.encode([environment, taken])) < 20_000_000

    def test_more_packages_than_any_environment_has_are_a_fact_and_no_removal(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        for number in range(10_001):
            (prefix / SITE / f"z{number}-1.dist-info").mkdir()
        environment, taken = look(prefix)
        assert (taken.digest, taken.absent) == (None, "its packages cannot be read: more than 10000 packages")
        assert environment.faults == [taken.absent]

    def test_more_names_than_any_folder_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.environments.reading.MOST_NAMES", 50)
        prefix = make(tmp_path)
        for number in range(60):
            (prefix / "lib" / f"n{number}").touch()
        environment, taken = look(prefix, LocalInspector())
        assert (environment.kind, environment.faults[0]) == ("unknown", "more than 50 names")
        assert taken.absent is not None

    def test_a_deep_tree_is_walked_to_its_end(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        (prefix / SITE / "x.py").touch()
        folder = os.open(prefix / SITE, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("a", dir_fd=folder)
            below = os.open("a", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(folder)
        try:
            done = verify(prefix)
        finally:
            subprocess.run(["rm", "-rf", str(prefix)], check=True)
        assert [item.what for item in wrong(done)] == ["missing"]


class TestVerify:
    def test_a_record_out_of_the_environment_is_no_oracle(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        secret = tmp_path / "shadow"
        secret.write_text(SECRET)
        (prefix / "bin").mkdir()
        (prefix / "bin/tool").touch()
        (prefix / INFO / "RECORD").write_text(
            f"../../../../shadow,sha256={'A' * 43},{len(SECRET)}\n{secret},sha256={'A' * 43},\n../../../bin/tool,,0\n../../../bin/gone,,\n"
        )
        (prefix / SITE / "y.py").touch()
        done = verify(prefix)
        assert [(item.path, item.what) for item in wrong(done)] == [(str(prefix / "bin/gone"), "missing")]
        assert sum("a path out of the environment" in fault for fault in done.faults) == 2

    def test_nor_is_a_document_of_conda(self, tmp_path: Path) -> None:
        prefix = make(tmp_path, conda=True)
        (tmp_path / "shadow").write_text(SECRET)
        paths = [{"_path": "../shadow", "sha256": "0" * 64}, {"_path": "lib/a\0b", "sha256": "0" * 64}]
        document = {"name": "a", "version": "1", "paths_data": {"paths": paths}, "files": ["../../x"]}
        (prefix / "conda-meta/a-1-0.json").write_text(json.dumps(document))
        done = verify(prefix)
        assert sum("a path out of the environment" in fault for fault in done.faults) == 2
        assert [item.what for item in done.findings if item.package == "a 1"] == ["unreadable"]

    @pytest.mark.parametrize("target", ["/proc/kmsg", "/dev/zero", "{outside}"])
    def test_a_link_in_the_place_of_a_file_is_not_read(self, tmp_path: Path, target: str) -> None:
        prefix = make(tmp_path)
        (tmp_path / "outside").write_text(SECRET)
        (prefix / SITE / "x.py").symlink_to(target.format(outside=tmp_path / "outside"))
        (prefix / INFO / "RECORD").write_text(f"x.py,sha256={'A' * 43},\n")
        (prefix / SITE / "y.py").touch()
        (found,) = wrong(verify(prefix))
        assert (found.what, found.detail, found.found_sha256) == ("unreadable", "a link out of the environment", None)

    def test_twenty_records_without_an_end(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        for number in range(20):
            info = prefix / SITE / f"z{number}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: z{number}\nVersion: 1\n")
            (info / "RECORD").symlink_to("/dev/zero")
        assert len(look(prefix)[1].faults) == 20
        verify(prefix)


def test_what_nobody_thought_of_is_a_fact_about_that_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = make(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr("envtrail.environments.inventory._read_site", fail)
    assert look(prefix, LocalInspector())[1].absent == "its packages cannot be read: nobody thought of it"
    monkeypatch.setattr("envtrail.environments.find._identify", fail)
    environment, taken = look(prefix, LocalInspector())
    assert (environment.kind, environment.faults[0]) == ("unknown", "nobody thought of it")
    assert taken.digest is None


def test_a_process_in_a_folder_that_is_no_utf_8_is_noted(tmp_path: Path) -> None:
    from envtrail.agent.processes import read_process

    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    program = folder + b"/sleep"
    shutil.copy(b"/bin/sleep", program)
    process = subprocess.Popen([program, "60"], cwd=folder)
    try:
        until_s = time.monotonic() + 10
        while (seen := read_process(process.pid, NOW, frozenset())) is None and time.monotonic() < until_s:
            time.sleep(0.01)
        assert seen is not None
        assert (seen.cwd, seen.exe) == (f"{tmp_path}/\\xff", f"{tmp_path}/\\xff/sleep")
        msgspec.json.encode(seen)
    finally:
        process.kill()
        process.wait()
