"""What the agent and the recorder say of themselves: as they wrote it, while they run."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.model.proof import Proof, Proofs
from envtrail.state.agent_status import (
    FILE_NAME,
    RECORDER_FILE,
    AgentStatus,
    RecorderFigures,
    RecorderStatus,
    is_recorded,
    read_own_usage,
    read_proofs,
    read_recorder_status,
    read_status,
    write_proofs,
    write_recorder_status,
    write_status,
)

NOW = 1_800_000_000_000
NOBODY = 1 << 23
"""Beyond the kernel's greatest pid."""


def status(**words: Any) -> AgentStatus:
    base: dict[str, Any] = {"pid": os.getpid(), "version": "1", "started_ms": NOW, "updated_ms": NOW, "source": "netlink"}
    base |= {"rules": None, "kernel": None, "counters": {"events": 3}, "lag_ms": 4, "cpu_s": 0.5, "rss_bytes": 6}
    return AgentStatus(**{**base, **words})


def recorder(**words: Any) -> RecorderStatus:
    figures = RecorderFigures(source="netlink", rules=None, kernel=None, counters={}, full_since_ms=None)
    base: dict[str, Any] = {"pid": os.getpid(), "started_ms": NOW, "updated_ms": NOW, "figures": figures, "protocol": 2}
    return RecorderStatus(**{**base, **words})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path


def test_an_agent_is_as_it_said_for_fifteen_seconds(folder: Path) -> None:
    assert read_status(folder, NOW) is read_status(folder, NOW, running_only=False) is None
    write_status(folder, status())
    assert read_status(folder, NOW + 14_999) == status()
    assert read_status(folder, NOW + 15_000) is None
    assert read_status(folder, NOW + 15_000, running_only=False) == status()


def test_an_agent_that_is_no_process_does_not_run(folder: Path) -> None:
    write_status(folder, status(pid=NOBODY))
    assert read_status(folder, NOW) is None
    assert read_status(folder, NOW, running_only=False) == status(pid=NOBODY)


def test_what_an_older_version_wrote_beside_the_segments_counts_until_there_is_a_newer_one(folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(msgspec.json.encode(status(version="0")))
    assert read_status(folder, NOW) == status(version="0")
    write_status(folder, status())
    assert read_status(folder, NOW) == status()


def test_a_recorder_is_as_it_said_and_needs_no_agent(folder: Path) -> None:
    assert read_recorder_status(folder) is None
    assert not is_recorded(folder, NOW)
    write_recorder_status(folder, recorder())
    assert read_recorder_status(folder) == recorder()
    assert is_recorded(folder, NOW + 14_999)
    assert not is_recorded(folder, NOW + 15_000)
    write_recorder_status(folder, recorder(pid=NOBODY))
    assert not is_recorded(folder, NOW)


def test_what_canaries_said_is_kept(folder: Path) -> None:
    proofs = Proofs(time_ms=NOW, results=[Proof(result="proven", rule="-a x", how="read")])
    assert read_proofs(folder) is None
    write_proofs(folder, proofs)
    assert read_proofs(folder) == proofs


def test_what_cannot_be_read_says_nothing(folder: Path) -> None:
    for name in (RECORDER_FILE, f"state/{FILE_NAME}", "proofs.json"):
        (folder / name).write_bytes(b"{")
    assert read_status(folder, NOW) is read_recorder_status(folder) is read_proofs(folder) is None


def test_the_file_is_replaced_whole_and_its_group_may_read_it(folder: Path) -> None:
    file = folder / RECORDER_FILE
    write_recorder_status(folder, recorder(protocol=1))
    left = folder / f"{RECORDER_FILE}.part"
    left.write_bytes(b"left behind" * 999)
    left.chmod(0)
    with file.open("rb") as reader:
        write_recorder_status(folder, recorder())
        assert msgspec.json.decode(reader.read(), type=RecorderStatus) == recorder(protocol=1)
    assert read_recorder_status(folder) == recorder()
    assert file.stat().st_mode & 0o040
    assert sorted(os.listdir(folder)) == [RECORDER_FILE, "state"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_on_a_full_disk_alone_the_file_is_written_where_it_lies(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_status(folder, status(counters={"a long name": 1}))

    def fail(path: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    if number == errno.EACCES:
        with pytest.raises(PermissionError):
            write_status(folder, status())
        return
    write_status(folder, status())
    assert read_status(folder, NOW) == status()
    assert os.listdir(folder / "state") == [FILE_NAME]
    (folder / "state" / FILE_NAME).unlink()
    write_status(folder, status())
    assert os.listdir(folder / "state") == []


def test_what_this_process_has_used() -> None:
    while os.times().system < 0.1:
        os.listdir("/proc/self/fd")
    cpu_s, rss_bytes = read_own_usage()
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert cpu_s == pytest.approx(used.ru_utime + used.ru_stime, abs=0.05)
    assert used.ru_maxrss * 1024 / 4 < rss_bytes <= used.ru_maxrss * 1024 * 1.1
