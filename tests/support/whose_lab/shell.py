"""A person's shell: one login for the whole run, in which commands are typed one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from audit_lab import become
from msgspec import Struct

from whose_lab.ledger import Person

_TIMEOUT_S = 120


class Ran(Struct, frozen=True, kw_only=True):
    """A command that has ended."""

    pid: int
    exit_code: int
    output: str
    started_ms: int
    ended_ms: int


class LoginShell:
    """A bash that somebody has logged in to.

    Each command runs in a process that the shell forks, as it does for a typed one; the shell's built-in `echo` reports the pid before the exec.
    """

    def __init__(self, person: Person, variables: dict[str, str]) -> None:
        self._out = person.home / ".output"
        read, write = os.pipe()
        self._answers = os.fdopen(read, "r", encoding="utf-8", errors="replace")
        self._fd = write
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(person.home), "LANG": "C.UTF-8", **variables}
        enter = become(person.auid)

        def prepare() -> None:
            enter()
            os.umask(0)

        self._bash = subprocess.Popen(
            ["/bin/bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=prepare, env=environment, cwd=person.home, pass_fds=[write], text=True,
        )  # fmt: skip
        os.close(write)

    def run(self, command: str, *, simple: bool, kill_after_s: float | None) -> Ran:
        """Type a command and wait for its end."""
        body = f"exec {self._fd}>&-; " + (f"exec {command}" if simple else command)
        line = f"( echo $BASHPID >&{self._fd}; {body} ) >{self._out} 2>&1 </dev/null; echo $? >&{self._fd}\n"
        assert self._bash.stdin
        started = time.time()
        self._bash.stdin.write(line)
        self._bash.stdin.flush()
        pid = int(self._answer())
        with _kill_later(pid, kill_after_s):
            code = int(self._answer())
        ended = time.time()
        text = self._out.read_text(errors="replace") if self._out.exists() else ""
        return Ran(pid=pid, exit_code=code, output=text[-3000:], started_ms=int(started * 1000), ended_ms=int(ended * 1000) + 1)

    def close(self) -> None:
        """Log out."""
        assert self._bash.stdin
        self._bash.stdin.close()
        self._bash.wait(_TIMEOUT_S)
        self._answers.close()

    def _answer(self) -> str:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the person's shell has ended")
        return line


@contextmanager
def _kill_later(pid: int, after_s: float | None) -> Iterator[None]:
    """SIGKILL a process unless it ends by itself before."""
    if after_s is None:
        yield
        return
    descriptor = os.pidfd_open(pid)
    killer = threading.Timer(after_s, _kill, [descriptor])
    killer.start()
    try:
        yield
    finally:
        killer.cancel()
        killer.join()
        os.close(descriptor)


def _kill(descriptor: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
