"""What a package was before a change: what the snapshot before showed and what everybody did since, whatever came later."""

from __future__ import annotations

import msgspec
import pytest
from whose_machine import CREATED, DELETED, PREFIX, SITE, Machine, conda, dist, reported

from envtrail.model.observation import FilesChanged
from envtrail.model.operation import FileChange


def test_what_was_there_is_what_the_last_one_left_and_not_what_a_snapshot_showed_before_that(machine: Machine) -> None:
    machine.put("newt", "1.0")
    machine.look()
    pipeline = machine.opened.pipeline
    first = machine.begin(60, "uv", "pip", "install", "--python", PREFIX, "-U", "newt==2.0")
    machine.did(first, 60, (DELETED, dist("newt", "1.0")), (CREATED, dist("newt", "2.0")))
    second = machine.begin(61, "conda", "install", "newt=2.0", auid=1002)
    machine.did(second, 61, (CREATED, conda("newt", "2.0")))
    machine.holds.clear()
    machine.put_conda("newt", "2.0")
    machine.end(60)
    machine.end(61, auid=1002)
    pipeline.take_up(machine.now_ms)
    assert [changes for _, _, changes in reported(machine)] == [["~newt 1.0 2.0"], ["~newt 2.0 2.0"]]


def test_what_somebody_did_later_says_nothing_of_what_was_there_before(machine: Machine) -> None:
    machine.put("wolf", "1.0")
    machine.look()
    machine.run(60, ["pip", "uninstall", "-y", "wolf"], (DELETED, dist("wolf", "1.0")))
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (CREATED, dist("wolf", "1.0")), (CREATED, f"{dist('wolf', '1.0')}/METADATA"))
    image = machine.begin(61, "pip", "install", "-U", "wolf==2.0", auid=1002)
    machine.did(image, 61, (DELETED, dist("wolf", "1.0")), (CREATED, dist("wolf", "2.0")))
    machine.put("wolf", "2.0")
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    machine.end(61, auid=1002)
    assert [changes for _, _, changes in reported(machine)] == [["-wolf 1.0"], ["+wolf 1.0"], ["~wolf 1.0 2.0"]]


def test_what_is_made_anew_over_what_was_made_since_the_last_snapshot_is_a_reinstall(machine: Machine) -> None:
    machine.look()
    first = machine.begin(60, "pip", "install", "lynx==1.0")
    machine.did(first, 60, (CREATED, dist("lynx", "1.0")))
    machine.put("lynx", "1.0")
    second = machine.begin(61, "pip", "install", "--force-reinstall", "lynx==1.0")
    # The kernel has merged its removal with what came after it.
    machine.did(second, 61, ("moved_to", dist("lynx", "1.0")))
    machine.end(60)
    machine.end(61)
    assert [changes for _, _, changes in reported(machine)] == [["+lynx 1.0"], ["~lynx 1.0 1.0"]]


def test_a_document_of_conda_whose_package_was_gone_is_none_that_is_replaced(machine: Machine) -> None:
    machine.put("stork", "2.0")
    machine.look()
    machine.run(60, ["pip", "uninstall", "-y", "stork"], (DELETED, dist("stork", "2.0")))
    machine.run(61, ["conda", "install", "stork=1.0"], (DELETED, conda("stork", "2.0")), (CREATED, conda("stork", "1.0")))
    assert [changes for _, _, changes in reported(machine)] == [["-stork 2.0"], ["+stork 1.0"]]


def test_who_removes_the_document_of_conda_and_what_pip_put_over_its_package_removes_the_package(machine: Machine) -> None:
    machine.put("wolf", "2.0")
    machine.look()
    image = machine.begin(61, "conda", "remove", "wolf")
    machine.did(image, 61, (DELETED, conda("wolf", "2.0")), (DELETED, dist("wolf", "2.0")))
    machine.holds.clear()
    machine.end(61)
    assert reported(machine) == [(1001, "success", ["-wolf 2.0"])]


@pytest.mark.parametrize(("is_back", "code", "changes"), [(False, 0, ["-newt 1.0", "-otter 2.0"]), (True, 2, [])])
def test_who_moves_the_folder_of_the_packages_away_removes_all_that_is_in_it(
    machine: Machine, is_back: bool, code: int, changes: list[str]
) -> None:
    machine.put("otter", "2.0")
    machine.put("pip", "23.0")
    # In another folder of the same environment.
    machine.holds["pip"] = msgspec.structs.replace(machine.holds["pip"], location="lib/python3/dist-packages/pip-23.0.dist-info")
    machine.look()
    first = machine.begin(60, "pip", "install", "newt==1.0", auid=1002)
    machine.did(first, 60, (CREATED, dist("newt", "1.0")))
    machine.put("newt", "1.0")
    machine.end(60, auid=1002)
    image = machine.begin(61, "pip", "uninstall", "-y", "newt", "otter")
    machine.did(image, 61, ("moved_from", SITE), *([("moved_to", SITE)] if is_back else []))
    if not is_back:
        machine.holds = {"pip": machine.holds["pip"]}
    machine.begin(62, "pip", "install", "missing", auid=1002)
    machine.look()
    machine.end(61, code)
    machine.end(62, 1, auid=1002)
    assert [said for _, _, said in reported(machine)] == [["+newt 1.0"], changes, []]


@pytest.mark.parametrize(
    ("events", "left", "change"),
    [
        ([("moved_from", "METADATA"), (CREATED, "METADATA")], "2.0", "~newt 2.0 2.0"),
        ([("moved_from", "METADATA")], None, "-newt 2.0"),
        ([(DELETED, "METADATA"), (DELETED, "")], None, "-newt 2.0"),
    ],
)
def test_a_package_comes_and_goes_with_its_metadata_also_where_its_folder_stays(
    machine: Machine, events: list[tuple[str, str]], left: str | None, change: str
) -> None:
    machine.put("newt", "2.0")
    machine.look()
    command = ("install", "--force-reinstall") if left else ("uninstall", "-y")
    image = machine.begin(61, "pip", *command, "newt")
    machine.did(image, 61, *((what, f"{dist('newt', '2.0')}/{name}".rstrip("/")) for what, name in events))
    # Somebody else is at work there: what no event explains would be nobody's.
    machine.begin(62, "pip", "install", "--prefix", PREFIX, "x", auid=1002)
    if left is None:
        machine.holds.clear()
    machine.end(61)
    assert reported(machine)[0] == (1001, "success", [change])


@pytest.mark.parametrize(("is_whole", "changes"), [(False, []), (True, ["+wolf 2.0"])])
def test_who_was_killed_before_a_package_was_one_has_not_added_it(machine: Machine, is_whole: bool, changes: list[str]) -> None:
    machine.look()
    image = machine.begin(61, "pip", "install", "wolf==2.0")
    machine.did(image, 61, (CREATED, dist("wolf", "2.0")))
    if is_whole:
        machine.put("wolf", "2.0")
    machine.end(61, 1)
    assert [said for _, _, said in reported(machine)] == [changes]


def test_who_was_killed_has_added_what_another_removed_before_it_was_read(machine: Machine) -> None:
    machine.look()
    first = machine.begin(61, "pip", "install", "wolf==2.0")
    machine.did(first, 61, (CREATED, dist("wolf", "2.0")))
    second = machine.begin(62, "pip", "uninstall", "-y", "wolf", auid=1002)
    machine.did(second, 62, (DELETED, dist("wolf", "2.0")))
    machine.end(61, 1)
    machine.end(62, auid=1002)
    assert [said for _, _, said in reported(machine)] == [["+wolf 2.0"], ["-wolf 2.0"]]


def test_a_document_of_conda_that_a_hand_left_behind_is_no_package_that_is_replaced(machine: Machine) -> None:
    machine.put_conda("wolf", "2.0")
    machine.look()
    machine.wait(60)
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    machine.wrote(70, 1001, (DELETED, f"{dist('wolf', '2.0')}/METADATA"), (DELETED, dist("wolf", "2.0")))
    image = machine.begin(61, "conda", "install", "wolf=1.0")
    machine.did(image, 61, (DELETED, conda("wolf", "2.0")), (CREATED, dist("wolf", "1.0")), (CREATED, conda("wolf", "1.0")))
    machine.put_conda("wolf", "1.0")
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    machine.end(61)
    assert [changes for _, _, changes in reported(machine)] == [["-wolf 2.0"], ["+wolf 1.0"]]


def test_a_folder_without_metadata_is_no_package_that_goes_with_the_rest(machine: Machine) -> None:
    machine.put_conda("wolf", "2.0")  # It left pip's folder of 1.0 behind when it replaced that.
    machine.look()
    machine.wait(60)
    machine.holds.clear()
    machine.wrote(70, 1001, (DELETED, dist("wolf", "1.0")), (DELETED, dist("wolf", "2.0")))
    machine.opened.pipeline.take_up(machine.now_ms)
    assert [changes for _, _, changes in reported(machine)] == [["-wolf 2.0"]]


@pytest.mark.parametrize("stale", [[], [(DELETED, conda("lynx", "2.0"))]])
def test_what_conda_puts_in_the_place_of_pips_own_is_the_next_of_that(machine: Machine, stale: list[tuple[str, str]]) -> None:
    machine.put("lynx", "1.0")
    machine.look()
    machine.wait(60)
    pipeline = machine.opened.pipeline
    pipeline.world, world = None, pipeline.world
    image = machine.begin(60, "conda", "install", "--force-reinstall", "lynx=1.0")
    file = f"{dist('lynx', '1.0')}/METADATA"
    machine.did(image, 60, *stale, (DELETED, file), (CREATED, file), (CREATED, conda("lynx", "1.0")))
    machine.end(60)
    machine.wait(0.1)
    second = machine.begin(61, "pip", "uninstall", "-y", "lynx")
    machine.did(second, 61, (DELETED, dist("lynx", "1.0")))
    machine.holds.clear()
    pipeline.world = world
    pipeline.take_up(machine.now_ms)
    machine.end(61)
    assert [changes for _, _, changes in reported(machine)] == [["~lynx 1.0 1.0"], ["-lynx 1.0"]]


def test_who_removes_what_was_left_of_one_manager_beside_the_others_package_has_succeeded(machine: Machine) -> None:
    machine.put_conda("heron", "1.0")
    machine.see_kind("conda", sees_system=False)
    machine.look()
    machine.wait(60)
    machine.run(60, ["pip", "install", "-U", "heron==2.0"], (DELETED, dist("heron", "1.0")), (CREATED, dist("heron", "2.0")))
    image = machine.begin(61, "conda", "remove", "-y", "--force", "heron")
    machine.did(image, 61, (DELETED, conda("heron", "1.0")))
    machine.end(61)
    assert [(outcome, changes) for _, outcome, changes in reported(machine)] == [
        ("success", ["~heron 1.0 2.0"]),
        ("success", []),
    ]


def test_what_is_made_over_the_remnant_of_a_killed_tool_replaces_the_package_that_was_there(machine: Machine) -> None:
    machine.put("stork", "2.0")
    machine.look()
    machine.wait(60)
    image = machine.begin(60, "pip", "install", "-U", "stork==1.0")
    file = f"{dist('stork', '1.0')}/METADATA"  # Another pip had been killed before it had written RECORD.
    machine.did(image, 60, (DELETED, dist("stork", "2.0")), (DELETED, file), (CREATED, file))
    machine.put("stork", "1.0")
    machine.end(60)
    assert [changes for _, _, changes in reported(machine)] == [["~stork 2.0 1.0"]]


def test_who_removes_the_last_package_of_a_users_site_deletes_no_environment(machine: Machine) -> None:
    site = "/srv/phantom/.local"
    machine.look()
    machine.put("six", "1.0")
    machine.observe(machine.snapshot(prefix=site))
    machine.holds.clear()
    image = machine.begin(60, "pip", "uninstall", "-y", "six")
    machine.begin(61, "pip", "install", "toml", auid=1002)  # Somebody else is at work where pip was thought to be.
    gone = FileChange(path=f"{site}/lib/python3.11/site-packages/six-1.0.dist-info", what=DELETED)
    now_ms = machine.now_ms
    machine.observe(
        FilesChanged(
            time_ms=now_ms,
            until_ms=now_ms,
            pid=60,
            prefix=site,
            kind="user",
            uid=1001,
            auid=1001,
            files=[gone],
            total=1,
            image=image,
        )
    )
    machine.end(60)
    assert {(one.kind.value, one.environment.prefix) for one in machine.operations()} >= {("remove", site)}


def test_who_moves_the_folder_away_and_makes_the_package_in_it_anew_has_replaced_what_went_with_it(machine: Machine) -> None:
    machine.put("newt", "1.0")
    machine.look()
    machine.wait(60)
    first = machine.begin(60, "pip", "install", "-U", "newt==2.0")
    machine.did(first, 60, ("moved_from", SITE), (CREATED, dist("newt", "2.0")))
    second = machine.begin(61, "pip", "uninstall", "-y", "newt")
    machine.did(second, 61, ("moved_from", SITE))
    machine.holds.clear()
    machine.end(60)
    machine.end(61)
    assert [changes for _, _, changes in reported(machine)] == [["~newt 1.0 2.0"], ["-newt 2.0"]]


def test_a_stale_document_is_no_package_also_where_the_environment_was_gone_when_it_was_to_be_read(machine: Machine) -> None:
    machine.put_conda("otter", "2.0")
    machine.look()
    machine.wait(60)
    machine.run(60, ["pip", "install", "-U", "otter==1.0"], (DELETED, dist("otter", "2.0")), (CREATED, dist("otter", "1.0")))
    image = machine.begin(61, "conda", "remove", "-y", "otter")
    machine.did(image, 61, (DELETED, conda("otter", "2.0")))
    machine.is_gone = True
    machine.end(61)
    assert [changes for _, _, changes in reported(machine)][:2] == [["~otter 2.0 1.0"], []]


def test_what_is_put_into_the_folder_that_a_killed_tool_left_is_added(machine: Machine) -> None:
    machine.look()
    first = machine.begin(60, "uv", "pip", "install", "--python", PREFIX, "shrew==2.0")
    machine.did(first, 60, (CREATED, dist("shrew", "2.0")))
    machine.end(60, 137)
    machine.put("shrew", "2.0")
    machine.wrote(70, 1001, (CREATED, f"{dist('shrew', '2.0')}/METADATA"))
    machine.opened.pipeline.take_up(machine.now_ms)
    assert [changes for _, _, changes in reported(machine)] == [[], ["+shrew 2.0"]]
