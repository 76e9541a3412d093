"""The system service: its unit file in, changed, and out again; nothing else of the machine is touched."""

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
"""Those that are started; the others are started by them."""
FILES = (*UNITS, "envtrail-policy.service")
ACCOUNTS = "etc/sysusers.d/envtrail.conf"
PAM = "etc/pam.d/envtrail"
_PAM_FILES = (("common-auth", "common-account"), ("system-auth", "system-auth"), ("password-auth", "password-auth"))
"""Of Debian; of Red Hat, Arch; of Red Hat for services. In the order in which they are looked for."""


class InstallStep(Struct, frozen=True, kw_only=True):
    """One thing that is done, or would be."""

    what: str
    command: list[str] | None = None
    path: Path | None = None
    text: str | None = None
    """What `path` will hold; null removes it."""


def plan_install(root: Path) -> list[InstallStep]:
    """Write the unit files, then let systemd start them."""
    return [*_written(root), InstallStep(what="start them now and at boot", command=["systemctl", "enable", "--now", *UNITS])]


def plan_upgrade(root: Path) -> list[InstallStep]:
    """Write the unit files anew and restart."""
    return [*_written(root), InstallStep(what="restart them", command=["systemctl", "restart", *UNITS])]


def plan_uninstall(root: Path) -> list[InstallStep]:
    """Stop them, take out the rules, remove the unit files; the trail stays."""
    return [
        InstallStep(what="stop them", command=["systemctl", "disable", "--now", *UNITS]),
        InstallStep(what="take its rules out of the kernel", command=[sys.executable, "-m", "envtrail", "rules", "remove"]),
        *(InstallStep(what="remove the unit file", path=root / FOLDER / name) for name in FILES),
        InstallStep(what="remove the list of accounts; the accounts stay", path=root / ACCOUNTS),
        InstallStep(what="remove the page's file of PAM", path=root / PAM),
        InstallStep(what="let systemd forget them", command=["systemctl", "daemon-reload"]),
    ]


def _written(root: Path) -> list[InstallStep]:
    beside = Path(sys.executable).parent / "envtrail"
    program = str(beside) if beside.exists() else shutil.which("envtrail") or "envtrail"
    units = files("envtrail").joinpath("tasks/units")
    texts = {name: units.joinpath(name).read_text() for name in FILES}
    return [
        InstallStep(what="name the accounts", path=root / ACCOUNTS, text=units.joinpath("envtrail.sysusers").read_text()),
        InstallStep(what="say how PAM checks who comes in", path=root / PAM, text=_pam_text(root)),
        InstallStep(
            what="make the page's account, and the group that sees everything", command=["systemd-sysusers", str(root / ACCOUNTS)]
        ),
        *(
            InstallStep(what="write the unit file", path=root / FOLDER / name, text=text.replace("@ENVTRAIL@", program))
            for name, text in texts.items()
        ),
        InstallStep(what="let systemd read them", command=["systemctl", "daemon-reload"]),
    ]


def _pam_text(root: Path) -> str:
    """What the machine's other services ask (pam.d(5))."""
    folder = root / "etc/pam.d"
    auth, account = next((pair for pair in _PAM_FILES if (folder / pair[0]).exists()), _PAM_FILES[0])
    include = "@include {name}" if auth.startswith("common-") else "{kind} include {name}"
    return "".join(f"{include.format(kind=kind, name=name)}\n" for kind, name in (("auth", auth), ("account", account)))


def carry_out(steps: list[InstallStep], *, root: Path) -> None:
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
