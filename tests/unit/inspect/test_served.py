"""The service's inspector over its socket: who may connect, what becomes of requests while it is started anew, what paths are for whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from inspect_lab import ALICE, BOB, INSPECTOR, give, opened_up
from stuck_fs import stuck_file_system

from envtrail.agent.access import ReadablePaths
from envtrail.inspect.client import ServedInspector, find_same_folder
from envtrail.inspect.protocol import Answer, PathsProbed, ProbePaths, ProbeRights, ReadingRefused, Request, RightsProbed
from envtrail.inspect.rights import NOBODY

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot become somebody else")


class Server:
    """`envtrail inspector` for a trail whose state belongs to somebody."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inspector.sock"
        (folder / "trail/state").mkdir(parents=True)
        self._words = ["--data-dir", str(folder / "trail"), "inspector", "--socket", str(self.path)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "envtrail", *self._words])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.kill()


def test_it_answers_and_is_waited_for_until_it_runs(server: Server) -> None:
    answer = ServedInspector(server.path).ask(ProbeRights(uid=os.geteuid() or NOBODY))
    assert isinstance(answer, RightsProbed)
    assert answer.capabilities == 0


def test_a_request_is_made_again_to_the_next_one(server: Server) -> None:
    inspector = ServedInspector(server.path)
    assert isinstance(inspector.ask(ProbeRights(uid=NOBODY)), RightsProbed)
    server.kill()
    later = threading.Timer(1, server.start)
    later.start()
    assert isinstance(inspector.ask(ProbeRights(uid=NOBODY)), RightsProbed)
    later.join()


def test_one_that_ends_with_a_request_is_asked_again(tmp_path: Path) -> None:
    """It takes a connection, and ends; the next one answers."""
    path = tmp_path / "s"
    rude = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    rude.bind(str(path))
    rude.listen()

    def end() -> None:
        connection, _ = rude.accept()
        rude.close()
        path.unlink()
        os.rename(tmp_path / "inspector.sock", path)
        connection.close()

    server = Server(tmp_path)
    try:
        assert isinstance(ServedInspector(server.path).ask(ProbeRights(uid=NOBODY)), RightsProbed)
        thread = threading.Thread(target=end)
        thread.start()
        assert isinstance(ServedInspector(path).ask(ProbeRights(uid=NOBODY)), RightsProbed)
        thread.join()
    finally:
        server.kill()


def test_one_that_does_not_run_is_waited_for_once(tmp_path: Path) -> None:
    inspector = ServedInspector(tmp_path / "none", wait_s=0.5)
    for least_s, most_s in ((0.5, 5), (0, 0.4)):
        began_s = time.monotonic()
        answer = inspector.ask(ProbeRights(uid=1))
        assert isinstance(answer, ReadingRefused)
        assert answer.reason.startswith("the inspector does not run")
        assert least_s <= time.monotonic() - began_s < most_s


@only_root
def test_it_answers_root_and_the_agents_account_alone(server: Server, tmp_path: Path) -> None:
    ServedInspector(server.path).ask(ProbeRights(uid=NOBODY))
    opened_up(tmp_path)
    server.path.chmod(0o666)
    os.chown(tmp_path / "trail/state", ALICE, ALICE)

    def answers(uid: int) -> bool:
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            answer = None
            with suppress(OSError):
                answer = ServedInspector(server.path).ask(ProbeRights(uid=NOBODY))
            os._exit(0 if isinstance(answer, RightsProbed) else 1)
        return os.waitpid(pid, 0)[1] == 0

    assert answers(0)
    assert answers(ALICE)
    assert not answers(BOB)


@only_root
class TestPaths:
    """Which are readable, and which are the same."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        opened_up(tmp_path)
        (tmp_path / "alice/env").mkdir(parents=True)
        (tmp_path / "alice/shut").mkdir(mode=0o700)
        give(tmp_path / "alice", ALICE, 0o755)
        (tmp_path / "alice/shut").chmod(0o700)
        return tmp_path / "alice"

    def test_what_a_user_can_read_is_what_the_kernel_lets_them(self, home: Path) -> None:
        paths = [str(home / "env"), str(home / "shut"), str(home / "gone"), "/etc/shadow", "/etc/passwd"]
        readable = ReadablePaths(INSPECTOR)
        assert readable(paths, ALICE) == {paths[0], paths[1], "/etc/passwd"}
        assert readable(paths, BOB) == {paths[0], "/etc/passwd"}
        assert readable(paths, -1) == {paths[0], "/etc/passwd"}
        home.chmod(0o700)
        assert ReadablePaths(INSPECTOR)(paths, BOB) == {"/etc/passwd"}
        assert readable(paths, 0) == set(paths)

    def test_it_is_looked_up_again_after_a_moment(self, home: Path) -> None:
        now_s = 0.0
        readable = ReadablePaths(INSPECTOR, lambda: now_s)
        assert readable([str(home / "env")], BOB)
        home.chmod(0o700)
        assert readable([str(home / "env")], BOB), "a page makes several queries"
        now_s = 3.0
        assert not readable([str(home / "env")], BOB)

    def test_where_nobody_answers_nothing_is_shown(self, home: Path) -> None:
        nobody = ServedInspector(home / "none", wait_s=0)
        assert ReadablePaths(nobody)([str(home / "env")], BOB) == frozenset()

    def test_rights_of_another_uid_count_for_nothing(self, home: Path) -> None:
        """Without the right to become a viewer, a worker has its server's: the modes decide then."""

        class Own:
            def ask(self, request: Request, on_progress: object = None) -> Answer:
                assert isinstance(request, ProbePaths)
                answer = INSPECTOR.ask(ProbePaths(uid=ALICE, paths=request.paths))
                assert isinstance(answer, PathsProbed)
                return answer

            def close(self) -> None: ...

        assert ReadablePaths(Own())([str(home / "env"), str(home / "shut")], BOB) == {str(home / "env")}

    def test_one_folder_with_two_paths_is_found(self, home: Path) -> None:
        other = home.parent / "other"
        other.mkdir()
        subprocess.run(["mount", "--bind", str(home / "shut"), str(other)], check=True)
        try:
            others = [str(home / "env"), str(home / "gone"), str(home / "shut")]
            assert find_same_folder(INSPECTOR, str(other), others) == str(home / "shut")
            assert find_same_folder(INSPECTOR, str(other), others[:2]) is None
            assert find_same_folder(INSPECTOR, str(home / "gone"), others) is None
        finally:
            subprocess.run(["umount", str(other)], check=True)


@only_root
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no FUSE here")
def test_a_file_system_of_another_user_that_answers_nothing_is_not_touched(tmp_path: Path) -> None:
    opened_up(tmp_path)
    place = tmp_path / "stuck"
    place.mkdir()
    with stuck_file_system(place, ALICE):
        began_s = time.monotonic()
        assert ReadablePaths(INSPECTOR)([str(place / "env"), "/etc/passwd"], BOB) == {"/etc/passwd"}
        assert time.monotonic() - began_s < 3
