"""Whose a change is: the processes that made and removed metadata say it, whatever snapshots show and when they are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from whose_machine import BASE_MS, CREATED, DELETED, PREFIX, SITE, Machine, conda, dist, reported, said

from envtrail.agent.build import open_trail
from envtrail.config import load_config
from envtrail.interpret.carried import decode_going
from envtrail.interpret.interpreter import Interpreter
from envtrail.model.environment import Environment
from envtrail.model.observation import (
    Carried,
    EnvironmentSeen,
    FilesChanged,
    NameResolved,
)
from envtrail.model.operation import FileChange, MetadataEvent


@pytest.mark.parametrize("path", [dist, conda])
def test_a_reinstall_by_another_person_is_a_change_and_takes_none_away(machine: Machine, path: Callable[..., str]) -> None:
    machine.look()
    machine.run(60, ["pip", "install", "idna==3.6"], (CREATED, path("idna", "3.6")))
    machine.wait(8)
    again = [(DELETED, path("idna", "3.6")), (CREATED, path("idna", "3.6"))]
    machine.run(61, ["pip", "install", "--force-reinstall", "idna==3.6"], *again, auid=1002)
    assert reported(machine) == [(1001, "success", ["+idna 3.6"]), (1002, "success", ["~idna 3.6 3.6"])]


def test_rounds_of_removing_and_installing_are_one_change_each(machine: Machine) -> None:
    machine.put("colorama", "0.4.4")
    machine.look()
    for turn in range(3):
        machine.run(
            60 + 2 * turn, ["uv", "pip", "uninstall", "--python", PREFIX, "colorama"], (DELETED, dist("colorama", "0.4.4"))
        )
        machine.run(
            61 + 2 * turn, ["uv", "pip", "install", "--python", PREFIX, "colorama==0.4.4"], (CREATED, dist("colorama", "0.4.4"))
        )
    assert [changes for _, _, changes in reported(machine)] == [["-colorama 0.4.4"], ["+colorama 0.4.4"]] * 3


def test_what_a_later_command_removes_before_the_environment_is_read_was_installed_all_the_same(machine: Machine) -> None:
    machine.look()
    first = machine.begin(60, "uv", "pip", "install", "--python", PREFIX, "six", "toml")
    machine.did(first, 60, (CREATED, dist("six", "1.17.0")), (CREATED, dist("toml", "0.10.2")))
    machine.put("six", "1.17.0")
    second = machine.begin(61, "uv", "pip", "uninstall", "--python", PREFIX, "toml", auid=1002)
    machine.did(second, 61, (DELETED, dist("toml", "0.10.2")))
    machine.end(60)
    machine.end(61, auid=1002)
    assert reported(machine) == [(1001, "success", ["+six 1.17.0", "+toml 0.10.2"]), (1002, "success", ["-toml 0.10.2"])]
    six, toml = machine.operations()[0].changes or []
    # Only what was there when it was read has what a name does not say.
    assert (six.after and six.after.digest, toml.after and toml.after.digest) == ("sha256:six1.17.0", None)


def test_two_installs_at_once_have_their_own_versions(machine: Machine) -> None:
    machine.put("idna", "3.4")
    machine.look()
    first = machine.begin(60, "pip", "install", "idna==3.6")
    machine.did(first, 60, (DELETED, dist("idna", "3.4")), (CREATED, dist("idna", "3.6")))
    machine.holds.clear()
    machine.put("idna", "3.7")
    second = machine.begin(61, "pip", "install", "idna==3.7", auid=1002)
    machine.did(second, 61, (DELETED, dist("idna", "3.6")), (CREATED, dist("idna", "3.7")))
    machine.end(60)
    machine.end(61, auid=1002)
    assert reported(machine) == [(1001, "success", ["~idna 3.4 3.6"]), (1002, "success", ["~idna 3.6 3.7"])]


def test_who_copies_an_environment_has_all_of_it_though_somebody_elses_snapshot_showed_it_first(machine: Machine) -> None:
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (CREATED, dist("wolf", "2.0")), (CREATED, f"{PREFIX}/pyvenv.cfg"))
    machine.put("wolf", "2.0")
    machine.put("pip", "23.0")
    image = machine.begin(61, "pip", "install", "six", auid=1002)
    machine.did(image, 61, (CREATED, dist("six", "1.17.0")))
    machine.put("six", "1.17.0")
    pipeline.world = world
    machine.end(61, auid=1002)
    pipeline.take_up(machine.now_ms)
    assert reported(machine) == [(1001, "success", ["+wolf 2.0", "+pip 23.0"]), (1002, "success", ["+six 1.17.0"])]


def test_a_hand_has_what_its_own_files_show(machine: Machine) -> None:
    machine.look()
    note = f"{PREFIX}/notes.txt"
    machine.holds.clear()
    machine.put("pkg", "1.0", installer="")
    # Both are at work before the environment is read for either.
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (CREATED, note))
    machine.wrote(71, 1002, (CREATED, dist("pkg", "1.0")), (CREATED, f"{dist('pkg', '1.0')}/METADATA"))
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    assert reported(machine) == [(1001, "success", []), (1002, "success", ["+pkg 1.0"])]


@pytest.mark.parametrize(("starter", "count"), [("find", 1), ("sh", 3)])
def test_what_one_program_starts_for_each_file_is_one_operation(machine: Machine, starter: str, count: int) -> None:
    machine.look()
    machine.begin(60, starter, program=f"/usr/bin/{starter}")
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    for at in range(3):
        image = machine.begin(61 + at, "sed", program="/usr/bin/sed", ppid=60)
        path = f"{SITE}/x{at}.py"
        machine.observe(
            FilesChanged(
                time_ms=machine.now_ms, until_ms=machine.now_ms, pid=61 + at, image=image, prefix=PREFIX, kind="venv", total=1,
                files=[FileChange(path=path, what="written")], uid=1001, auid=1001, exe="/usr/bin/sed",
            )
        )  # fmt: skip
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    assert [one.files_total for one in machine.operations()] == [3 // count] * count


def test_a_tool_whose_environment_is_not_there_worked_where_it_was_seen_to(machine: Machine) -> None:
    machine.look()
    image = machine.begin(60, "pip", "install", "six", program="/srv/phantom/bin/pip")
    found = [MetadataEvent(dist("six", "1.17.0"), CREATED, machine.now_ms)]
    machine.observe(
        FilesChanged(
            time_ms=machine.now_ms, until_ms=machine.now_ms, pid=60, image=image, prefix=PREFIX, kind="venv", total=1, metadata=found,
            files=[FileChange(path=found[0].path, what=CREATED)], uid=1001, auid=1001,
        )
    )  # fmt: skip
    machine.put("six", "1.17.0")
    machine.end(60)
    (done,) = machine.operations()
    assert (done.environment.prefix, reported(machine)) == (PREFIX, [(1001, "success", ["+six 1.17.0"])])


def test_a_tool_that_found_nothing_to_do_beside_another_one_worked_where_its_words_say(machine: Machine) -> None:
    machine.look()
    machine.begin(60, "uv", "pip", "uninstall", "--python", PREFIX, "toml")
    image = machine.begin(61, "pip", "install", "six", auid=1002)
    other = FileChange(path="/srv/other/pyvenv.cfg", what=CREATED)
    machine.observe(
        FilesChanged(
            time_ms=machine.now_ms, until_ms=machine.now_ms, pid=60, prefix="/srv/other", kind="venv", total=1, files=[other],
            image=machine.opened.pipeline.assembler.holder_of(60, machine.now_ms, 0), uid=1001, auid=1001,
        )
    )  # fmt: skip
    machine.end(60)
    machine.did(image, 61, (CREATED, dist("six", "1.17.0")))
    machine.end(61, auid=1002)
    assert [one.environment.prefix for one in machine.operations()] == [PREFIX, PREFIX]


def test_what_nobody_was_seen_to_do_is_the_only_one_s_at_work_and_else_nobodys(machine: Machine) -> None:
    machine.look()
    machine.begin(60, "pip", "install", "six")
    machine.put("six", "1.17.0")
    machine.end(60)
    machine.wait(60)
    machine.begin(61, "pip", "install", "toml")
    machine.begin(62, "pip", "install", "idna", auid=1002)
    machine.put("toml", "0.10.2")
    machine.put("idna", "3.6")
    machine.end(61)
    machine.end(62, auid=1002)
    first, second, third, drift = sorted(machine.operations(), key=lambda one: (one.explained is False, one.started))
    assert [said(change) for change in first.changes or ()] == ["+six 1.17.0"]
    assert first.why["changes"] == "snapshots before and after were compared, and nobody else was at work between them"
    assert (second.changes, third.changes, second.outcome) == ([], [], "success")
    assert drift.shared == [second.id, third.id]
    assert (drift.actor.name, [said(change) for change in drift.changes or ()]) == (None, ["+idna 3.6", "+toml 0.10.2"])


def test_who_begins_after_an_environment_was_read_is_nobody_who_may_have_done_it(machine: Machine) -> None:
    machine.look()
    machine.begin(60, "pip", "install", "six")
    machine.put("six", "1.17.0")
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.end(60)
    taken = machine.snapshot(image=machine.opened.pipeline.assembler.holder_of(60, machine.now_ms, 9000))
    machine.wait(1)
    machine.begin(61, "pip", "install", "toml", auid=1002)
    machine.observe(taken)
    assert reported(machine) == [(1001, "success", ["+six 1.17.0"])]
    pipeline.world = world
    machine.end(61, auid=1002)


def test_what_somebody_else_removed_before_is_added_and_not_changed(machine: Machine) -> None:
    machine.put("lynx", "1.0")
    machine.look()
    image = machine.begin(60, "pip", "install", "lynx==2.0")
    machine.run(61, ["pip", "uninstall", "lynx"], (DELETED, dist("lynx", "1.0")), auid=1002)
    machine.did(image, 60, (CREATED, dist("lynx", "2.0")))
    machine.put("lynx", "2.0")
    machine.end(60)
    assert reported(machine) == [(1001, "success", ["+lynx 2.0"]), (1002, "success", ["-lynx 1.0"])]


def test_conda_and_the_metadata_that_its_packages_bring_along_are_one_change(machine: Machine) -> None:
    machine.look()
    image = machine.begin(60, "conda", "install", "-p", PREFIX, "lynx")
    machine.did(image, 60, (CREATED, dist("lynx", "1.0")), (CREATED, conda("lynx", "1.0")))
    machine.put_conda("lynx", "1.0")
    machine.end(60)
    (change,) = machine.operations()[0].changes or []
    assert (said(change), change.ecosystem, change.after and change.after.source) == ("+lynx 1.0", "conda", "forge")


def test_what_others_removed_and_put_back_was_there_before(machine: Machine) -> None:
    machine.put("lynx", "1.0")
    machine.look()
    machine.run(60, ["pip", "uninstall", "lynx"], (DELETED, dist("lynx", "1.0")), auid=1002)
    machine.run(61, ["pip", "install", "lynx"], (CREATED, dist("lynx", "1.0")), auid=1002)
    image = machine.begin(62, "conda", "install", "-p", PREFIX, "--force-reinstall", "lynx")
    machine.did(image, 62, (CREATED, conda("lynx", "1.0")))
    machine.put_conda("lynx", "1.0")
    machine.end(62)
    assert [changes for auid, _, changes in reported(machine) if auid == 1001] == [["~lynx 1.0 1.0"]]


def test_what_a_target_held_twice_is_installed_anew_where_it_was(machine: Machine) -> None:
    machine.put("otter", "1.0")
    machine.holds["again"] = msgspec.structs.replace(machine.holds["otter"], version="2.0", location="otter-2.0.dist-info")
    machine.look()
    machine.run(60, ["pip", "install", "otter==1.0"], (CREATED, dist("otter", "1.0")))
    assert reported(machine) == [(1001, "success", ["~otter 1.0 1.0"])]


def test_what_was_seen_is_no_drift_and_what_was_not_is(machine: Machine) -> None:
    machine.look()
    image = machine.begin(60, "pip", "install", "six")
    machine.did(image, 60, (CREATED, dist("six", "1.17.0")))
    machine.put("six", "1.17.0")
    machine.look()
    machine.end(60)
    machine.wait(60)
    machine.put("toml", "0.10.2")
    machine.look()
    assert reported(machine) == [(1001, "success", ["+six 1.17.0"]), (None, "unknown", ["+toml 0.10.2"])]


def test_what_the_kernel_merged_is_nothing_where_it_came_and_went(machine: Machine) -> None:
    machine.put("toml", "0.10.2")
    machine.look()
    merged = [(DELETED, dist("six", "1.17.0")), (CREATED, dist("six", "1.17.0")), (DELETED, dist("six", "1.17.0"))]
    machine.run(60, ["pip", "install", "six"], *merged, code=1)
    merged = [(what, dist("toml", "0.10.2")) for what in (DELETED, CREATED, DELETED)]
    machine.run(61, ["uv", "pip", "uninstall", "--python", PREFIX, "toml"], *merged)
    assert [changes for auid, _, changes in reported(machine) if auid] == [[], ["-toml 0.10.2"]]


def test_what_failed_and_put_back_what_it_removed_changed_nothing(machine: Machine) -> None:
    machine.put("six", "1.16.0")
    machine.look()
    old, new = dist("six", "1.16.0"), dist("six", "1.17.0")
    machine.run(60, ["pip", "install", "six==1.17.0"], (DELETED, old), (CREATED, new), (DELETED, new), (CREATED, old), code=1)
    assert reported(machine) == [(1001, "failure", [])]


def test_metadata_inside_of_a_package_and_in_an_environment_inside_is_not_the_environments(machine: Machine) -> None:
    machine.look()
    inside = f"{PREFIX}/envs/new/lib/python3.11/site-packages/toml-0.10.2.dist-info"
    vendored = f"{SITE}/setuptools/_vendor/idna-3.6.dist-info"
    image = machine.begin(60, "pip", "install", "six")
    machine.did(image, 60, (CREATED, dist("six", "1.17.0")), (CREATED, vendored), (CREATED, inside))
    machine.put("six", "1.17.0")
    machine.end(60)
    assert reported(machine) == [(1001, "success", ["+six 1.17.0"])]


def test_an_environment_that_was_not_known_needs_no_before(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "trail")
    config = load_config(environ={}, flags={"data_dir": str(machine.folder), "node": "n", "store.min_free_bytes": 0})
    with open_trail(config, world=machine) as machine.opened:
        machine.run(60, ["pip", "install", "six"], (CREATED, dist("six", "1.17.0")))
        assert reported(machine) == [(1001, "success", ["+six 1.17.0"])]
        machine.run(61, ["pip", "install", "six"])
        machine.is_readable = False
        machine.run(62, ["pip", "install", "toml"], (CREATED, dist("toml", "0.10.2")))
        assert [changes for _, _, changes in reported(machine)] == [["+six 1.17.0"], [], ["+toml 0.10.2"]]


def test_pip_over_a_package_of_conda_is_a_change_from_the_one_to_the_other(machine: Machine) -> None:
    machine.put_conda("numpy", "1.26.4")
    machine.look()
    machine.run(60, ["pip", "install", "numpy==2.1.3"], (DELETED, dist("numpy", "1.26.4")), (CREATED, dist("numpy", "2.1.3")))
    (change,) = machine.operations()[0].changes or []
    assert (change.ecosystem, change.before and change.before.installer, change.after and change.after.installer) == (
        "pypi", "conda", "pip",
    )  # fmt: skip


def test_who_removes_one_half_of_a_package_of_two_managers_did_not_fail(machine: Machine) -> None:
    machine.put_conda("wolf", "1.0")
    machine.look()
    image = machine.begin(60, "pip", "uninstall", "-y", "wolf")
    machine.did(image, 60, (DELETED, dist("wolf", "1.0")))
    machine.end(60)
    assert reported(machine) == [(1001, "success", ["-wolf 1.0"])]


@pytest.mark.parametrize(
    ("argv", "kind", "sees_system", "outcome"),
    [
        (["pip", "install", "six"], "venv", True, "success"),
        (["pip", "install", "six"], "venv", None, "success"),
        (["pip", "install", "six"], "conda", None, "success"),
        (["pip", "install", "six;python_version<'3'"], "venv", False, "success"),
        (["pip", "install", "six"], "venv", False, "failure"),
        (["uv", "pip", "install", "--python", PREFIX, "six"], "conda", None, "failure"),
        (["pip", "uninstall", "-y", "six"], "venv", False, "success"),
        (["pip", "uninstall", "-y", "toml"], "venv", False, "failure"),
    ],
)
def test_no_effect_is_said_where_it_is_certain(
    machine: Machine, argv: list[str], kind: str, sees_system: bool | None, outcome: str
) -> None:
    machine.put("toml", "0.10.2")
    machine.look()
    machine.see_kind(kind, sees_system=sees_system)
    machine.run(60, argv)
    (done,) = [one for one in machine.operations() if one.explained is not False]
    assert (done.outcome.value, done.reason) == (outcome, "no effect" if outcome == "failure" else None)


def test_no_outcome_is_judged_by_what_somebody_else_has_begun_to_change(machine: Machine) -> None:
    machine.look()
    machine.see_kind("venv", sees_system=False)
    machine.begin(60, "uv", "pip", "install", "--python", PREFIX, "six")
    machine.begin(61, "uv", "pip", "uninstall", "--python", PREFIX, "six", auid=1002)
    machine.end(60)
    machine.end(61, auid=1002)
    assert [outcome for _, outcome, _ in reported(machine)] == ["success", "success"]


def test_who_begins_with_a_segment_knows_what_was_done_and_what_is_open(machine: Machine) -> None:
    machine.look()
    machine.run(60, ["pip", "install", "six"], (CREATED, dist("six", "1.17.0")))
    image = machine.begin(61, "pip", "install", "toml")
    machine.did(image, 61, (CREATED, dist("toml", "0.10.2")))
    interpreter = machine.opened.pipeline.interpreter
    file = FileChange(path=f"{PREFIX}/x", what="created")
    changed = FilesChanged(time_ms=BASE_MS, until_ms=BASE_MS, pid=70, prefix=PREFIX, kind="venv", files=[file], total=1, uid=1001)
    interpreter.step(None, [NameResolved(time_ms=BASE_MS, uid=1001, name="alice"), changed], now_ms=0)
    saved = interpreter.save()
    going = decode_going(saved)
    assert (len(going.writes), len(going.done.done), len(going.done.owners), len(going.operations)) == (1, 1, 1, 1)
    assert [event.name for place in going.done.timelines for event in place.events] == [
        "six-1.17.0.dist-info", "toml-0.10.2.dist-info",
    ]  # fmt: skip
    assert going.people.names == {1001: ("alice", BASE_MS)}
    fresh = Interpreter(node="n", lineage=machine.opened.pipeline.assembler)
    carried = Carried(time_ms=1, processes=msgspec.Raw(b"{}"), interpretation=msgspec.Raw(saved), version=2)
    fresh.step(None, [carried], now_ms=0)
    assert fresh.save() == saved
    assert fresh.is_written(PREFIX)
    interpreter.finish(now_ms=0)


def test_what_is_there_is_known_by_its_machine_until_it_is_gone(machine: Machine) -> None:
    machine.look()
    machine.see_kind("venv", sees_system=None)
    state = machine.opened.state
    assert [[one.prefix for one in state.environments_of(host)] for host in ("n", "other")] == [[PREFIX], []]
    gone = Environment(prefix=PREFIX, kind="venv")
    machine.observe(EnvironmentSeen(time_ms=machine.now_ms, environment=gone, gone=True))
    assert state.environments_of("n") == []
