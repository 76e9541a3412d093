"""Where environments are, found owner by owner."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from hostile_lab import make
from inspect_lab import ALICE, BOB, INSPECTOR, opened_up

from envtrail.config import Config, load_config
from envtrail.environments.find import expand_roots, user_mounts
from envtrail.inspect.client import LocalInspector
from envtrail.inspect.protocol import Answer, FoldersSearched, ReadingRefused, RefusalKind, Request, SearchFolders
from envtrail.inspect.search import EnvironmentSearch, find_environments
from envtrail.model.environment import Environment


def settings(folder: Path) -> Config:
    flags = {
        "rules.roots": [f"{folder}/*/conda"],
        "rules.pythons": [],
        "rules.venv_roots": [f"{folder}/*"],
        "rules.search_depth": 2,
    }
    return load_config(environ={}, flags=flags)


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    opened_up(tmp_path)
    for name, uid in (("alice", ALICE), ("bob", BOB)):
        home = tmp_path / name
        make(home)
        if os.geteuid() == 0:
            for path in (home, *home.rglob("*")):
                os.chown(path, uid, uid, follow_symlinks=False)
        home.chmod(0o700)
    return tmp_path


def found(search: EnvironmentSearch, folder: Path) -> list[str]:
    return [one.prefix for one in search.environments if one.prefix.startswith(f"{folder}/")]


def test_each_owners_are_found_in_their_closed_homes(homes: Path) -> None:
    search = find_environments(settings(homes), INSPECTOR)
    assert found(search, homes) == [f"{homes}/alice/v", f"{homes}/bob/v"]
    assert search.failures == {}
    assert found(find_environments(settings(homes), LocalInspector()), homes) == found(search, homes)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_what_conda_has_noted_is_looked_at_with_the_rights_of_its_owner(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (homes / "alice/.conda").mkdir()
    shared = make(homes / "shared", conda=True).rename(homes / "shared/deep")
    (homes / "shared/a/b/c").mkdir(parents=True)
    shared = shared.rename(homes / "shared/a/b/c/deep")
    (homes / "alice/.conda/environments.txt").write_text(f"{shared}\n{homes}/bob/v\n/etc\n")
    os.chown(homes / "alice/.conda/environments.txt", ALICE, ALICE)
    entry = type("Entry", (), {"pw_dir": str(homes / "alice")})
    monkeypatch.setattr(pwd, "getpwall", lambda: [entry])
    search = find_environments(settings(homes), INSPECTOR)
    assert found(search, homes) == [f"{homes}/alice/v", f"{homes}/bob/v", str(shared)]
    owners = {one.prefix: one.owner_uid for one in search.environments}
    assert owners[str(shared)] == 0


class _Lying:
    """A worker of alice's that says what it likes."""

    def ask(self, request: Request, on_progress: object = None) -> Answer:
        answer = INSPECTOR.ask(request)
        if isinstance(request, SearchFolders) and request.uid == ALICE:
            forged = Environment(prefix="/usr", kind="venv", owner_uid=0)
            return FoldersSearched(environments=[forged])
        if isinstance(request, SearchFolders) and request.uid == BOB:
            return ReadingRefused(kind=RefusalKind.DEADLINE, reason="reading it took longer than 20 s")
        return answer

    def close(self) -> None:
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_one_owners_folders_say_nothing_of_anothers_and_hide_none_that_were_known(homes: Path) -> None:
    search = find_environments(settings(homes), _Lying())
    assert [one.prefix for one in search.environments if one.prefix == "/usr"] == []
    assert search.failures == {BOB: "reading it took longer than 20 s"}
    known = find_environments(settings(homes), INSPECTOR).environments
    kept = [one.prefix for one in search.with_known(known) if one.prefix.startswith(f"{homes}/")]
    assert kept == [f"{homes}/bob/v"]


def test_patterns_are_those_of_a_shell(tmp_path: Path) -> None:
    for name in ("a/conda", "b/conda", ".c/conda", "d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "f").touch()
    assert list(expand_roots([f"{tmp_path}/*/conda"])) == [f"{tmp_path}/a/conda", f"{tmp_path}/b/conda"]
    assert list(expand_roots([f"{tmp_path}/.*/conda", f"{tmp_path}/none"])) == [f"{tmp_path}/.c/conda"]
    assert list(expand_roots([f"{tmp_path}/*"], {f"{tmp_path}/a"})) == [f"{tmp_path}/{name}" for name in ("b", "d", "f")]


def test_file_systems_that_users_have_mounted_are_known_by_their_options() -> None:
    lines = [
        "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw,errors=continue",
        "37 35 0:50 / /home/al\\040ice/m rw,nosuid - fuse.sshfs h: rw,user_id=1000,group_id=1000,allow_other",
        "38 35 0:51 / /disk rw - fuseblk /dev/sdb rw,user_id=0,group_id=0",
        "39 35 0:52 / /sys/fs/fuse/connections rw - fusectl none rw",
    ]
    assert user_mounts("\n".join(lines)) == {"/home/al ice/m": 1000}
