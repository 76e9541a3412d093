"""Files over several looks; who took an environment away: what was in it was theirs to take only if it was there."""

from __future__ import annotations

import pytest
from whose_machine import CREATED, DELETED, PREFIX, SITE, Machine, dist, reported


@pytest.mark.parametrize(("what", "kind", "left"), [(DELETED, "delete", ["-six 1.17.0"]), ("moved_from", "move", [])])
def test_who_took_an_environment_away_has_what_was_in_it_and_who_removed_a_package_before_only_that(
    machine: Machine, what: str, kind: str, left: list[str]
) -> None:
    machine.put("numpy", "2.0")
    machine.put("six", "1.17.0")
    machine.look()
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (DELETED, dist("numpy", "2.0")), exe="/usr/bin/rm")
    machine.wrote(71, 1002, (what, PREFIX), exe="/usr/bin/mv")
    pipeline.world = world
    machine.is_gone = True
    pipeline.take_up(machine.now_ms)
    assert reported(machine) == [(1001, "success", ["-numpy 2.0"]), (1002, "success", left)]
    assert [one.kind.value for one in machine.operations()] == ["tamper", kind]


def test_who_removed_an_environment_did_not_remove_what_was_put_into_the_next_one_in_its_place(machine: Machine) -> None:
    machine.put("numpy", "2.0")
    machine.look()
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (DELETED, PREFIX), exe="/usr/bin/rm")
    machine.wrote(71, 1001, (CREATED, f"{PREFIX}/pyvenv.cfg"), exe="/usr/bin/uv")
    machine.wrote(72, 1001, (CREATED, dist("six", "1.0")))
    machine.holds.clear()
    machine.put("six", "1.0")
    machine.look()
    machine.wrote(73, 1002, ("moved_from", PREFIX), exe="/usr/bin/mv")
    pipeline.world = world
    machine.is_gone = True
    pipeline.take_up(machine.now_ms)
    assert ["-numpy 2.0"] in [changes for _, _, changes in reported(machine)]
    assert not [one for one in reported(machine) if one[2] and "-six 1.0" in one[2]]


def test_who_edited_a_file_in_two_looks_did_not_remove_the_environment_that_somebody_removes_then(machine: Machine) -> None:
    machine.put("numpy", "2.0")
    machine.look()
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (CREATED, f"{SITE}/sedX"), exe="/usr/bin/sed")
    machine.wrote(70, 1001, ("moved_from", f"{SITE}/sedX"), ("moved_to", f"{SITE}/numpy.py"), exe="/usr/bin/sed")
    machine.wrote(71, 1002, (DELETED, PREFIX), exe="/usr/bin/rm")
    pipeline.world = world
    machine.is_gone = True
    pipeline.take_up(machine.now_ms)
    found = [(one.kind.value, one.files_total, len(one.files)) for one in machine.operations()]
    assert found[0] == ("tamper", 2, 2)
    assert found[1][0] == "delete"


def test_a_file_that_is_made_in_one_look_and_written_in_the_next_is_made(machine: Machine) -> None:
    machine.look()
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    for what in (CREATED, "written", "attributes"):
        machine.wrote(70, 1001, (what, f"{SITE}/evil.pth"), exe="/usr/bin/sh")
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    (found,) = machine.operations()
    assert [(file.path, file.what) for file in found.files] == [(f"{SITE}/evil.pth", CREATED)]
