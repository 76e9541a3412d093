"""Documents of Auditbeat become the records that they were made of: compared with the kernel's own log of the same activity."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from envtrail.capture.auditbeat import AuditbeatSource, DocumentFigures
from envtrail.capture.auditbeat_document import UnreadableDocumentError, translate
from envtrail.capture.recognise import open_sources
from envtrail.core import Assembler
from envtrail.errors import InputError

DATA = Path(__file__).parents[2] / "data" / "auditbeat"
Row = Mapping[str, Any]


def read(path: Path) -> tuple[dict[int, Row], bytes, DocumentFigures | None]:
    """Typed events by serial, the records, and the figures."""
    (source,) = open_sources([path], "gpu1")
    assembler = Assembler(node="gpu1", redact=False)
    with closing(source):
        while not (block := source.read(0)).ended:
            assembler.push(block.records)
    assembler.push(block.records)
    assembler.flush()
    batch = assembler.drain()
    assert [fault.excerpt for fault in batch.faults] == []
    rows = pa.record_batch(batch.events()).to_pylist()
    assert len({row["serial"] for row in rows}) == len(rows)
    return {row["serial"]: row for row in rows}, batch.records, source.figures if isinstance(source, AuditbeatSource) else None


def lines(name: str) -> list[bytes]:
    return gzip.decompress((DATA / f"{name}.ndjson.gz").read_bytes()).splitlines()


def write(folder: Path, *content: bytes) -> Path:
    path = folder / "documents.ndjson"
    path.write_bytes(b"\n".join(content) + b"\n")
    return path


def document(**changes: Any) -> bytes:
    """A real document of an exec, with parts replaced; dots go down, `None` takes away."""
    found = next(
        item for item in map(json.loads, lines("bare")) if item.get("process", {}).get("args", [""])[-1] == "numtools==1.0"
    )
    for place, value in changes.items():
        *way, last = place.replace("__", ".").split(".")
        at = found
        for step in way:
            at = at.setdefault(step, {})
        at.pop(last, None)
        if value is not None:
            at[last] = value
    return json.dumps(found).encode()


def row_of(raw: bytes) -> Row:
    assembler = Assembler(redact=False)
    made = translate(raw)
    assembler.push(made.records.encode())
    assembler.flush()
    batch = assembler.drain()
    assert batch.faults == []
    (row,) = pa.record_batch(batch.events()).to_pylist()
    return row


@pytest.fixture(scope="module")
def log() -> tuple[dict[int, Row], bytes]:
    rows, records, figures = read(DATA / "audit.log.gz")
    assert figures is None
    assert len(rows) > 250
    return rows, records


def differences(log: Mapping[int, Row], found: Mapping[int, Row]) -> dict[str, list[int]]:
    """Serials by the column that differs. Where bytes stand is another matter: a document says its machine in each record."""
    assert sorted(found) == sorted(log)
    different = defaultdict(list)
    for serial, row in log.items():
        for column in row.keys() - {"offset", "length"}:
            if found[serial][column] != row[column]:
                different[column].append(serial)
    return different


def test_raw_records_are_taken_as_the_kernel_wrote_them(log: tuple[dict[int, Row], bytes]) -> None:
    found, records, figures = read(DATA / "raw.ndjson.gz")
    assert figures is not None
    assert (figures.taken, figures.verbatim, figures.unreadable) == (300, 300, 0)

    def bare(text: bytes) -> list[bytes]:
        return sorted(line.removeprefix(b"node=gpu1 ").split(b"\x1d")[0].rstrip() for line in text.splitlines())

    assert bare(records) == bare(log[1])
    # The names of the uids, which Auditbeat resolves and a plain log lacks.
    assert differences(log[0], found).keys() == {"fields"}
    assert {dict(row["fields"])["AUID"] for row in found.values()} == {"alice"}


def test_a_translation_is_the_same_event_but_for_what_auditbeat_drops(log: tuple[dict[int, Row], bytes]) -> None:
    found, _, figures = read(DATA / "bare.ndjson.gz")
    assert figures is not None
    assert (figures.taken, figures.verbatim, figures.repeated, figures.unreadable) == (300, 0, 0, 0)
    assert figures.passed_over == {"file_integrity": 3}
    different = differences(log[0], found)
    # An argument that is empty, or in parts: Auditbeat then drops all of them.
    lost = different["argv"]
    argv = [log[0][serial]["argv"] for serial in lost]
    assert len(argv) == 3
    assert all("" in words or max(map(len, words)) > 8000 for words in argv)
    assert different["argc"] == different["complete"] == different["missing"] == different["records"] == lost
    assert {tuple(found[serial]["missing"]) for serial in lost} == {("EXECVE",)}
    # The uid of a user record makes room for the account that ECS calls `user`.
    assert {log[0][serial]["type"] for serial in different["uid"]} == {"USER_START", "USER_END", "CRED_ACQ", "CRED_DISP"}
    assert {found[serial]["uid"] for serial in different["uid"]} == {None}
    # The names are more; the uid and the old login uid of a LOGIN are less.
    assert different.keys() == {"argv", "argc", "complete", "missing", "records", "uid", "fields"}
    missing = set()
    for serial, row in log[0].items():
        said, reported = dict(row["fields"] or ()), dict(found[serial]["fields"] or ())
        missing |= said.keys() - reported.keys()
        assert {key: reported[key] for key in said.keys() & reported.keys()} == {
            key: said[key] for key in said.keys() & reported.keys()
        }
    assert missing == {"uid", "old-auid"}


def test_names_with_blanks_and_set_uid_programs_are_among_what_was_compared(log: tuple[dict[int, Row], bytes]) -> None:
    rows = log[0].values()
    assert any(row["comm"] == "my long tool" for row in rows)
    assert any(row["uid"] == 61120 and row["euid"] == 0 for row in rows)
    assert any(row["kind"] == "exit" and row["exit_code"] == 1 for row in rows)
    assert any('größer "one"' in (row["argv"] or ()) for row in rows)


def test_order_of_documents_does_not_matter(tmp_path: Path) -> None:
    _, records, _ = read(DATA / "bare.ndjson.gz")
    shuffled = lines("bare")
    random.Random(7).shuffle(shuffled)
    assert read(write(tmp_path, *shuffled))[1] == records


@pytest.mark.parametrize("shape", ["hits", "answer", "list"])
def test_exports_of_a_search_server_are_read(shape: str, tmp_path: Path) -> None:
    hits = [
        b'{"_index":"auditbeat-7.17.28-000001","_id":"%d","_score":1,"_source":%s}' % item for item in enumerate(lines("bare"))
    ]
    answers = {
        "hits": hits,
        "answer": [b'{"took":1,"hits":{"total":{"value":303},"hits":[' + b",".join(hits) + b"]}}"],
        "list": [b"[" + b",".join(lines("bare")) + b"]"],
    }
    _, records, figures = read(write(tmp_path, *answers[shape]))
    assert figures is not None
    assert (figures.taken, figures.passed_over, figures.unreadable) == (300, {"file_integrity": 3}, 0)
    assert records == read(DATA / "bare.ndjson.gz")[1]


def test_what_stands_twice_is_taken_once(tmp_path: Path) -> None:
    _, records, figures = read(write(tmp_path, *lines("bare"), *lines("bare")))
    assert figures is not None
    assert (figures.taken, figures.repeated) == (600, 300)
    assert records == read(DATA / "bare.ndjson.gz")[1]


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    good = lines("bare")[:3]
    bad = [b'{"event": {"module": "auditd"', document(auditd__sequence="many"), document(**{"@timestamp": "yesterday"})]
    _, _, figures = read(write(tmp_path, good[0], b"", bad[0], good[1], bad[1], bad[2], good[2]))
    assert figures is not None
    assert [fault.line for fault in figures.faults] == [3, 5, 6]
    assert "auditd.sequence" in figures.faults[1].reason
    assert "@timestamp" in figures.faults[2].reason
    assert (figures.taken + sum(figures.passed_over.values()), figures.unreadable) == (3, 3)


def test_other_documents_are_passed_over_by_name(tmp_path: Path) -> None:
    others = [
        b'{"event":{"module":"system","dataset":"process"}}',
        b'{"event":{"module":"auditd","dataset":"auditd.log"},"auditd":{"log":{"sequence":7}}}',
        b'{"message":"hello"}',
    ]
    _, _, figures = read(write(tmp_path, *others, document(event__dataset="auditd_manager.auditd")))
    assert figures is not None
    assert (figures.taken, figures.passed_over) == (1, {"system": 1, "auditd.log": 1, "no module": 1})


def test_version_8_has_the_parent_in_another_place() -> None:
    before = row_of(document())
    assert before["ppid"] is not None
    assert row_of(document(process__ppid=None, process__parent={"pid": before["ppid"]})) == before


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"auditd__data__syscall": "frobnicate"}, "syscall", None),
        ({"auditd__data__syscall": "999"}, "syscall", 999),
        ({"auditd__data__arch": "aarch64"}, "syscall", 221),
        ({"auditd__data__arch": "unknown[7]"}, "arch", None),
        ({"auditd__data__exit": "EACCES"}, "exit", -13),
        ({"auditd__data__exit": "ENOSUCHTHING"}, "exit", None),
        ({"auditd__result": "fail"}, "success", False),
        ({"auditd__result": "unknown"}, "success", None),
        ({"auditd__session": None}, "ses", None),
        ({"user__audit": None}, "auid", None),
        ({"user__audit__id": "unset"}, "auid", None),
        ({"user__effective": {"id": "0", "group": {"id": "0"}}}, "euid", 0),
        ({"tags": ["one", "two"]}, "keys", ["one", "two"]),
        ({"tags": None}, "keys", None),
        ({"process__args": ["a b", "é", 'say "x"'], "auditd__data__argc": "3"}, "argv", ["a b", "é", 'say "x"']),
        ({"process__args": ["a"], "auditd__data__argc": "3"}, "argv", None),
        ({"process__name": "DEADBEEF"}, "comm", "DEADBEEF"),
        ({"auditd__data__socket": {"family": "ipv4", "addr": "10.0.0.7", "port": "443"}}, "address", "10.0.0.7"),
        ({"auditd__data__socket": {"family": "ipv6", "addr": "fe80::1", "port": "22"}}, "address", "fe80::1"),
        ({"auditd__data__socket": {"family": "unix", "path": "/run/a b.sock"}}, "address", "/run/a b.sock"),
        ({"host__name": None, "agent__name": None, "agent__hostname": None}, "node", ""),
    ],
)
def test_each_normalised_value_is_taken_back_or_left_out(changes: dict[str, Any], column: str, expected: object) -> None:
    assert row_of(document(**changes))[column] == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"auditd__data__tty": "pts0\ntype=SYSCALL msg=audit(1.000:1): pid=1"},
        {"process__executable": "/bin/x\ntype=SYSCALL msg=audit(1.000:1): pid=1"},
        {"user__audit__name": 'alice"\ntype=SYSCALL msg=audit(1.000:1): pid=1'},
        {"auditd__data": {"syscall": "execve", "arch": "x86_64", "tty\n": "x"}},
        {"auditd__session": "1 auid=0"},
    ],
)
def test_no_value_becomes_a_field_or_record_of_its_own(changes: dict[str, Any]) -> None:
    row, before = row_of(document(**changes)), row_of(document())
    assert (row["time"], row["serial"], row["pid"], row["auid"]) == (before["time"], before["serial"], before["pid"], 61120)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host__name": "gpu1 type=LOGIN"}, "name of a machine"),
        ({"auditd__message_type": "syscall msg=audit(1.0:1)"}, "record type"),
        ({"auditd__message_type": None}, "message_type"),
        ({"event__original": ["type=LOGIN msg=audit(1.000:1): pid=1\ntype=LOGIN msg=audit(1.000:2): pid=1"]}, "something else"),
        (
            {"event__original": ["type=LOGIN msg=audit(1.000:1): a=1", "type=LOGIN msg=audit(1.000:2): a=1"]},
            "more than one event",
        ),
        ({"@timestamp": "2026-01-01T00:00:00"}, "time zone"),
        ({"beat": {"version": "6.8.0"}}, "Auditbeat 6"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableDocumentError, match=reason):
        translate(document(**changes))


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envtrail.capture.auditbeat._MOST_LINE_BYTES", 3 << 20)
    path = tmp_path / "endless.json"
    path.write_bytes(b'{"event":{"module":"auditd"},"a":"' + b"x" * (5 << 20))
    with pytest.raises(InputError, match="line 1"):
        read(path)


def test_progress_goes_from_nothing_to_the_whole_file() -> None:
    path = DATA / "bare.ndjson.gz"
    with closing(open_sources([path], "gpu1")[0]) as source:
        seen = [source.position_bytes]
        while not source.read(0).ended:
            seen.append(source.position_bytes)
        seen.append(source.position_bytes)
    assert seen == sorted(seen)
    assert seen[-1] == source.size_bytes == path.stat().st_size
