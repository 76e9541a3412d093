"""What a package was before a change: known by its removal or by a snapshot; else *not known*, which is not *nothing*."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click import unstyle
from log_lab import Trail
from whose_machine import CREATED, DELETED, Machine, conda, dist, reported

from envtrail.cli.operations import show_change, summary
from envtrail.documents.base import Site
from envtrail.documents.ecs import documents_of
from envtrail.interpret.attribution import changes_by_events
from envtrail.interpret.timeline import fold, read_events
from envtrail.model.operation import MetadataEvent, Operation
from envtrail.report.sections import _change as change_in_report
from envtrail.web.pages.words import change_of

VENV = "/srv/ml"
SITE = f"{VENV}/lib/python3.11/site-packages"
WHO = 'ppid=9 pid=10 auid=1001 uid=1001 ses=3 comm="pip" exe="/usr/bin/python3.11" key="k"'


def log_of(argv: list[str], *paths: tuple[str, str]) -> bytes:
    """One program that made and removed metadata, as the kernel records it."""
    execve = f"argc={len(argv)} " + " ".join(f'a{at}="{word}"' for at, word in enumerate(argv))
    events = [[f"SYSCALL arch=c000003e syscall=59 success=yes exit=0 items=0 {WHO}", f"EXECVE {execve}"]]
    for nametype, path in paths:
        call = f"SYSCALL arch=c000003e syscall={83 if nametype == 'CREATE' else 84} success=yes exit=0 items=1 {WHO}"
        events.append([call, f'CWD cwd="{SITE}"', f'PATH item=0 name="{path}" inode=7 nametype={nametype}'])
    events.append([f"SYSCALL arch=c000003e syscall=231 a0=0 items=0 {WHO}"])
    lines = []
    for at, records in enumerate(events):
        stamp = f"msg=audit(1764000000.{at:03}:{100 + at})"
        lines += [f"type={one.partition(' ')[0]} {stamp}: {one.partition(' ')[2]}" for one in [*records, "EOE "]]
    return "\n".join(lines).encode() + b"\n"


def imported(folder: Path, argv: list[str], *paths: tuple[str, str]) -> Operation:
    trail = Trail(folder / "trail")
    trail.take_text(log_of(argv, *paths))
    (operation,) = trail.said().operations
    return msgspec.convert(operation, Operation)


INSTALL = [f"{VENV}/bin/python3", f"{VENV}/bin/pip", "install", "-U", "six"]
ADDED = ("CREATE", f"{SITE}/six-1.17.0.dist-info")


@pytest.mark.parametrize(
    ("argv", "paths", "action"),
    [
        (INSTALL, [ADDED], "installed"),
        (INSTALL, [("DELETE", f"{SITE}/six-1.16.0.dist-info"), ADDED], "changed"),
        (INSTALL, [("DELETE", f"{SITE}/six-1.17.0.dist-info"), ADDED], "changed"),
        (["pip", "uninstall", "-y", "six"], [("DELETE", f"{SITE}/six-1.16.0.dist-info")], "removed"),
        (["python3", "-m", "venv", VENV], [ADDED], "added"),
        (["python3", "-m", "venv", "--clear", VENV], [ADDED], "installed"),
        (["cp", "-r", "six", SITE], [ADDED], "installed"),
    ],
)
def test_a_log_says_what_was_there_only_where_it_shows_it(
    tmp_path: Path, argv: list[str], paths: list[tuple[str, str]], action: str
) -> None:
    (change,) = imported(tmp_path, argv, *paths).changes or ()
    assert (change.action, change.absent) == (action, {"before": "not recorded"} if action == "installed" else {})


def test_what_is_not_known_is_shown_as_not_known(tmp_path: Path) -> None:
    operation = imported(tmp_path, INSTALL, ADDED)
    (change,) = operation.changes or ()
    assert unstyle(show_change(change)) == "~ six ? → 1.17.0  (requested)"
    assert summary(operation) == "~1"
    assert change_of(change) == "~ six ? → 1.17.0"
    assert change_in_report(change) == "six ? → 1.17.0"
    document = _change_document(operation)
    assert document["event"]["action"] == "installed"
    assert document["envtrail"]["change"]["absent"] == {"before": "not recorded"}
    assert document["message"].startswith("six ? → 1.17.0 in ")


def _change_document(operation: Operation):  # type: ignore[no-untyped-def]
    return documents_of(operation, Site())[1].body


def test_the_watch_sees_each_removal_so_what_it_has_not_seen_was_not_there(machine: Machine) -> None:
    machine.is_readable = False
    machine.run(100, ["pip", "install", "six"], ("created", ADDED[1]))
    assert reported(machine) == [(1001, "success", ["+six 1.17.0"])]
    (operation,) = machine.operations()
    assert [change.absent for change in operation.changes or ()] == [{}]


def test_a_removal_whose_name_has_no_version_leaves_what_was_there_unknown() -> None:
    events = [MetadataEvent(f"{SITE}/six.egg-link", "deleted", 1), MetadataEvent(ADDED[1], "created", 2)]
    (change,) = changes_by_events(fold(read_events(events, 1, VENV)))
    assert (change.action, change.absent) == ("installed", {"before": "not recorded"})


def test_where_no_snapshot_says_it_what_others_did_says_that_a_document_of_conda_was_left_of_nothing(machine: Machine) -> None:
    machine.is_readable = False
    machine.run(60, ["conda", "install", "lynx=2.0"], (CREATED, conda("lynx", "2.0")), (CREATED, dist("lynx", "2.0")))
    machine.run(61, ["pip", "uninstall", "-y", "lynx"], (DELETED, dist("lynx", "2.0")))
    machine.run(62, ["conda", "install", "lynx=1.0"], (DELETED, conda("lynx", "2.0")), (CREATED, conda("lynx", "1.0")))
    machine.run(63, ["conda", "remove", "lynx"], (DELETED, conda("lynx", "1.0")))
    assert [changes for _, _, changes in reported(machine)] == [["+lynx 2.0"], ["-lynx 2.0"], ["+lynx 1.0"], ["-lynx 1.0"]]
