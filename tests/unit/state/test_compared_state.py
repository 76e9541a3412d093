"""What is shown against what is kept: a row that somebody changed, added or removed is found and named."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from verify_lab import DAY_MS, NOW_MS, config_of, decided, make_trail, note, reported

from envtrail.agent.build import open_trail
from envtrail.agent.importing import import_files
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config
from envtrail.model.observation import GapFound
from envtrail.state.comparing import TABLES
from envtrail.tasks import verify as verifying
from envtrail.tasks.demo import play
from envtrail.tasks.rebuild import rebuild_state
from envtrail.tasks.verify import compare_state, verify_trail
from envtrail.trail.layout import Layout
from envtrail.trail.reader import iterate_steps
from envtrail.trail.seal import read_seal

TESTS = Path(__file__).parents[2]
LOGS = sorted([*TESTS.glob("golden/*/input.log"), *TESTS.glob("data/logs/logins/*.log"), *TESTS.glob("data/logs/*/input.log")])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trail(tmp_path_factory.mktemp("made")).data_dir


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Config:
    return config_of(Path(shutil.copytree(made, tmp_path / "trail")))


def change(config: Config, *statements: str) -> None:
    with closing(sqlite3.connect(config.data_dir / "state/state.sqlite")) as database:
        for statement in statements:
            assert database.execute(statement).rowcount != 0, statement
        database.commit()


def found(config: Config) -> list[str]:
    return reported(verify_trail(config, is_quick=False))


def test_a_trail_that_nobody_touched_has_no_fault_and_every_table_is_compared(config: Config) -> None:
    report = verify_trail(config, is_quick=False)
    assert reported(report) == []
    assert report.rows > 350
    assert report.not_checked == []
    with closing(sqlite3.connect(config.data_dir / "state/state.sqlite")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        empty = [table.name for table in TABLES if not database.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]]
    assert names - {table.name for table in TABLES} == {"weeks", "written", "identity"}
    assert empty == []


TOUCHED = [
    ("UPDATE operations SET doc = json_set(doc, '$.actor.name', 'mallory'), user = 'mallory' WHERE user = 'alice'", "operation", "actor.name is `mallory` in the state, the evidence says `alice`"),
    ("UPDATE operations SET user = 'mallory' WHERE user = 'alice'", "operation", "user is `mallory` in the state, the evidence says `alice`"),
    ("UPDATE operations SET doc = json_set(doc, '$.outcome', 'success') WHERE outcome = 'failure'", "operation", "outcome is `success` in the state, the evidence says `failure`"),
    ("UPDATE operations SET doc = json_set(doc, '$.changes[0].after', '9.9') WHERE changes > 1", "operation", "changes[0].after is `9.9`"),
    ("UPDATE operations SET doc = json_remove(doc, '$.changes[0]') WHERE changes > 1", "operation", "changes is "),
    ("UPDATE operations SET granted = NULL, doc = json_set(doc, '$.grant', NULL) WHERE granted IS NOT NULL", "operation", "grant is `null` in the state"),
    ("UPDATE operations SET doc = 'not json' WHERE id = (SELECT min(id) FROM operations)", "operation", "doc is "),
    ("UPDATE operations SET uid = 'x' WHERE id = (SELECT min(id) FROM operations)", "operation", "uid is `x`"),
    ("DELETE FROM operations WHERE id = (SELECT min(id) FROM operations)", "operation", "is missing from the state"),
    ("INSERT INTO operations SELECT '01KB0000000000000000000000', started, ended, prefix, tool, kind, outcome, user, uid, auid, command, unexplained, verdict, granted, method, changes, installs, creates, moved_to, doc FROM operations LIMIT 1", "operation 01KB0000000000000000000000", "the evidence does not make it"),
    ("DELETE FROM operation_packages WHERE name = (SELECT min(name) FROM operation_packages)", "package of an operation", "is missing"),
    ("UPDATE runs SET doc = json_set(doc, '$.argv[0]', 'x')", "run", "argv[0] is `x`"),
    ("DELETE FROM sessions WHERE id = (SELECT max(id) FROM sessions)", "session", "is missing"),
    ("UPDATE findings SET status = 'open', doc = json_set(doc, '$.status', 'open')", "finding", "status is `open` in the state, the evidence says `acknowledged`"),
    ("UPDATE findings SET level = 0", "finding", "level is `0`"),
    ("DELETE FROM findings WHERE time_ms = 1800000000000", "finding", "is missing"),
    ("UPDATE requests SET doc = json_set(doc, '$.terms.why', 'x')", "request", "terms.why is `x`"),
    ("UPDATE grants SET until_ms = until_ms + 1", "grant", "until_ms is "),
    ("UPDATE grants SET doc = json_set(doc, '$.approvals[0].name', 'carol')", "grant", "approvals[0].name is `carol` in the state, the evidence says `bob`"),
    ("DELETE FROM grants", "grant", "is missing"),
    ("UPDATE suppressions SET doc = json_set(doc, '$.owner', 'x')", "mute", "owner is `x`"),
    ("DELETE FROM looks WHERE id = (SELECT min(id) FROM looks)", "look", "is missing"),
    ("DELETE FROM gaps WHERE id = 'gap-1800000000000'", "gap gap-1800000000000", "is missing"),
    ("UPDATE environments SET doc = json_set(doc, '$.owner_uid', 7) WHERE prefix = '/opt/conda'", "environment /opt/conda", "owner_uid is `7`"),
    ("UPDATE snapshots SET digest = (SELECT max(digest) FROM contents) WHERE id = (SELECT min(id) FROM snapshots)", "snapshot", "in the state"),
    ("UPDATE contents SET members = substr(members, 9) WHERE count > 1", "content of a snapshot", "members is "),
    ("UPDATE packages SET version = '6.6.6', doc = json_set(doc, '$.version', '6.6.6') WHERE id = 1", "package", "version is `6.6.6`"),
    ("DELETE FROM holdings WHERE id = (SELECT min(id) FROM holdings)", "holding", "is missing"),
    ("UPDATE names SET name = 'mallory' WHERE name = 'alice'", "name of a uid", "name is `mallory`"),
    ("UPDATE people SET name = 'mallory' WHERE name = 'alice'", "number of a person", "mallory"),
    ("UPDATE policies SET doc = json_set(doc, '$.digest', 'x')", "policy", "digest is `x`"),
    ("UPDATE totals SET count = 1 WHERE name = 'operations'", "total operations", "count is `1`"),
    ("UPDATE redactions SET count = count + 1", "count of redactions", "count is "),
    ("UPDATE cursors SET doc = json_set(doc, '$.position.offset', 99)", "place in a source", ""),
    ("CREATE TRIGGER hide AFTER INSERT ON operations BEGIN UPDATE operations SET user = 'bob' WHERE id = new.id; END", "trigger hide", "is not the one that this version makes"),
    ("DELETE FROM written WHERE number = 9", "1 entries of `written` are missing", ""),
    ("DROP TABLE looks", "table looks", "is not the one that this version makes"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "row", "what"), TOUCHED, ids=lambda value: value[:60] if value[:6].isupper() else "")
def test_what_somebody_changed_in_the_state_is_found_and_named(config: Config, statement: str, row: str, what: str) -> None:
    change(config, statement)
    faults = found(config)
    assert any(fault.startswith(row) and what in fault for fault in faults), faults


def test_every_table_is_among_those_that_were_touched() -> None:
    touched = " ".join(statement for statement, _, _ in TOUCHED)
    assert [table.name for table in TABLES if table.name not in touched] == []


def test_a_fault_names_table_id_and_field_for_programs(config: Config) -> None:
    change(config, "UPDATE findings SET level = 0")
    faults = verify_trail(config, is_quick=False).faults
    assert {(fault.table, fault.field, fault.segment) for fault in faults} == {("findings", "level", None)}
    assert len({fault.id for fault in faults}) == 2


def test_many_fields_of_one_row_are_counted(config: Config) -> None:
    change(config, "UPDATE operations SET doc = '{}' WHERE id = (SELECT min(id) FROM operations)")
    faults = found(config)
    assert len(faults) == 11
    assert "more fields differ" in faults[-1]


def test_the_state_is_left_as_it_is(config: Config) -> None:
    change(config, "UPDATE findings SET level = 0")
    before = (config.data_dir / "state/state.sqlite").read_bytes()
    assert found(config)
    assert (config.data_dir / "state/state.sqlite").read_bytes() == before


def test_a_damaged_state_is_a_fault_and_none_is_said_to_be_not_compared(config: Config) -> None:
    state = config.data_dir / "state/state.sqlite"
    data = state.read_bytes()
    state.write_bytes(b"x" * 8192 + data[8192:])
    report = verify_trail(config, is_quick=False)
    assert "cannot be compared" in reported(report)[0]
    state.unlink()
    report = verify_trail(config, is_quick=False)
    assert reported(report) == []
    assert report.not_checked[0].startswith("the state was not compared with the evidence: `state.sqlite` does not exist")


def test_a_state_of_other_tables_is_a_fault_and_not_called_compared(config: Config) -> None:
    change(config, "DROP TABLE looks")
    report = verify_trail(config, is_quick=False)
    assert reported(report)
    assert report.not_checked[0].startswith("the state was not compared")
    assert not any("every row" in what for what in report.checked)


def test_quick_says_that_nothing_was_compared(config: Config) -> None:
    change(config, "UPDATE findings SET level = 0")
    report = verify_trail(config, is_quick=True)
    assert reported(report) == []
    assert report.not_checked == ["the state was not compared with the evidence: it was not requested"]
    assert not any("state" in what for what in report.checked)


def test_an_agent_that_was_killed_before_the_state_had_its_step_is_no_fault(config: Config) -> None:
    before = (config.data_dir / "state/state.sqlite").read_bytes()
    with open_trail(config, world=ImportedWorld()) as opened:
        note(opened, decided("x", NOW_MS + 2 * DAY_MS)[-2:])
    for name in ("-wal", "-shm"):
        (config.data_dir / f"state/state.sqlite{name}").unlink(missing_ok=True)
    (config.data_dir / "state/state.sqlite").write_bytes(before)
    report = verify_trail(config, is_quick=False)
    assert reported(report) == []
    assert "was killed" in report.notes[0]


def test_what_an_agent_adds_while_it_is_compared_is_no_fault_and_what_somebody_changed_is(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent writes on between the evidence's end and the reading of the state, in both checks."""
    real, moment = verifying.read_end, NOW_MS + 2 * DAY_MS
    with open_trail(config, world=ImportedWorld()) as opened:

        def read_end(layout: Layout) -> Any:
            nonlocal moment
            end = real(layout)
            moment += 1
            note(opened, decided("x", moment))
            if moment % 2:
                opened.writer.seal()
            return end

        monkeypatch.setattr(verifying, "read_end", read_end)
        assert compare_state(config, settle_s=0).faults == []
        change(config, "UPDATE findings SET level = 0 WHERE time_ms = 1800000000000")
        faults = compare_state(config, settle_s=0).faults
    assert [(fault.table, fault.field) for fault in faults] == [("findings", "level")]


@pytest.mark.parametrize("log", LOGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recorded_log_is_clean_as_imported_and_rebuilt(log: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path / "trail")
    import_files(config, [log])
    assert found(config) == []
    with open_trail(config, world=ImportedWorld()) as opened:
        opened.writer.seal(wait=True)
    import_files(config, [log])
    assert found(config) == []
    rebuild_state(config)
    assert found(config) == []


def test_enough_recorded_logs_are_looked_at() -> None:
    assert len(LOGS) >= 28


class TestDropped:
    """Retention has dropped the demo's segment: its rows stay, and cannot be compared; all that followed can."""

    @pytest.fixture
    def dropped(self, config: Config) -> Config:
        with open_trail(config.replaced("test", {"store.retention_days": 1}), world=ImportedWorld()) as opened:
            last_ms = read_seal(opened.writer.layout.segment(1)).last_ms or 0
            gaps = opened.writer.retain(
                last_ms + DAY_MS + 1,
                lambda gaps: opened.pipeline.observe([GapFound(time_ms=NOW_MS, gap=gap) for gap in gaps], NOW_MS),
            )
        assert [gap.id for gap in gaps] == ["retention-1"]
        return config

    def test_it_is_clean_and_says_what_was_not_compared(self, dropped: Config) -> None:
        report = verify_trail(dropped, is_quick=False)
        assert reported(report) == []
        assert any("rows of the state: evidence dropped" in what for what in report.not_checked)
        assert report.dropped >= 1

    def test_what_follows_is_still_compared(self, dropped: Config) -> None:
        change(dropped, "UPDATE findings SET level = 0", "UPDATE grants SET doc = json_set(doc, '$.approvals[0].name', 'carol')")
        assert sorted(fault.field or "" for fault in verify_trail(dropped, is_quick=False).faults) == [
            *["approvals[0].name"] * 2,
            *["level"] * 2,
        ]

    def test_what_was_added_after_it_is_found(self, dropped: Config) -> None:
        change(
            dropped,
            "INSERT INTO environments SELECT '/evil', 1900000000000, gone, doc FROM environments LIMIT 1",
            "INSERT INTO gaps SELECT 'g', 1900000000000, 1900000000000, doc FROM gaps LIMIT 1",
            "INSERT INTO looks SELECT '7' || substr(id, 2), doc FROM looks LIMIT 1",
        )
        assert {(fault.table, "does not make it" in fault.what) for fault in verify_trail(dropped, is_quick=False).faults} == {
            ("environments", True),
            ("gaps", True),
            ("looks", True),
        }


def test_an_agent_that_was_started_again_in_each_segment_is_no_fault(tmp_path: Path) -> None:
    """What it knew then may be less than what the whole evidence says, and is no accusation."""
    config = config_of(tmp_path / "trail")
    lines = b"".join(
        step.records for step in iterate_steps(Layout(play(config_of(tmp_path), on_result=lambda _: None, pause=False)))
    )
    events = [
        b"".join(group) for _, group in groupby(lines.splitlines(keepends=True), key=lambda line: line.partition(b": ")[0][-30:])
    ]
    size = len(events) // 9 + 1
    for at in range(9):
        part = tmp_path / f"audit.log.{9 - at}"
        part.write_bytes(b"".join(events[at * size : (at + 1) * size]))
        import_files(config, [part])
        with open_trail(config, world=ImportedWorld()) as opened:
            opened.writer.seal(wait=True)
    report = verify_trail(config, is_quick=False)
    assert reported(report) == []
    change(config, "UPDATE operations SET user = 'mallory' WHERE user = 'alice'")
    assert {fault.field for fault in verify_trail(config, is_quick=False).faults} == {"user"}
