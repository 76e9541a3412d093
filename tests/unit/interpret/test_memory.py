"""What is remembered of what is done, what one command did in several environments, and what a cut log goes on with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.drift import UNSEEN, operation_of_drift
from envtrail.interpret.memory import AFTER_END_MS, Ended, Memory
from envtrail.interpret.metadata_names import read_metadata_name
from envtrail.interpret.rested import Rested
from envtrail.interpret.siblings import Siblings
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.observation import FilesChanged
from envtrail.model.operation import (
    Change,
    Confidence,
    EnvironmentRef,
    Evidence,
    FileChange,
    MetadataEvent,
    Operation,
    OperationKind,
    Outcome,
    PackageState,
)
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

NOW = 1_764_000_000_000
SIX = Change(ecosystem="pypi", name="six", requested=True, before=None, after=PackageState(version="1"))


def operation(at: int, prefix: str = "/e", **words: Any) -> Operation:
    made = operation_of(Case(environment=prefix))
    id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix)
    evidence = [Evidence(segment=1, serial=at, time_ms=NOW + at)]
    return msgspec.structs.replace(made, **{"id": id_, "host": "h", "image": at, "evidence": evidence, **words})


class TestMemory:
    def ended(self, memory: Memory, image: int, ended_ms: int | None, *, prefix: str = "/e", node: str = "h") -> None:
        event = EventId(node=node, time_ms=NOW, serial=1)
        opened: Any = SimpleNamespace(image=image, ended_ms=ended_ms, event=event, intention=SimpleNamespace(prefix=prefix))
        memory.note_end(opened)

    def test_an_owner_is_found_for_a_moment_after_its_end(self) -> None:
        memory = Memory()
        self.ended(memory, 5, NOW)
        assert memory.find_owner(5, NOW + AFTER_END_MS) == Ended(image=5, ended_ms=NOW, prefix="/e", node="h")
        assert memory.find_owner(5, NOW + AFTER_END_MS + 1) is None
        assert memory.find_owner(6, NOW) is None
        self.ended(memory, 7, None)
        assert memory.find_owner(7, NOW) is not None, "where no end was read, its beginning counts"

    def test_who_ended_in_an_environment_of_a_machine_since_a_moment(self) -> None:
        memory = Memory()
        for image, (ended_ms, prefix, node) in enumerate(
            [(NOW, "/e", "h"), (NOW - 1, "/e", "h"), (NOW, "/f", "h"), (NOW, "/e", "k"), (NOW + 1, "/e", "h")]
        ):
            self.ended(memory, image, ended_ms, prefix=prefix, node=node)
        assert memory.ended_in("/e", "h", since_ms=NOW) == {0, 4}

    def test_the_newest_documents_are_kept_each_in_its_last_form(self) -> None:
        memory = Memory()
        items = [operation(at, f"/e{at}", image=at % 2) for at in range(65)]
        memory.keep(items)
        assert memory.done_by(0) == items[2::2], "the oldest of 65 is gone"
        memory.keep([msgspec.structs.replace(items[1], tool="uv")])
        memory.keep([operation(99, "/e99", host="k")])
        assert [one.tool for one in memory.done_by(1)] == ["pip"] * 31 + ["uv"]
        assert memory.prefixes("k") == {"/e99"}
        assert memory.prefixes("h") == {f"/e{at}" for at in range(65)} - {"/e0", "/e2"}

    def test_a_segment_takes_over_the_newest(self) -> None:
        memory = Memory()
        for image in range(300):
            self.ended(memory, image, NOW + image)
        memory.keep([operation(at) for at in range(3)])
        ended, done = memory.save()
        assert [one.image for one in ended] == list(range(44, 300))
        assert [one.operation for one in done] == [operation(at) for at in range(3)]
        again = Memory()
        again.restore(ended, done)
        assert again.save() == (ended, done)

    def test_and_no_more_than_there_is_room_for(self) -> None:
        memory = Memory()
        memory.keep([operation(at, reason="x" * 1_500_000) for at in range(4)])
        assert [one.operation.image for one in memory.save()[1]] == [2, 3]


class TestSiblings:
    def settled(self, *, kind: str | None = None, changes: list[Change] | None = None, **words: Any) -> list[Operation]:
        self.memory = Memory()
        siblings = Siblings(self.memory)
        first = operation(3, absent={"changes": "x", "environment.prefix": "y", "grant": "z"}, why={"a": "b"}, shared=["q"])
        self.memory.keep([first])
        lookups = siblings.begin(first, {"/e": "venv", "/f": "conda"})
        assert [(one.image, one.prefix, one.environment_kind) for one in lookups] == [(3, "/f", "conda")]
        assert siblings.lookups() == lookups
        assert siblings.is_open(3, "/f")
        again = Siblings(self.memory)
        again.restore(siblings.save())
        given = again.settle(
            SnapshotAnswer(**{"image": 3, "prefix": "/f", "changes": changes, **words}), changes=changes, kind=kind
        )
        assert not again.is_open(3, "/f")
        return given

    def test_both_operations_have_the_group(self) -> None:
        first, other = self.settled(changes=[SIX])
        assert first == operation(
            3, absent={"changes": "x", "environment.prefix": "y", "grant": "z"}, why={"a": "b"}, shared=["q"], group=first.id
        )
        assert (other.group, other.kind, other.changes, other.shared) == (first.id, OperationKind.INSTALL, [SIX], [])
        assert other.id == make_operation_id(EventId(node="h", time_ms=NOW + 3, serial=3), "/f")
        assert other.environment == EnvironmentRef(prefix="/f", kind="conda")
        assert other.absent == {"grant": "z"}
        assert set(other.why) == {"a", "environment", "changes"}
        assert self.memory.done_by(3) == [first, other]

    def test_what_became_of_the_environment(self) -> None:
        assert self.settled(changes=[]) == []
        assert self.settled(changes=None) == []
        assert self.settled(changes=None, is_gone=True) == [], "it came and went"
        assert [one.kind.value for one in self.settled(changes=[], is_made=True)] == ["install", "create"]
        assert [one.kind.value for one in self.settled(changes=[], is_gone=True)] == ["install", "delete"]
        assert self.settled(changes=[SIX], kind="venv")[1].environment.kind == "venv"

    def test_without_a_process_nothing_is_waited_for(self) -> None:
        siblings = Siblings(Memory())
        assert siblings.begin(operation(3, image=None), {"/f": None}) == []
        assert siblings.lookups() == []


class TestRested:
    def changed(self, at_ms: int, *files: tuple[str, str], until_ms: int | None = None, **words: Any) -> FilesChanged:
        base: dict[str, Any] = {
            "time_ms": NOW + at_ms,
            "until_ms": NOW + (at_ms if until_ms is None else until_ms),
            "pid": 1,
            "image": 7,
            "prefix": "/e",
            "kind": "venv",
            "node": "h",
            "files": [FileChange(path=path, what=what) for path, what in files],
            "total": len(files),
        }
        return FilesChanged(**{**base, **words})

    def joined(self, *parts: FilesChanged) -> FilesChanged:
        rested = Rested()
        for part in parts[:-1]:
            rested.join(part)
        again = Rested()
        again.restore(rested.save())
        return again.join(parts[-1])

    @pytest.mark.parametrize(
        ("at_ms", "words", "goes_on"),
        [
            (3000, {}, True),
            (3001, {}, False),
            (-1, {}, False),
            (10, {"pid": 2}, False),
            (10, {"image": 8}, False),
            (10, {"prefix": "/f"}, False),
            (10, {"node": "k"}, False),
            (10, {"until_ms": 600_000}, True),
            (10, {"until_ms": 600_001}, False),
        ],
    )
    def test_the_same_process_goes_on_within_seconds(self, at_ms: int, words: dict[str, Any], goes_on: bool) -> None:
        found = self.joined(self.changed(0, ("a", "written")), self.changed(at_ms, ("b", "written"), **words))
        assert (found.total == 2) == goes_on

    @pytest.mark.parametrize(
        ("before", "after", "left"),
        [
            ("created", "deleted", None),
            ("moved_to", "moved_from", None),
            ("deleted", "created", "written"),
            ("moved_from", "moved_to", "written"),
            ("created", "written", "created"),
            ("written", "deleted", "deleted"),
        ],
    )
    def test_what_is_left_of_a_file(self, before: str, after: str, left: str | None) -> None:
        found = self.joined(self.changed(0, ("a", before), ("b", "written")), self.changed(5, ("a", after), ("c", "created")))
        files = {file.path: file.what for file in found.files}
        assert files == {**({"a": left} if left else {}), "b": "written", "c": "created"}
        assert found.total == len(files)

    def test_all_else_is_joined_too(self) -> None:
        evidence = [Evidence(segment=1, serial=at, time_ms=NOW) for at in range(3)]
        events = [MetadataEvent("/e/a-1.dist-info", "created", NOW + at) for at in range(2)]
        first = self.changed(0, is_new=True, until_ms=9, metadata=events[:1], evidence=evidence[:2], tool="pip")
        second = self.changed(
            5, marked=True, metadata=events[1:], evidence=evidence[1:], kind="conda", ended_ms=NOW + 7, exit_code=1, signal=2
        )
        found = self.joined(first, second)
        assert found == self.changed(
            0,
            until_ms=9,
            is_new=True,
            marked=True,
            metadata=events,
            evidence=evidence,
            kind="conda",
            tool="pip",
            ended_ms=NOW + 7,
            exit_code=1,
            signal=2,
        )
        assert self.joined(first, self.changed(5, tool="uv")).tool == "uv"

    def test_the_newest_sixteen_are_known(self) -> None:
        rested = Rested()
        for pid in range(17):
            rested.join(self.changed(0, pid=pid))
        assert [one.pid for one in rested.save()] == list(range(1, 17))


@pytest.mark.parametrize(
    ("path", "key", "state"),
    [
        ("/e/six-1.16.0.dist-info/", "six", PackageState(version="1.16.0")),
        ("/e/ruamel.yaml-0.18-py3.11.egg-info", "ruamel-yaml", PackageState(version="0.18")),
        ("/e/mine.egg-link", "mine", PackageState(version="")),
        ("/e/~ix-1.16.0.dist-info", None, None),
        ("/e/~ine.egg-link", None, None),
        ("/e/six.dist-info", None, None),
        (
            "/e/conda-meta/ca-certificates-2024.2-h06_0.json",
            "ca-certificates",
            PackageState(version="2024.2", build="h06_0", installer="conda"),
        ),
        ("/e/xconda-meta/a-1-0.json", None, None),
        ("/e/conda-meta/history", None, None),
    ],
)
def test_the_name_of_metadata_holds_package_and_version(path: str, key: str | None, state: PackageState | None) -> None:
    found = read_metadata_name(path)
    assert (found and found[0].rpartition(":")[2].rpartition("/")[2], found and found[1]) == (key, state)


def test_what_nobody_was_seen_to_do_names_nobody() -> None:
    found = operation_of_drift("/e", "venv", [SIX], since_ms=NOW, until_ms=NOW + 5, node="h")
    assert found.id == make_operation_id(EventId(node="h", time_ms=NOW + 5, serial=0), "/e", kind="drift")
    assert (found.kind, found.tool, found.outcome, found.host) == (OperationKind.TAMPER, "unknown", Outcome.UNKNOWN, "h")
    assert (found.started, found.ended) == (to_rfc3339(NOW), to_rfc3339(NOW + 5))
    assert (found.actor.name, found.actor.method, found.actor.confidence) == (None, "none", Confidence.NONE)
    assert (found.changes, found.processes, found.explained, found.complete) == ([SIX], 0, False, False)
    assert found.environment == EnvironmentRef(prefix="/e", kind="venv")
    assert found.absent == dict.fromkeys(
        ("actor.name", "actor.uid", "actor.auid", "argv", "exit_code", "signal", "evidence"), UNSEEN
    )
    assert found.shared == []
    at_work = [OperationId("A" * 26)]
    shared = operation_of_drift("/e", "venv", [SIX], since_ms=NOW, until_ms=NOW, node="h", at_work=at_work)
    assert shared.shared == at_work
    assert "several were at work" in shared.why["kind"]
    assert "nobody was seen" in found.why["kind"]
