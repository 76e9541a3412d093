"""Events of sealed segments and of the open one are found by each condition, in order, with the records that they were made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from log_lab import Trail
from logs import pip_log

from envtrail.model.text import record_lines
from envtrail.model.times import to_ms
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.events import connect_events, event_relations, find_machines
from envtrail.state.evidence import ExecStep, Process, events_of, unfold, unfold_session
from envtrail.state.store import EventRow, Query
from envtrail.state.supplemented import newest_rows
from envtrail.trail.layout import RECORDS, ZST, Layout

START_MS = to_ms("2025-11-24T16:00:00.100Z")  # Of serial 0, in seconds of which the serials are.

ALICE = pip_log(["install", "six"], pid=100, serial=50)
BOB = (
    pip_log(["remove", "six"], pid=200, serial=10)
    .replace("type=", "node=k type=")
    .replace("1001", "1002")
    .replace('"alice"', '"bob"')
    .replace("python_script_exec", "other")
    .replace('comm="pip"', 'comm="conda"')
    .replace("/usr/bin/python3.11", "/opt/tool")
)
LATER = pip_log(["install", "numpy"], pid=300, serial=22)
# A kernel's line without names: its number is known to be alice's.
NAMELESS = pip_log(["list"], pid=400, serial=20).replace('\x1dAUID="alice" UID="alice"', "").replace("ses=3", "ses=9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sealed segments, and the open one, whose time lies in that of the third."""
    trail = Trail(tmp_path_factory.mktemp("trail"), node="h")
    for text in (ALICE, BOB, LATER):
        trail.take_text(text.encode())
        trail.seal()
    trail.take_text(NAMELESS.encode())
    return trail.config.data_dir


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[EmbeddedStore]:
    with closing(EmbeddedStore(folder)) as opened:
        yield opened


def found(store: EmbeddedStore, **words: Any) -> list[int]:
    return [event.values["serial"] for event in store.events(Query(**words))]


def at(second: int) -> int:
    return START_MS + second * 1000


@pytest.mark.parametrize(
    ("words", "serials"),
    [
        ({}, [51, 50, 23, 21, 22, 20, 11, 10]),
        ({"oldest_first": True}, [10, 11, 20, 22, 21, 23, 50, 51]),
        ({"limit": 3}, [51, 50, 23]),
        ({"limit": 3, "oldest_first": True}, [10, 11, 20]),
        ({"since_ms": at(23)}, [51, 50, 23, 21]),
        ({"since_ms": at(53)}, [51]),
        ({"since_ms": at(53) + 1}, []),
        ({"until_ms": at(10)}, [10]),
        ({"until_ms": at(10) - 1}, []),
        ({"since_ms": at(13), "until_ms": at(22)}, [22, 20, 11]),
        ({"host": "k"}, [11, 10]),
        ({"host": "h", "kind": "exit"}, [51, 23, 21]),
        ({"key": "other"}, [11, 10]),
        ({"pid": 400}, [21, 20]),
        ({"session": 9}, [21, 20]),
        ({"user": "1002"}, [11, 10]),
        ({"user": "bob"}, [10]),  # The other record has no name, and the number is not known to be his.
        ({"user": "alice"}, [51, 50, 23, 21, 22, 20]),
        ({"user": "carol"}, []),
        ({"text": "install numpy"}, [22]),
        ({"text": "/opt/to"}, [11, 10]),
        ({"text": "cond"}, [11, 10]),
        ({"text": "nothing"}, []),
    ],
)
def test_each_condition_and_the_order(store: EmbeddedStore, words: dict[str, Any], serials: list[int]) -> None:
    assert found(store, **words) == serials


def test_what_one_image_did(store: EmbeddedStore) -> None:
    image = next(store.events(Query(pid=300))).values["image"]
    assert found(store, tracked_image=image) == [23, 22]


def test_an_event_has_its_segment_its_columns_and_its_lines(store: EmbeddedStore) -> None:
    texts = {50: ALICE, 10: BOB, 22: LATER, 20: NAMELESS}
    events = {event.values["serial"]: event for event in store.events(Query(), with_records=True)}
    assert {serial: event.segment for serial, event in events.items()} == {
        50: 1,
        51: 1,
        10: 2,
        11: 2,
        22: 3,
        23: 3,
        **dict.fromkeys((20, 21), events[20].segment),
    }
    for serial, text in texts.items():
        lines = record_lines(text)
        for number in (serial, serial + 1):
            assert record_lines(events[number].records or "") == [line for line in lines if f":{number})" in line]
    values = events[10].values
    assert (values["time"], values["node"], values["kind"], values["argv"][-1]) == (at(10), "k", "exec", "six")
    assert {event.records for event in store.events(Query())} == {None}


def test_machines_are_those_of_events_and_of_the_rest(store: EmbeddedStore) -> None:
    assert find_machines(store.layout) == {"h", "k"}
    assert list(store.known("machines")) == ["h", "k"]


def test_the_status_counts_segments_and_their_records(store: EmbeddedStore) -> None:
    status = store.status()
    assert (status.segments, status.first_segment, status.sealed_until_ms) == (3, 1, at(25))
    assert status.records_bytes == sum(len(text) for text in (ALICE, BOB, LATER, NAMELESS))
    assert status.disk_bytes == sum(path.stat().st_size for path in store.layout.folder.rglob("*") if path.is_file())


def test_segments_of_another_time_are_not_opened(store: EmbeddedStore) -> None:
    def numbers(**words: Any) -> list[int]:
        with closing(connect_events()) as database:
            return [number for number, _ in event_relations(store.layout, Query(**words), database)]

    *sealed, open_one = numbers()
    assert sealed == [1, 2, 3]
    assert numbers(since_ms=at(25) + 1) == [1, open_one]
    assert numbers(since_ms=at(25)) == [1, 3, open_one]
    assert numbers(until_ms=at(22) - 1) == [2, open_one]
    assert numbers(until_ms=at(22)) == [2, 3, open_one]


def test_a_segment_whose_records_were_dropped_has_no_events_any_more(folder: Path, store: EmbeddedStore) -> None:
    records = Layout(folder).segment(2) / (RECORDS + ZST)
    aside = records.with_name("aside")
    records.rename(aside)
    try:
        assert found(store, host="k") == []
        assert found(store, pid=100) == [51, 50]
    finally:
        aside.rename(records)


def test_events_without_their_typed_file_are_made_from_the_records(folder: Path, store: EmbeddedStore) -> None:
    typed = Layout(folder).segment(2) / "events.parquet"
    aside = typed.with_name("aside")
    typed.rename(aside)
    try:
        (begin, end) = store.events(Query(host="k", oldest_first=True), with_records=True)
    finally:
        aside.rename(typed)
    assert f"{begin.records}{end.records}" == BOB


def test_of_an_event_that_another_import_read_whole_the_whole_row_counts() -> None:
    """The later one takes the place of those before it: in its segment, and in those of lower numbers."""
    rows = {
        1: [("h", 5, 1, 0, None), ("h", 5, 2, 10, None), ("h", 5, 1, 20, "supplemented"), ("k", 5, 1, 30, None)],
        2: [("h", 5, 2, 0, "supplemented"), ("h", 6, 2, 10, None)],
        3: [("h", 5, 2, 0, None), ("h", 5, 3, 10, None)],
    }
    with closing(connect_events()) as database:
        for segment, values in rows.items():
            database.execute(
                f'CREATE TABLE s{segment} (node TEXT, time TIMESTAMPTZ, serial BIGINT, "offset" BIGINT, ended_by TEXT)'
            )
            for node, time_ms, *rest in values:
                database.execute(f"INSERT INTO s{segment} VALUES (?, make_timestamptz({time_ms * 1000}), ?, ?, ?)", [node, *rest])
        relations = {segment: f"s{segment}" for segment in rows}
        newest = newest_rows(relations, database)
        left = {
            segment: [at for (at,) in database.execute(f'SELECT "offset" FROM {relation} ORDER BY 1').fetchall()]
            for segment, relation in newest.items()
        }
        assert left == {1: [20, 30], 2: [0, 10], 3: [0, 10]}
        assert newest[3] == "s3"
        assert newest_rows({3: "s3"}, database) == {3: "s3"}
        assert newest_rows({}, database) == {}


class TestEvidence:
    """What the processes of an operation, and of a session, did."""

    def event(self, kind: str, image: int | None, parent: int | None = None, **more: Any) -> EventRow:
        values = {"kind": kind, "image": image, "parent_image": parent, "pid": (image or 0) + 100, "time": 5, "exe": None}
        return EventRow(segment=1, records=None, values={**values, "argv": [f"p{image}"], "exit_code": None, **more})

    def test_an_operation_has_the_events_of_its_processes_and_its_evidence(self, store: EmbeddedStore) -> None:
        operation = next(item for item in store.operations(Query()) if item.argv[-1] == "six" and item.host == "h")
        found = list(events_of(store, operation, with_records=True))
        assert [event.values["serial"] for event in found] == [50, 51]
        assert "".join(event.records or "" for event in found) == ALICE
        assert {event.records for event in events_of(store, operation, with_records=False)} == {None}

    def test_what_its_processes_began_is_its_own(self, tmp_path: Path) -> None:
        begin, end = (self.lines(ALICE, serial) for serial in (50, 51))
        others = [(101, 100, 30), (102, 101, 31), (103, 1, 32)]  # Its child, the child of that, and somebody else.
        texts = [
            self.lines(pip_log(["x"], pid=pid, serial=serial), serial)
            .replace("ppid=1 ", f"ppid={parent} ").replace("/v/bin/p", "/usr/bin/p").replace(f"{serial}.100:{serial}", f"51.{serial}0:{serial + 30}")
            for pid, parent, serial in others
        ]  # fmt: skip
        trail = Trail(tmp_path / "trail", node="h")
        trail.take_text("".join([begin, *texts, end]).encode())
        with closing(EmbeddedStore(trail.config.data_dir)) as store:
            operation = next(item for item in store.operations(Query()) if item.argv[-1] == "six")
            assert [event.values["serial"] for event in events_of(store, operation, with_records=False)] == [50, 60, 61, 51]

    def lines(self, text: str, serial: int) -> str:
        return "".join(f"{line}\n" for line in record_lines(text) if f":{serial})" in line)

    def test_how_the_processes_of_an_operation_unfolded(self, store: EmbeddedStore) -> None:
        operation = next(store.operations(Query()))
        owner = operation.image
        events = [
            self.event("exec", owner, 1),
            self.event("file", owner, 1),
            self.event("exec", None),
            self.event("exec", 2, owner, argv=None, exe="/bin/sh"),
            self.event("exec", 3, 2, argv=None),
            self.event("exec", 4, owner),
            self.event("exec", 5, 999),
        ]
        assert list(unfold(operation, events)) == [
            ExecStep(0, owner + 100, [f"p{owner}"]),
            ExecStep(1, 102, ["/bin/sh"]),
            ExecStep(2, 103, ["?"]),
            ExecStep(1, 104, ["p4"]),
            ExecStep(1, 105, ["p5"]),
        ]

    def test_how_a_session_unfolded_and_how_each_program_ended(self) -> None:
        events = [
            self.event("exec", 1, 0, time=1),
            self.event("exit", None),
            self.event("exec", 2, 1, time=2, argv=None, exe="/bin/sh"),
            self.event("exec", 3, 2, time=3, argv=None),
            self.event("file", 2, exit_code=9),
            self.event("exit", 3, exit_code=0),
            self.event("exit", 7, exit_code=1),
            self.event("exit", 1, exit_code=2),
        ]
        assert unfold_session(events) == [
            Process(0, 1, 101, 1, ["p1"], 2),
            Process(1, 2, 102, 2, ["/bin/sh"], None),
            Process(2, 3, 103, 3, ["?"], 0),
        ]
