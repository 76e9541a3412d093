"""How long changes of files are held: a setting, and while the tool that makes them still runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.scope import holding_of
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.open_operations import UNKNOWN_PREFIX
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged
from envtrail.model.operation import FileChange
from envtrail.record.file_queue import SeenFiles

BEGAN_MS = 1_764_000_000_000


def test_a_tool_whose_environment_is_not_known_waits_as_long_as_files_are_held_and_rest(tmp_path: Path) -> None:
    flags = {
        "data_dir": str(tmp_path), "node": "n", "store.min_free_bytes": 0,
        "interpret.files_hold_ms": 30, "interpret.files_rest_ms": 50,
    }  # fmt: skip
    config = load_config(environ={}, flags=flags)
    assert holding_of(config).settle_ms == 110
    with open_trail(config, world=ImportedWorld()) as opened:
        files = opened.pipeline.files
        wish = SnapshotWanted(image=1, prefix=UNKNOWN_PREFIX, environment_kind=None)
        assert files.defer(wish, 1000)
        assert files.take_due(1079) == []
        assert files.take_due(1080) == [wish]


@pytest.mark.parametrize(("then", "waits_ms"), [("goes on", 20_000), ("runs a program", 80), ("ends", 80)])
def test_the_environment_of_a_tool_is_not_read_while_the_tool_runs(tmp_path: Path, then: str, waits_ms: int) -> None:
    flags = {
        "data_dir": str(tmp_path), "node": "n", "store.min_free_bytes": 0,
        "interpret.files_hold_ms": 30, "interpret.files_rest_ms": 50,
    }  # fmt: skip
    with open_trail(load_config(environ={}, flags=flags), world=ImportedWorld()) as opened:
        pipeline, wrote_ms = opened.pipeline, BEGAN_MS + 10
        pipeline.assembler.push(_event(1, 59, 'EXECVE argc=2 a0="/usr/bin/hatch" a1="run"', exe="/usr/bin/hatch"))
        if then == "runs a program":
            pipeline.assembler.push(_event(2, 59, 'EXECVE argc=1 a0="/usr/bin/true"', exe="/usr/bin/true"))
        elif then == "ends":
            pipeline.assembler.push(_event(2, 231, "", exe="/usr/bin/hatch"))
        events = pa.record_batch(pipeline.assembler.drain().events())
        image = events["image"][0].as_py()
        changed = FilesChanged(
            time_ms=wrote_ms, until_ms=wrote_ms, pid=10, prefix="/w/.hatch", kind="venv", total=1, uid=1001, image=image,
            files=[FileChange(path="/w/.hatch/pyvenv.cfg", what="created")],
        )  # fmt: skip
        pipeline.interpreter.step(None, [changed], now_ms=wrote_ms)
        wish = SnapshotWanted(image=image, prefix="/w/.hatch", environment_kind="venv", is_write=True)
        assert pipeline.files.defer(wish, wrote_ms)
        assert pipeline.files.take_due(wrote_ms + waits_ms - 1) == []
        assert pipeline.files.take_due(wrote_ms + waits_ms) == [wish]


@pytest.mark.parametrize(("comm", "waits"), [("uv", True), ("sh", False)])
def test_changes_wait_for_the_record_of_the_exec_that_made_them(tmp_path: Path, comm: str, waits: bool) -> None:
    """A busy machine's audit is seconds behind; a shell's own fork never executes anything."""
    flags = {
        "data_dir": str(tmp_path), "node": "n", "store.min_free_bytes": 0,
        "interpret.files_hold_ms": 1000, "interpret.files_rest_ms": 50,
    }  # fmt: skip
    with open_trail(load_config(environ={}, flags=flags), world=ImportedWorld()) as opened:
        files, assembler = opened.pipeline.files, opened.pipeline.assembler
        files.identify = lambda prefix: Environment(prefix=prefix, kind="venv")
        assembler.push(_event(1, 59, 'EXECVE argc=1 a0="sh"', exe="/bin/sh", comm="sh"))
        assembler.drain()
        now_ms = BEGAN_MS + 100
        group = SeenFiles(
            time_ms=now_ms, until_ms=now_ms, pid=11, ppid=10, root="/w/env", files=[("/w/env/bin/x", "created")], total=1, gone=False,
            exe=f"/bin/{comm}", comm=comm, uid=1001, auid=1001,
        )  # fmt: skip
        files.hold([group], now_ms)
        assert files.release(now_ms + 999) == []
        released = files.release(now_ms + 1000)
        assert bool(released) is not waits
        if waits:
            assert files.is_busy("/w/env")
            assert not files.is_reported("/w/env", now_ms)
            assembler.push(_event(2, 59, 'EXECVE argc=1 a0="uv"', exe="/bin/uv", pid=11, comm="uv"))
            own = pa.record_batch(assembler.drain().events())["image"][0].as_py()
            (changed,) = files.release(now_ms + 2000)
            assert (changed.image, changed.argv) == (own, ["uv"])
        files.hold([msgspec.structs.replace(group, pid=12, comm="unheard", exe="/bin/unheard")], now_ms + 2000)
        assert files.release(now_ms + 8000) == []
        assert len(files.release(now_ms + 9001)) == 1


@pytest.mark.parametrize(("program", "is_change"), [("chmod", True), ("touch", False)])
def test_what_a_gone_process_did_to_attributes_waits_for_the_record_of_what_it_ran(
    tmp_path: Path, program: str, is_change: bool
) -> None:
    flags = {"data_dir": str(tmp_path), "node": "n", "interpret.files_hold_ms": 1000}
    with open_trail(load_config(environ={}, flags=flags), world=ImportedWorld()) as opened:
        files, assembler = opened.pipeline.files, opened.pipeline.assembler
        files.watch({"/w/env": Environment(prefix="/w/env", kind="venv")})
        now_ms = BEGAN_MS + 1
        group = SeenFiles(
            time_ms=now_ms, until_ms=now_ms, pid=10, root="/w/env", files=[("/w/env/bin/x", "attributes")], total=1, gone=True,
        )  # fmt: skip
        files.hold([group], now_ms)
        assert files.release(now_ms + 1000) == []
        assembler.push(_event(1, 59, f'EXECVE argc=2 a0="{program}" a1="x"', exe=f"/bin/{program}", comm=program))
        assembler.drain()
        assert len(files.release(now_ms + 2000)) == is_change
        files.hold([msgspec.structs.replace(group, pid=12)], now_ms)
        assert files.release(now_ms + 9001) == []
        assert files.held == 0


@pytest.mark.parametrize(
    ("argv", "is_cut", "wanted"),
    [
        (None, False, ["cp", "a.pth", "b.pth"]),
        (["cp", "a.p"], False, ["cp", "a.pth", "b.pth"]),
        (["cp", "a.pth", "b"], True, ["cp", "a.pth", "b.pth"]),
        (["[renamed]"], False, ["[renamed]"]),
    ],
)
def test_a_command_that_was_read_in_part_is_taken_from_its_exec(
    tmp_path: Path, argv: list[str] | None, is_cut: bool, wanted: list[str]
) -> None:
    with open_trail(load_config(environ={}, flags={"data_dir": str(tmp_path), "node": "n"}), world=ImportedWorld()) as opened:
        files, assembler = opened.pipeline.files, opened.pipeline.assembler
        files.watch({"/w/env": Environment(prefix="/w/env", kind="venv")})
        assembler.push(_event(1, 59, 'EXECVE argc=3 a0="cp" a1="a.pth" a2="b.pth"', exe="/bin/cp", comm="cp"))
        assembler.drain()
        group = SeenFiles(
            time_ms=BEGAN_MS + 1, until_ms=BEGAN_MS + 1, pid=10, root="/w/env", files=[("/w/env/bin/x", "created")], total=1, gone=False,
            exe="/bin/cp", comm="cp", uid=1001, auid=1001, argv=argv, argv_cut=is_cut,
        )  # fmt: skip
        files.hold([group], BEGAN_MS)
        (changed,) = files.release(BEGAN_MS + 60_000)
    assert (changed.argv, changed.argv_cut) == (wanted, False)  # type: ignore[union-attr]


def _event(serial: int, call: int, record: str, *, exe: str, pid: int = 10, comm: str = "x") -> bytes:
    stamp = f"msg=audit({BEGAN_MS // 1000}.{BEGAN_MS % 1000:03d}:{serial})"
    who = f'ppid={1 if pid == 10 else 10} pid={pid} auid=1001 uid=1001 ses=3 comm="{comm}" exe="{exe}" key="k"'
    lines = [f"type=SYSCALL {stamp}: arch=c000003e syscall={call} success=yes exit=0 a0=0 items=0 {who}"]
    lines += [f"type={record.partition(' ')[0]} {stamp}: {record.partition(' ')[2]}"] if record else []
    return "".join(f"{line}\n" for line in [*lines, f"type=EOE {stamp}: "]).encode()
