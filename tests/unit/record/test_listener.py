"""An agent that the recorder has not started: it gets a channel, one at a time, and from its own recorder alone."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from audit_lab import open_folders, wait_until
from follow_lab import NOW_MS, MadeUpHost, config_of, records_of

from envtrail.capture.source import Block
from envtrail.core import Assembler
from envtrail.errors import CannotRunError
from envtrail.record import listener
from envtrail.record.channel import AppenderChannel, RecorderChannel
from envtrail.record.listener import AgentListener, connect_recorder
from envtrail.record.recorder import Recorder
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.writer import TrailWriter


class Recording:
    """A recorder that listens."""

    def __init__(self, folder: Path, writer: TrailWriter) -> None:
        self.folder = folder
        self.recorder = Recorder(
            assembler=Assembler(node="n"), writer=writer, node="n", origin=Origin(), on_append=lambda _: self.listener.notify()
        )
        self.listener = AgentListener(folder, lambda: RecorderChannel(self.recorder, writer.committed, MadeUpHost()))

    def agent(self) -> AppenderChannel:
        return AppenderChannel(connect_recorder(self.folder), Layout(self.folder))


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    with closing(TrailWriter(config_of(tmp_path), [])) as writer:
        made = Recording(tmp_path, writer)
        yield made
        made.listener.close()


def test_an_agent_that_connects_follows_and_is_notified(recording: Recording) -> None:
    with closing(recording.agent()) as agent:
        assert list(agent.begin(0)) == []
        recording.recorder.read(Block(records=records_of(1, NOW_MS)), NOW_MS)
        assert agent.wait(2000)
        assert len(agent.take()) == 1
        assert not agent.host.is_outdated()


def test_one_agent_at_a_time_and_the_next_when_it_has_ended(recording: Recording) -> None:
    first = recording.agent()
    with pytest.raises(CannotRunError, match="another agent is connected"):
        recording.agent()
    assert first.append([], NOW_MS)
    first.close()
    with closing(recording.agent()) as second:
        recording.recorder.read(Block(records=records_of(1, NOW_MS)), NOW_MS)
        found = list(second.begin(0))
        assert len(found or (second.wait(2000) and second.take())) == 1


def test_an_agent_whose_recorder_ends_says_so(recording: Recording) -> None:
    with closing(recording.agent()) as agent:
        assert list(agent.begin(0)) == []
        recording.listener.close()
        with pytest.raises(CannotRunError, match="the recorder has ended"):
            agent.wait(1000)
    with pytest.raises(CannotRunError, match="no recorder of"):
        recording.agent()


def test_a_recorder_of_another_version_is_named(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(listener, "PROTOCOL", 99)
        welcomed = recording.agent()
    with pytest.raises(CannotRunError, match="another"):
        recording.agent()
    welcomed.close()
    wait_until(lambda: not recording.listener._channel.is_open(), "the end of the channel")  # type: ignore[union-attr]


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot become somebody else")
def test_somebody_else_gets_no_channel(recording: Recording) -> None:
    """Also where they have got to the socket."""
    open_folders(recording.folder)
    path = recording.folder / listener.SOCKET_FILE
    assert path.stat().st_mode & 0o777 == 0o660
    path.chmod(0o666)
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(5); "
        "s.connect(sys.argv[1]); print(socket.recv_fds(s, 100, 3)[:2])"
    )
    command = ["/usr/bin/python3", "-c", program, str(path)]
    done = subprocess.run(command, user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(b'', [])\n", "")


def test_who_connects_and_takes_nothing_keeps_nobody_out(recording: Recording) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
        rude.connect(str(recording.folder / listener.SOCKET_FILE))
        with suppress(BrokenPipeError):  # It has been welcomed, and closed, before.
            rude.send(b"x" * 1000)
    with closing(recording.agent()) as agent:
        assert agent.append([], NOW_MS)
