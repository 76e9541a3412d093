"""Changes of files by processes that had ended before they could be queried: what their exec recorded is known all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtrail.agent.build import Opened, open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged
from envtrail.record.file_queue import SeenFiles

BEGAN_MS = 1_764_000_000_000
PREFIX = "/srv/ml"
MODULE = f"{PREFIX}/lib/python3.11/site-packages/newt.py"


def opened_trail(tmp_path: Path) -> Opened:
    flags = {"data_dir": str(tmp_path), "node": "n", "store.min_free_bytes": 0}
    return open_trail(load_config(environ={}, flags=flags), world=ImportedWorld())


def execute(opened: Opened, exe: str, *argv: str) -> None:
    stamp = f"msg=audit({BEGAN_MS // 1000}.{BEGAN_MS % 1000:03d}:7)"
    words = " ".join(f'a{at}="{word}"' for at, word in enumerate(argv))
    lines = [
        (
            f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=5 pid=10 auid=1001 uid=1001 ses=3 "
            f'comm="{exe.rpartition("/")[2]}" exe="{exe}" key="k"'
        ),
        f"type=EXECVE {stamp}: argc={len(argv)} {words}",
        f"type=EOE {stamp}: ",
    ]
    opened.pipeline.assembler.push("".join(f"{line}\n" for line in lines).encode())
    opened.pipeline.assembler.drain()


def seen(root: str, path: str, what: str) -> SeenFiles:
    return SeenFiles(
        time_ms=BEGAN_MS + 2, until_ms=BEGAN_MS + 2, pid=10, root=root, files=[(path, what)], total=1, gone=True,
        exe=None, comm=None, argv=None, ppid=None, uid=None, auid=None, ses=None,
    )  # fmt: skip


def observed(opened: Opened, *, root: str = PREFIX, path: str = MODULE, what: str = "written") -> FilesChanged | None:
    files = opened.pipeline.files
    files.hold([seen(root, path, what)], BEGAN_MS + 3)
    found = files.release(BEGAN_MS + 60_000)
    assert all(isinstance(one, FilesChanged) for one in found)
    return found[0] if found else None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("exe", "is_nothing"), [("/usr/bin/touch", True), ("/usr/bin/cp", False), ("/home/mallory/touch", False)]
)
def test_touch_is_nothing_and_no_other_program_of_that_name(tmp_path: Path, exe: str, is_nothing: bool) -> None:
    with opened_trail(tmp_path) as opened:
        opened.pipeline.files.watch({PREFIX: Environment(prefix=PREFIX, kind="venv")})
        execute(opened, exe, "touch", MODULE)
        changed = observed(opened)
    assert (changed is None) == is_nothing
    assert changed is None or (changed.exe, changed.argv, changed.auid) == (exe, ["touch", MODULE], 1001)


@pytest.mark.parametrize("is_of_a_tool", [True, False])
def test_who_removes_what_a_tool_has_just_put_into_a_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_a_tool: bool
) -> None:
    """The folder is an environment because a tool worked there; another folder with metadata in it is nobody's."""
    target = "/home/alice/lib"
    with opened_trail(tmp_path) as opened:
        prefixes = {target} if is_of_a_tool else set()
        monkeypatch.setattr(opened.pipeline.interpreter, "prefixes", lambda: prefixes)
        monkeypatch.setattr(opened.pipeline.files, "identify", lambda prefix: Environment(prefix=prefix, kind="target"))
        execute(opened, "/usr/bin/rm", "rm", "-rf", target)
        changed = observed(opened, root=target, path=f"{target}/shrew-1.0.dist-info", what="deleted")
    assert (changed is not None) == is_of_a_tool


def test_the_record_of_an_exec_that_is_late_is_waited_for_where_nothing_else_says_who_it_was(tmp_path: Path) -> None:
    with opened_trail(tmp_path) as opened:
        files = opened.pipeline.files
        files.watch({PREFIX: Environment(prefix=PREFIX, kind="venv")})
        files.hold([seen(PREFIX, MODULE, "written")], BEGAN_MS + 3)
        assert files.release(BEGAN_MS + files.holding.hold_ms + 4) == []
        execute(opened, "/usr/bin/cp", "cp", "x", MODULE)
        (changed,) = files.release(BEGAN_MS + 3 * files.holding.hold_ms)
    assert isinstance(changed, FilesChanged)
    assert (changed.comm, changed.auid) == ("cp", 1001)


def test_it_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with opened_trail(tmp_path) as opened:
        files = opened.pipeline.files
        files.watch({PREFIX: Environment(prefix=PREFIX, kind="venv")})
        files.hold([seen(PREFIX, MODULE, "written")], BEGAN_MS + 3)
        (changed,) = files.release(BEGAN_MS + 60_000)
    assert isinstance(changed, FilesChanged)
    assert (changed.image, changed.auid) == (None, None)
