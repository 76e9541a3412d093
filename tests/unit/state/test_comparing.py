"""Two states row by row: each difference is found, and said so that one sees what was changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.model.gap import Gap, GapCause
from envtrail.model.ids import lowest_id
from envtrail.state.comparing import (
    TABLES,
    RowDifference,
    Table,
    compare_tables,
    count_rows,
    feed_faults,
    full_disk_spans,
    schema_faults,
)
from envtrail.state.state import State
from envtrail.trail.continuity import VerifyFault

NAMED = {table.name: table for table in TABLES}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """One that is shown, and one that was derived."""
    for name in ("shown", "derived"):
        State(tmp_path / name).close()
    with closing(sqlite3.connect(tmp_path / "shown")) as shown, closing(sqlite3.connect(tmp_path / "derived")) as derived:
        yield shown, derived


def faults(table: Table, key: tuple[Any, ...], shown: Any, derived: Any) -> list[tuple[str | None, str | None, str | None, str]]:
    """The table, id and field of each, and what it says."""
    found = RowDifference(table, key, shown, derived).faults()
    return [(fault.table, fault.id, fault.field, fault.what) for fault in found]


def test_rows_of_one_alone_and_of_both_with_other_content_in_the_order_of_sqlite(
    pair: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    shown, derived = pair
    shown.executemany("INSERT INTO names VALUES (?, 5, ?)", [(1, "a"), (2, "b"), (3, "same"), ("x", "t"), (b"y", "u")])
    derived.executemany("INSERT INTO names VALUES (?, 5, ?)", [(1, "A"), (3, "same"), (4, "c"), (b"x", "v")])
    seen: list[tuple[int, int]] = []
    found = list(compare_tables(shown, derived, on_table=lambda at, of: seen.append((at, of))))
    assert [(one.table.name, one.key, one.shown, one.derived) for one in found] == [
        ("names", (1, 5), ("a",), ("A",)),
        ("names", (2, 5), ("b",), None),
        ("names", (4, 5), None, ("c",)),
        ("names", ("x", 5), ("t",), None),
        ("names", (b"x", 5), None, ("v",)),
        ("names", (b"y", 5), ("u",), None),
    ]
    assert seen == [(at + 1, len(TABLES)) for at in range(len(TABLES))]
    assert list(compare_tables(shown, shown)) == []
    assert (count_rows(shown), count_rows(derived)) == (5 + 2, 4 + 2)  # The two totals of each.


def test_members_of_a_content_are_compared_by_what_they_are(pair: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    shown, derived = pair
    packages = [("six", b"6"), ("idna", b"1")]
    for database, rows in ((shown, packages), (derived, packages[::-1])):
        for at, (name, digest) in enumerate(rows, 1):
            database.execute("INSERT INTO packages VALUES (?, ?, '1', ?, '{}')", (at, name, digest))
    for database, number in ((shown, 1), (derived, 2)):
        database.execute("INSERT INTO contents VALUES ('c', 1, 10, ?)", (number.to_bytes(8, "little"),))
    assert list(compare_tables(shown, derived)) == []
    derived.execute("UPDATE contents SET members = ?", ((1).to_bytes(8, "little"),))
    shown.execute("INSERT INTO contents VALUES ('d', 1, 10, 'odd')")
    assert [(one.key, one.shown, one.derived) for one in compare_tables(shown, derived)] == [
        (("c",), (1, 10, ["36"]), (1, 10, ["31"])),
        (("d",), (1, 10, ["odd"]), None),
    ]


def test_a_row_of_one_alone_is_named() -> None:
    assert faults(NAMED["names"], (1, 5), None, ("a",)) == [
        ("names", "1 5", None, "name of a uid 1 5: is missing from the state; the evidence makes it")
    ]
    assert faults(NAMED["packages"], (b"\x01\xff",), ("six", "1", b"{}"), None) == [
        ("packages", "01ff", None, "package 01ff: is in the state; the evidence does not make it")
    ]


def test_each_field_of_a_document_that_differs_is_named_with_both_values() -> None:
    shown = {"a": None, "b": [1, 2], "c": "same", "d": {"e": 1, "k": 2}, "g": 1, "h": [1], "i": {"j": "z"}}
    derived = {"a": 0, "b": [1, 3], "c": "same", "d": {"e": 1, "k": 3}, "f": "x" * 121, "g": True, "h": [1, 2], "i": {}}
    documents = [msgspec.json.encode(shown), msgspec.json.encode(derived)]
    said = [
        ("a", "`null`", "`0`"),
        ("b[1]", "`2`", "`3`"),
        ("d.k", "`2`", "`3`"),
        ("f", "absent", f"`{'x' * 120}…`"),
        ("g", "`1`", "`True`"),
        ("h", "`[1]`", "`[1, 2]`"),
        ("i.j", "`z`", "absent"),
    ]
    assert faults(NAMED["looks"], ("1",), (documents[0],), (documents[1],)) == [
        ("looks", "1", field, f"look 1: {field} is {one} in the state, the evidence says {other}") for field, one, other in said
    ]


def test_beside_the_same_document_the_columns_are_named() -> None:
    assert faults(NAMED["policies"], (7,), ("a", b"{}"), ("b", b"{}")) == [
        ("policies", "7", "digest", "policy 7: digest is `a` in the state, the evidence says `b`")
    ]
    assert [fault[2] for fault in faults(NAMED["holdings"], ("/e", 1, b"d"), (None,), (2,))] == ["until_ms"]


@pytest.mark.parametrize(
    ("document", "said"),
    [(b'{"a', '{"a'), (b"[x", "[x"), (b"{\xff", "7bff"), (b"\x00", "00"), (7, "7"), ("\ud800", "\\ud800"), (None, "null")],
)
def test_what_is_no_document_is_shown_as_it_is(document: Any, said: str) -> None:
    assert faults(NAMED["looks"], ("1",), (document,), (b"{}",)) == [
        ("looks", "1", "doc", f"look 1: doc is `{said}` in the state, the evidence says `{{}}`")
    ]


def test_of_many_fields_ten_are_named_and_the_rest_counted() -> None:
    one, other = (msgspec.json.encode({f"f{at:02}": at + more for at in range(13)}) for more in (0, 1))
    found = faults(NAMED["looks"], ("1",), (one,), (other,))
    assert [fault[2] for fault in found] == [*(f"f{at:02}" for at in range(10)), None]
    assert found[-1] == ("looks", "1", None, "look 1: 3 more fields differ")
    other = msgspec.json.encode({f"f{at:02}": at + (at < 10) for at in range(13)})
    assert len(faults(NAMED["looks"], ("1",), (one,), (other,))) == 10


def test_a_difference_is_known_again_by_the_row_and_its_content_in_the_state() -> None:
    table = NAMED["names"]
    one = RowDifference(table, (1, 5), ("a",), ("b",))
    assert one.token == RowDifference(table, (1, 5), ("a",), ("c",)).token
    others = [(table, (1, 6), ("a",)), (table, (1, 5), ("x",)), (NAMED["people"], (1, 5), ("a",)), (table, (1, 5), None)]
    assert one.token not in {RowDifference(*other, ("b",)).token for other in others}


def test_tables_that_this_version_does_not_make(pair: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    shown, derived = pair
    assert schema_faults(shown, derived) == []
    shown.executescript(
        "DROP TABLE redactions; DROP INDEX people_uid; CREATE INDEX people_uid ON people (uid); CREATE VIEW v AS SELECT 1;"
    )
    assert schema_faults(shown, derived) == [
        VerifyFault(table="sqlite_master", id=name, what=f"{kind} {name} of the state is not the one that this version makes")
        for kind, name in (
            ("index", "people_uid"),
            ("table", "redactions"),
            ("view", "v"),
        )
    ]


def test_a_file_that_is_not_whole(pair: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    shown, derived = pair
    shown.executemany("INSERT INTO people VALUES (?, 'h', ?)", [("a", 1), ("b", 2)])
    shown.commit()
    root = shown.execute("SELECT rootpage FROM sqlite_master WHERE name = 'people_uid'").fetchone()[0]
    shown.executescript(  # The entries of the index are taken for those of a table without rows.
        f"PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = {root} WHERE name = 'findings_time'; PRAGMA writable_schema = OFF;"
    )
    path = shown.execute("PRAGMA database_list").fetchone()[2]
    with closing(sqlite3.connect(path)) as again:
        found = schema_faults(again, derived)
    assert found
    assert {(fault.table, fault.what.partition(": ")[0]) for fault in found} == {("sqlite_master", "the state's file is damaged")}


def test_what_began_on_a_full_disk_or_in_the_hour_after(tmp_path: Path) -> None:
    with closing(State(tmp_path / "s")) as state:
        for cause, since_ms in ((GapCause.DISK_FULL, 1_000), (GapCause.RESTART, 5_000)):
            state.put_gap(
                Gap(id=cause.value, cause=cause, host="h", since_ms=since_ms, until_ms=since_ms + 9, records=None, detail="")
            )
        with closing(sqlite3.connect(tmp_path / "s")) as database:
            assert full_disk_spans(database) == [(lowest_id(1_000), lowest_id(1_009 + 3_600_000))]


def test_writings_that_were_left_out_of_the_feed_are_counted(pair: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    shown, _ = pair
    assert feed_faults(shown) == []
    shown.executemany("INSERT INTO written VALUES (?, 'run', 'x')", [(number,) for number in range(3, 9)])
    assert feed_faults(shown) == []
    shown.execute("DELETE FROM written WHERE number IN (4, 6)")
    what = "2 entries of `written` are missing: what they announced was perhaps never shipped"
    assert feed_faults(shown) == [VerifyFault(table="written", what=what)]
