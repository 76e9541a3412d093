"""Accounts that sign in: of the web UI, of the machine, and PAM's file for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "correct horse battery"


def envtrail(accounts: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """`envtrail` with a file of accounts."""
    command = ["env", f"ENVTRAIL_WEB_ACCOUNTS={accounts}", sys.executable, "-m", "envtrail", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def add_account(accounts: Path, name: str, role: str, machine: str | None = None) -> None:
    """An account of the web UI."""
    more = ["--machine-account", machine] if machine else []
    done = envtrail(accounts, "account", "add", name, "--role", role, "--password-stdin", *more, given=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr


@contextmanager
def machine_account(name: str, password: str) -> Iterator[None]:
    """An account of this machine, until the end."""
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
        yield
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


@contextmanager
def pam_service() -> Iterator[str]:
    """A service of PAM that asks for the machine's passwords."""
    path = Path("/etc/pam.d/envtrail-test")
    path.write_text("auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
    try:
        yield path.name
    finally:
        path.unlink()
