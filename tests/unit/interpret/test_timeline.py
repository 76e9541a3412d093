from __future__ import annotations

import pytest

from envtrail.interpret import timeline
from envtrail.interpret.timeline import Timelines
from envtrail.model.operation import MetadataEvent

SITE = "/env/lib/python3.11/site-packages"


def added(number: int) -> MetadataEvent:
    return MetadataEvent(f"{SITE}/p{number}-1.0.dist-info", "created", 1000 + number)


def names_of(timelines: Timelines, owner: int) -> list[str]:
    return [change.key for change in timelines.changes_of(owner, "n", "/env")]


def test_what_a_place_forgets_is_forgotten_of_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "_MOST_OF_PLACE", 3)
    timelines = Timelines()
    for number, owner in enumerate([7, 8, 7, 8, 7]):
        timelines.take("n", "/env", owner, [added(number)])
    assert names_of(timelines, 7) == ["pypi:p2", "pypi:p4"]
    assert names_of(timelines, 8) == ["pypi:p3"]
    again = Timelines()
    again.restore(timelines.save())
    assert (names_of(again, 7), names_of(again, 8)) == (["pypi:p2", "pypi:p4"], ["pypi:p3"])


def test_what_is_moved_and_pruned_is_found_by_its_owner() -> None:
    timelines = Timelines()
    timelines.take("n", "", 7, [added(0)])
    timelines.take("n", "", 8, [added(1)])
    timelines.move(7, "n", "/env")
    assert names_of(timelines, 7) == ["pypi:p0"]
    timelines.take("n", "/env", 8, [added(1_000_000)])
    timelines.prune("n", "/env", before_ms=1_000_000, at_work=())
    assert names_of(timelines, 7) == []
    assert names_of(timelines, 8) == ["pypi:p1", "pypi:p1000000"]
