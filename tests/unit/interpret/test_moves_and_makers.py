"""Who made an environment, and where it went, live."""

from __future__ import annotations

import pytest
from whose_machine import BASE_MS, CREATED, DELETED, PREFIX, Machine, conda, dist

from envtrail.interpret.writes import MOST_FILES
from envtrail.model.environment import Environment
from envtrail.model.observation import EnvironmentSeen, FilesChanged
from envtrail.model.operation import FileChange

NEW = "/srv/better"


def test_the_command_that_makes_an_environment_is_named_by_its_operation(machine: Machine) -> None:
    for pid, name, code in ((100, "six", 1), (101, "idna", 0)):
        image = machine.begin(pid, "pip", "install", name)
        if pid == 100:
            seen = Environment(prefix=PREFIX, kind="venv", created_ms=machine.now_ms + 1)
            machine.observe(EnvironmentSeen(time_ms=machine.now_ms + 2, environment=seen))
        machine.did(image, pid, (CREATED, dist(name, "1.0")))
        machine.put(name, "1.0")
        machine.end(pid, code)
        machine.wait(60)
    assert [(one.made, one.is_creation, one.outcome.value) for one in machine.operations()] == [
        (True, True, "failure"),
        (False, False, "success"),
    ]


def test_a_folder_that_is_given_another_name_is_moved_there(machine: Machine) -> None:
    machine.put("six", "1.0")
    machine.look()
    machine.is_gone = True
    names = {PREFIX: "moved_from", NEW: "moved_to"}
    machine.observe(
        FilesChanged(
            time_ms=machine.now_ms, until_ms=machine.now_ms, pid=7, prefix=PREFIX, kind="venv", uid=1001, auid=1001, exe="/usr/bin/mv",
            files=[FileChange(path=path, what=what) for path, what in names.items()], total=2,
        )
    )  # fmt: skip
    (move,) = machine.operations()
    assert (move.kind.value, move.environment.prefix, move.moved_to, move.changes) == ("move", PREFIX, NEW, [])


def test_a_rename_by_conda_is_one_move_and_a_failed_one_leads_nowhere(machine: Machine) -> None:
    machine.put_conda("six", "1.0")
    machine.look()
    machine.run(100, ["conda", "rename", "-p", PREFIX, NEW], code=1)
    machine.wait(60)
    image = machine.begin(101, "conda", "rename", "-p", PREFIX, NEW)
    machine.did(image, 101, (CREATED, f"{NEW}/conda-meta/six-1.0-py_0.json"), prefix=NEW)
    machine.did(image, 101, (DELETED, conda("six", "1.0")))
    machine.is_gone = True
    machine.end(101)
    found = [
        (one.kind.value, one.outcome.value, one.environment.prefix, one.moved_to, one.changes) for one in machine.operations()
    ]
    assert found == [("move", "failure", PREFIX, None, []), ("move", "success", PREFIX, NEW, [])]


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("words", [("install", "-n", "nobody", "six"), ("install", "-n", "nobody", "--revision", "3")])
def test_a_name_of_no_environment_makes_none(machine: Machine, words: tuple[str, ...], code: int) -> None:
    machine.begin(100, "conda", *words, program="/srv/phantom/bin/conda")
    machine.wait(0.1)
    machine.end(100, code)
    machine.wait(60)
    (operation,) = machine.operations()
    assert (operation.environment.prefix, operation.changes or []) == ("", [])
    assert operation.absent["environment.prefix"] == "no environment is where the command names one"


@pytest.mark.parametrize(("what", "kind"), [("created", "tamper"), ("deleted", "delete")])
def test_who_only_made_files_has_not_removed_the_environment_that_is_gone_since(machine: Machine, what: str, kind: str) -> None:
    machine.put("six", "1.0")
    machine.look()
    machine.is_gone = True
    machine.observe(
        FilesChanged(
            time_ms=machine.now_ms, until_ms=machine.now_ms, pid=7, prefix=PREFIX, kind="venv", uid=1001, auid=1001, exe="/usr/bin/cp",
            files=[FileChange(path=f"{PREFIX}/lib/python3.11/site-packages/idna.py", what=what)], total=2,
        )
    )  # fmt: skip
    assert [one.kind.value for one in machine.operations() if one.pid == 7] == [kind]


def test_who_removed_more_files_than_are_named_and_then_the_folder_has_removed_the_environment(machine: Machine) -> None:
    machine.put("six", "1.0")
    machine.look()
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    for files in ([f"{PREFIX}/lib/{number}.py" for number in range(MOST_FILES)], [f"{PREFIX}/lib", PREFIX]):
        machine.observe(
            FilesChanged(
                time_ms=machine.now_ms, until_ms=machine.now_ms, pid=7, image=BASE_MS << 20, prefix=PREFIX, kind="venv", uid=1001,
                auid=1001, exe="/usr/bin/rm", files=[FileChange(path=path, what="deleted") for path in files], total=len(files),
            )
        )  # fmt: skip
    pipeline.world = world  # Somebody has made it anew since.
    pipeline.take_up(machine.now_ms)
    assert [one.kind.value for one in machine.operations() if one.pid == 7] == ["delete"]
