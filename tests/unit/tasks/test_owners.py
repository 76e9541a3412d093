"""Whose the files of the service's data folder are, tried by who must not write them."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from audit_lab import open_folders
from follow_lab import NOW_MS, config_of, records_of

from envtrail.config import load_config
from envtrail.errors import CannotRunError, DamagedStoreError, EnvtrailError
from envtrail.interpret.tools import hints
from envtrail.state.schema import connect
from envtrail.state.state import State
from envtrail.tasks.owners import check_account, settle_folder
from envtrail.trail.layout import SHARED, Layout
from envtrail.trail.writer import TrailWriter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who is not root gives nothing to anybody")

ACCOUNT, GROUP, UID, GID = "nobody", "nogroup", 65534, 65534
SOMEBODY = 61_050


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As an older version left it: all root's, the state beside the segments."""
    open_folders(tmp_path)
    folder = tmp_path / "trail"
    with closing(TrailWriter(config_of(folder), hints())) as writer:
        for number in (1, 2):
            writer.append(records_of(number, NOW_MS), [])
            writer.seal(wait=True)
        writer.append(records_of(3, NOW_MS), [])
    layout = Layout(folder)
    State(layout.state).close()
    layout.state.rename(folder / "state.sqlite")
    layout.derived.rmdir()
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    (folder / "approvals").write_text("secret")
    (folder / "approvals").chmod(0o600)
    folder.chmod(0o700)
    return folder


def try_as(uid: int, gid: int, script: str, folder: Path) -> str:
    """What a shell that somebody runs says of each line: the lines that succeed."""
    lines = "\n".join(f"({line}) >/dev/null 2>&1 && echo {number}" for number, line in enumerate(script.strip().splitlines()))
    done = subprocess.run(
        ["/bin/sh", "-c", lines],
        cwd="/",
        check=False,
        env={"D": str(folder)},
        user=uid,
        group=gid,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return "".join(done.stdout.split())


READS = """
ls $D/segments/000001
cat $D/segments/000001/records.log.zst
cat $D/hot/records.log $D/hot/segment.json
cat $D/format
"""
ALTERS = """
printf x >> $D/hot/records.log
echo x > $D/segments/000001/x
: > $D/segments/000001/seal.json
mv $D/hot $D/cold
mv $D/segments $D/old
mv $D/state $D/old
rm -f $D/segments/000001/seal.json
mkdir $D/hot.next
ln -s /tmp $D/hot.sealing
echo 9 > $D/format
chmod 777 $D
echo x > $D/recorder.json
"""
WRITES = """
cat $D/state/approvals
echo x >> $D/state/approvals
echo x > $D/state/new
mv $D/state/new $D/state/other
test -w $D/state/state.sqlite
"""


def test_the_agent_reads_the_evidence_alters_none_and_owns_what_is_derived(folder: Path) -> None:
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    assert try_as(UID, GID, READS, folder) == "0123"
    assert try_as(UID, GID, ALTERS, folder) == ""
    assert try_as(UID, GID, WRITES, folder) == "01234"
    layout = Layout(folder)
    assert (layout.state.stat().st_uid, layout.derived.stat().st_uid, folder.stat().st_uid) == (UID, UID, 0)


def test_somebody_else_gets_nowhere(folder: Path) -> None:
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    assert try_as(SOMEBODY, SOMEBODY, READS + ALTERS + WRITES, folder) == ""


def test_what_root_writes_later_is_the_agents_to_read_whatever_the_umask(folder: Path) -> None:
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    before = os.umask(0o077)
    try:
        with closing(TrailWriter(config_of(folder), hints())) as writer:
            writer.seal(wait=True)
            writer.append(records_of(4, NOW_MS), [])
        layout = Layout(folder)
        layout.state.unlink()
        with closing(State(layout.state)) as state:
            state.put_cursor("x", {"a": 1})
            for suffix in ("", "-wal", "-shm"):
                status = layout.state.with_name(layout.state.name + suffix).stat()
                assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (UID, GID, 0o660)
    finally:
        os.umask(before)
    assert try_as(UID, GID, READS.replace("000001", "000003"), folder) == "0123"
    assert try_as(UID, GID, ALTERS, folder) == ""
    assert stat.S_IMODE(folder.stat().st_mode) == SHARED


def test_a_second_time_root_gives_nothing_away_that_the_agent_has_put_there(folder: Path) -> None:
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    secret = folder.parent / "roots"
    secret.write_text("x")
    os.link(secret, folder / "state/mine")
    (folder / "state/link").symlink_to(secret)
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    assert secret.stat().st_uid == 0


def test_root_writes_through_no_link_of_the_agents(folder: Path) -> None:
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    target = folder.parent / "empty"
    target.touch()
    for suffix in ("", "-wal"):
        path = folder / f"state/state.sqlite{suffix}"
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        with pytest.raises(DamagedStoreError, match="no regular file"):
            connect(folder / "state/state.sqlite", read_only=False)
        path.unlink()
    assert target.stat().st_size == 0


def test_a_reader_with_the_group_alone_reads_while_nobody_writes(folder: Path) -> None:
    """The shipper, the notifier: root without capabilities, which may not make SQLite's files for others but by the group."""
    settle_folder(folder, account=ACCOUNT, group=GROUP)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(GID)
            os.setuid(SOMEBODY)
            database = connect(folder / "state/state.sqlite", read_only=True)
            database.execute("SELECT count(*) FROM operations").fetchone()
            os._exit(0)
        except sqlite3.Error:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    with closing(State(folder / "state/state.sqlite")) as state:
        state.put_cursor("x", {"a": 1})


def test_a_private_folder_stays_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)  # What is made in it inherits the group and the bit.
    folder = tmp_path / "trail"
    for mode in (None, 0o755, 0o2755, 0o2777, 0o2770):
        if mode is not None:
            folder.chmod(mode)
        with closing(TrailWriter(config_of(folder), hints())):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("program_mode", "settings_mode", "problem"),
    [(0o755, 0o644, None), (0o755, 0o640, "cannot read `.*settings.toml`"), (0o700, 0o644, "cannot run")],
)
def test_an_account_that_cannot_run_it_or_read_its_settings_is_named(
    tmp_path: Path, program_mode: int, settings_mode: int, problem: str | None
) -> None:
    open_folders(tmp_path)
    program, settings = tmp_path / "program", tmp_path / "settings.toml"
    program.write_text("#!/bin/sh\n[ $1 = --version ]\n")
    program.chmod(program_mode)
    settings.touch()
    settings.chmod(settings_mode)
    if problem is None:
        check_account(str(program), settings, account=ACCOUNT)
        return
    with pytest.raises(CannotRunError, match=problem):
        check_account(str(program), settings, account=ACCOUNT)


def test_the_agents_account_has_the_services_folder_and_does_not_do_without_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folders(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "settings.toml").write_text("node = 'n'\n")
    (tmp_path / "settings.toml").chmod(0o600)
    monkeypatch.setattr("envtrail.config.SERVICE_DATA_DIR", tmp_path)
    monkeypatch.setattr("envtrail.config.SYSTEM_FILE", tmp_path / "settings.toml")
    reading, writing = os.pipe()
    for owner in (0, UID):
        os.chown(tmp_path / "state", owner, owner)
        if os.fork() == 0:
            os.setgid(GID)
            os.setuid(UID)
            try:
                found = str(load_config(environ={"HOME": "/"}).data_dir)
            except EnvtrailError as fault:
                found = fault.message
            os.write(writing, f"{found}\n".encode())
            os._exit(0)
        os.wait()
    os.close(writing)
    with os.fdopen(reading) as answers:
        somebodys, agents = answers.read().splitlines()
    assert somebodys != str(tmp_path), "another account has its own"
    assert agents == f"this user may not read the configuration file `{tmp_path}/settings.toml`"
