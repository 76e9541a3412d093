"""A recorder begins a trail with what the log holds, or takes over one that another process wrote: nothing twice, and the gap is entered."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from follow_lab import NOW_MS, config_of
from logs import pip_log

from envtrail.agent.build import make_assembler, open_trail
from envtrail.agent.halves import last_moment
from envtrail.agent.importing import import_earlier
from envtrail.agent.recorder_service import _status_before, know_trail
from envtrail.agent.world import ImportedWorld
from envtrail.capture.source import Block
from envtrail.interpret.tools import hints
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged
from envtrail.record.file_queue import SeenFiles
from envtrail.record.recorder import Recorder
from envtrail.state.agent_status import (
    AgentStatus,
    RecorderFigures,
    RecorderStatus,
    write_recorder_status,
    write_status,
)
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.reader import iterate_steps
from envtrail.trail.writer import TrailWriter


def test_what_the_log_held_and_the_source_gives_again_is_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(pip_log(["install", "older"], pid=200, serial=20) + pip_log(["install", "both"], pid=300, serial=30))
    config = config_of(tmp_path / "trail").replaced("test", {"capture.audit_log": str(log)})
    with open_trail(config, world=ImportedWorld()) as opened:
        assert import_earlier(opened, config) == []
    with closing(TrailWriter(config, hints(config.interpret.ai_agents))) as writer:
        recorder = Recorder(
            assembler=make_assembler(config), writer=writer, node=config.node, origin=Origin(), on_append=lambda _: None
        )
        know_trail(recorder, writer.layout, has_imported=True)
        again = pip_log(["install", "both"], pid=300, serial=30) + pip_log(["install", "newer"], pid=400, serial=40)
        recorder.read(Block(records=again.encode()), int(time.time() * 1000))
        recorder.read(Block(records=b"", ended=True), int(time.time() * 1000))
    records = b"".join(step.records for step in iterate_steps(Layout(config.data_dir)))
    for argument in (b"older", b"both", b"newer"):
        assert records.count(b'"' + argument + b'"') == 1, records.decode()


def recorder_status(updated_ms: int) -> RecorderStatus:
    figures = RecorderFigures(source="netlink", rules=None, kernel=None, counters={}, full_since_ms=None)
    return RecorderStatus(pid=1, started_ms=1, updated_ms=updated_ms, figures=figures)


def agent_status(updated_ms: int, *, follows: bool) -> AgentStatus:
    return AgentStatus(
        pid=1, version="1", started_ms=1, updated_ms=updated_ms, source="netlink", rules=None, kernel=None, counters={}, lag_ms=0,
        cpu_s=0, rss_bytes=0, follows=follows,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recorder_ms", "agent_ms", "follows", "since_ms"),
    [
        (None, None, False, None),
        (None, 5_000, False, 5_000),  # the single unit of an older version
        (5_000, None, False, 5_000),
        (5_000, 6_000, True, 5_000),  # its agent, a moment later
        (5_000, 900_000, True, 5_000),  # its agent, long after a recorder that hung
        (5_000, 900_000, False, 900_000),  # `envtrail up` meanwhile
        (900_000, 5_000, False, 900_000),
    ],
)
def test_the_gap_begins_where_the_last_process_that_recorded_ended(
    tmp_path: Path, recorder_ms: int | None, agent_ms: int | None, follows: bool, since_ms: int | None
) -> None:
    if recorder_ms is not None:
        write_recorder_status(tmp_path, recorder_status(recorder_ms))
    if agent_ms is not None:
        (tmp_path / "state").mkdir()
        write_status(tmp_path, agent_status(agent_ms, follows=follows))
    assert last_moment(_status_before(config_of(tmp_path))) == since_ms


def test_the_status_of_an_older_version_counts_too(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    write_status(tmp_path, agent_status(5_000, follows=False))
    (tmp_path / "state/agent.json").rename(tmp_path / "agent.json")
    assert last_moment(_status_before(config_of(tmp_path))) == 5_000


def test_what_the_agent_before_had_appended_is_not_appended_again(tmp_path: Path) -> None:
    """The recorder gives again what it does not know to be done with: an agent may be killed between the two."""

    def seen(pid: int) -> SeenFiles:
        files = [("/srv/ml/lib/x.py", "written")]
        return SeenFiles(time_ms=NOW_MS, until_ms=NOW_MS, pid=pid, root="/srv/ml", files=files, total=1, gone=False, uid=1001)

    def changed(folder: Path, *pids: int) -> list[int]:
        """An agent that gets these, and everything that was appended."""
        with open_trail(config_of(folder), world=ImportedWorld()) as opened:
            opened.pipeline.files.watch({"/srv/ml": Environment(prefix="/srv/ml", kind="venv")})
            opened.pipeline.turn([seen(pid) for pid in pids], NOW_MS)
            opened.pipeline.turn([], NOW_MS + 60_000)
        steps = iterate_steps(Layout(folder))
        return [item.pid for step in steps for item in step.observations if isinstance(item, FilesChanged)]

    assert changed(tmp_path, 7, 8) == [7, 8]
    assert changed(tmp_path, 8, 9) == [7, 8, 9]
