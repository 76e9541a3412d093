"""What began in which process and in which log, until its end is read; and what was there before the trail."""

from __future__ import annotations

from typing import Any

import pytest

from envtrail.interpret.baseline import operation_of_baseline
from envtrail.interpret.begun import Begun
from envtrail.interpret.imported import MOST_LOGS, Imported
from envtrail.interpret.invocations import is_unpacked, place_of
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import BaselineChange
from envtrail.model.operation import Change, Confidence, EnvironmentRef, OperationKind, Outcome, PackageState
from envtrail.model.times import to_rfc3339

NOW = 1_764_000_000_000


def image(at_ms: int) -> int:
    return (NOW + at_ms) << 20


class TestBegun:
    def test_a_reused_pid_ends_what_began_until_then_and_nothing_later(self) -> None:
        begun = Begun()
        for at_ms in (0, 20, 21):
            begun.add("h", 5, image(at_ms))
        assert begun.take_ended("h", 5, NOW) == [image(0), image(20)]
        assert begun.is_waited("h", 5)
        assert begun.take_ended("h", 5, NOW + 1) == [image(21)]
        assert not begun.is_waited("h", 5)
        assert begun.take_ended("h", 5, NOW + 99) == []

    def test_what_a_process_ran_ends_with_it_whenever_it_began(self) -> None:
        begun = Begun()
        for at_ms in (0, 500):
            begun.add("h", 5, image(at_ms))
            begun.add("h", 5, image(at_ms))
        assert begun.take_ended("h", 5, NOW, {image(500)}) == [image(500)]
        assert begun.take_ended("h", 5, NOW + 1000, set()) == []
        assert begun.take_ended("h", 5, NOW + 1000) == [image(0)]

    def test_each_machine_has_its_own_pids(self) -> None:
        begun = Begun()
        begun.add("h", 5, image(0))
        begun.add("k", 5, image(1))
        begun.add("k", 6, image(2))
        assert begun.pids() == {5, 6}
        assert begun.take_ended("k", 5, NOW + 9) == [image(1)]
        begun.clear("k")
        assert (begun.is_waited("h", 5), begun.is_waited("k", 6)) == (True, False)
        begun.drop({image(2)})
        begun.clear()
        assert begun.pids() == set()

    def test_what_is_dropped_is_waited_for_no_more(self) -> None:
        begun = Begun()
        for at_ms in (0, 1):
            begun.add("h", 5, image(at_ms))
        begun.drop({image(0), image(7)})
        assert begun.is_waited("h", 5)
        begun.drop({image(1)})
        assert not begun.is_waited("h", 5)


class TestImported:
    def test_each_log_has_its_own_and_the_newest_is_named(self) -> None:
        imported = Imported()
        assert imported.add(1) == []
        assert 1 not in imported
        assert imported.begin("a") == []
        imported.add(2)
        assert imported.begin("b") == []
        imported.add(3)
        assert (imported.images(), imported.save()) == ([3], {"a": [2], "b": [3]})
        imported.begin("a")
        assert imported.images() == [2]
        imported.discard(2)
        imported.discard(9)
        assert (2 in imported, 3 in imported, imported.images()) == (False, True, [])
        again = Imported()
        again.restore(imported.save())
        assert (again.save(), 3 in again, again.log) == (imported.save(), True, None)
        imported.end()
        assert imported.log is None
        assert Imported().images() == []

    def test_a_log_without_a_name_has_no_next_part(self) -> None:
        imported = Imported()
        imported.begin("")
        imported.add(1)
        assert imported.begin("") == [1]
        assert 1 not in imported

    def test_the_oldest_is_forgotten(self) -> None:
        imported = Imported()
        for at in range(MOST_LOGS):
            assert imported.begin(f"log{at}") == []
            imported.add(at)
        assert imported.begin("one more") == [0]
        assert 0 not in imported
        assert [found for at in range(4097) if (found := imported.add(100 + at))] == [[100]]
        assert 100 not in imported
        assert len(imported.images()) == 4096

    def test_whose_processes_they_are(self) -> None:
        imported = Imported()
        assert imported.machine("h", is_here=True) == "h"
        imported.begin("a")
        imported.add(1)
        assert imported.machine("h", is_here=True) == "a\0h"
        assert imported.machine("k", is_here=False) == "k"
        imported.end()
        assert imported.machine("h", is_here=True, image=1) == "a\0h"
        assert imported.machine("h", is_here=True, image=2) == "h"


class TestBaseline:
    def change(self, **words: Any) -> BaselineChange:
        base: dict[str, Any] = {
            "time_ms": NOW,
            "prefix": "/e",
            "kind": "conda",
            "when_ms": NOW - 5,
            "argv": ["conda"],
            "tool": "conda",
        }
        return BaselineChange(**{**base, "owner_uid": 7, "added": ["six 1.16"], "removed": ["old 1"], **words})

    def test_its_owner_could_have_done_it(self) -> None:
        found = operation_of_baseline(self.change(), node="h")
        fingerprint = "\0".join(("baseline", "conda", "six 1.16", "-", "old 1"))
        assert found.id == make_operation_id(EventId(node="h", time_ms=NOW - 5, serial=0), "/e", kind=fingerprint)
        assert (found.actor.name, found.actor.uid, found.actor.method, found.actor.confidence) == (
            None,
            7,
            "owner",
            Confidence.WEAK,
        )
        assert (found.kind, found.tool, found.argv, found.host) == (OperationKind.INSTALL, "conda", ["conda"], "h")
        assert (found.started, found.ended, found.outcome) == (to_rfc3339(NOW - 5), None, Outcome.UNKNOWN)
        assert (found.reason, found.processes) == ("recorded by the environment itself, not by the kernel", 0)
        assert (found.explained, found.complete, found.evidence) == (None, False, [])
        assert found.environment == EnvironmentRef(prefix="/e", kind="conda")
        states = [PackageState(version=version, installer="conda") for version in ("1.16", "1")]
        assert found.changes == [
            Change(ecosystem="conda", name="six", requested=None, before=None, after=states[0]),
            Change(ecosystem="conda", name="old", requested=None, before=states[1], after=None),
        ]
        reason = "before the trail began"
        assert found.absent == dict.fromkeys(("ended", "exit_code", "signal", "evidence", "session", "explained"), reason)

    def test_without_a_command_and_of_pip(self) -> None:
        found = operation_of_baseline(self.change(argv=None, tool="pip", added=[]), node="h")
        assert (found.kind, found.argv, found.absent["argv"]) == (OperationKind.REMOVE, [], "before the trail began")
        assert [one.ecosystem for one in found.changes or ()] == ["pypi"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/o/envs/a/conda-meta/six-1-0.json", ("/o/envs/a", "conda")),
        ("/o/envs/a/conda-meta", ("/o/envs/a", "conda")),
        ("/v/lib/python3.12/site-packages/six-1.dist-info", ("/v", None)),
        ("/v/lib64/pypy3.10/site-packages/x", ("/v", None)),
        ("/usr/local/lib/python3.12/dist-packages/x", ("/usr", None)),
        ("/home/a/.local/lib/python3.12/x", ("/home/a/.local", "user")),
        ("/v/pyvenv.cfg", ("/v", "venv")),
        ("/v/../w/pyvenv.cfg", ("/w", "venv")),
        ("/v/pyvenv.cfg.new", None),
        ("/v/lib/perl5/x", None),
        ("/v/xconda-meta/x", None),
        ("conda-meta/x", None),
        ("", None),
        ("/o/pkgs/six/lib/python3.12/x", None),
        ("/tmp/pip-build-env-a/lib/python3.12/x", None),
        ("/tmp/build-env-a/lib/python3.12/x", None),
        ("/c/builds-v0/a/lib/python3.12/x", None),
    ],
)
def test_the_environment_that_a_path_of_metadata_shows(path: str, place: tuple[str, str | None] | None) -> None:
    assert place_of(path) == place
    assert not (place and is_unpacked(path))
