"""Helpers for tests under the real kernel: everything is bounded to a test user's login uid, and is taken away again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK = Path("/tmp/envtrail-audit.lock")


def why_no_kernel() -> str | None:
    """Why the kernel's audit cannot be used here; None when it can."""
    if os.geteuid() != 0:
        return "not root"
    from envtrail.core.control import AuditControl

    try:
        with AuditControl() as control:
            control.status()
    except OSError as fault:
        return f"the kernel's audit does not answer: {fault.strerror}"
    return None


@contextmanager
def audit_turn() -> Iterator[None]:
    """The kernel has one audit daemon and one list of rules: tests take turns."""
    with LOCK.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def become(auid: int, *, uid: int | None = None) -> Callable[[], None]:
    """For `preexec_fn`: log in as `auid`, then drop to its uid (or stay another one, as after sudo)."""

    def enter() -> None:
        with open("/proc/self/loginuid", "w") as handle:
            handle.write(str(auid))
        number = auid if uid is None else uid
        os.setgroups([])
        os.setgid(number)
        os.setuid(number)

    return enter


def run_as(
    auid: int, argv: Sequence[str], *, uid: int | None = None, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a session of the test user."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(cwd or "/tmp"),
        "LANG": "C.UTF-8",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        **variables,
    }
    return subprocess.run(
        list(argv), preexec_fn=become(auid, uid=uid), env=environment, cwd=cwd, text=True, capture_output=True, check=False
    )


def open_folders(folder: Path) -> None:
    """Let other users into pytest's folders."""
    for parent in [folder, *list(folder.parents)[:3]]:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)


def wait_until(ready: Callable[[], object], what: str, *, timeout_s: float = 20) -> object:
    """Repeat until the result is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.1)


class RunningAgent:
    """`envtrail agent` in a separate process, rules bounded to one login uid, or to several.

    `through` are words that come before its command line and must end in an exec of it; `verb` is `agent`, or `record`.
    """

    def __init__(
        self,
        folder: Path,
        auid: int | Sequence[int],
        *,
        roots: Sequence[Path],
        profile: str = "lean",
        source: str = "auto",
        through: Sequence[str] = (),
        verb: str = "agent",
        **variables: str,
    ) -> None:
        self._through = through
        self._verb = verb
        self.data_dir = folder / "trail"
        self.environment = {
            **os.environ,
            "ENVTRAIL_NODE": "testhost",
            "ENVTRAIL_DATA_DIR": str(self.data_dir),
            "ENVTRAIL_RULES_ONLY_AUIDS": ":".join(map(str, [auid] if isinstance(auid, int) else auid)),
            "ENVTRAIL_RULES_PROFILE": profile,
            "ENVTRAIL_RULES_ROOTS": "",
            "ENVTRAIL_RULES_VENV_ROOTS": ":".join(map(str, roots)),
            "ENVTRAIL_RULES_PYTHONS": "/usr/bin/python3*",
            "ENVTRAIL_CAPTURE_SOURCE": source,
            "ENVTRAIL_CAPTURE_AUDIT_LOG": str(folder / "no-earlier-audit.log"),
            "ENVTRAIL_SERVICE_SOCKET": str(folder / "envtrail.sock"),
            "ENVTRAIL_INTERPRET_ENVIRONMENTS_INTERVAL_S": "1",
            "ENVTRAIL_INTERPRET_FILES_HOLD_MS": "500",
            "ENVTRAIL_INTERPRET_FILES_REST_MS": "1000",
            **variables,
        }
        self.log = folder / "agent.log"
        self._answers: dict[tuple[str, ...], tuple[list[tuple[str, int]], str]] = {}
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            argv = [*self._through, sys.executable, "-m", "envtrail", "-v", self._verb]
            process = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)
        status = self.data_dir / ("state/agent.json" if self._verb == "agent" else "recorder.json")
        started = f'"pid":{process.pid},'
        wait_until(lambda: (status.exists() and started in status.read_text()) or process.poll() is not None, "the agent's start")
        if process.poll() is not None:
            raise AssertionError(f"the agent ended: {self.log.read_text()}")
        return process

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an envtrail command on this trail."""
        return subprocess.run(
            [sys.executable, "-m", "envtrail", *words], env=self.environment, text=True, capture_output=True, check=False
        )

    def operations(self, *words: str) -> list[dict[str, object]]:
        """`envtrail log --json`, without the baseline; asked again when the agent has written: each client that is started slows what is waited for."""
        written = [(path.name, path.stat().st_mtime_ns) for path in self.data_dir.glob("state/state.sqlite*")]
        if self._answers.get(words, ([], ""))[0] != written or not written:
            self._answers[words] = (written, self.ask("log", "--json", "--reverse", *words).stdout)
        documents = [json.loads(line) for line in self._answers[words][1].splitlines()]
        return [document for document in documents if document["actor"]["method"] != "owner"]

    def execs(self) -> list[dict[str, Any]]:
        """What `envtrail events --json` shows of each exec."""
        events = [json.loads(line)["values"] for line in self.ask("events", "--json").stdout.splitlines()]
        return [event for event in events if event["kind"] == "exec"]

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start again after a kill."""
        self.process = self._start()

    def stop(self) -> None:
        """End it and take its rules out of the kernel."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.ask("rules", "remove")


@contextmanager
def running_agent(
    folder: Path, auid: int | Sequence[int], *, roots: Sequence[Path], through: Sequence[str] = (), **options: str
) -> Iterator[RunningAgent]:
    """An agent for the length of a test; the kernel's rules are then as they were."""
    from envtrail.core.control import AuditControl

    with audit_turn():
        with AuditControl() as control:
            before = control.list_rules()
        agent = RunningAgent(folder, auid, roots=roots, through=through, **options)
        try:
            yield agent
        finally:
            agent.stop()
            with AuditControl() as control:
                assert control.list_rules() == before
