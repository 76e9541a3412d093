"""What fanotify and the process connector report, by programs that really ran."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from envtrail.core import ExecWatch, FileGroup, FileWatch

pytestmark = pytest.mark.kernel


@pytest.fixture
def env(tmp_path: Path) -> Path:
    (tmp_path / "env/site-packages").mkdir(parents=True)
    return tmp_path / "env"


@pytest.fixture
def watch(env: Path) -> Iterator[FileWatch]:
    opened = FileWatch([str(env)])
    assert opened.unwatched() == []
    yield opened
    opened.close()


def _read(watch: FileWatch, folder: Path) -> list[FileGroup]:
    """What was changed below a folder: environments that others make elsewhere are reported too."""
    return [group for group in watch.read() if group.files[0][0].startswith(f"{folder}")]


def _changes(watch: FileWatch, folder: Path) -> dict[str, tuple[str | None, list[tuple[str, str]]]]:
    """Program → (its name when it could be queried, files)."""
    time.sleep(0.3)
    return {str(group.pid): (group.comm, group.files) for group in _read(watch, folder)}


def _run(*argv: str, **options: object) -> int:
    process = subprocess.Popen(argv, **options)  # type: ignore[call-overload]
    assert process.wait() == 0
    return int(process.pid)


def test_each_program_is_told_with_its_files(env: Path, watch: FileWatch) -> None:
    site = env / "site-packages"
    copied = _run("cp", "/etc/passwd", str(site / "a.py"))
    moved = _run("mv", str(site / "a.py"), str(site / "b.py"))
    edited = _run("sed", "-i", "s/root/toor/", str(site / "b.py"))
    removed = _run("rm", str(site / "b.py"))

    changes = _changes(watch, env)

    assert changes[str(copied)][1] == [(f"{site}/a.py", "created")]
    assert changes[str(moved)][1] == [(f"{site}/a.py", "moved_from"), (f"{site}/b.py", "moved_to")]
    assert (f"{site}/b.py", "moved_to") in changes[str(edited)][1] or (f"{site}/b.py", "written") in changes[str(edited)][1]
    assert changes[str(removed)][1] == [(f"{site}/b.py", "deleted")]


def test_below_a_bind_mount_files_have_the_path_of_the_root_and_not_the_one_they_lie_at(env: Path, tmp_path: Path) -> None:
    data, seen = tmp_path / "data", tmp_path / "seen"
    (data / "venv").mkdir(parents=True)
    seen.mkdir()
    subprocess.run(["mount", "--bind", str(data), str(seen)], check=True)
    try:
        watch = FileWatch([str(env), str(seen / "venv")])
        copied = _run("cp", "/etc/passwd", str(seen / "venv/a.py"))
        assert _changes(watch, seen)[str(copied)][1] == [(f"{seen}/venv/a.py", "created")]
        watch.close()
    finally:
        subprocess.run(["umount", str(seen)], check=True)


def test_a_program_that_lives_is_asked_who_it_is(env: Path, watch: FileWatch) -> None:
    script = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('x'); time.sleep(0.5)"
    argv = [sys.executable, "-c", script, str(env / "x")]
    process = subprocess.Popen(argv)
    process.wait()
    (group,) = _read(watch, env)
    assert (group.pid, group.gone, group.uid, group.argv) == (process.pid, False, os.getuid(), argv)
    assert group.exe == os.path.realpath(sys.executable)
    assert group.ppid == os.getpid()


def test_another_mode_is_seen_and_another_name_of_a_file_is_none(env: Path, watch: FileWatch) -> None:
    (env / "site-packages/m.py").touch()
    (env / "old").touch()
    watch.read()
    changed = _run("chmod", "-R", "700", str(env))
    assert sorted(_changes(watch, env)[str(changed)][1]) == [
        (path, "attributes") for path in sorted([str(env), *map(str, env.glob("**/*"))])
    ]
    linked = _run("ln", str(env / "old"), str(env / "new"))
    assert _changes(watch, env)[str(linked)][1] == [(f"{env}/new", "created")]
    removed = _run("rm", str(env / "new"))
    assert _changes(watch, env)[str(removed)][1] == [(f"{env}/new", "deleted")]


def test_what_lies_elsewhere_or_is_bytecode_is_nothing(tmp_path: Path, env: Path, watch: FileWatch) -> None:
    (env / "site-packages/m.py").touch()
    _run("cp", "/etc/passwd", str(tmp_path / "elsewhere"))
    _run(sys.executable, "-c", "import m", env={"PYTHONPATH": str(env / "site-packages")})
    assert (env / "site-packages/__pycache__").is_dir()
    assert _changes(watch, tmp_path) == {}


def test_a_nested_root_wins_and_roots_may_change(env: Path, watch: FileWatch) -> None:
    nested = env / "envs/inner"
    nested.mkdir(parents=True)
    watch.set_roots([str(env), str(nested)])
    watch.read()
    _run("touch", str(nested / "x"), str(env / "y"))
    time.sleep(0.3)
    assert {(group.root, group.files[0][0]) for group in _read(watch, env)} == {
        (str(nested), f"{nested}/x"),
        (str(env), f"{env}/y"),
    }


def test_a_moved_folder_is_followed(env: Path, watch: FileWatch) -> None:
    (env / "old").mkdir()
    _run("touch", str(env / "old/x"))
    _run("mv", str(env / "old"), str(env / "new"))
    watch.read()
    _run("touch", str(env / "new/y"))
    assert [files for _, files in _changes(watch, env).values()][-1:] == [[(f"{env}/new/y", "created")]]


def test_a_watched_folder_that_is_moved_says_where_to(env: Path, watch: FileWatch) -> None:
    moved = _run("mv", str(env), f"{env}-2")
    assert _changes(watch, env)[str(moved)][1] == [(str(env), "moved_from"), (f"{env}-2", "moved_to")]
    touched = _run("cp", "/etc/hostname", f"{env}-2/x")
    assert _changes(watch, env)[str(touched)][1] == [(f"{env}-2/x", "created")]


def test_fifty_thousand_files_are_one_group_and_counted(env: Path, watch: FileWatch) -> None:
    loop = "i=0; while [ $i -lt 50000 ]; do : > f$i; i=$((i+1)); done"
    pid = _run("bash", "-c", loop, cwd=env)
    seen = 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and seen < 50_000 and not watch.take_overflows():
        seen += sum(group.total for group in watch.read() if group.pid == pid)
        time.sleep(0.1)
    assert 0 < seen <= 100_000


def test_what_lies_in_the_place_of_a_folder_is_not_opened(tmp_path: Path, watch: FileWatch) -> None:
    """Opening a FIFO waits for who writes to it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path)
    setting = Thread(target=watch.set_roots, args=([str(tmp_path / "fifo"), str(tmp_path / "link")],), daemon=True)
    setting.start()
    setting.join(5)
    assert not setting.is_alive()
    assert len(watch.unwatched()) == 2


def test_a_folder_that_cannot_be_watched_is_named(watch: FileWatch) -> None:
    watch.set_roots(["/proc/self", "/no/such/folder"])
    assert [line.partition(":")[0] for line in sorted(watch.unwatched())] == ["/no/such/folder", "/proc/self"]


def test_variables_are_had_of_programs_that_live_for_a_moment_only(tmp_path: Path) -> None:
    tool = tmp_path / "sometool"
    tool.write_bytes(Path(sys.executable).resolve().read_bytes())
    tool.chmod(0o755)
    watch = ExecWatch(["sometool"], ["MARK"])
    try:
        found = 0
        for number in range(40):
            environment = {"MARK": str(number), "SECRET": "no", "PYTHONHOME": sys.base_prefix}
            process = subprocess.Popen([str(tool), "-S", "-c", "pass"], env=environment)
            began_ms = int(time.time() * 1000)
            process.wait()
            seen = watch.find(process.pid, began_ms)
            found += seen is not None and seen.variables == {"MARK": str(number)}
        assert found >= 38
        assert watch.find(os.getpid(), began_ms) is None
    finally:
        watch.close()
