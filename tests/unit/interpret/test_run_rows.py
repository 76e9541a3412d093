"""Runs from exec to end: parents, ends, late content, loops as one row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from envtrail.interpret.actors import Facts, name_actor
from envtrail.interpret.emission import Emission, ScriptWanted
from envtrail.interpret.rows import Exec, PathName
from envtrail.interpret.run_kinds import shape_of
from envtrail.interpret.runs import Runs
from envtrail.interpret.tool import Invocation
from envtrail.model.observation import ProcessSeen, ScriptSeen
from envtrail.model.operation import EnvironmentRef
from envtrail.model.run import STILL_RUNNING, Run

BASE_MS = 1_764_000_000_000
PATHS = [PathName(name="/v/bin/python", nametype="NORMAL", inode=7)]


class Process:
    def __init__(self, image: int) -> None:
        self.image = image


class Machine:
    """Execs and ends given to `Runs`, and the rows as a store would hold them."""

    def __init__(self) -> None:
        self.runs = Runs()
        self.rows: dict[str, Run] = {}
        self.lookups: list[ScriptWanted] = []
        self.serial = 0

    def keep(self, emissions: Sequence[Emission]) -> None:
        for item in emissions:
            if isinstance(item, Run):
                self.rows[item.id] = item
            elif isinstance(item, ScriptWanted):
                self.lookups.append(item)

    def begin(
        self, at_ms: int, *argv: str, above: Sequence[int] = (), pid: int | None = None, uid: int = 1001, cwd: str = "/w"
    ) -> int:
        self.serial += 1
        time_ms = BASE_MS + at_ms
        image = time_ms << 20 | self.serial
        words = ["/v/bin/python", *(argv or ("tick.py",))]
        row = Exec(node="h", time=time_ms, serial=self.serial, kind="exec", segment=1, pid=pid or 100 + self.serial, image=image, hint="python", uid=uid, paths=PATHS)  # fmt: skip
        invocation = Invocation(exe="/usr/bin/python3.11", argv=words, path="/v/bin/python", cwd=cwd, uid=uid)
        named = name_actor(Facts(auid=uid, uid=uid, names={1001: "alice", 1002: "bob"}))
        shape = shape_of(invocation, "python")
        if shape is None:
            return image
        lineage = [Process(one) for one in above]
        self.keep(self.runs.begin(row, invocation, shape, lineage, named, host="h", kinds={"/v": "venv"}))  # type: ignore[arg-type]
        return image

    def end(self, image: int, at_ms: int, code: int | None = 0, signal: int | None = None) -> None:
        self.keep(self.runs.end(image, time_ms=BASE_MS + at_ms, exit_code=code, signal=signal))

    def script(self, image: int, sha256: str | None, absent: str | None = None) -> None:
        self.keep(self.runs.take_script(ScriptSeen(time_ms=BASE_MS, image=image, path="/w/x", sha256=sha256, absent=absent)))

    def once(
        self, at_ms: int, *argv: str, code: int = 0, sha256: str | None = None, took_ms: int = 10, late: bool = False
    ) -> int:
        image = self.begin(at_ms, *argv)
        if not late and sha256:
            self.script(image, sha256)
        self.end(image, at_ms + took_ms, code)
        if late and sha256:
            self.script(image, sha256)
        return image

    def listing(self, *processes: tuple[int, int]) -> None:
        for pid, started_ms in processes:
            seen = ProcessSeen(time_ms=BASE_MS, pid=pid, ppid=1, exe=None, argv=["x"], cwd=None, uid=0, auid=None, session=None, started_ms=BASE_MS + started_ms)  # fmt: skip
            self.runs.take_listed(seen)
        self.keep(self.runs.close_listing("h"))

    @property
    def shown(self) -> list[Run]:
        return sorted((run for run in self.rows.values() if run.part_of is None), key=lambda run: run.id)

    def of(self, image: int) -> Run:
        return next(run for run in self.rows.values() if run.image == image)


def test_a_run_is_whole_from_its_beginning_to_its_end() -> None:
    machine = Machine()
    image = machine.begin(0, "train.py")
    begun = machine.of(image)
    assert (begun.kind, begun.program, begun.environment and (begun.environment.prefix, begun.environment.kind)) == (
        "script", "/w/train.py", ("/v", "venv"),
    )  # fmt: skip
    assert begun.absent["ended"] == STILL_RUNNING
    assert [(lookup.path, lookup.uid, lookup.executed, lookup.executed_inode) for lookup in machine.lookups] == [
        ("/w/train.py", 1001, "/v/bin/python", 7)
    ]
    machine.script(image, "ab" * 32)
    machine.end(image, 1500, 3)
    run = machine.of(image)
    assert (run.outcome, run.exit_code, run.script_sha256, run.ended) == ("failure", 3, "ab" * 32, "2025-11-24T16:00:01.500Z")
    assert not {"ended", "exit_code", "script_sha256"} & run.absent.keys()


def test_every_null_has_its_reason() -> None:
    machine = Machine()
    ends: list[tuple[int | None, int | None]] = [(0, None), (1, None), (None, 9), (None, None)]
    images = [machine.begin(at, "-m", "pkg") for at in range(len(ends) + 1)]
    for image, (code, signal) in zip(images, ends, strict=False):
        machine.end(image, 50, code, signal)
    assert [machine.of(image).outcome.value for image in images] == ["success", "failure", "killed", "unknown", "unknown"]
    for run in machine.rows.values():
        for name in ("ended", "exit_code", "signal", "snapshot", "script_sha256", "parent"):
            assert (getattr(run, name) is None) == (name in run.absent), (name, run.absent)


def test_a_run_stands_below_the_nearest_run_above_it_even_one_that_has_ended() -> None:
    machine = Machine()
    server = machine.begin(0, "-m", "jupyter_server")
    kernel = machine.begin(10, "-m", "ipykernel_launcher", "-f", "x", above=[5, server, 1])
    worker = machine.begin(20, "work.py", above=[kernel, server, 1])
    assert machine.of(kernel).parent == machine.of(server).id
    assert machine.of(worker).parent == machine.of(kernel).id
    assert "parent" not in machine.of(worker).absent
    machine.end(kernel, 30)
    assert machine.of(machine.begin(40, "late.py", above=[kernel, server])).parent == machine.of(kernel).id


def test_content_that_is_told_late_reaches_its_row() -> None:
    machine = Machine()
    image = machine.once(0, sha256="aa", late=True)
    assert machine.of(image).script_sha256 == "aa"
    assert machine.of(image).ended
    other = machine.begin(5, "x.py")
    machine.script(other, None, "no regular file")
    assert machine.of(other).absent["script_sha256"] == "no regular file"
    machine.script(99, "bb")
    assert len(machine.rows) == 2


def test_five_alike_are_five_rows_and_six_are_one() -> None:
    machine = Machine()
    first = machine.once(0, sha256="aa")
    for at in range(1, 5):
        machine.once(at * 1000, sha256="aa")
    assert [run.count for run in machine.shown] == [1] * 5
    machine.once(5000, sha256="aa", took_ms=700)
    (row,) = machine.shown
    assert (row.id, row.count, row.started, row.ended) == (
        machine.of(first).id, 6, "2025-11-24T16:00:00.000Z", "2025-11-24T16:00:05.700Z",
    )  # fmt: skip
    assert {run.part_of for run in machine.rows.values()} == {None, row.id}


def test_a_loop_of_an_hour_stays_one_row() -> None:
    machine = Machine()
    for at in range(400):
        machine.once(at * 10_000)
    assert [run.count for run in machine.shown] == [400]


def test_what_runs_once_a_minute_is_no_loop() -> None:
    machine = Machine()
    for at in range(30):
        machine.once(at * 61_000)
    assert [run.count for run in machine.shown] == [1] * 30


def test_a_loop_that_rested_begins_anew() -> None:
    machine = Machine()
    for at in range(10):
        machine.once(at * 1000)
    for at in range(10):
        machine.once(200_000 + at * 1000)
    assert [run.count for run in machine.shown] == [10, 10]


def test_another_word_code_person_or_folder_is_another_row() -> None:
    machine = Machine()
    for at in range(5):
        machine.once(at * 10)
    machine.once(60, "tick.py", "--other")
    machine.once(70, code=1)
    machine.end(machine.begin(80, uid=1002), 90)
    machine.end(machine.begin(80, cwd="/elsewhere"), 90)
    assert [run.count for run in machine.shown] == [1] * 9


def test_a_script_that_was_changed_leaves_the_loop() -> None:
    machine = Machine()
    for at in range(10):
        machine.once(at * 100, sha256="aa")
    for at in range(10, 20):
        machine.once(at * 100, sha256="bb", late=at > 15)
    assert [(run.count, run.script_sha256) for run in machine.shown] == [(10, "aa"), (10, "bb")]


def test_a_listing_of_the_machine_ends_what_is_not_in_it() -> None:
    machine = Machine()
    here, gone, reused = (machine.begin(0, name, pid=pid) for name, pid in (("a.py", 50), ("b.py", 51), ("c.py", 52)))
    machine.listing((1, -5000), (50, -20), (52, 9000))
    assert machine.of(here).absent["ended"] == STILL_RUNNING
    assert {machine.of(image).absent["ended"] for image in (gone, reused)} == {"its end was not recorded"}
    machine.end(here, 100)
    machine.end(gone, 100)
    assert (machine.of(here).ended is None, machine.of(gone).ended is None) == (False, True)


def test_one_process_that_was_asked_for_is_no_listing() -> None:
    machine = Machine()
    image = machine.begin(0, "a.py", pid=50)
    machine.listing((77, 0))
    assert machine.of(image).absent["ended"] == STILL_RUNNING


def test_memory_is_bounded_and_the_oldest_is_let_go_with_a_reason() -> None:
    machine = Machine()
    images = [machine.begin(at, "x.py", str(at)) for at in range(16_384 + 10)]
    assert len(machine.runs._going) == 16_384
    assert [machine.of(image).absent["ended"] for image in images[:10]] == ["its end was not recorded"] * 10
    for image in images:
        machine.end(image, 100_000)
    assert (len(machine.runs._going), len(machine.runs._ended), len(machine.runs._loops._alike)) == (0, 1024, 4096)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 400, 20_000, 61_000]),
        st.sampled_from(["a.py", "b.py"]),
        st.sampled_from([0, 1]),
        st.sampled_from(["aa", "bb", None]),
        st.booleans(),
        st.integers(1, 90_000),
    ),
    max_size=60,
)


@given(steps=_STEPS)
def test_nothing_is_lost_or_counted_twice(steps: list[tuple[int, str, int, str | None, bool, int]]) -> None:
    def play() -> Machine:
        machine = Machine()
        waiting: list[tuple[int, int, int]] = []
        now = 0
        for gap, name, code, sha256, late, took in steps:
            now += gap
            for item in sorted(waiting):
                if item[0] <= now:
                    machine.end(item[1], item[0], item[2])
                    waiting.remove(item)
            image = machine.begin(now, name)
            if sha256 and not late:
                machine.script(image, sha256)
            waiting.append((now + took, image, code))
        for at, image, code in sorted(waiting):
            machine.end(image, at, code)
        return machine

    machine = play()
    assert sum(run.count for run in machine.shown) == len(steps)
    for run in machine.rows.values():
        if run.part_of is not None:
            row = machine.rows[run.part_of]
            assert row.part_of is None
            assert row.started <= run.started
            assert (row.ended or "") >= (run.ended or "")
            assert (row.program, row.exit_code) == (run.program, run.exit_code)
            assert run.script_sha256 in {row.script_sha256, None} or row.script_sha256 is None
    for row in machine.shown:
        assert row.count == 1 + sum(run.part_of == row.id for run in machine.rows.values())
        assert row.count == 1 or row.count > 5
    assert play().rows == machine.rows


def test_a_name_that_is_told_late_reaches_runs_that_have_ended() -> None:
    machine = Machine()
    going, ended = machine.begin(0, "a.py", uid=1003), machine.begin(0, "b.py", uid=1003)
    machine.end(ended, 10)
    assert {machine.of(image).actor.name for image in (going, ended)} == {None}
    machine.keep(machine.runs.take_name(1003, "carol", "h"))
    assert {machine.of(image).actor.name for image in (going, ended)} == {"carol"}
    assert machine.of(ended).ended


def test_a_run_says_why_it_lacks_what_it_lacks() -> None:
    machine = Machine()
    begun = machine.begin(0, "tick.py")
    run = machine.rows[next(iter(machine.rows))]
    assert run.image == begun
    assert run.environment == EnvironmentRef(prefix="/v", kind="venv")
    assert {name: why for name, why in run.absent.items() if why != STILL_RUNNING and not name.startswith("actor")} == {
        "parent": "not applicable: no run is above it",
        "script_sha256": "not recorded",
        "snapshot": "none was taken before it began",
    }
    invocation = Invocation(
        exe="/usr/bin/python3.11", argv=["/v/bin/python", "-m", "tick"], path="/v/bin/python", cwd="/w", uid=1
    )
    shape = shape_of(invocation, "python")
    assert shape is not None
    row = Exec(
        node="h", time=BASE_MS, serial=9, kind="exec", segment=1, pid=9, image=BASE_MS << 20, hint="python", uid=1, paths=PATHS
    )
    named = name_actor(Facts(auid=1, uid=1, names={}))
    for kind, why in (("module", "not applicable: a module"), ("script", "its folder is not known")):
        unplaced = msgspec.structs.replace(shape, prefix=None, kind=kind, script=None)
        (found,) = Runs().begin(row, invocation, unplaced, [], named, host="h", kinds={})
        assert isinstance(found, Run)
        assert found.environment is None
        assert found.absent["environment"] == "the command does not name the interpreter's prefix"
        assert found.absent["script_sha256"] == why
    (found,) = Runs().begin(row, invocation, msgspec.structs.replace(shape, prefix="/x"), [], named, host="h", kinds={})
    assert isinstance(found, Run)
    assert found.environment == EnvironmentRef(prefix="/x", kind="unknown")
