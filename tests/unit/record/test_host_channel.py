"""What is looked up for the agent: it comes once and whole, also where an agent was killed; nobody waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from threading import Event

import msgspec
import pytest
from follow_lab import NOW_MS, MadeUpHost

from envtrail.agent.inbox import person_behind
from envtrail.errors import CannotRunError
from envtrail.model.observation import ProcessSeen
from envtrail.record import file_queue
from envtrail.record.file_queue import FileQueue, SeenFiles
from envtrail.record.host_channel import FilesAnswer, HostChannel, HostClient, WatchedFiles
from envtrail.state.store import Viewer

SEEN = ProcessSeen(
    time_ms=NOW_MS,
    pid=7,
    ppid=1,
    exe="/bin/x",
    argv=["x"],
    cwd="/",
    uid=5,
    auid=5,
    session=1,
    started_ms=NOW_MS,
    variables={"A": "b"},
)


def group(pid: int, files: int = 1) -> SeenFiles:
    paths = [(f"/srv/ml/{pid}/{number}", "written") for number in range(files)]
    return SeenFiles(time_ms=1, until_ms=2, pid=pid, root="/srv/ml", files=paths, total=files, gone=False)


def pids(groups: list[SeenFiles]) -> list[int]:
    return [one.pid for one in groups]


class SlowHost(MadeUpHost):
    """Answers about processes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = Event()

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        assert self.goes_on.wait(10)
        return SEEN


@pytest.fixture
def host() -> SlowHost:
    return SlowHost()


@pytest.fixture
def client(host: SlowHost) -> Iterator[HostClient]:
    channel = HostChannel(host)
    with closing(HostClient(channel.agent_end, 0.3)) as made:
        yield made
    host.goes_on.set()
    channel.close()


def test_a_process_is_what_the_recorder_saw(host: SlowHost, client: HostClient) -> None:
    host.goes_on.set()
    assert client.see(7, NOW_MS, NOW_MS) == SEEN


def test_a_recorder_that_does_not_answer_is_waited_for_once(host: SlowHost, client: HostClient) -> None:
    since_s = time.monotonic()
    assert client.see(7, NOW_MS, NOW_MS) is None
    assert 0.2 < time.monotonic() - since_s < 2
    since_s = time.monotonic()
    for _ in range(20):
        assert client.take_files(0, 0) is None
    assert time.monotonic() - since_s < 0.2
    host.queue.put([group(1)])
    host.goes_on.set()
    until_s = time.monotonic() + 5
    while (answer := client.take_files(0, 0)) is None and time.monotonic() < until_s:
        time.sleep(0.01)
    assert answer == FilesAnswer(first=0, groups=[group(1)], overflows=0), "the late answer is nobody's"


def test_who_decides_is_never_guessed(host: SlowHost, client: HostClient) -> None:
    """Without an answer a decision of `sudo` would be root's."""
    assert (client.login_uid(7, 0), client.login_uid(8, 0)) == (1001, None)
    assert person_behind(Viewer(uid=0, sees_everything=True), 7, client.login_uid).login_uid == 1001
    assert client.see(7, NOW_MS, NOW_MS) is None
    with pytest.raises(CannotRunError, match="whose login"):
        person_behind(Viewer(uid=0, sees_everything=True), 7, client.login_uid)


def test_files_are_given_once(host: SlowHost, client: HostClient) -> None:
    files = WatchedFiles(client, lambda: 0)
    files.set_roots(["/srv/ml"])
    assert host.roots == ["/srv/ml"]
    host.queue.put([group(1), group(2)])
    assert pids(files.read()) == [1, 2]
    assert files.read() == []
    host.queue.put([group(3)])
    assert pids(files.read()) == [3]


def test_the_next_agent_gets_what_the_last_one_held(host: SlowHost) -> None:
    held: list[SeenFiles] = []
    first = HostChannel(host)
    with closing(HostClient(first.agent_end)) as client:
        files = WatchedFiles(client, lambda: len(held))
        host.queue.put([group(1), group(2), group(3)])
        held += files.read()
        del held[:2]  # Appended, or explained.
        assert files.read() == []
    first.close()
    second = HostChannel(host)
    with closing(HostClient(second.agent_end)) as client:
        files = WatchedFiles(client, lambda: 1)
        host.queue.put([group(4)])
        assert pids(files.read()) == [3, 4]
        assert pids(files.read()) == []
        host.queue.put([group(5)])
        assert pids(files.read()) == [5]
    second.close()


def test_what_is_kept_for_the_agent_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_queue, "_MOST_BYTES", 3 * file_queue._size(group(1, 3)))
    queue = FileQueue()
    queue.put(group(number, 3) for number in range(6))
    first, groups = queue.take(0, 0)
    assert (first, pids(groups), queue.lost) == (3, [3, 4, 5], 3)
    queue.put([group(6, 50)])
    assert (queue.take(0, 0), queue.lost) == ((6, [group(6, 50)]), 6)


def test_paths_and_arguments_without_end_are_bounded_in_all_and_fit_an_answer(host: SlowHost, client: HostClient) -> None:
    """A group of files is as large as who changes them likes: 500 of these were a message that the agent could not take, and 2 GB."""
    long = msgspec.structs.replace(
        group(1), files=[(f"/srv/ml/{'x' * 4000}/{number}", "created") for number in range(1000)], argv=["y" * 30_000]
    )
    queue = FileQueue()
    queue.put(msgspec.structs.replace(long, pid=pid) for pid in range(40))
    queue.put(msgspec.structs.replace(group(pid), argv=["y" * 30_000]) for pid in range(3000))
    _, groups = queue.take(0, 0)
    assert 0 < len(msgspec.json.encode(groups)) < 64 << 20
    assert queue.lost > 1000
    host.queue.put([long])
    answer = client.take_files(0, 0)
    assert answer is not None
    assert len(answer.groups[0].files) == 1000


def test_an_agent_reads_again_when_changes_were_lost_while_it_ran(host: SlowHost, client: HostClient) -> None:
    files = WatchedFiles(client, lambda: 0)
    host.overflows = 2
    files.read()
    assert files.take_overflows() == 0, "before it began, and it reads everything as it begins"
    host.overflows = 5
    files.read()
    assert (files.take_overflows(), files.take_overflows()) == (3, 0)


def test_a_recorder_that_has_ended_answers_nothing(host: SlowHost) -> None:
    channel = HostChannel(host)
    with closing(HostClient(channel.agent_end)) as client:
        channel.close()
        assert client.see(7, NOW_MS, NOW_MS) is None
        assert client.take_files(0, 0) is None
