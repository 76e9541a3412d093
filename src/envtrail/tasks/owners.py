"""Whose the files of the service's data folder are: root's are the evidence and its folder, the agent's what is derived.

A group joins the two: it may read the evidence, and write what is derived. No person is a member.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
from pathlib import Path

from envtrail.errors import CannotRunError
from envtrail.service.file_access import can_read
from envtrail.trail.files import GROUP_READS
from envtrail.trail.layout import SHARED, Layout, translate

ACCOUNT, GROUP = "envtrail", "envtrail-trail"


def settle_folder(folder: Path, *, account: str = ACCOUNT, group: str = GROUP) -> None:
    """Make the data folder, or give one of an older version to whom it belongs now; it may be repeated.

    Raises:
        CannotRunError: the account is missing, or who calls is not root.
    """
    try:
        uid, gid = pwd.getpwnam(account).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as fault:
        raise CannotRunError(f"the agent's account is missing: {fault}", hint="systemd-sysusers makes it") from None
    layout = Layout(folder)
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        _settle(folder, 0, gid, SHARED)
        for part in (layout.segments, layout.active, layout.next_active, layout.sealing, layout.sealed):
            _settle_evidence(part, gid)
        if layout.exists():
            _settle(folder / "format", 0, gid, 0o640)
        layout.derived.mkdir(mode=0o770, exist_ok=True)
        layout.take_in_state()
        if layout.derived.stat().st_uid != uid:
            # Once it is the agent's, root gives nothing away in it: the agent decides what its names mean.
            for path in layout.derived.iterdir():
                _settle(path, uid, gid, stat.S_IMODE(path.lstat().st_mode))
            _settle(layout.derived, uid, gid, 0o2770)
    except OSError as fault:
        raise translate(fault, folder) from None


def check_account(program: str, settings: Path, *, account: str = ACCOUNT) -> None:
    """See whether the agent's account can run Envtrail, and read its settings.

    Raises:
        CannotRunError: it cannot: root's home, say, is closed to it.
    """
    hint = "install Envtrail where every account may read it, such as /opt/envtrail"
    try:
        entry = pwd.getpwnam(account)
        done = subprocess.run(
            [program, "--version"],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except (KeyError, OSError) as fault:
        raise CannotRunError(f"the account `{account}` cannot run `{program}`: {fault}", hint=hint) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotRunError(f"the account `{account}` cannot run `{program}`: {said}", hint=hint)
    if settings.exists() and not can_read(settings, entry.pw_uid):
        raise CannotRunError(
            f"the account `{account}` cannot read `{settings}`", hint=f"chgrp {GROUP} {settings}; chmod g+r {settings}"
        )


def _settle_evidence(folder: Path, gid: int) -> None:
    """Root's, and the group may read it."""
    for place, _, names in os.walk(folder):
        _settle(Path(place), 0, gid, SHARED)
        for name in names:
            path = Path(place, name)
            _settle(path, 0, gid, stat.S_IMODE(path.lstat().st_mode) | GROUP_READS)


def _settle(path: Path, uid: int, gid: int, mode: int) -> None:
    """Give one file or folder its owner and mode; a link stays what it is."""
    os.chown(path, uid, gid, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)
