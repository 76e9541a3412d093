"""Installs, changes and removes the system service's unit files, its accounts and its data folder; nothing else on the machine is changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Union

from msgspec import Struct

from envtrail.config import SYSTEM_FILE
from envtrail.errors import CannotRunError
from envtrail.record.listener import PROTOCOL
from envtrail.state.agent_status import read_recorder_status
from envtrail.tasks.owners import check_account, settle_folder
from envtrail.trail.layout import DATABASE

FOLDER = "etc/systemd/system"
STATE = "var/lib/envtrail"
RECORDER = "envtrail-recorder.service"
UNITS = (
    RECORDER,
    "envtrail-inspector.service",
    "envtrail-agent.service",
    "envtrail-notify.service",
    "envtrail-elastic.service",
    "envtrail-file.service",
    "envtrail-web.service",
    "envtrail-policy.timer",
)
"""Those that are started; they start the others."""
FILES = (*UNITS, "envtrail-policy.service")
SINGLE = "envtrail.service"
"""What older versions installed: recorder and agent as one unit."""
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
    call: Union[Callable[[], None], None] = None
    """Done by this process, about `path`."""


def plan_install(root: Path) -> list[InstallStep]:
    """Write the unit files, then have systemd start them."""
    return [
        *_written(root),
        *_replaced(root),
        *_settled(root),
        InstallStep(what="start them now and at boot", command=["systemctl", "enable", "--now", *UNITS]),
    ]


def plan_upgrade(root: Path) -> list[InstallStep]:
    """Rewrite the unit files and restart all but the recorder, which goes on as long as this version's agent can follow it."""
    if _replaced(root) or not (root / FOLDER / RECORDER).exists():
        return plan_install(root)
    status = read_recorder_status(root / STATE)
    restarted = UNITS if status is None or status.protocol != PROTOCOL else UNITS[1:]
    keeps = (
        ""
        if RECORDER in restarted
        else f"; `systemctl restart {RECORDER.removesuffix('.service')}` when a gap of a second may be"
    )
    fresh = [name for name in UNITS if not (root / FOLDER / name).exists()]
    return [
        *_written(root),
        *_settled(root),
        *([InstallStep(what="start at boot what is new", command=["systemctl", "enable", *fresh])] if fresh else []),
        InstallStep(what=f"restart them{keeps}", command=["systemctl", "restart", *restarted]),
    ]


def plan_uninstall(root: Path) -> list[InstallStep]:
    """Stop the units, remove the rules and the unit files; the trail stays."""
    # A half-made installation, or one of an older version, has not all of them; systemctl does nothing more after one that it does not know.
    installed = [name for name in UNITS if (root / FOLDER / name).exists()]
    return [
        *_replaced(root),
        *([InstallStep(what="stop them", command=["systemctl", "disable", "--now", *installed])] if installed else []),
        InstallStep(what="remove its rules from the kernel", command=[sys.executable, "-m", "envtrail", "rules", "remove"]),
        *(InstallStep(what="remove the unit file", path=root / FOLDER / name) for name in FILES),
        InstallStep(what="remove the list of accounts; the accounts stay", path=root / ACCOUNTS),
        InstallStep(what="remove the web UI's PAM file", path=root / PAM),
        InstallStep(what="reload systemd", command=["systemctl", "daemon-reload"]),
    ]


def _replaced(root: Path) -> list[InstallStep]:
    """Of an older version: one unit, which the two take over from. The trail stays where it is."""
    unit = root / FOLDER / SINGLE
    if not unit.exists():
        return []
    drop_ins = sorted((root / FOLDER / f"{SINGLE}.d").glob("*.conf"))
    return [
        InstallStep(what="stop the single unit of the older version", command=["systemctl", "disable", "--now", SINGLE]),
        InstallStep(what="remove its unit file", path=unit),
        *(
            InstallStep(
                what=f"leave `{path}`: what still applies belongs to envtrail-recorder or envtrail-agent (`systemctl edit`)"
            )
            for path in drop_ins
        ),
    ]


def _settled(root: Path) -> list[InstallStep]:
    """Root's and the agent's in the data folder; who has the state open where an older version kept it ends before."""
    is_older = (root / STATE / DATABASE).exists()
    return [
        *([InstallStep(what="stop who has the state open", command=["systemctl", "stop", *UNITS[1:]])] if is_older else []),
        InstallStep(
            what="give the evidence to root, and what is derived to the agent's account",
            path=root / STATE,
            call=partial(settle_folder, root / STATE),
        ),
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
            what="create the agent's and the web UI's accounts, the group that joins agent and recorder, and the group that sees everything",
            command=["systemd-sysusers", str(root / ACCOUNTS)],
        ),
        InstallStep(
            what="check that the agent's account can run it, and read the settings",
            path=Path(program),
            call=partial(check_account, program, SYSTEM_FILE),
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
        if step.call is not None:
            if root == Path("/"):
                step.call()
        elif step.path is not None:
            _write(step.path, step.text)
        elif step.command is not None and root == Path("/"):
            done = subprocess.run(step.command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise CannotRunError(
                    f"{' '.join(step.command)}: {done.stderr.strip()}", hint="`journalctl -u 'envtrail*'` may have more details"
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
