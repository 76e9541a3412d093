"""Environments whose files are links into a cache, as the real uv makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import make_wheel

from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.model.environment import Snapshot

UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
LINKED = "METADATA of 2 of its packages is a symbolic link"


def taken(prefix: Path) -> Snapshot:
    environment = identify(prefix)
    assert environment is not None
    return read_snapshot(environment)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the real uv of requirements-uv.txt."""
    if UV is None:
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("linked")
    for name, version in (("some-name", "1.2+cu118"), ("other", "3")):
        make_wheel(folder / "wheels", name, version, requires=["six"])
    environment = {**os.environ, "UV_CACHE_DIR": str(folder / "cache"), "UV_NO_CONFIG": "1", "UV_OFFLINE": "1"}
    prefix = folder / "v"
    install = ["pip", "install", "-q", "--python", str(prefix), "--link-mode", "symlink", "--no-index", "--no-deps"]
    for words in (["venv", "-q", "--python", sys.executable, str(prefix)], [*install, *map(str, (folder / "wheels").iterdir())]):
        subprocess.run([UV, *words], env=environment, check=True, timeout=100)
    return prefix


def test_its_packages_are_known_and_one_fault_says_why_no_more_is(linked: Path) -> None:
    assert any(path.is_symlink() for path in linked.glob("lib/python3*/site-packages/other-3.dist-info/METADATA"))
    snapshot = taken(linked)
    assert [(package.name, package.version) for package in snapshot.packages] == [("other", "3"), ("some-name", "1.2+cu118")]
    assert {package.installer for package in snapshot.packages} == {"uv"}
    assert {package.requested for package in snapshot.packages} == {True}
    assert all(package.digest is not None for package in snapshot.packages)
    assert {package.requires for package in snapshot.packages} == {()}, "what METADATA says is behind the link"
    assert len(snapshot.faults) == 1
    assert LINKED in snapshot.faults[0]


def test_what_a_link_leads_to_is_never_told(linked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "v"
    shutil.copytree(linked, prefix, symlinks=True)
    secret = tmp_path / "secret"
    secret.write_text("Name: hunter2\nVersion: 2\n")
    (metadata,) = prefix.glob("lib/python3*/site-packages/other-3.dist-info/METADATA")
    metadata.unlink()
    metadata.symlink_to(secret)
    before = taken(prefix)
    secret.unlink()
    assert taken(prefix) == before, "nor whether it is there"
    assert [package.name for package in before.packages] == ["other", "some-name"]


@pytest.mark.parametrize("name", ["nameless.dist-info", "-1.dist-info", "x-.dist-info"])
def test_a_folder_whose_name_says_nothing_is_a_fault_of_its_own(linked: Path, tmp_path: Path, name: str) -> None:
    prefix = tmp_path / "v"
    shutil.copytree(linked, prefix, symlinks=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    (site / name).mkdir()
    (site / name / "METADATA").symlink_to("/etc/passwd")
    snapshot = taken(prefix)
    assert len(snapshot.packages) == 2
    assert len(snapshot.faults) == 2
    assert any(LINKED in fault for fault in snapshot.faults)


def test_a_folder_that_is_a_link_itself_is_known_by_its_name(linked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "v"
    shutil.copytree(linked, prefix, symlinks=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    (site / "third-4.dist-info").symlink_to(tmp_path)
    snapshot = taken(prefix)
    assert [package.name for package in snapshot.packages] == ["other", "some-name", "third"]
    assert len(snapshot.faults) == 1
