"""`envtrail up --web`: the watch, its notifier and its page begin and end together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from audit_lab import audit_turn, wait_until
from notify_lab import receiver, write_channels
from ports import free_port

from envtrail.core.control import AuditControl

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

AUID = 61100


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_runs_beside_the_watch_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    port = free_port()
    with receiver() as web, audit_turn():
        with AuditControl() as control:
            before = control.list_rules()
        environment = {
            **os.environ,
            "ENVTRAIL_DATA_DIR": str(tmp_path / "trail"),
            "ENVTRAIL_RULES_ONLY_AUIDS": str(AUID),
            "ENVTRAIL_RULES_ROOTS": "",
            "ENVTRAIL_RULES_VENV_ROOTS": str(tmp_path),
            "ENVTRAIL_CAPTURE_AUDIT_LOG": str(tmp_path / "none.log"),
            "ENVTRAIL_SERVICE_SOCKET": str(tmp_path / "s.sock"),
            "ENVTRAIL_NOTIFY_PATH": str(write_channels(tmp_path / "notify.toml", {"name": "web", "url": web.url})),
        }
        log = tmp_path / "up.log"
        with log.open("wb") as out:
            words = [sys.executable, "-m", "envtrail", "up", "--web", "--port", str(port)]
            up = subprocess.Popen(words, env=environment, stdout=out, stderr=out)
        try:
            wait_until(lambda: "/login?token=" in log.read_text(), "the page's link", timeout_s=40)
            locks = tmp_path / "trail" / "notify.lock"
            wait_until(lambda: locks.exists() and locks.read_text().strip().isdigit(), "the notifier")
            children = _children(up.pid)
            assert len(children) == 3, "the notifier, the web UI, the inspector"
            up.send_signal(how)
            assert up.wait(30) in {130, -signal.SIGKILL}
            wait_until(lambda: not any(_is_there(pid) for pid in children), "the end of all", timeout_s=15)
            assert re.search(r"watching this machine", log.read_text())
        finally:
            if up.poll() is None:
                up.kill()
                up.wait()
            remove = [sys.executable, "-m", "envtrail", "rules", "remove"]
            subprocess.run(remove, env=environment, check=True, capture_output=True)
            with AuditControl() as control:
                assert control.list_rules() == before


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
