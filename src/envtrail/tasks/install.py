"""Installs, changes and removes the system service's unit files; nothing else on the machine is changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from envtrail.errors import CannotRunError

FOLDER = "etc/systemd/system"
UNITS = (
    "envtrail.service",
    "envtrail-notify.service",
    "envtrail-elastic.service",
    "envtrail-file.service",
    "envtrail-web.service",
    "envtrail-policy.timer",
)
"""Those that are started; they start the others."""
FILES = (*UNITS, "envtrail-policy.service")
ACCOUNTS = "etc/sysusers.d/envtrail.conf"
PAM = "etc/pam.d/envtrail"
_PAM_FILES = (("common-auth", "common-account"), ("system-auth", "system-auth"), ("password-auth", "password-auth"))
"""Debian; Red Hat, Arch; Red Hat for services. In the order in which they are tried."""


class InstallStep(Struct, frozen=True, kw_only=True):
    """One step that is done, or would be done."""

    what: str
    command: list[str] | None = None
    path: Path | None = None
    text: str | None = None
    """New content of `path`; None removes it."""


def plan_install(root: Path) -> list[InstallStep]:
    """Write the unit files, then have systemd start them."""
    return [*_written(root), InstallStep(what="start them now and at boot", command=["systemctl", "enable", "--now", *UNITS])]


def plan_upgrade(root: Path) -> list[InstallStep]:
    """Rewrite the unit files and restart."""
    return [*_written(root), InstallStep(what="restart them", command=["systemctl", "restart", *UNITS])]


def plan_uninstall(root: Path) -> list[InstallStep]:
    """Stop the units, remove the rules and the unit files; the trail stays."""
    return [
        InstallStep(what="stop them", command=["systemctl", "disable", "--now", *UNITS]),
        InstallStep(what="remove its rules from the kernel", command=[sys.executable, "-m", "envtrail", "rules", "remove"]),
        *(InstallStep(what="remove the unit file", path=root / FOLDER / name) for name in FILES),
        InstallStep(what="remove the list of accounts; the accounts stay", path=root / ACCOUNTS),
        InstallStep(what="remove the web UI's PAM file", path=root / PAM),
        InstallStep(what="reload systemd", command=["systemctl", "daemon-reload"]),
    ]


def _written(root: Path) -> list[InstallStep]:
    beside = Path(sys.executable).parent / "envtrail"
    program = str(beside) if beside.exists() else shutil.which("envtrail") or "envtrail"
    units = files("envtrail").joinpath("tasks/units")
    texts = {name: units.joinpath(name).read_text() for name in FILES}
    return [
        InstallStep(
            what="write the list of accounts", path=root / ACCOUNTS, text=units.joinpath("envtrail.sysusers").read_text()
        ),
        InstallStep(what="write the PAM file for signing in", path=root / PAM, text=_pam_text(root)),
        InstallStep(
            what="create the web UI's account, and the group that sees everything",
            command=["systemd-sysusers", str(root / ACCOUNTS)],
        ),
        *(
            InstallStep(what="write the unit file", path=root / FOLDER / name, text=text.replace("@ENVTRAIL@", program))
            for name, text in texts.items()
        ),
        InstallStep(what="reload systemd", command=["systemctl", "daemon-reload"]),
    ]


def _pam_text(root: Path) -> str:
    """The PAM configuration of the machine's other services (pam.d(5))."""
    folder = root / "etc/pam.d"
    auth, account = next((pair for pair in _PAM_FILES if (folder / pair[0]).exists()), _PAM_FILES[0])
    include = "@include {name}" if auth.startswith("common-") else "{kind} include {name}"
    return "".join(f"{include.format(kind=kind, name=name)}\n" for kind, name in (("auth", auth), ("account", account)))


def carry_out(steps: list[InstallStep], *, root: Path) -> None:
    """Do the steps in order; commands only on the running system (`root` is `/`).

    Raises:
        CannotRunError: the machine has no systemd, or a step failed.
    """
    if root == Path("/") and shutil.which("systemctl") is None:
        raise CannotRunError("this machine has no systemd", hint="run `envtrail agent` under this machine's service manager")
    for step in steps:
        if step.path is not None:
            _write(step.path, step.text)
        elif step.command is not None and root == Path("/"):
            done = subprocess.run(step.command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise CannotRunError(
                    f"{' '.join(step.command)}: {done.stderr.strip()}", hint="`journalctl -u envtrail` may have more details"
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
