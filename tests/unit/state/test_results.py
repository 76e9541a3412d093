"""What a step gives, in the state: each result in its last form, and nothing of a step that failed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from descriptors import held_files
from log_lab import Trail

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.model.decided import OperationJudged
from envtrail.model.operation import Operation, Outcome
from envtrail.model.run import Session
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.comparing import TABLES
from envtrail.state.state import State
from envtrail.trail import reader
from envtrail.trail.reader import Step, in_portions

LOG = Path(__file__).parents[2] / "golden/pip/input.log"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing(State(tmp_path / "state.sqlite")) as opened:
        yield opened


def rows(state: State, select: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{state.path}?mode=ro", uri=True)) as database:
        return database.execute(select).fetchall()


def operation(user: str = "alice") -> Operation:
    made = operation_of(Case(user=user, environment="/v", packages=["six"], time="2026-01-05T10:00:00Z"))
    return msgspec.structs.replace(made, actor=msgspec.structs.replace(made.actor, auid=1001, method="auid"))


def session(id_: str, *, user: str | None = None, replaces: str | None = None) -> Session:
    return Session(
        id=id_, host="h", session=3, user=user, auid=1001, remote=None, terminal=None, service="sshd", started="2026-01-05T10:00:00Z",
        ended=None, outcome=Outcome.UNKNOWN, evidence=[], replaces=replaces,
    )  # fmt: skip


def test_a_result_that_is_given_again_is_written_once_in_its_last_form(state: State) -> None:
    first = operation()
    with state.transaction():
        state.put_results([first, msgspec.structs.replace(first, outcome=Outcome.KILLED)])
    assert rows(state, "SELECT outcome FROM operations") == [("killed",)]
    assert rows(state, "SELECT count(*) FROM written") == [(1,)]
    with state.transaction():
        state.put_results([session("h/1/3", user="alice"), session("h/1/3", user="bob")])
    assert rows(state, "SELECT user FROM sessions") == [("bob",)]
    assert rows(state, "SELECT kind FROM written") == [("operation",), ("login",)]


def test_large_steps_are_written_without_files_beside_the_state(state: State) -> None:
    """SQLite's default keeps the pages that statements with triggers change in a file of /var/tmp, one for each transaction."""
    opened: list[str] = []
    for first in range(0, 900, 75):
        ids = [f"01KB{number:022}" for number in range(first, first + 75)]
        with state.transaction():
            state.put_results([msgspec.structs.replace(operation(), id=id_, why={"x": "x" * 1000}) for id_ in ids])
            opened += held_files().values()
    assert [path for path in opened if "etilqs" in path] == []


def test_an_operation_takes_little_more_room_than_its_document(state: State) -> None:
    made = [msgspec.structs.replace(operation(), id=f"01KB{number:022}", why={"x": "x" * 1000}) for number in range(300)]
    with state.transaction():
        state.put_results(made)
    documents = rows(state, "SELECT sum(length(doc)) FROM operations")[0][0]
    pages = rows(state, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")[0][0]
    assert isinstance(documents, int)
    assert isinstance(pages, int)
    assert pages < 2 * documents


def test_what_a_verdict_amends_is_found_by_its_packages_all_the_same(state: State) -> None:
    first = operation()
    with state.transaction():
        state.put_results([first])
        state.decisions.put(OperationJudged(time_ms=1, operation=first.id, verdict="allow", rule=None, grant=None, reason="x"))
    assert rows(state, "SELECT name FROM operation_packages") == [("six",)]
    with state.transaction():
        state.put_results([msgspec.structs.replace(first, changes=[], requested=[])])
    assert rows(state, "SELECT name FROM operation_packages") == []


def test_a_person_that_only_an_earlier_form_names_is_known_all_the_same(state: State) -> None:
    first = operation("alice")
    renamed = msgspec.structs.replace(first, actor=msgspec.structs.replace(first.actor, name="alicia"))
    with state.transaction():
        state.put_results([first, renamed, session("h/1/3", user="bob"), session("h/1/3", user="carol")])
    assert rows(state, "SELECT name FROM people ORDER BY name") == [("alice",), ("alicia",), ("bob",), ("carol",)]


def test_a_session_that_replaces_another_takes_its_place_though_it_is_given_again(state: State) -> None:
    with state.transaction():
        state.put_results([session("h/2/3")])
    with state.transaction():
        state.put_results([session("h/1/3", replaces="h/2/3"), session("h/1/3", user="alice")])
    assert rows(state, "SELECT id, user FROM sessions") == [("h/1/3", "alice")]


def test_what_a_failed_step_had_written_is_written_by_the_next_one(state: State) -> None:
    def fail() -> None:
        with state.transaction():
            state.put_results([operation()])
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert rows(state, "SELECT * FROM people") == []
    with state.transaction():
        state.put_results([operation()])
    assert len(rows(state, "SELECT * FROM people")) == 1
    assert rows(state, "SELECT version FROM weeks") == [(1,)]


def test_a_week_changes_once_in_a_transaction_and_again_in_the_next(state: State) -> None:
    for version in (1, 2):
        with state.transaction():
            state.put_results([operation(), operation("bob")])
            state.put_results([operation()])
        assert rows(state, "SELECT version FROM weeks") == [(version,)]


def test_a_transaction_in_another_is_part_of_it(state: State) -> None:
    def fail() -> None:
        with state.transaction():
            with state.transaction():
                state.put_results([operation()])
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert rows(state, "SELECT * FROM operations") == []


def test_short_steps_are_gone_through_together_and_long_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PORTION_STEPS", 3)
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 10)
    steps = [Step(segment=1, records=b"x" * size, observations=[]) for size in (1, 1, 1, 1, 20, 1, 1)]
    assert [[len(step.records) for step in portion] for portion in in_portions(steps)] == [[1, 1, 1], [1, 20], [1, 1]]


def test_opening_a_trail_again_leaves_its_state_as_it_was(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    text = LOG.read_bytes().splitlines(keepends=True)
    trail.take_text(*(b"".join(text[at : at + 40]) for at in range(0, len(text), 40)))

    def said() -> list[list[tuple[object, ...]]]:
        with closing(sqlite3.connect(trail.config.data_dir / "state/state.sqlite")) as database:
            return [sorted(database.execute(table.select), key=repr) for table in TABLES]

    before = said()
    with open_trail(trail.config, world=ImportedWorld()):
        pass
    assert said() == before


def test_an_import_asks_the_state_little_for_each_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    original = State.transaction

    def traced(self: State) -> object:
        self._database.set_trace_callback(statements.append)
        return original(self)

    monkeypatch.setattr(State, "transaction", traced)
    report = Trail(tmp_path / "trail").take(*sorted(LOG.parents[1].glob("*/input.log")))
    results = report.operations + report.runs + report.sessions
    assert results > 20
    once = ("--", "BEGIN", "COMMIT", "INSERT OR REPLACE INTO cursors VALUES ('trail'")  # For each transaction.
    asked = [one for one in statements if not one.startswith(once)]
    assert len(asked) < 8 * results
