"""The real auditd in a separate folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audit_lab import audit_turn, wait_until


@contextmanager
def running_auditd(folder: Path, *rules: Sequence[str], plugin: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """auditd with a configuration and its own log; rules of a test user (`auditctl -a`) are loaded meanwhile."""
    config = folder / "auditd"
    (config / "plugins.d").mkdir(parents=True)
    config.chmod(0o750)
    log = folder / "log"
    log.mkdir(mode=0o700)
    (config / "auditd.conf").write_text(
        f"local_events = yes\nwrite_logs = yes\nlog_file = {log}/audit.log\nlog_group = root\nlog_format = ENRICHED\nflush = INCREMENTAL_ASYNC\nfreq = 50\n"
        "max_log_file = 8\nnum_logs = 9\nmax_log_file_action = ROTATE\nspace_left = 2\nspace_left_action = IGNORE\nadmin_space_left = 1\n"
        f"admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\nq_depth = 2000\nplugin_dir = {config}/plugins.d\nname_format = NONE\n"
    )
    (config / "auditd.conf").chmod(0o640)
    if plugin:
        script = config / "plugin.sh"
        script.write_text(f"#!/bin/sh\n{plugin}\n")
        script.chmod(0o750)
        (config / "plugins.d/envtrail.conf").write_text(
            f"active = yes\ndirection = out\npath = {script}\ntype = always\nformat = string\n"
        )
        (config / "plugins.d/envtrail.conf").chmod(0o640)
    with audit_turn():
        daemon = subprocess.Popen(["/sbin/auditd", "-n", "-s", "nochange", "-c", str(config)])
        try:
            wait_until(lambda: (log / "audit.log").exists() and (log / "audit.log").stat().st_size > 0, "auditd's first record")
            for rule in rules:
                subprocess.run(["auditctl", "-a", *rule], check=True, capture_output=True)
            subprocess.run(["auditctl", "-e", "1"], check=True, capture_output=True)
            yield daemon
        finally:
            for rule in rules:
                subprocess.run(["auditctl", "-d", *rule], check=False, capture_output=True)
            daemon.terminate()
            daemon.wait(20)
