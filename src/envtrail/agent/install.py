"""The system service: its unit file in, changed, and out again; nothing else of the machine is touched."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from envtrail.errors import CannotRunError

UNIT = "etc/systemd/system/envtrail.service"


class Step(Struct, frozen=True, kw_only=True):
    """One thing that is done, or would be."""

    what: str
    command: list[str] | None = None
    path: Path | None = None
    text: str | None = None
    """What `path` will hold; null removes it."""


def plan_install(root: Path) -> list[Step]:
    """Write the unit file, then let systemd start it."""
    unit = files("envtrail").joinpath("agent/units/envtrail.service").read_text()
    beside = Path(sys.executable).parent / "envtrail"
    program = str(beside) if beside.exists() else shutil.which("envtrail") or "envtrail"
    return [
        Step(what="write the unit file", path=root / UNIT, text=unit.replace("@ENVTRAIL@", program)),
        Step(what="let systemd read it", command=["systemctl", "daemon-reload"]),
        Step(what="start it now and at boot", command=["systemctl", "enable", "--now", "envtrail.service"]),
    ]


def plan_upgrade(root: Path) -> list[Step]:
    """Write the unit file anew and restart."""
    return [*plan_install(root)[:2], Step(what="restart it", command=["systemctl", "restart", "envtrail.service"])]


def plan_uninstall(root: Path) -> list[Step]:
    """Stop it, take out its rules, remove the unit file; the trail stays."""
    return [
        Step(what="stop it", command=["systemctl", "disable", "--now", "envtrail.service"]),
        Step(what="take its rules out of the kernel", command=[sys.executable, "-m", "envtrail", "rules", "remove"]),
        Step(what="remove the unit file", path=root / UNIT),
        Step(what="let systemd forget it", command=["systemctl", "daemon-reload"]),
    ]


def carry_out(steps: list[Step], *, root: Path) -> None:
    """Do the steps in order; commands only on the running system (`root` is `/`).

    Raises:
        CannotRunError: there is no systemd here, or a step failed.
    """
    if root == Path("/") and shutil.which("systemctl") is None:
        raise CannotRunError(
            "there is no systemd on this machine", hint="run `envtrail agent` under the service manager that is here"
        )
    for step in steps:
        if step.path is not None:
            _write(step.path, step.text)
        elif step.command is not None and root == Path("/"):
            done = subprocess.run(step.command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise CannotRunError(
                    f"{' '.join(step.command)}: {done.stderr.strip()}", hint="`journalctl -u envtrail` may say more"
                )


def _write(path: Path, text: str | None) -> None:
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except PermissionError:
        raise CannotRunError(f"`{path}` cannot be written by this user", hint="sudo envtrail service install") from None
