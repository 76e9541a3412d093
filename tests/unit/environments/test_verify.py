"""Every file of a real environment against what was installed: what is as it should be, what is not, and whose it is."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conda_lab import CACHE, ensure_root
from hypothesis import given
from hypothesis import strategies as st
from wheels import make_wheel

from envtrail.environments.find import identify
from envtrail.environments.manifest import read_record
from envtrail.environments.verify import FileFinding, Verification, attribute, verify_environment
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment
from envtrail.model.operation import Actor, Confidence, FileChange


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "v")], check=True)
    wheels = [make_wheel(folder / "wheels", name, "1.0", scripts={name: f"{name}:main"}) for name in ("alpha", "beta", "gamma")]
    project = folder / "project"
    project.mkdir()
    (project / "delta.py").write_text("x = 1\n")
    pip = [str(folder / "v/bin/pip"), "install", "-q", "--no-index"]
    subprocess.run([*pip, *map(str, wheels)], check=True)
    return folder / "v"


@pytest.fixture
def prefix(made: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "v"
    shutil.copytree(made, copy, symlinks=True)
    return copy


def site_of(prefix: Path) -> Path:
    (site,) = (prefix / "lib").glob("python3*/site-packages")
    return site


def verify(prefix: Path, **options: object) -> Verification:
    environment = identify(prefix)
    assert environment is not None
    return verify_environment(environment, **options)  # type: ignore[arg-type]


def found(prefix: Path, **options: object) -> dict[str, str]:
    return {os.path.basename(item.path): item.what for item in verify(prefix, **options).findings}


def test_an_untouched_environment_has_no_findings(prefix: Path) -> None:
    done = verify(prefix)
    assert (done.findings, done.faults, done.unlisted) == ([], [], [])
    assert done.files > 500
    assert done.packages >= 4


def test_running_what_is_in_it_changes_nothing(prefix: Path) -> None:
    subprocess.run([str(prefix / "bin/python"), "-c", "import alpha, beta"], check=True)
    assert (site_of(prefix) / "__pycache__").is_dir()
    assert found(prefix) == {}


def test_each_kind_of_tampering_is_found_and_named(prefix: Path) -> None:
    site = site_of(prefix)
    with (site / "alpha.py").open("a") as module:
        module.write("import socket\n")
    (site / "beta.py").unlink()
    (site / "evil.pth").write_text("import os\n")
    (prefix / "bin/gamma").write_text("#!/bin/sh\n")
    (prefix / "bin/backdoor").write_text("#!/bin/sh\n")
    (site / "__pycache__").mkdir(exist_ok=True)
    (site / "__pycache__/orphan.cpython-311.pyc").write_bytes(b"\0")
    (site / "~amma").mkdir()
    os.mkfifo(site / "pipe.py")
    assert found(prefix) == {
        "alpha.py": "changed",
        "beta.py": "missing",
        "evil.pth": "added",
        "gamma": "changed",
        "backdoor": "added",
        "orphan.cpython-311.pyc": "added",
        "~amma": "half-removed",
        "pipe.py": "added",
    }


def test_bytecode_that_runs_whatever_its_source_holds_is_found(prefix: Path) -> None:
    site = site_of(prefix)
    evil = prefix.parent / "evil.py"
    evil.write_text("import socket\n")
    cached = site / "__pycache__"
    cached.mkdir(exist_ok=True)
    tag = sys.implementation.cache_tag
    modes = py_compile.PycInvalidationMode
    for name, mode in (("alpha", modes.UNCHECKED_HASH), ("beta", modes.CHECKED_HASH), ("gamma", modes.TIMESTAMP)):
        py_compile.compile(str(evil), cfile=str(cached / f"{name}.{tag}.pyc"), invalidation_mode=mode)
    py_compile.compile(str(evil), cfile=str(site / "omega.pyc"))
    py_compile.compile(str(evil), cfile=str(site / "listed.pyc"))
    with (site / "alpha-1.0.dist-info/RECORD").open("a") as record:
        record.write(f"listed.pyc,,\n__pycache__/alpha.{tag}.pyc,,\n")
    assert found(prefix) == {f"alpha.{tag}.pyc": "unchecked", "omega.pyc": "added", "listed.pyc": "sourceless"}
    assert found(prefix, package="alpha") == {f"alpha.{tag}.pyc": "unchecked", "listed.pyc": "sourceless"}
    # As it was executed: the source says one thing, and another one runs.
    script = "import alpha; print('socket' in vars(alpha))"
    done = subprocess.run([str(prefix / "bin/python"), "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


def test_a_file_with_another_name_is_found(prefix: Path) -> None:
    os.link(site_of(prefix) / "alpha.py", prefix.parent / "elsewhere.py")
    assert found(prefix) == {"alpha.py": "linked"}
    with (prefix.parent / "elsewhere.py").open("a") as module:
        module.write("import socket\n")
    assert found(prefix) == {"alpha.py": "changed"}


def test_a_change_of_the_same_size_is_found_by_its_hash_and_not_by_size(prefix: Path) -> None:
    module = site_of(prefix) / "alpha.py"
    module.write_bytes(module.read_bytes()[::-1])
    assert found(prefix) == {"alpha.py": "changed"}
    assert found(prefix, only_sizes=True) == {}


def test_a_pipe_in_the_place_of_a_file_does_not_hang(prefix: Path) -> None:
    module = site_of(prefix) / "alpha.py"
    module.unlink()
    os.mkfifo(module)
    assert found(prefix) == {"alpha.py": "changed"}


def test_one_package_alone(prefix: Path) -> None:
    for name in ("alpha", "beta"):
        (site_of(prefix) / f"{name}.py").unlink()
    assert found(prefix, package="alpha") == {"alpha.py": "missing"}


def test_what_may_not_be_read_is_unreadable_and_never_clean(prefix: Path) -> None:
    module = site_of(prefix) / "alpha.py"
    module.chmod(0)
    prefix.chmod(0o755)
    for folder in prefix.parents:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    code = (
        "import os, sys; from pathlib import Path; from envtrail.environments.find import identify;"
        "from envtrail.environments.verify import verify_environment; os.setuid(65534);"
        f"print([(i.what, i.detail) for i in verify_environment(identify(Path({str(prefix)!r}))).findings])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[('unreadable', 'Permission denied (os error 13)')]"


def test_an_editable_install_is_no_tampering(prefix: Path, tmp_path: Path) -> None:
    (site_of(prefix) / "__editable__.delta-1.0.pth").write_text(f"{tmp_path}\n")
    info = site_of(prefix) / "delta-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: delta\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("__editable__.delta-1.0.pth,,\ndelta-1.0.dist-info/METADATA,,\ndelta-1.0.dist-info/RECORD,,\n")
    assert found(prefix) == {}


def test_a_package_without_a_record_is_told_and_not_called_clean(prefix: Path) -> None:
    (site_of(prefix) / "alpha-1.0.dist-info/RECORD").unlink()
    done = verify(prefix)
    assert done.unlisted == ["alpha-1.0.dist-info"]


@pytest.mark.conda
def test_a_genuine_conda_root_and_environment_have_no_findings_and_an_edit_is_one(tmp_path: Path) -> None:
    root = ensure_root(CACHE / "root")
    for prefix in (root.prefix, root.environment):
        done = verify(prefix)
        assert (done.findings, done.faults) == ([], []), prefix
        assert done.packages >= 8
    copy = tmp_path / "copy"
    shutil.copytree(root.environment, copy, symlinks=True)
    (site,) = (copy / "lib").glob("python3*/site-packages")
    with (site / "six.py").open("a") as module:
        module.write("#\n")
    assert found(copy)["six.py"] == "changed"


class TestAuthors:
    def finding(self, path: str, changed_ms: int | None) -> FileFinding:
        return FileFinding(path=path, what="changed", package=None, changed_ms=changed_ms)

    def operation(self, since_ms: int, until_ms: int, *paths: str, method: str = "auid") -> object:
        made = operation_of_drift("/v", "venv", [], since_ms=since_ms, until_ms=until_ms, node="n")
        actor = Actor(name="alice", uid=1, auid=1, method=method, confidence=Confidence.CERTAIN)
        files = [FileChange(path=path, what="written") for path in paths]
        return msgspec.structs.replace(made, actor=actor, files=files)

    def test_who_was_seen_comes_before_who_was_at_work(self) -> None:
        now = 1_764_000_000_000
        seen = self.operation(now, now + 10, "/v/a.py")
        later = self.operation(now + 100_000, now + 200_000)
        told = attribute(
            [
                self.finding("/v/a.py", now + 150_000),
                self.finding("/v/b.py", now + 150_000),
                self.finding("/v/c.py", now + 900_000),
            ],
            [seen, later],  # type: ignore[list-item]
        )
        assert [item.operation for item in told] == [seen.id, later.id, None]  # type: ignore[attr-defined]

    def test_a_guess_from_before_the_trail_and_a_drift_explain_nothing(self) -> None:
        now = 1_764_000_000_000
        for method in ("owner", "none"):
            (told,) = attribute([self.finding("/v/a.py", now)], [self.operation(now, now, method=method)])  # type: ignore[list-item]
            assert told.operation is None


@given(st.text())
def test_any_record_is_read_to_its_end_and_what_is_no_row_is_told(text: str) -> None:
    faults: list[str] = []
    rows = list(read_record(text, "/v/site", "p 1", faults))
    assert all(row.path.startswith("/") and (row.sha256 is None or len(row.sha256) == 32) for row in rows)


def test_hashes_of_a_record() -> None:
    faults: list[str] = []
    text = '"a,b.py",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\nc.py,md5=abc,3\nd.py,sha256=!!!,x\n../../../bin/e,,\n'
    rows = {row.path: row for row in read_record(text, "/v/lib/python3/site-packages", "p 1", faults)}
    assert rows["/v/lib/python3/site-packages/a,b.py"].sha256 == bytes.fromhex(
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert rows["/v/lib/python3/site-packages/c.py"].sha256 is None
    assert "/v/bin/e" in rows
    assert len(faults) == 1


def test_it_can_be_broken_off(prefix: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_done: int, _total: int) -> None:
        raise StopError

    environment = Environment(prefix=str(prefix), kind="venv", site_packages=[str(site_of(prefix))])
    from envtrail.environments import verify as module

    before = module._POLL_MS
    module._POLL_MS = 0
    try:
        with pytest.raises(StopError):
            verify_environment(environment, on_progress=stop)
    finally:
        module._POLL_MS = before
