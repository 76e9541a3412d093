"""A made-up machine that is watched: by one process, or by a recorder and the agent that it starts.

`python follow_lab.py FOLDER watch FIRST` runs until it is killed; `python follow_lab.py FOLDER record` until SIGTERM, and prints the pid
of each agent that it starts, which prints `following` when it has caught up; `python follow_lab.py FOLDER follow REQUESTS NOTICES FACTS` is that agent.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec

from envtrail.agent.build import follow_trail, make_assembler, open_trail
from envtrail.capture.source import Block
from envtrail.config import Config, load_config
from envtrail.interpret.emission import (
    EnvironmentOpened,
    Lookup,
    NameWanted,
    ProcessWanted,
    ScriptWanted,
    SnapshotWanted,
)
from envtrail.interpret.tools import hints
from envtrail.model.environment import Package, Snapshot
from envtrail.model.observation import AgentStarted, NameResolved, Observation, ProcessSeen, ScriptSeen, SnapshotTaken
from envtrail.record.channel import Ends, RecorderChannel
from envtrail.record.file_queue import FileQueue
from envtrail.record.host_channel import FilesAnswer
from envtrail.record.recorder import Recorder
from envtrail.state.comparing import compare_tables
from envtrail.state.schema import connect
from envtrail.tasks.rebuild import rebuild_state
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.reader import Position
from envtrail.trail.writer import TrailWriter

PREFIX = "/srv/ml"
SEAL_EACH = 40
NOW_MS = 1_796_000_000_000
"""A moment."""


class MadeUpWorld:
    """Answers everything, in the same way each time; an environment holds what was installed last."""

    is_live = False
    grants: tuple[type[Lookup], ...] = (SnapshotWanted, EnvironmentOpened, ProcessWanted, ScriptWanted, NameWanted)

    def grant(self, wish: Lookup, now_ms: int) -> list[Observation]:
        match wish:
            case SnapshotWanted(prefix=prefix):
                packages = [Package(ecosystem="pypi", name=f"made-up-{wish.image % 7}", version=f"{wish.image % 11}")]
                digest = Snapshot(prefix=prefix, kind="venv", packages=packages).digest
                taken = SnapshotTaken(
                    time_ms=now_ms,
                    prefix=prefix,
                    kind="venv",
                    digest=digest,
                    packages=packages,
                    reason="operation",
                    image=wish.image,
                )
                nothing = msgspec.structs.replace(taken, digest=None, packages=None, absent="environment unknown")
                return [taken if prefix else nothing]
            case ProcessWanted():
                return [
                    ProcessSeen(
                        time_ms=now_ms, pid=wish.pid, ppid=50, exe=None, argv=[], cwd="/home/alice", uid=1001, auid=1001, session=3,
                        started_ms=wish.image >> 20, image=wish.image,
                    )
                ]  # fmt: skip
            case ScriptWanted():
                return [ScriptSeen(time_ms=now_ms, image=wish.image, path=wish.path, sha256="0" * 64)]
            case NameWanted():
                return [NameResolved(time_ms=now_ms, uid=wish.uid, name="alice")]
            case EnvironmentOpened():
                return []


class MadeUpHost:
    """What the recorder looks up: changes of files are put into `queue`."""

    def __init__(self) -> None:
        self.queue = FileQueue()
        self.roots: list[str] = []
        self.overflows = 0

    def set_roots(self, roots: list[str]) -> None:
        self.roots = roots

    def take_files(self, done: int, wanted: int) -> FilesAnswer:
        first, groups = self.queue.take(done, wanted)
        return FilesAnswer(first=first, groups=groups, overflows=self.overflows)

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        return None

    def login_uid(self, pid: int, uid: int) -> int | None:
        return {(7, 0): 1001}.get((pid, uid))

    def is_outdated(self) -> bool:
        return False


def config_of(folder: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})


def records_of(number: int, now_ms: int) -> bytes:
    """An install with a password on its command line, a script, and the ends of both."""
    pid = 100 + number % 50 * 2
    lines: list[str] = []
    words = [
        [f"{PREFIX}/bin/python", f"{PREFIX}/bin/pip", "install", "--index-url=https://u:s3cret@i.example/simple", f"p{number}"]
    ]
    words.append([f"{PREFIX}/bin/python", f"/home/alice/train{number % 3}.py"])
    for at, argv in enumerate(words):
        who = f'ppid=50 pid={pid + at} auid=1001 uid=1001 ses=3 comm="python" exe="{PREFIX}/bin/python"'
        stamp = f"msg=audit({now_ms // 1000}.{now_ms % 1000:03d}:{10 * number + at})"
        execve = " ".join(f'a{place}="{word}"' for place, word in enumerate(argv))
        lines += [f'type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 {who} key="k"']
        lines += [f"type=EXECVE {stamp}: argc={len(argv)} {execve}", f"type=EOE {stamp}: "]
        stamp = f"msg=audit({now_ms // 1000}.{now_ms % 1000:03d}:{10 * number + 5 + at})"
        lines += [f'type=SYSCALL {stamp}: arch=c000003e syscall=231 a0=0 items=0 {who} key="k"', f"type=EOE {stamp}: "]
    return "".join(f"{line}\n" for line in lines).encode()


def watch(folder: Path, first: int, count: int = 1 << 30) -> None:
    with open_trail(config_of(folder), world=MadeUpWorld()) as opened:
        now_ms = int(time.time() * 1000)
        started = AgentStarted(time_ms=now_ms, node="n", boot_id="b", kernel="k", version="v", source="netlink")
        opened.pipeline.observe([started], now_ms)
        opened.pipeline.take_up(now_ms)
        print("watching", flush=True)
        for number in range(first, first + count):
            now_ms = int(time.time() * 1000)
            opened.take(Block(records=records_of(number, now_ms)), now_ms)
            if number % SEAL_EACH == SEAL_EACH - 1:
                opened.writer.seal()


def record(folder: Path) -> None:
    """Records of the made-up machine as fast as they can be appended, in a process that never waits for its agent."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    config = config_of(folder)
    writer = TrailWriter(config, hints(config.interpret.ai_agents))
    channels: list[RecorderChannel] = []
    recorder = Recorder(
        assembler=make_assembler(config), writer=writer, node="n", origin=Origin(), on_append=lambda _: channels[-1].notify()
    )
    writer.carry = recorder.carried
    now_ms = int(time.time() * 1000)
    agent = start_agent(folder, recorder, writer, channels)
    recorder.append([AgentStarted(time_ms=now_ms, node="n", boot_id="b", kernel="k", version="v", source="netlink")], now_ms)
    number = 0
    while not stopped:
        time.sleep(0.02)
        now_ms = int(time.time() * 1000)
        recorder.read(Block(records=records_of(number, now_ms)), now_ms)
        number += 1
        if number % SEAL_EACH == 0:
            with recorder.lock:
                writer.seal()
        if agent.poll() is not None:
            agent = start_agent(folder, recorder, writer, channels)
    since_s, end = time.monotonic(), writer.committed().position
    while agent.poll() is None and time.monotonic() - since_s < 2:
        time.sleep(0.05)
        with recorder.lock:
            now = writer.committed().position
        if followed(folder) != now or now != end:
            since_s, end = time.monotonic(), now
    agent.kill()
    agent.wait()
    channels[-1].close()
    writer.close()
    print(f"recorded {number}", flush=True)


def start_agent(
    folder: Path, recorder: Recorder, writer: TrailWriter, channels: list[RecorderChannel]
) -> subprocess.Popen[bytes]:
    channels.append(RecorderChannel(recorder, writer.committed, MadeUpHost()))
    for before in channels[:-1]:
        before.close()
    del channels[:-1]
    ends = channels[-1].agent_ends
    words = [sys.executable, __file__, str(folder), "follow", *map(str, ends.all)]
    agent = subprocess.Popen(words, pass_fds=ends.all)
    ends.close()
    print(agent.pid, flush=True)
    return agent


def followed(folder: Path) -> Position | None:
    with closing(sqlite3.connect(Layout(folder).state)) as database:
        row = database.execute("SELECT doc FROM cursors WHERE source = 'trail'").fetchone()
    return msgspec.json.decode(row[0], type=Position) if row else None


def follow(folder: Path, ends: Ends) -> None:
    with follow_trail(config_of(folder), ends, make_world=lambda _: MadeUpWorld()) as trail:
        trail.pipeline.take_up(int(time.time() * 1000))
        print("following", flush=True)
        while True:
            trail.channel.wait(200)
            trail.pipeline.turn((), int(time.time() * 1000))


def differences(folder: Path, copy: Path) -> list[str]:
    """What the state of a trail and what is derived from a copy of it say otherwise, field by field."""
    rebuild_state(config_of(copy))
    with (
        closing(connect(Layout(folder).state, read_only=True)) as shown,
        closing(connect(Layout(copy).state, read_only=True)) as derived,
    ):
        return [fault.what for difference in compare_tables(shown, derived) for fault in difference.faults()]


if __name__ == "__main__":
    match sys.argv[1:]:
        case [place, "watch", first]:
            watch(Path(place), int(first))
        case [place, "record"]:
            record(Path(place))
        case [place, "follow", requests, notices, facts]:
            follow(Path(place), Ends(requests=int(requests), notices=int(notices), facts=int(facts)))
