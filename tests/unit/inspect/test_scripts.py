"""What is read of a script, and what is left alone."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest
from inspect_lab import INSPECTOR

from envtrail.agent.processes import ProcessesHere
from envtrail.agent.world import LiveWorld
from envtrail.environments.reading import show
from envtrail.inspect.jobs import MOST_SCRIPT_BYTES, Scripts
from envtrail.inspect.protocol import DigestScript
from envtrail.interpret.emission import ScriptWanted
from envtrail.model.observation import ScriptSeen

NOBODY = 65_534
MISSED = "what was executed is not at its path here: it ran in a container, or was replaced"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for parent in (tmp_path, *tmp_path.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return tmp_path


def see(
    path: Path | str, *, uid: int | None = 0, began_ms: int | None = None, executed: Path | None = None, inode: int | None = None
) -> ScriptSeen:
    now_ms = time.time_ns() // 1_000_000
    wish = ScriptWanted(
        image=(now_ms + 50 if began_ms is None else began_ms) << 20,
        path=str(path),
        uid=uid,
        executed=str(executed) if executed else None,
        executed_inode=inode,
    )
    (seen,) = LiveWorld(INSPECTOR, ProcessesHere([], None)).grant(wish, now_ms)
    assert isinstance(seen, ScriptSeen)
    return seen


def made(folder: Path, text: str = "pass\n", mode: int = 0o644) -> Path:
    path = folder / "x.py"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", ["", "pass\n", "x" * 1_000_000])
def test_the_digest_is_of_the_content(folder: Path, text: str) -> None:
    seen = see(made(folder, text), uid=NOBODY)
    assert (seen.sha256, seen.absent) == (hashlib.sha256(text.encode()).hexdigest(), None)


def test_a_link_is_followed_to_its_file(folder: Path) -> None:
    made(folder)
    (folder / "link.py").symlink_to("x.py")
    assert see(folder / "link.py").sha256 == hashlib.sha256(b"pass\n").hexdigest()


def test_ten_megabytes_are_read_and_one_byte_more_is_not(folder: Path) -> None:
    path = folder / "big.py"
    with path.open("wb") as handle:
        handle.truncate(MOST_SCRIPT_BYTES)
    assert see(path).sha256 == hashlib.sha256(bytes(MOST_SCRIPT_BYTES)).hexdigest()
    with path.open("wb") as handle:
        handle.truncate(MOST_SCRIPT_BYTES + 1)
    assert (see(path).sha256, see(path).absent) == (None, "more than 10 MB")


def test_a_fifo_is_not_joined(folder: Path) -> None:
    fifo = folder / "fifo.py"
    os.mkfifo(fifo)
    # Were its other end opened, this writer would find a reader.
    assert see(fifo).absent == "no regular file"
    with pytest.raises(OSError, match="No such device"):
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


def test_folders_sockets_and_devices_are_left_alone(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        assert {see(path).absent for path in (folder, folder / "s", "/dev/null", "/dev/zero", "/dev/tty")} == {"no regular file"}


@pytest.mark.parametrize("path", ["/proc/self/cmdline", "/proc/kmsg", "/proc/1/environ", "/sys/kernel/notes"])
def test_files_of_the_kernel_are_not_read(folder: Path, path: str) -> None:
    (folder / "link.py").symlink_to(path)
    for name in (path, folder / "link.py"):
        seen = see(name, began_ms=time.time_ns() // 1_000_000 + 10_000)
        assert (seen.sha256, seen.absent) == (None, "a file of the kernel's" if Path(path).exists() else seen.absent)


def test_a_missing_script_says_so(folder: Path) -> None:
    assert see(folder / "none.py").absent == "No such file or directory"
    assert see(folder / ("x" * 300)).absent == "File name too long"
    assert see("/w\0x").absent is not None


def test_what_was_changed_after_it_began_has_no_digest(folder: Path) -> None:
    path = made(folder)
    time.sleep(0.03)
    began_ms = time.time_ns() // 1_000_000
    time.sleep(0.03)
    assert see(path, began_ms=began_ms).sha256
    path.write_text("other\n")
    assert see(path, began_ms=began_ms).absent == "it was changed after it began"
    # Whoever sets the old time back cannot set the time of that change back.
    os.utime(path, (1, 1))
    assert see(path, began_ms=began_ms).absent == "it was changed after it began"


def test_another_file_put_in_its_place_is_seen_though_it_is_older(folder: Path) -> None:
    path, other = made(folder), folder / "other"
    other.write_text("other\n")
    os.utime(other, (1, 1))
    time.sleep(0.03)
    began_ms = time.time_ns() // 1_000_000
    time.sleep(0.03)
    other.rename(path)
    assert see(path, began_ms=began_ms).absent == "it was changed after it began"


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads what others may not")
def test_nobody_learns_of_a_file_that_they_may_not_read(folder: Path) -> None:
    secret = made(folder, "secret\n", 0o600)
    assert see(secret, uid=NOBODY).absent == "who ran it may not read it"
    assert see(secret, uid=0).sha256
    (folder / "link.py").symlink_to("/etc/shadow")
    assert see(folder / "link.py", uid=NOBODY).absent == "who ran it may not read it"
    secret.chmod(0o644)
    folder.chmod(0o700)
    assert see(secret, uid=NOBODY).absent == "who ran it may not read it"
    folder.chmod(0o755)
    os.chown(secret, NOBODY, 0)
    secret.chmod(0o400)
    assert see(secret, uid=NOBODY).sha256
    # The owner's own mode decides for the owner, as the kernel does it.
    secret.chmod(0o044)
    assert see(secret, uid=NOBODY).absent == "who ran it may not read it"


def test_a_file_that_is_called_as_anothers_bytes_are_spelt_is_not_read_for_it(folder: Path) -> None:
    (folder / "\\xff.py").write_text("pass\n")
    (folder / "\udcff.py").write_text("import socket\n")
    seen = see(show(str(folder / "\udcff.py")))
    assert seen.path.endswith("\\xff.py")
    assert (seen.sha256, "no UTF-8" in (seen.absent or "")) == (None, True)


def test_another_file_system_is_noticed_by_what_was_executed(folder: Path) -> None:
    path = made(folder)
    python = Path("/usr/bin/env")
    assert see(path, executed=python, inode=python.stat().st_ino).sha256
    assert see(path, executed=python, inode=python.stat().st_ino + 1).absent == MISSED
    assert see(path, executed=folder / "none", inode=3).absent == MISSED


def test_a_script_that_stays_is_read_once_and_a_change_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Scripts()
    path = made(folder)

    def digest() -> str | None:
        now_ms = time.time_ns() // 1_000_000
        return scripts.digest(DigestScript(path=str(path), began_ms=now_ms + 50, uid=0, now_ms=now_ms)).sha256

    assert digest()
    assert not scripts._known, "what was changed just now may be changed again under the same time"
    monkeypatch.setattr("envtrail.inspect.jobs._SETTLED_NS", 0)
    time.sleep(0.02)
    first = digest()
    assert len(scripts._known) == 1
    monkeypatch.setattr("envtrail.inspect.jobs._digest_of", lambda _: pytest.fail("read again"))
    assert digest() == first
    monkeypatch.undo()
    time.sleep(0.02)
    path.write_text("pas2\n")
    assert digest() == hashlib.sha256(b"pas2\n").hexdigest()


def test_who_ran_it_must_be_known(folder: Path) -> None:
    assert see(made(folder), uid=None).absent == "who ran it may not read it"
