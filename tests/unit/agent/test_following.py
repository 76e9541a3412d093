"""The interpreting half follows the trail: what was appended takes effect once, whenever it was killed and wherever it goes on."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import follow_lab
import pytest
from audit_lab import wait_until
from follow_lab import NOW_MS, MadeUpWorld, config_of, differences, records_of, watch

from envtrail.agent.build import make_assembler, open_trail
from envtrail.capture.source import Block
from envtrail.interpret.tools import hints
from envtrail.model.observation import CursorMoved, ScriptSeen, SnapshotTaken
from envtrail.record.recorder import Recorder
from envtrail.state.state import State
from envtrail.tasks.verify import verify_trail
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.reader import Position, iterate_steps
from envtrail.trail.writer import TrailWriter


def redacted(folder: Path) -> int:
    with closing(sqlite3.connect(Layout(folder).state)) as database:
        return int(database.execute("SELECT coalesce(sum(count), 0) FROM redactions").fetchone()[0])


def end_of(folder: Path) -> Position:
    *_, last = iterate_steps(Layout(folder))
    return last.end


def position_of(folder: Path) -> Position | None:
    with closing(State(Layout(folder).state)) as state:
        return state.position()


def go_on(folder: Path) -> None:
    with open_trail(config_of(folder), world=MadeUpWorld()) as opened:
        opened.pipeline.take_up(int(time.time() * 1000))


def check_whole(folder: Path) -> None:
    """The state holds what the evidence makes, no more and no less."""
    copy = folder.with_name(folder.name + ".copy")
    shutil.copytree(folder, copy)
    assert differences(folder, copy) == []


def test_a_state_says_how_far_it_has_followed(tmp_path: Path) -> None:
    watch(tmp_path, 0, 3)
    assert position_of(tmp_path) == end_of(tmp_path)


@pytest.mark.parametrize("count", [1, 60])
def test_what_was_appended_and_had_not_reached_the_state_counts_once(tmp_path: Path, count: int) -> None:
    """Also where the state is more than one segment behind."""
    folder, behind = tmp_path / "trail", tmp_path / "state"
    watch(folder, 0, 30)
    before = redacted(folder)
    shutil.copy(Layout(folder).state, behind)
    watch(folder, 30, count)
    expected = redacted(folder)
    assert expected == before // 30 * (30 + count)
    shutil.copy(behind, Layout(folder).state)
    go_on(folder)
    assert redacted(folder) == expected
    go_on(folder)
    assert redacted(folder) == expected
    check_whole(folder)


def test_a_state_that_was_deleted_is_derived_again_from_the_whole_trail(tmp_path: Path) -> None:
    watch(tmp_path / "trail", 0, 130)
    Layout(tmp_path / "trail").state.unlink()
    go_on(tmp_path / "trail")
    assert position_of(tmp_path / "trail") == end_of(tmp_path / "trail")
    check_whole(tmp_path / "trail")


def test_a_state_of_a_version_that_did_not_say_how_far_it_was_is_counted_once(tmp_path: Path) -> None:
    watch(tmp_path, 0, 5)
    expected = redacted(tmp_path)
    with closing(sqlite3.connect(Layout(tmp_path).state)) as database, database:
        database.execute("DELETE FROM cursors")
        # It noted each environment that it saw.
        database.execute("INSERT INTO environments VALUES ('/x', 1, 0, '{}')")
    go_on(tmp_path)
    assert redacted(tmp_path) == expected


def test_the_place_of_a_source_is_still_compared(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    with open_trail(config_of(folder), world=MadeUpWorld()) as opened:
        opened.pipeline.observe([CursorMoved(time_ms=1, source="auditd_log", position={"offset": 7})], 1)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with closing(sqlite3.connect(Layout(folder).state)) as database, database:
        database.execute("UPDATE cursors SET doc = '{\"offset\":8}' WHERE source = 'auditd_log'")
    assert len(differences(folder, copy)) == 1


@pytest.mark.timeout(300)
def test_an_agent_that_is_killed_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    folder, dice = tmp_path / "trail", random.Random()
    for kill in range(4):
        agent = subprocess.Popen(
            [sys.executable, follow_lab.__file__, str(folder), "watch", str(kill * 10_000)], stdout=subprocess.PIPE
        )
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"watching\n"
        time.sleep(dice.uniform(0.05, 0.6))
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        agent.stdout.close()
    go_on(folder)
    assert redacted(folder) > 0
    check_whole(folder)


@pytest.mark.timeout(300)
def test_the_agent_of_a_recorder_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    """The recorder goes on meanwhile, seals, and declares no gap; the agent that is started again goes on where the other was."""
    folder, dice = tmp_path / "trail", random.Random()
    recorder = subprocess.Popen([sys.executable, follow_lab.__file__, str(folder), "record"], stdout=subprocess.PIPE, text=True)
    assert recorder.stdout is not None
    lines = iter(recorder.stdout.readline, "")
    try:
        for kill in range(4):
            # One that was killed may have caught up before.
            agent = next(int(line) for line in lines if line != "following\n")
            if kill % 3:
                assert next(lines) == "following\n"
            time.sleep(dice.uniform(0.05, 0.6))
            os.kill(agent, signal.SIGKILL)
        assert next(int(line) for line in lines if line != "following\n")
        assert next(lines) == "following\n"
        wait_until(lambda: len(Layout(folder).numbers()) > 2, "a third segment")
        recorder.terminate()
        last = [*lines][-1].split()
        assert recorder.wait(60) == 0
    finally:
        recorder.kill()
        recorder.wait()
        recorder.stdout.close()
    assert last[0] == "recorded"
    count = int(last[1])
    records = b"".join(step.records for step in iterate_steps(Layout(folder)))
    serials = {int(found) for found in re.findall(rb":(\d+)\)", records)}
    assert serials == {10 * number + part for number in range(count) for part in (0, 1, 5, 6)}
    assert position_of(folder) == end_of(folder)
    with closing(sqlite3.connect(Layout(folder).state)) as database:
        assert database.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM operations WHERE kind != 'tamper'").fetchone() == (count,)
    assert len(Layout(folder).numbers()) > 2
    assert verify_trail(config_of(folder), is_quick=False).faults == []
    check_whole(folder)


def test_what_was_appended_while_no_agent_ran_is_asked_when_one_starts(tmp_path: Path) -> None:
    """Of a script that began meanwhile the content is read, and of a uid the name; nothing is asked twice."""
    folder = tmp_path / "trail"
    watch(folder, 0, 1)
    started_ms = max(item.time_ms for step in iterate_steps(Layout(folder)) for item in step.observations)
    config = config_of(folder)
    writer = TrailWriter(config, hints(config.interpret.ai_agents))
    recorder = Recorder(assembler=make_assembler(config), writer=writer, node="n", origin=Origin(), on_append=lambda _: None)
    recorder.read(Block(records=records_of(1, NOW_MS)), NOW_MS)
    writer.close()
    for _ in range(2):
        go_on(folder)
    found = [item for step in iterate_steps(Layout(folder)) for item in step.observations]
    scripts = [item.path for item in found if isinstance(item, ScriptSeen)]
    assert scripts == ["/home/alice/train0.py", "/home/alice/train1.py"]
    images = [item.image for item in found if isinstance(item, SnapshotTaken) and item.time_ms > started_ms]
    assert len(images) == len(set(images)) == 1
    check_whole(folder)


def test_an_agent_that_starts_again_knows_the_people_of_the_segments_before(tmp_path: Path) -> None:
    """A name is asked for every five minutes: who goes on two segments later has not read the answer."""
    watch(tmp_path / "trail", 0, 90)
    watch(tmp_path / "trail", 90, 2)
    check_whole(tmp_path / "trail")


def test_nothing_takes_effect_that_was_not_appended(tmp_path: Path) -> None:
    """The disk is full: neither what a source reads nor what was observed reaches the state."""
    with open_trail(config_of(tmp_path).replaced("test", {"store.min_free_bytes": 1 << 60}), world=MadeUpWorld()) as opened:
        faults: list[object] = []
        opened.recorder.on_full = faults.append
        opened.take(Block(records=records_of(1, 1_764_000_000_000)), 1_764_000_000_000)
        assert not opened.pipeline.observe([CursorMoved(time_ms=1, source="auditd_log", position={"offset": 7})], 1)
        assert len(faults) == 1
        assert opened.state.cursor("auditd_log") is None
        assert opened.state.is_empty()
