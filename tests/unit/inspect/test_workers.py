"""What a worker may do, and what becomes of one that does not answer: real processes, as users who own nothing else here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hostile_lab import INFO, SITE, make
from inspect_lab import ALICE, BOB, INSPECTOR, give, opened_up
from stuck_fs import stuck_file_system

from envtrail.inspect.client import ForkedInspector
from envtrail.inspect.protocol import (
    Answer,
    EnvironmentRead,
    FilesVerified,
    ProbeRights,
    ReadEnvironment,
    ReadingRefused,
    RefusalKind,
    RightsProbed,
    VerifyFiles,
)
from envtrail.inspect.rights import DAC_READ_SEARCH, NOBODY

NOW = 1_800_000_000_000
pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of alice's below folders that everybody may enter."""
    opened_up(tmp_path)
    folder = tmp_path / "alice"
    folder.mkdir()
    return give(folder, ALICE)


def read(prefix: Path, inspector: ForkedInspector = INSPECTOR) -> Answer:
    return inspector.ask(ReadEnvironment(prefix=str(prefix)))


def packages(answer: Answer) -> list[str]:
    assert isinstance(answer, EnvironmentRead), answer
    assert answer.snapshot is not None, answer.absent
    return [package.name for package in answer.snapshot.packages]


def children(inspector: ForkedInspector) -> list[int]:
    pid = inspector.pid
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def await_child(inspector: ForkedInspector, uid: int) -> dict[str, str]:
    """The status of a worker that has become this user."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        for pid in children(inspector):
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue
            status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if status["Uid"].split()[0] == str(uid) and status["Seccomp"] == "2":
                return status
        time.sleep(0.005)
    pytest.fail("no worker")


@contextmanager
def verifying(prefix: Path) -> Iterator[tuple[ForkedInspector, list[Answer]]]:
    """A verification that takes long: a sparse file of terabytes is hashed."""
    with (prefix / SITE / "x.py").open("wb") as file:
        file.truncate(60 << 30)
    os.chown(prefix / SITE / "x.py", prefix.stat().st_uid, -1)
    (prefix / INFO / "RECORD").write_text(f"x.py,sha256={'A' * 43},{60 << 30}\n")
    answers: list[Answer] = []
    with closing(ForkedInspector()) as inspector:
        request = VerifyFiles(prefix=str(prefix), now_ms=NOW)
        thread = threading.Thread(target=lambda: answers.append(inspector.ask(request)))
        thread.start()
        yield inspector, answers
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def of_groups(groups: list[int]) -> Iterator[None]:
    """With further groups of root's, which whoever is started has too."""
    before = os.getgroups()
    os.setgroups(groups)
    try:
        yield
    finally:
        os.setgroups(before)


class TestRights:
    def test_a_worker_is_the_owner_and_has_no_right_but_to_read(self, home: Path) -> None:
        prefix = give(make(home), ALICE)
        with of_groups([4, 6]), verifying(prefix) as (inspector, _):
            status = await_child(inspector, ALICE)
            assert inspector.pid is not None
            server = Path(f"/proc/{inspector.pid}/status").read_text()
            limits = Path(f"/proc/{status['Pid']}/limits").read_text()
            opened = []
            for entry in Path(f"/proc/{status['Pid']}/fd").iterdir():
                with suppress(FileNotFoundError):  # It has just been closed.
                    opened.append(os.readlink(entry))
        assert status["Uid"].split() == status["Gid"].split() == [str(ALICE)] * 4
        assert status["Groups"] == ""
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for line in ("Max file size             0 ", "Max core file size        0 ", "Max open files            64 "):
            assert line in limits
        # Nothing of the server's is left to it: its own connection, the environment, and no file but the one that is read.
        # The root folder is held (O_PATH) for a moment wherever a path is followed step by step.
        assert [name for name in opened if name != "/" and not name.startswith((str(prefix), "socket:", "/dev/null"))] == []
        assert sum(name.startswith("socket:") for name in opened) == 1
        assert "CapEff:\t00000000000000e4\n" in server

    def test_what_is_roots_is_read_by_an_account_without_rights_that_may_read_all(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        prefix = give(make(tmp_path), 0)
        assert packages(read(prefix)) == ["x", "y"]
        with verifying(prefix) as (inspector, _):
            status = await_child(inspector, NOBODY)
        assert (int(status["CapEff"], 16), int(status["CapPrm"], 16)) == (DAC_READ_SEARCH, DAC_READ_SEARCH)
        assert status["Uid"].split() == [str(NOBODY)] * 4

    def test_a_probe_says_what_holds(self) -> None:
        probed = INSPECTOR.ask(ProbeRights(uid=ALICE))
        assert probed == RightsProbed(uid=ALICE, capabilities=0, has_landlock=True, has_seccomp=True)

    def test_what_its_owner_may_not_read_is_not_read_for_them(self, home: Path) -> None:
        prefix = give(make(home), ALICE)
        give(prefix / SITE / "y-1.0.dist-info", BOB)
        answer = read(prefix)
        assert packages(answer) == ["x"]
        assert isinstance(answer, EnvironmentRead)
        assert answer.snapshot is not None
        assert any(fault.startswith("y-1.0.dist-info: ") for fault in answer.snapshot.faults)

    def test_nor_a_closed_home_through_a_folder_on_the_way(self, home: Path) -> None:
        theirs = give(make(home.parent / "bob"), BOB).parent
        give(theirs, BOB)
        prefix = give(make(home), ALICE)
        site = prefix / SITE
        site.rename(prefix / "aside")
        site.symlink_to(theirs / "v" / SITE)
        answer = read(prefix)
        assert isinstance(answer, EnvironmentRead)
        assert answer.snapshot is None
        assert "no folder of its own" in (answer.absent or "")
        (prefix / SITE).unlink()
        (prefix / "aside").rename(prefix / SITE)
        project = theirs / "project"
        (project / "work.egg-info").mkdir(parents=True)
        (project / "work.egg-info/PKG-INFO").write_text("Name: work\nVersion: 2.0\n")
        give(project, BOB)
        (prefix / SITE / "work.egg-link").write_text(f"{project}\n.")
        give(prefix, ALICE)
        assert packages(read(prefix)) == ["x", "y"]
        give(project, ALICE, 0o755)
        theirs.chmod(0o755)
        assert packages(read(prefix)) == ["work", "x", "y"]

    def test_an_environment_that_may_not_be_entered_is_not_gone(self, home: Path) -> None:
        prefix = give(make(home), ALICE)
        prefix.chmod(0)
        answer = read(prefix)
        assert isinstance(answer, ReadingRefused)
        assert (answer.kind, answer.reason) == (RefusalKind.RIGHTS, "it cannot be read: Permission denied")
        prefix.chmod(0o700)
        os.chown(home, BOB, BOB)
        assert isinstance(read(prefix), ReadingRefused)
        assert read(home / "none") == EnvironmentRead(environment=None)

    def test_what_is_verified_is_what_its_owner_may_read(self, home: Path) -> None:
        prefix = give(make(home), ALICE)
        (prefix / SITE / "x.py").write_text("secret")
        (prefix / INFO / "RECORD").write_text(f"x.py,sha256={'A' * 43},\n")
        os.chown(prefix / SITE / "x.py", BOB, BOB)
        (prefix / SITE / "x.py").chmod(0o600)
        answer = INSPECTOR.ask(VerifyFiles(prefix=str(prefix), package="x", now_ms=NOW))
        assert isinstance(answer, FilesVerified)
        assert answer.verification is not None
        (found,) = answer.verification.findings
        assert (found.what, found.found_sha256) == ("unreadable", None)


class TestRefusals:
    def test_a_worker_that_is_stopped_is_killed_and_others_are_answered_meanwhile(self, home: Path) -> None:
        stopped, sound = give(make(home), ALICE), give(make(home.parent / "bob"), BOB)
        give(home.parent / "bob", BOB, 0o755)
        for number in range(3000):
            info = stopped / SITE / f"z{number}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: z{number}\nVersion: 1\n")
        give(stopped, ALICE)
        answers: list[Answer] = []
        with closing(ForkedInspector()) as inspector:
            assert packages(read(sound, inspector)) == ["x", "y"]
            began_s = time.monotonic()
            thread = threading.Thread(target=lambda: answers.append(read(stopped, inspector)))
            thread.start()
            os.kill(int(await_child(inspector, ALICE)["Pid"]), signal.SIGSTOP)
            assert packages(read(sound, inspector)) == ["x", "y"]
            thread.join(20)
            assert 4 < time.monotonic() - began_s < 15
            assert answers == [ReadingRefused(kind=RefusalKind.DEADLINE, reason="reading it took longer than 5 s")]
            again = read(stopped, inspector)
            assert isinstance(again, ReadingRefused)
            assert again.kind is RefusalKind.BUSY
            until_s = time.monotonic() + 5
            while children(inspector) and time.monotonic() < until_s:
                time.sleep(0.01)
            assert children(inspector) == []

    def test_a_file_system_whose_program_answers_nothing_keeps_nobody_waiting(self, home: Path) -> None:
        place = home / "fuse"
        place.mkdir()
        sound = give(make(home.parent / "bob"), BOB)
        give(home.parent / "bob", BOB, 0o755)
        with stuck_file_system(place, ALICE), closing(ForkedInspector()) as inspector:
            began_s = time.monotonic()
            answer = read(place / "env", inspector)
            assert isinstance(answer, ReadingRefused)
            assert answer.kind is RefusalKind.DEADLINE
            assert time.monotonic() - began_s < 9
            assert packages(read(sound, inspector)) == ["x", "y"]

    def test_more_memory_than_any_environment_needs(self, home: Path) -> None:
        prefix = make(home, conda=True)
        depends = '"aa",' * 6_300_000
        for number in range(2):
            document = f'{{"name": "a{number}", "version": "1", "depends": [{depends}"aa"]}}'
            (prefix / f"conda-meta/a{number}-1-0.json").write_text(document)
        give(prefix, ALICE)
        answer = read(prefix)
        assert isinstance(answer, ReadingRefused)
        assert answer.kind is RefusalKind.LIMIT
        assert "MiB of memory" in answer.reason

    def test_documents_nested_without_end(self, home: Path) -> None:
        prefix = make(home, conda=True)
        (prefix / "conda-meta/a-1-0.json").write_text('{"name": ' + "[" * 200_000)
        answer = read(give(prefix, ALICE))
        assert packages(answer) == ["six", "x", "y"]

    def test_more_distributions_than_any_folder_has(self, home: Path) -> None:
        prefix = make(home)
        one = prefix / SITE / "z.dist-info"
        one.touch()
        for number in range(50_000):
            os.link(one, f"{prefix}/{SITE}/z{number}-1.dist-info")
        for folder in (home, prefix, prefix / SITE):
            os.chown(folder, ALICE, ALICE)
        answer = read(prefix)
        subprocess.run(["rm", "-rf", str(prefix)], check=True)
        assert isinstance(answer, EnvironmentRead)
        assert (answer.snapshot, answer.absent) == (None, "its packages cannot be read: more than 50000 names")

    def test_who_no_longer_listens_ends_the_work(self, home: Path) -> None:
        with verifying(give(make(home), ALICE)) as (inspector, answers):
            pid = int(await_child(inspector, ALICE)["Pid"])
        assert [type(answer) for answer in answers] == [ReadingRefused]
        until_s = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until_s:
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists()

    def test_a_server_that_was_killed_is_started_again(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.inspect.client._AGAIN_S", 0.0)
        prefix = give(make(home), ALICE)
        with closing(ForkedInspector()) as inspector:
            assert packages(read(prefix, inspector)) == ["x", "y"]
            first = inspector.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            until_s = time.monotonic() + 10
            while not isinstance(answer := read(prefix, inspector), EnvironmentRead) and time.monotonic() < until_s:
                pass
            assert packages(answer) == ["x", "y"]
            assert inspector.pid != first


def test_a_name_of_an_environment_that_is_json_is_no_request(home: Path) -> None:
    prefix = give(make(home), ALICE).rename(home / json.dumps({"type": "verify"}).replace("/", ""))
    assert packages(read(prefix)) == ["x", "y"]
