"""What a snapshot shows and nobody was seen to do is separate, also between what two people were seen to do."""

from __future__ import annotations

import msgspec
from whose_machine import CREATED, DELETED, Machine, conda, dist, reported


def test_what_was_there_and_nobody_was_seen_to_bring_is_separate(machine: Machine) -> None:
    machine.put("idna", "3.4")
    machine.look()
    machine.wait(60)  # A full disk: what brought 3.6 is in no record.
    machine.run(60, ["pip", "install", "idna==3.7"], (DELETED, dist("idna", "3.6")), (CREATED, dist("idna", "3.7")))
    assert sorted(reported(machine), key=str) == [(1001, "success", ["~idna 3.6 3.7"]), (None, "unknown", ["~idna 3.4 3.6"])]


def test_what_was_removed_just_before_the_last_look_is_no_step_back(machine: Machine) -> None:
    machine.put("idna", "3.4")
    machine.look()
    for at, (before, after) in enumerate([("3.4", "3.6"), ("3.6", "3.7")]):
        machine.run(60 + at, ["pip", "install", "idna"], (DELETED, dist("idna", before)), (CREATED, dist("idna", after)))
    assert [changes for _, _, changes in reported(machine)] == [["~idna 3.4 3.6"], ["~idna 3.6 3.7"]]


def test_who_brought_what_was_there_has_not_done_what_came_after_it(machine: Machine) -> None:
    machine.look()
    machine.run(60, ["pip", "install", "idna==3.4"], (CREATED, dist("idna", "3.4")))
    machine.put("idna", "3.6")  # at once, and in no record
    machine.look()
    assert sorted(reported(machine), key=str) == [(1001, "success", ["+idna 3.4"]), (None, "unknown", ["~idna 3.4 3.6"])]


def test_who_installed_a_version_anew_has_brought_its_new_content(machine: Machine) -> None:
    machine.put("idna", "3.4", installer="uv")
    machine.look()
    machine.run(
        60, ["pip", "install", "--force-reinstall", "idna==3.4"], (DELETED, dist("idna", "3.4")), (CREATED, dist("idna", "3.4"))
    )
    machine.look()
    assert reported(machine) == [(1001, "success", ["~idna 3.4 3.4"])]


def test_what_was_read_while_it_was_being_written_is_not_changed_by_being_whole(machine: Machine) -> None:
    machine.look()
    image = machine.begin(60, "pip", "install", "idna==3.4")
    machine.did(image, 60, (CREATED, dist("idna", "3.4")))
    machine.put("idna", "3.4")
    machine.holds["idna"] = msgspec.structs.replace(machine.holds["idna"], installer=None, digest="sha256:without-record")
    machine.look()
    machine.put("idna", "3.4")
    machine.end(60)
    machine.look()
    assert reported(machine) == [(1001, "success", ["+idna 3.4"])]


def test_who_removes_both_of_two_versions_has_removed_what_was_known(machine: Machine) -> None:
    machine.put("idna", "3.4")
    machine.holds["second"] = msgspec.structs.replace(
        machine.holds["idna"], version="3.6", location="lib/python3.11/site-packages/idna-3.6.dist-info"
    )
    machine.look()
    machine.wait(60)
    machine.holds.pop("second")
    machine.run(60, ["pip", "uninstall", "-y", "idna"], (DELETED, dist("idna", "3.4")), (DELETED, dist("idna", "3.6")))
    assert reported(machine) == [(1001, "success", ["-idna 3.4", "-idna 3.6"])]


def test_who_removes_a_stale_document_of_conda_has_found_the_package_as_it_was(machine: Machine) -> None:
    machine.put("wolf", "2.0")
    machine.look()
    machine.wait(60)
    image = machine.begin(60, "conda", "install", "wolf=2.0")
    machine.did(image, 60, (DELETED, conda("wolf", "1.0")), (CREATED, conda("wolf", "2.0")))
    machine.did(image, 60, (DELETED, f"{dist('wolf', '2.0')}/METADATA"), (CREATED, f"{dist('wolf', '2.0')}/METADATA"))
    machine.put_conda("wolf", "2.0")
    machine.end(60)
    assert [who for who, _, _ in reported(machine)] == [1001]
