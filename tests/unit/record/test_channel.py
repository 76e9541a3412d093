"""The channel between the recorder and its agent: what is kept is answered, what is wrong ends it, nobody waits."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from follow_lab import NOW_MS, MadeUpHost, config_of, records_of

from envtrail.capture.source import Block
from envtrail.core import Assembler
from envtrail.errors import CannotRunError
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation
from envtrail.record.channel import AppenderChannel, RecorderChannel
from envtrail.record.recorder import Recorder
from envtrail.trail.layout import Layout, no_space
from envtrail.trail.parse import Origin
from envtrail.trail.reader import Step
from envtrail.trail.writer import TrailWriter


def gap(id_: str) -> GapFound:
    found = Gap(id=id_, cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="")
    return GapFound(time_ms=1, gap=found)


class Pair:
    """A recorder and what an agent has of it, in one process."""

    def __init__(self, folder: Path, writer: TrailWriter) -> None:
        self.watched: list[list[Environment]] = []
        self.recorder = Recorder(
            assembler=Assembler(node="n"), writer=writer, node="n", origin=Origin(), on_append=lambda _: self.theirs.notify()
        )
        self.theirs = RecorderChannel(self.recorder, writer.committed, MadeUpHost(), self.watched.append)
        self.ours = AppenderChannel(self.theirs.agent_ends, Layout(folder))
        assert list(self.ours.begin(0)) == []

    def taken(self) -> list[Observation]:
        """Observations of all steps that can be read."""
        found: list[Observation] = []
        while steps := self.ours.take():
            found += [item for one in steps for item in one.step.observations]
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with closing(TrailWriter(config_of(tmp_path), [])) as writer:
        made = Pair(tmp_path, writer)
        yield made
        made.ours.close()
        made.theirs.close()


def test_what_the_agent_has_appended_comes_back_at_its_place(pair: Pair) -> None:
    pair.recorder.append([gap("a")], NOW_MS)
    assert pair.ours.append([gap("b")], NOW_MS)
    pair.recorder.append([gap("c")], NOW_MS)
    assert pair.ours.wait(1000)
    assert pair.taken() == [gap("a"), gap("b"), gap("c")]
    assert pair.ours.take() == []


def test_records_are_reported_without_a_request(pair: Pair) -> None:
    assert not pair.ours.wait(0)
    pair.recorder.read(Block(records=records_of(1, NOW_MS)), NOW_MS)
    assert pair.ours.wait(1000)
    assert [one.is_parsed for one in pair.ours.take()] == [False]


def test_an_agent_that_reads_nothing_delays_nobody(pair: Pair) -> None:
    for number in range(5000):
        pair.recorder.append([gap(str(number))], NOW_MS)
    assert len(pair.taken()) < 5000
    pair.ours.append([gap("last")], NOW_MS)
    assert pair.taken()[-1] == gap("last")


def test_a_full_disk_is_answered_and_what_is_noted_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: TrailWriter, records: bytes, observations: Sequence[Observation]) -> Step:
        raise no_space(writer.layout.folder)

    pair.recorder.on_full = lambda _: None
    with monkeypatch.context() as patched:
        patched.setattr(TrailWriter, "append", full)
        assert not pair.ours.append([gap("refused")], NOW_MS)
        pair.ours.note([gap("noted")], NOW_MS)
        assert pair.ours.full_since_ms == NOW_MS
    pair.recorder.look_for_room(NOW_MS + 1)
    assert pair.ours.append([gap("kept")], NOW_MS + 1)
    pair.ours.note([], NOW_MS + 1)
    assert pair.taken()[-2:] == [gap("kept"), gap("noted")]


def test_places_of_environments_go_to_the_rules(pair: Pair) -> None:
    pair.ours.watch([Environment(prefix="/srv/ml", kind="venv")])
    assert [[one.prefix for one in places] for places in pair.watched] == [["/srv/ml"]]


def test_the_trail_is_written_while_the_places_of_environments_are_looked_at(tmp_path: Path) -> None:
    """A folder of a user may let whoever looks at it wait."""
    looking, goes_on = Event(), Event()

    def look(_: list[Environment]) -> None:
        looking.set()
        assert goes_on.wait(10)

    with closing(TrailWriter(config_of(tmp_path), [])) as writer:
        recorder = Recorder(assembler=Assembler(node="n"), writer=writer, node="n", origin=Origin(), on_append=lambda _: None)
        theirs = RecorderChannel(recorder, writer.committed, MadeUpHost(), look)
        ours = AppenderChannel(theirs.agent_ends, Layout(tmp_path))
        with ThreadPoolExecutor(2) as threads:
            watched = threads.submit(ours.watch, [])
            assert looking.wait(10)
            try:
                assert threads.submit(recorder.append, [gap("a")], NOW_MS).result(5)
            finally:
                goes_on.set()
            watched.result(10)
        ours.close()
        theirs.close()


def test_an_agent_without_its_recorder_says_so(pair: Pair) -> None:
    pair.theirs.close()
    with pytest.raises(CannotRunError, match="the recorder has ended"):
        pair.ours.append([gap("a")], NOW_MS)
    with pytest.raises(CannotRunError, match="the recorder has ended"):
        pair.ours.wait(100)


@pytest.mark.parametrize("message", [b"not JSON", b'{"type":"append"}', b'{"type":"other"}', b""])
def test_a_message_that_is_wrong_ends_its_channel_alone(tmp_path: Path, message: bytes) -> None:
    with closing(TrailWriter(config_of(tmp_path), [])) as writer:
        recorder = Recorder(assembler=Assembler(node="n"), writer=writer, node="n", origin=Origin())
        channel = RecorderChannel(recorder, writer.committed, MadeUpHost())
        ends = channel.agent_ends
        with socket.socket(fileno=ends.requests) as agent, socket.socket(fileno=ends.notices), socket.socket(fileno=ends.facts):
            agent.settimeout(5)
            agent.sendall(struct.pack("!I", len(message)) + message)
            channel.close()
            assert agent.recv(100) == b""
        assert recorder.append([gap("a")], NOW_MS)
