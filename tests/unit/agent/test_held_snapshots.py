"""What was read of an environment takes effect when everything that happened before has been reported, in its order."""

from __future__ import annotations

import pytest

from envtrail.agent.held_snapshots import HeldSnapshots
from envtrail.model.observation import NameResolved, SnapshotTaken


class Files:
    """What is held of changes of files: prefix → the moment of the first."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}

    def is_reported(self, prefix: str, until_ms: int) -> bool:
        return self.held.get(prefix, until_ms + 1) > until_ms


class Clock:
    now_ms = 1000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def snapshots(files: Files, clock: Clock) -> HeldSnapshots:
    return HeldSnapshots(files, 500, clock)  # type: ignore[arg-type]


def taken(prefix: str, image: int = 1) -> SnapshotTaken:
    return SnapshotTaken(time_ms=1, prefix=prefix, kind="venv", digest=None, packages=None, reason="operation", image=image)


def test_a_snapshot_waits_as_long_as_changes_may_come_and_for_those_that_are_held(snapshots: HeldSnapshots, files: Files) -> None:
    first = taken("/a")
    assert snapshots.hold([first]) == []
    assert snapshots.take_due(1499) == []
    files.held["/a"] = 1000
    assert snapshots.take_due(1500) == []
    files.held["/a"] = 1001
    assert snapshots.take_due(1500) == [first]
    assert snapshots.take_due(1500) == []


def test_those_of_one_environment_keep_their_order_and_do_not_wait_for_another(
    snapshots: HeldSnapshots, files: Files, clock: Clock
) -> None:
    held = [taken("/a", 1), taken("/b", 2), taken("/a", 3)]
    for one in held:
        snapshots.hold([one])
        clock.now_ms += 100
    files.held["/a"] = 950
    assert snapshots.take_due(9000) == [held[1]]
    files.held.clear()
    assert snapshots.take_due(9000) == [held[0], held[2]]


def test_nothing_waits_for_what_will_not_come_and_what_is_no_snapshot_does_not_wait(
    snapshots: HeldSnapshots, files: Files
) -> None:
    name = NameResolved(time_ms=1, uid=7, name="x")
    assert snapshots.hold([name]) == [name]
    files.held["/a"] = 1
    snapshots.hold([taken("/a")])
    assert snapshots.take_due(1000, is_last=True) == [taken("/a")]
