"""Two machines in one trail: what one says never reaches the other, and nothing is looked up on the one that is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from login_lab import BASE_S, login, user

from envtrail.core import Assembler, event_schema
from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.begun import Begun
from envtrail.interpret.emission import Emission, EnvironmentOpened, NameWanted, ProcessWanted, ScriptWanted, SnapshotWanted
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.rows import Row
from envtrail.model.environment import Environment
from envtrail.model.observation import (
    AgentStarted,
    EnvironmentSeen,
    FilesChanged,
    NameResolved,
    Observation,
    ProcessExited,
    ProcessSeen,
)
from envtrail.model.operation import Operation
from envtrail.model.run import Run

HERE, THERE = "hosta", "hostb"
WISHES = (EnvironmentOpened, NameWanted, ProcessWanted, ScriptWanted, SnapshotWanted)
PIP = ["/opt/v/bin/python3", "/opt/v/bin/pip", "install", "six"]
SCRIPT = ["/opt/v/bin/python3", "/w/train.py"]


@dataclass(frozen=True)
class Image:
    image: int
    pid: int
    ppid: int
    hint: str | None
    uid: int
    ses: int
    segment: int = 1

    @property
    def time_ms(self) -> int:
        return self.image >> 20

    @property
    def serial(self) -> int:
        return self.image & 0xFFFFF


class PerNode:
    """A process table that knows the machine of each image, as the core's does."""

    def __init__(self) -> None:
        self.above: dict[int, list[Image]] = {}
        self.newest: dict[tuple[str, int], Image] = {}

    def exec(self, node: str, one: Image) -> None:
        parent = self.newest.get((node, one.ppid))
        self.above[one.image] = [one, *(self.above[parent.image] if parent else [])]
        self.newest[node, one.pid] = one

    def lineage(self, image: int) -> list[Any]:
        return self.above.get(image, [])

    def first_above(self, image: int, among: dict[int, Any]) -> int | None:
        return next((one.image for one in self.above.get(image, [])[1:] if one.image in among), None)

    def uids_above(self, image: int, ses: int | None, hint: str) -> tuple[list[int], bool]:
        line = self.above.get(image, [])
        return [one.uid for one in line if ses is not None and one.ses == ses], any(one.hint == hint for one in line)

    def image_of(self, pid: int) -> int | None:
        one = self.newest.get((HERE, pid))
        return one.image if one else None

    def descendants(self, image: int) -> int:
        return sum(image in {one.image for one in above} for above in self.above.values())

    def late_ends(self) -> list[tuple[int, int, int | None, int, int]]:
        return []


class Fleet:
    """Execs, ends and logins of machines, given to one interpreter of `hosta`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = PerNode()
        self.interpreter = Interpreter(node=HERE, lineage=self.table)
        self.now_ms, self.serial = BASE_S * 1000, 0
        self.given: list[Emission] = []
        monkeypatch.setattr("envtrail.interpret.interpreter.interesting_rows", lambda rows, *_: rows)

    def rows(self, rows: list[Any], events: pa.RecordBatch | None = None) -> list[Emission]:
        batch = _Rows(rows, events if events is not None else pa.record_batch(Assembler().drain().events()))
        return self._keep(self.interpreter.step(batch, [], now_ms=self.now_ms))  # type: ignore[arg-type]

    def observe(self, *observations: Observation) -> list[Emission]:
        return self._keep(self.interpreter.step(None, observations, now_ms=self.now_ms))

    def exec(self, node: str, pid: int, argv: list[str], *, ppid: int = 1, auid: int = 1000, **fields: str) -> list[Emission]:
        time_ms, serial = self.tick()
        hint = "pip" if "pip" in argv[1] else "python"
        image = time_ms << 20 | serial
        self.table.exec(node, Image(image, pid, ppid, hint, auid, 3))
        return self.rows(
            [
                _row(
                    node=node, time=time_ms, serial=serial, kind="exec", hint=hint, success=True, pid=pid, ppid=ppid, auid=auid, uid=auid,
                    ses=3, exe="/usr/bin/python3.11", argv=argv, cwd="/w", fields=fields, image=image, complete=True,
                    paths=[{"name": argv[0], "nametype": "NORMAL", "inode": 7, "mode": 0o100755, "ouid": 0}],
                )
            ]
        )  # fmt: skip

    def exit(self, node: str, pid: int, code: int = 0) -> list[Emission]:
        time_ms, serial = self.tick()
        return self.rows([_row(node=node, time=time_ms, serial=serial, kind="exit", pid=pid, exit_code=code)])

    def login(self, node: str, account: str, auid: int, address: str) -> None:
        came = f"hostname={address} addr={address} terminal=ssh"
        self.serial += 2
        lines = [
            login(0, self.serial - 1, ses=3, auid=auid, node=node),
            user("USER_START", 50, self.serial, ses=3, auid=auid, account=f'acct="{account}"', came=came, node=node),
        ]
        assembler = Assembler(node=HERE)
        assembler.push(("\n".join(lines) + "\n").encode())
        assembler.flush()
        self.rows([], pa.record_batch(assembler.drain().events()))

    def tick(self) -> tuple[int, int]:
        self.now_ms += 1000
        self.serial += 1
        return self.now_ms, self.serial

    def _keep(self, emissions: list[Emission]) -> list[Emission]:
        self.given += emissions
        return emissions

    def operations(self) -> list[Operation]:
        return [one for one in self.given if isinstance(one, Operation)]

    def runs(self) -> dict[str, Run]:
        return {one.host: one for one in self.given if isinstance(one, Run)}


class _Rows(list[Any]):
    """Rows that are interpreted, and events that say something of logins."""

    def __init__(self, rows: list[Any], events: pa.RecordBatch) -> None:
        super().__init__(rows)
        self._events = events

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        capsules: tuple[object, object] = self._events.__arrow_c_array__(requested_schema)
        return capsules


def _row(**known: Any) -> Row:
    columns = pa.schema(event_schema()).names
    assert known.keys() <= {*columns}
    return msgspec.convert(dict(known) | {"segment": 1}, Row)


def lookups_in(emissions: list[Emission]) -> list[Emission]:
    return [one for one in emissions if isinstance(one, WISHES)]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(monkeypatch)


def test_an_end_on_one_machine_ends_nothing_on_another(fleet: Fleet) -> None:
    fleet.exec(HERE, 2000, PIP)
    fleet.exec(THERE, 2000, SCRIPT, auid=1001)
    assert fleet.exit(THERE, 2000, 1)
    assert fleet.operations() == []
    assert fleet.runs()[THERE].exit_code == 1
    (lookup,) = lookups_in(fleet.exit(HERE, 2000, 0))
    assert isinstance(lookup, SnapshotWanted)
    fleet.given += fleet.interpreter.settle(
        SnapshotAnswer(image=lookup.image, prefix=lookup.prefix, changes=None, absent="not recorded")
    )
    assert [(one.host, one.exit_code) for one in fleet.operations()] == [(HERE, 0)]


def test_an_exit_that_this_machine_observed_is_its_own(fleet: Fleet) -> None:
    fleet.exec(THERE, 2000, SCRIPT)
    fleet.exec(HERE, 2000, SCRIPT)
    fleet.observe(ProcessExited(time_ms=fleet.now_ms + 5, pid=2000, exit_code=3, signal=None))
    assert {host: run.exit_code for host, run in fleet.runs().items()} == {THERE: None, HERE: 3}


def test_an_operation_of_another_machine_is_done_at_its_end_without_asking_anything(fleet: Fleet) -> None:
    assert fleet.exec(THERE, 2000, PIP) == []
    (done,) = fleet.exit(THERE, 2000)
    assert isinstance(done, Operation)
    assert (done.host, done.outcome.value, done.changes, done.absent["changes"]) == (THERE, "success", None, "not recorded")
    assert done.environment.prefix == "/opt/v"


def test_nothing_is_wished_for_on_another_machine(fleet: Fleet) -> None:
    for argv in (PIP, SCRIPT, ["/h/bin/python3", "/h/bin/jupyterhub-singleuser"]):
        assert lookups_in(fleet.exec(THERE, 2000, argv)) == []
        assert lookups_in(fleet.exit(THERE, 2000)) == []
    assert {type(one) for one in lookups_in(fleet.exec(HERE, 2000, SCRIPT))} == {ScriptWanted, NameWanted}


def test_names_of_this_machine_name_nobody_on_another(fleet: Fleet) -> None:
    fleet.observe(NameResolved(time_ms=fleet.now_ms, uid=1000, name="alice"))
    fleet.exec(THERE, 2000, SCRIPT)
    fleet.observe(NameResolved(time_ms=fleet.now_ms, uid=1000, name="alice"))
    assert fleet.runs()[THERE].actor.name is None
    assert fleet.runs()[THERE].absent["actor.name"] == "uid 1000 has no name in the records of hostb"
    fleet.exec(HERE, 2000, SCRIPT)
    assert fleet.runs()[HERE].actor.name == "alice"


def test_names_in_the_records_of_a_machine_name_its_people(fleet: Fleet) -> None:
    fleet.observe(NameResolved(time_ms=fleet.now_ms, uid=1000, name="alice"))
    fleet.exec(THERE, 2000, SCRIPT, AUID="carol")
    assert fleet.runs()[THERE].actor.name == "carol"
    fleet.login(HERE, "erin", 1001, "192.0.2.4")
    fleet.observe(NameResolved(time_ms=fleet.now_ms, uid=1001, name=None))
    fleet.exec(HERE, 2000, SCRIPT, auid=1001)
    assert fleet.runs()[HERE].actor.name == "erin"
    fleet.login("hostc", "dave", 1000, "192.0.2.3")
    fleet.exec("hostc", 2000, SCRIPT)
    assert (fleet.runs()["hostc"].actor.name, fleet.runs()["hostc"].actor.remote) == ("dave", "192.0.2.3")


def test_where_a_session_came_from_is_its_machines(fleet: Fleet) -> None:
    fleet.login(HERE, "alice", 1000, "192.0.2.1")
    fleet.login(THERE, "bob", 1001, "192.0.2.2")
    fleet.exec(HERE, 2000, SCRIPT)
    fleet.exec(THERE, 2000, SCRIPT, auid=1001)
    reported = {host: (run.actor.name, run.actor.remote) for host, run in fleet.runs().items()}
    assert reported == {HERE: ("alice", "192.0.2.1"), THERE: ("bob", "192.0.2.2")}


def test_an_environment_of_another_machine_is_not_this_ones(fleet: Fleet) -> None:
    seen = Environment(prefix="/opt/v", kind="conda")
    fleet.observe(EnvironmentSeen(time_ms=fleet.now_ms, environment=seen, gone=False))
    fleet.exec(THERE, 2000, PIP)
    fleet.exec(THERE, 2002, SCRIPT)
    environment = fleet.runs()[THERE].environment
    assert environment is not None
    assert (environment.prefix, environment.kind) == ("/opt/v", "unknown")
    assert not fleet.interpreter.is_busy("/opt/v")
    assert fleet.interpreter.prefixes() == set()
    fleet.exit(THERE, 2000)
    assert fleet.operations()[0].environment.kind == "unknown"
    assert fleet.interpreter.prefixes() == set()
    memory = fleet.interpreter._operations._memory
    assert [len(memory.ended_in("/opt/v", node, since_ms=0)) for node in (HERE, THERE)] == [0, 1]


def test_an_environment_that_another_machines_tool_was_seen_to_change_is_not_read_here(fleet: Fleet) -> None:
    fleet.exec(THERE, 2000, PIP)
    time_ms, serial = fleet.tick()
    image = fleet.table.newest[THERE, 2000].image
    made = [{"name": "/opt/other/lib/python3.11/site-packages/six-1.16.0.dist-info", "nametype": "CREATE"}]
    fleet.rows(
        [_row(node=THERE, time=time_ms, serial=serial, kind="file", hint="metadata", pid=2000, image=image, cwd="/w", paths=made)]
    )
    assert lookups_in(fleet.exit(THERE, 2000)) == []
    assert [change.name for one in fleet.operations() for change in one.changes or ()] == ["six"]


def test_a_write_on_this_machine_does_not_end_with_a_process_of_another(fleet: Fleet) -> None:
    changed = FilesChanged(
        time_ms=fleet.now_ms, until_ms=fleet.now_ms, prefix="/opt/v", kind="venv", pid=2000, image=None, auid=1000, uid=1000,
        session=3, exe="/usr/bin/python3.11", comm="python", argv=["python"], files=[], total=1, gone=False, tool="pip",
    )  # fmt: skip
    (lookup,) = [one for one in fleet.observe(changed) if isinstance(one, SnapshotWanted)]
    fleet.exit(THERE, 2000, 7)
    fleet.exit(HERE, 2000, 0)
    fleet.exit(THERE, 2000, 7)
    fleet.given += fleet.interpreter.settle(SnapshotAnswer(image=lookup.image, prefix="/opt/v", changes=[]))
    assert [(one.host, one.exit_code) for one in fleet.operations()] == [(HERE, 0)]


def test_what_begins_after_an_end_is_another_process() -> None:
    begun = Begun()
    begun.add("a", 7, 1000 << 20 | 1)
    begun.add("a", 7, 5000 << 20 | 2)
    assert begun.take_ended("b", 7, 9000) == []
    assert begun.take_ended("a", 7, 1000) == [1000 << 20 | 1]
    assert begun.take_ended("a", 7, 9000) == [5000 << 20 | 2]
    assert begun.take_ended("a", 7, 9000) == []


def test_a_listing_and_a_boot_of_this_machine_end_nothing_on_another(fleet: Fleet) -> None:
    started = {"kernel": "6.18", "version": "1", "source": "netlink"}
    fleet.observe(AgentStarted(time_ms=fleet.now_ms, node=HERE, boot_id="one", **started))
    for node in (HERE, THERE):
        fleet.exec(node, 2000, SCRIPT)
        fleet.exec(node, 2001, PIP)
    init = ProcessSeen(time_ms=fleet.now_ms, pid=1, ppid=0, exe=None, argv=["init"], cwd=None, uid=0, auid=None, session=None, started_ms=0)  # fmt: skip
    fleet.observe(init)
    assert {host: run.absent["ended"] for host, run in fleet.runs().items()} == {
        HERE: "its end was not recorded",
        THERE: "still running",
    }
    fleet.observe(AgentStarted(time_ms=fleet.now_ms, node=HERE, boot_id="two", **started))
    assert [one.host for one in fleet.operations()] == [HERE]
    fleet.exit(THERE, 2000, 4)
    fleet.exit(THERE, 2001, 5)
    assert fleet.runs()[THERE].exit_code == 4
    assert [(one.host, one.exit_code) for one in fleet.operations()] == [(HERE, None), (THERE, 5)]
