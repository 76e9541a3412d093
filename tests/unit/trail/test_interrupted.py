"""What a kill, a power cut or damage leaves behind is taken up, or said; a pipe is read by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from log_lab import ALL, Trail, check_quotes

from envtrail.agent.build import open_trail
from envtrail.agent.importing import import_files
from envtrail.agent.world import ImportedWorld
from envtrail.capture.auditd_log import AuditdLogSource
from envtrail.capture.recognise import open_sources
from envtrail.config import Config, load_config
from envtrail.core import Assembler
from envtrail.errors import DamagedStoreError, InputError, StoreError
from envtrail.model.observation import (
    AgentStarted,
    Carried,
    ImportEnded,
    ImportStarted,
    Observation,
    ObservationEntry,
    encode_entry,
)
from envtrail.state.embedded import EmbeddedStore
from envtrail.trail.active_segment import ActiveSegment
from envtrail.trail.layout import OBSERVATIONS, Layout
from envtrail.trail.parse import Origin, push_step
from envtrail.trail.reader import Step, iterate_steps, records_after_cursor
from envtrail.trail.writer import TrailWriter

EXEC = (
    b"type=SYSCALL msg=audit(1764000000.%03d:%d): arch=c000003e syscall=59 success=yes exit=0 ppid=1 pid=%d "
    b'auid=1001 uid=1001 ses=1 comm="x" exe="/bin/x" key="k"\n'
)
CARRIED = Carried(time_ms=1, processes=msgspec.Raw(b'{"what":"tables"}'), interpretation=msgspec.Raw(b"{}"))


def config_for(folder: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})


def test_a_segment_whose_writer_was_killed_as_it_began_keeps_what_it_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TrailWriter(config_for(tmp_path), [])
    writer.carry = lambda: [CARRIED]
    writer.append(EXEC % (1, 1, 100), [])
    real = ActiveSegment.move

    def move(segment: ActiveSegment, folder: Path) -> None:
        if folder == writer.layout.active:
            raise KeyboardInterrupt
        real(segment, folder)

    monkeypatch.setattr(ActiveSegment, "move", move)
    with pytest.raises(KeyboardInterrupt):
        writer.seal(wait=True)
    writer.close()
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        writer.layout.active.stat()
    after = TrailWriter(config_for(tmp_path), [])
    assert after.number == 2
    after.append(EXEC % (2, 2, 101), [])
    after.close()
    steps = list(iterate_steps(Layout(tmp_path), first=2))
    assert [type(item) for step in steps for item in step.observations] == [Carried]


def test_after_an_import_that_was_killed_the_agent_knows_its_own_processes() -> None:
    """They would be looked for on the other machine."""
    assembler, origin = Assembler(node="n"), Origin()
    started = ImportStarted(time_ms=1, path="/x.log", size_bytes=1, node="n", log="/x.log")
    agent = AgentStarted(time_ms=2, node="n", boot_id="b", kernel="", version="", source="netlink")
    steps: list[tuple[bytes, list[Observation]]] = [(b"", [started]), (EXEC % (1, 1, 100), []), (b"", [agent])]
    for records, observations in [*steps, (EXEC % (2, 2, 101), [])]:
        push_step(assembler, records, observations, origin)
    assert assembler.image_of(100) is None
    assert assembler.image_of(101) is not None


@pytest.mark.parametrize(
    "line", [encode_entry(ObservationEntry(number=1, offset=0, observation=CARRIED)) + b"\n", b"\0\0\0\n", b'{"number":1\n']
)
def test_a_segment_that_begins_with_damage_is_named(tmp_path: Path, line: bytes) -> None:
    TrailWriter(config_for(tmp_path), []).close()
    (tmp_path / "hot" / OBSERVATIONS).write_bytes(line)
    log = tmp_path / "audit.log"
    log.write_bytes(EXEC % (1, 1, 100))
    with pytest.raises(StoreError, match="cannot be read") as raised:
        import_files(config_for(tmp_path), [log])
    assert isinstance(raised.value, DamagedStoreError)


def test_a_pipe_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    """Each would have read a part, in turn."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="named twice"):
        open_sources([pipe, pipe], "n")


class KilledError(BaseException):
    """As SIGKILL: nothing is written after it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, is_end: Callable[[bytes, Sequence[Observation]], bool]) -> None:
    """Let the writer be killed as it is to write something, for good."""
    real, is_killed = TrailWriter.append, False

    def append(writer: TrailWriter, records: bytes, observations: Sequence[Observation]) -> Step:
        nonlocal is_killed
        is_killed = is_killed or is_end(records, observations)
        if is_killed:
            raise KilledError
        return real(writer, records, observations)

    monkeypatch.setattr(TrailWriter, "append", append)


def test_an_import_that_was_killed_before_its_end_gives_the_same_when_it_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Path(__file__).parents[2] / "golden" / "pip" / "input.log"
    whole, killed = Trail(tmp_path / "whole"), Trail(tmp_path / "killed")
    whole.take(log)
    with monkeypatch.context() as patched:
        killed_at(patched, lambda _, observations: any(isinstance(item, ImportEnded) for item in observations))
        with pytest.raises(KilledError):
            killed.take(log)
    killed.take(log)
    assert killed.said().operations == whole.said().operations != []
    before = killed.said()
    killed.rebuild()
    assert killed.said() == before


def lines_written(text: bytes) -> list[int]:
    """Sizes at which a write of these records may have been cut."""
    return [at + 1 for at, byte in enumerate(text) if byte == 10] + [len(text) // 2, 1]


@pytest.mark.parametrize("cut", range(12))
def test_an_event_that_was_half_written_when_its_writer_was_killed_is_there_once(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Path(__file__).parents[2] / "golden" / "pip" / "input.log"
    whole, killed = Trail(tmp_path / "whole"), Trail(tmp_path / "killed")
    whole.take(log)
    with monkeypatch.context() as patched:
        real = os.write

        def write(descriptor: int, data: bytes | memoryview) -> int:
            text = bytes(data)
            if b"msg=audit(" in text:
                sizes = lines_written(text)
                real(descriptor, text[: sizes[cut % len(sizes)]])
                raise KilledError
            return real(descriptor, data)

        patched.setattr("envtrail.trail.active_segment.os.write", write)
        with pytest.raises(KilledError):
            killed.take(log)
    killed.take(log)
    assert killed.said() == whole.said()
    assert len(killed.events()) == len(whole.events())
    check_quotes(killed.events())
    assert killed.differences() == []


def test_a_log_that_is_read_on_after_a_kill_adds_nothing_twice(tmp_path: Path) -> None:
    """While an event is in flight, the place that was read to is not noted: what was written meanwhile is read again."""
    log = tmp_path / "audit.log"
    eoe = b"type=EOE msg=audit(1764000000.%03d:%d):\n"
    log.write_bytes(b"".join([EXEC % (1, 1, 100), eoe % (1, 1), EXEC % (2, 2, 101)]))
    config = config_for(tmp_path / "trail")
    for end in (b"", b"", eoe % (2, 2) + EXEC % (3, 3, 102) + eoe % (3, 3)):
        with log.open("ab") as file:
            file.write(end)
        with open_trail(config, world=ImportedWorld()) as opened:
            pipeline = opened.pipeline
            agent = AgentStarted(time_ms=1, node="n", boot_id="b", kernel="", version="", source="auditd_log", is_stepwise=True)
            pipeline.observe([agent], 1)
            pipeline.assembler.remember(records_after_cursor(opened.writer.layout))
            source = AuditdLogSource(log, node="n", position=opened.state.cursor("auditd_log"))
            opened.take(source.read(0), 1764000000500)
            source.close()
    with closing(EmbeddedStore(tmp_path / "trail")) as store:
        assert [event.values["serial"] for event in store.events(ALL)] == [1, 2, 3]
