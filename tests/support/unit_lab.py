"""What a unit file confines its command to, without a running systemd: system calls, address families, capabilities, no new privileges.

`python unit_lab.py SPECIFICATION COMMAND…` applies it to itself and becomes the command, as systemd does after its fork.

References:
    systemd.exec(5); seccomp(2); capabilities(7); linux/filter.h
"""

from __future__ import annotations

import configparser
import ctypes
import errno
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

UNITS = Path(__file__).parents[2] / "src/envtrail/tasks/units"
_ARCHITECTURES = {"x86_64": (0xC000003E, "x86_64"), "aarch64": (0xC00000B7, "aarch64")}
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`."""
_LOAD, _EQUAL, _ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2}
"""Calls with a mode, and which argument it is; of those that `RestrictSUIDSGID=` looks at, the ones that are used here."""
_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 24, 22, 38, 2
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
    "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
    "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)


def read_unit(path: Path) -> dict[str, list[str]]:
    """The settings of `[Service]`, each with its lines in order."""

    class _Lines(dict[str, object]):
        def __setitem__(self, key: str, value: object) -> None:
            if isinstance(value, list) and isinstance(self.get(key), list):
                self[key].extend(value)  # type: ignore[attr-defined]
            else:
                super().__setitem__(key, value)

    unit = configparser.RawConfigParser(dict_type=_Lines, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return {key: value.split("\n") for key, value in unit["Service"].items()}


@cache
def confined_as(name: str) -> tuple[str, ...]:
    """What to put before a command, so that it runs as the unit of this name confines it, but as the same account."""
    return tuple(confined(read_unit(UNITS / name)))


def confined(unit: dict[str, list[str]], *, uid: int | None = None, gid: int | None = None) -> list[str]:
    """The same, of a unit that was read, and as an account and with a group of the test's in place of `User=` and `Group=`."""
    assert (uid is None) or "User" in unit
    assert (gid is None) or "Group" in unit
    names = unit["SystemCallFilter"]
    assert names[0][0] != "~", "a list of what is allowed"
    allowed = set(_expanded(["@default"]))
    for line in names:
        listed = set(_expanded(line.lstrip("~").split()))
        allowed = allowed - listed if line.startswith("~") else allowed | listed
    specification = {
        "calls": sorted(allowed),
        "families": [getattr(socket, name).value for line in unit["RestrictAddressFamilies"] for name in line.split()],
        "error": getattr(errno, unit["SystemCallErrorNumber"][0]) if "SystemCallErrorNumber" in unit else None,
        "capabilities": [name.removeprefix("CAP_") for line in unit["CapabilityBoundingSet"] for name in line.split()],
        "uid": uid,
        "gid": gid,
        "umask": unit["UMask"][0],
        "has_modes": unit.get("RestrictSUIDSGID") == ["yes"],
    }
    return [sys.executable, str(Path(__file__)), json.dumps(specification)]


@cache
def _lines_of(name: str) -> tuple[str, ...]:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze comes with Debian's systemd package (`make setup` installs it)"
    said = subprocess.run([analyze, "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    return tuple(line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#"))


def _expanded(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if name.startswith("@"):
            yield from _expanded(_lines_of(name))
        else:
            yield name


def _program(calls: Iterable[str], families: Iterable[int], error: int | None, *, has_modes: bool) -> bytes:
    """The filter: the calls that are allowed, no mode with a setuid or setgid bit, sockets of these families; all else is an error, or the end."""
    from envtrail.core import architectures, system_calls

    number, name = _ARCHITECTURES[platform.machine()]
    numbers = {call: at for at, call in reversed(system_calls(architectures()[name]))}
    refused = _KILL if error is None else _ERROR | error
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, number),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for call in calls:
        if call not in numbers or call == "socket":
            continue
        if has_modes and call in _MODES:
            mode = [
                (_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * _MODES[call]),
                (_ANY, 0, 1, 0o6000),
                (_RETURN, 0, 0, _ERROR | errno.EPERM),
            ]
            steps += [(_EQUAL, 0, 4, numbers[call]), *mode, (_RETURN, 0, 0, _ALLOW)]
        else:
            steps += [(_EQUAL, 0, 1, numbers[call]), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 1, 0, numbers["socket"]), (_RETURN, 0, 0, refused), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for family in families:
        steps += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _ERROR | errno.EAFNOSUPPORT))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _apply(specification: dict[str, list[str]], libc: ctypes.CDLL) -> None:
    program = _program(
        specification["calls"],
        specification["families"],  # type: ignore[arg-type]
        specification["error"],  # type: ignore[arg-type]
        has_modes=bool(specification["has_modes"]),
    )
    if os.geteuid() == 0:
        for number, name in enumerate(_CAPABILITIES.split()):
            if name not in specification["capabilities"]:
                libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    os.umask(int(specification["umask"], 8))  # type: ignore[arg-type]
    uid, gid = specification["uid"], specification["gid"]
    if gid is not None:
        os.setgroups([])
        os.setgid(gid)  # type: ignore[arg-type]
    if uid is not None:
        os.setuid(uid)  # type: ignore[arg-type]
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    memory = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(memory)))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    _apply(json.loads(sys.argv[1]), ctypes.CDLL(None, use_errno=True))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except PermissionError:
        # The interpreter of the tests lies in root's home; the machine's own of the same version takes its packages.
        os.execv(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}", sys.argv[2:])
