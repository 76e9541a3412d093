"""The recording half: what a source reads is appended, what is lost is in the ledger, and nothing is passed on that was not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from follow_lab import records_of

from envtrail.capture.source import Block
from envtrail.config import Config, load_config
from envtrail.core import Assembler
from envtrail.errors import StoreFullError
from envtrail.model.environment import Package, Snapshot
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import AgentStarted, GapFound, Observation, SnapshotTaken
from envtrail.record.recorder import Recorder
from envtrail.record.recording import Recording
from envtrail.trail.layout import Layout, no_space
from envtrail.trail.parse import Origin
from envtrail.trail.reader import Step, iterate_steps
from envtrail.trail.writer import TrailWriter

NOW_MS = 1_764_000_000_000


class BlockSource:
    """Blocks that were put into a list."""

    def __init__(self, name: str = "netlink") -> None:
        self.name = name
        self.blocks: list[Block] = []

    def read(self, timeout_ms: int) -> Block:
        return self.blocks.pop(0) if self.blocks else Block(records=b"")

    def close(self) -> None:
        """Nothing is open."""


class Host:
    """A recording half on a folder."""

    def __init__(self, config: Config, writer: TrailWriter, source: BlockSource) -> None:
        self.writer, self.source = writer, source
        self.recorder = Recorder(assembler=Assembler(node="n"), writer=writer, node="n", origin=Origin())
        self.recording = Recording(config, self.recorder, writer, source, now_ms=NOW_MS)

    def read(self, *blocks: Block, at_ms: int = NOW_MS) -> None:
        self.source.blocks += blocks
        for _ in blocks:
            self.recording.read(0, lambda: at_ms)

    def keep(self, now_ms: int, gaps: Sequence[Gap] = ()) -> None:
        self.recording.keep(now_ms, check_losses=lambda *_: list(gaps))


@contextmanager
def host(folder: Path, source: str = "netlink", **settings: object) -> Iterator[Host]:
    config = load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, **settings})
    with closing(TrailWriter(config, [])) as writer:
        yield Host(config, writer, BlockSource(source))


def started(source: str = "netlink") -> AgentStarted:
    return AgentStarted(
        time_ms=NOW_MS, node="n", boot_id="b", kernel="k", version="v", source=source, is_stepwise=source == "auditd_log"
    )


def gap(id_: str) -> Gap:
    return Gap(id=id_, cause=GapCause.OVERRUN, host="n", since_ms=1, until_ms=2, records=None, detail="")


def steps_of(folder: Path) -> list[Step]:
    return list(iterate_steps(Layout(folder)))


def gaps_of(steps: Sequence[Step]) -> list[str]:
    return [item.gap.id for step in steps for item in step.observations if isinstance(item, GapFound)]


def test_what_is_handed_out_is_what_lies_in_the_trail(tmp_path: Path) -> None:
    with host(tmp_path) as it:
        it.recording.begin(started(), restarted_after_ms=None)
        it.read(Block(records=records_of(1, NOW_MS), gaps=[gap("lost")]))
        appended = [one.step for one in it.recorder.take()]
        assert it.recorder.take() == []
    assert [(one.records, one.observations, one.end) for one in appended] == [
        (one.records, one.observations, one.end) for one in steps_of(tmp_path)
    ]
    assert b"s3cret" not in b"".join(one.records for one in appended)
    assert b"install" in appended[1].records


@pytest.mark.parametrize(("source", "count"), [("netlink", 1), ("auditd_log", 0)])
def test_a_restart_is_a_gap_where_the_source_does_not_go_on_where_it_was(tmp_path: Path, source: str, count: int) -> None:
    with host(tmp_path, source) as it:
        it.recording.begin(started(source), restarted_after_ms=NOW_MS - 5000)
    assert len(gaps_of(steps_of(tmp_path))) == count


def test_what_others_find_missing_is_entered_when_it_is_due(tmp_path: Path) -> None:
    with host(tmp_path) as it:
        it.keep(NOW_MS, [gap("a")])
        it.keep(NOW_MS + 4_999, [gap("b")])
        it.keep(NOW_MS + 5_000, [gap("c")])
    assert gaps_of(steps_of(tmp_path)) == ["a", "c"]


def test_a_segment_is_sealed_when_all_of_it_has_been_followed(tmp_path: Path) -> None:
    """What a new segment begins with is what interpretation knows at that place."""
    with host(tmp_path, **{"store.segment_age_s": 1}) as it:
        it.read(Block(records=records_of(1, NOW_MS)))
        future_ms = it.writer._active.header.created_ms + 5_000
        it.keep(future_ms)
        assert it.writer.number == 1
        it.recorder.take()
        it.keep(future_ms + 20_000)
        assert it.writer.number == 2


def test_while_the_disk_is_full_nothing_is_passed_on_and_what_was_noted_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[StoreFullError] = []

    def full(writer: TrailWriter, records: bytes, observations: Sequence[Observation]) -> Step:
        raise no_space(writer.layout.folder)

    with host(tmp_path) as it:
        it.recorder.on_full = faults.append
        with monkeypatch.context() as patched:
            patched.setattr(TrailWriter, "append", full)
            it.read(Block(records=records_of(1, NOW_MS)), Block(records=records_of(2, NOW_MS + 1)))
            it.recorder.note([GapFound(time_ms=NOW_MS, gap=gap("noted"))], NOW_MS)
            assert not it.recorder.append([GapFound(time_ms=NOW_MS, gap=gap("refused"))], NOW_MS)
        assert (it.recorder.take(), len(faults), it.recorder.full_since_ms) == ([], 1, NOW_MS)
        it.keep(NOW_MS + 10_000)
        it.recorder.note([], NOW_MS + 10_000)
        (full_gap,) = [item.gap for item in it.recorder.take()[0].step.observations if isinstance(item, GapFound)]
    assert (full_gap.cause, full_gap.since_ms, full_gap.records) == (GapCause.DISK_FULL, NOW_MS, 20)
    assert gaps_of(steps_of(tmp_path)) == [full_gap.id, "noted"]


def test_packages_of_a_snapshot_lie_once_in_a_segment(tmp_path: Path) -> None:
    packages = [Package(ecosystem="pypi", name="six", version="1")]
    digest = Snapshot(prefix="/v", kind="venv", packages=packages).digest
    taken = SnapshotTaken(time_ms=1, prefix="/v", kind="venv", digest=digest, packages=packages, reason="scheduled")
    with host(tmp_path) as it:
        for _ in range(2):
            it.recorder.append([taken, taken], NOW_MS)
        it.writer.seal(wait=True)
        it.recorder.append([taken], NOW_MS)
    found = [item.packages for step in steps_of(tmp_path) for item in step.observations if isinstance(item, SnapshotTaken)]
    assert found == [packages, None, None, None, packages]
