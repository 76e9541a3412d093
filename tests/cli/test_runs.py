"""`envtrail runs` over an imported log: a torchrun with its workers, the distribution's own programs, a loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

Ask = dict[str, str]


class Log:
    """Records as the kernel writes them, a second apart."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.serial = 500

    def _stamp(self) -> str:
        self.serial += 1
        return f"msg=audit({1764000000 + self.serial}.000:{self.serial})"

    def _who(self, pid: int, ppid: int, uid: int, exe: str) -> str:
        return f'ppid={ppid} pid={pid} auid={uid} uid={uid} gid={uid} euid={uid} ses=3 tty=pts0 comm="python" exe="{exe}" key="python_script_exec"'

    def begin(self, pid: int, ppid: int, *argv: str, uid: int = 1001, exe: str = "/usr/bin/python3.11") -> None:
        stamp = self._stamp()
        words = " ".join(f'a{at}="{word}"' for at, word in enumerate(argv))
        self.lines += [
            f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=1 {self._who(pid, ppid, uid, exe)}",
            f"type=EXECVE {stamp}: argc={len(argv)} {words}",
            f'type=CWD {stamp}: cwd="/work"',
            f'type=PATH {stamp}: item=0 name="{argv[0]}" inode=1 mode=0100755 ouid=0 nametype=NORMAL',
            f"type=PROCTITLE {stamp}: proctitle=78",
        ]

    def end(self, pid: int, ppid: int, code: int = 0, *, uid: int = 1001) -> None:
        stamp = self._stamp()
        who = self._who(pid, ppid, uid, "/usr/bin/python3.11")
        self.lines += [
            f"type=SYSCALL {stamp}: arch=c000003e syscall=231 success=yes exit=0 a0={code:x} items=0 {who}",
            f"type=PROCTITLE {stamp}: proctitle=78",
        ]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    log = Log()
    log.begin(200, 100, "/v/bin/python", "/v/bin/torchrun", "--nproc-per-node=2", "train.py")
    for pid in (201, 202):
        log.begin(pid, 200, "/v/bin/python", "-u", "train.py", f"--local-rank={pid - 201}")
    log.begin(203, 201, "/v/bin/python", "-c", "from multiprocessing.spawn import spawn_main", "--multiprocessing-fork")
    log.end(203, 201)
    log.begin(204, 201, "/v/bin/python", "-m", "tensorboard.main")
    log.end(204, 201)
    log.end(201, 200)
    log.end(202, 200, 7)
    log.end(200, 100, 1)
    log.begin(210, 100, "/usr/bin/python3", "/usr/share/apt-x/notify", uid=0)
    log.end(210, 100, uid=0)
    for pid in range(220, 228):
        log.begin(pid, 100, "/v/bin/python", "poll.py")
        log.end(pid, 100)
    log.begin(240, 100, "/v/bin/python", "endless.py")
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "audit.log"
    path.write_text("\n".join(log.lines) + "\n")
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder / "trail"), "ENVTRAIL_NODE": "n", "NO_COLOR": "1"}
    assert ask(environment, "import", str(path)).returncode == 0
    return environment


def ask(environment: Ask, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "envtrail", *words], env=environment, check=False, capture_output=True, text=True
    )


def documents(environment: Ask, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in ask(environment, "runs", "--json", "--reverse", *words).stdout.splitlines()]


def programs(environment: Ask, *words: str) -> Sequence[object]:
    return [run["program"] for run in documents(environment, *words)]


def test_a_launchers_workers_stand_below_it(trail: Ask) -> None:
    launcher, *workers, board = documents(trail)[:4]
    assert (launcher["kind"], launcher["program"], launcher["exit_code"]) == ("launcher", "/v/bin/torchrun", 1)
    assert [(run["kind"], run["program"], run["exit_code"], run["parent"]) for run in workers] == [
        ("script", "/work/train.py", 0, launcher["id"]),
        ("script", "/work/train.py", 7, launcher["id"]),
    ]
    assert (board["kind"], board["parent"]) == ("module", workers[0]["id"])
    tree = ask(trail, "runs", "--tree", "--reverse").stdout.splitlines()
    shown = [line for line in tree if "torchrun" in line or "train.py" in line or "tensorboard" in line]
    assert [
        "torchrun" in shown[0],
        "  /work/train.py" in shown[1],
        "    tensorboard.main" in shown[2],
        "train.py" in shown[3],
    ] == [True] * 4


def test_the_distributions_programs_are_shown_on_request(trail: Ask) -> None:
    assert "/usr/share/apt-x/notify" not in programs(trail)
    assert programs(trail, "--kind", "system") == ["/usr/share/apt-x/notify"]
    assert "/usr/share/apt-x/notify" in programs(trail, "--all")


def test_a_loop_is_one_line_with_its_count(trail: Ask) -> None:
    (row,) = documents(trail, "--script", "poll.py")
    assert row["count"] == 8
    assert len(documents(trail, "--script", "poll.py", "--all")) == 8
    (line,) = [line for line in ask(trail, "runs").stdout.splitlines() if "poll.py" in line]
    assert "  8  " in line
    assert "8 times" in ask(trail, "show", str(row["id"])).stdout


def test_a_log_that_ends_too_early_leaves_an_end_unknown_not_running(trail: Ask) -> None:
    (run,) = documents(trail, "--script", "endless.py")
    assert run["absent"]["ended"] == "its end was not recorded"  # type: ignore[index]
    (line,) = [line for line in ask(trail, "runs").stdout.splitlines() if "endless.py" in line]
    assert "unknown" in line
    assert "ended: its end was not recorded" in ask(trail, "show", str(run["id"])).stdout


def test_a_question_without_an_answer_ends_with_one(trail: Ask) -> None:
    for words in (("--sha256", "ab%"), ("--snapshot", "ab"), ("--script", "none.py"), ("--kind", "kernel")):
        assert ask(trail, "runs", *words).returncode == 1, words
