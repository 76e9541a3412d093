"""Fields of audit records, written as the kernel writes them, from what go-libaudit made of them.

References:
    `audit_log_n_untrustedstring()` in kernel/audit.c; include/uapi/linux/audit.h (AUDIT_ARCH_*); github.com/elastic/go-libaudit, auparse
"""

from __future__ import annotations

import errno
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

from envtrail.core import architectures, record_type_name, system_calls

_ERRORS = {"EHWPOISON": 133, **{name: getattr(errno, name) for name in dir(errno) if name.startswith("E")}}
_UNTRUSTED = frozenset(["acct", "cmd", "comm", "cwd", "data", "exe", "hostname", "key", "name", "path"])
"""Written quoted, or in hexadecimal where they are not plain."""
_PLAIN = re.compile(r"[!#-~]+").fullmatch
_BARE = re.compile(r"[!#-&(-z|}~]+").fullmatch
_QUOTABLE = re.compile(r'[^"\x00-\x1f\x7f]*').fullmatch
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}").fullmatch
_DECIMAL = re.compile(r"-?[0-9]{1,19}").fullmatch
_HEXADECIMAL = re.compile(r"[0-9a-f]{1,16}").fullmatch
_ADDRESS = re.compile(r"[0-9A-Fa-f]{4,512}").fullmatch
_CODED_NAME = re.compile(r"(?:[0-9A-F]{2}){8,15}").fullmatch
_ID_KEYS = ("uid", "gid", "ses")


def word(text: str) -> str:
    """A string that a user chose: quoted where it is plain, else its bytes in hexadecimal."""
    return f'"{text}"' if _PLAIN(text) else text.encode().hex().upper() or '""'


def task_name(name: str) -> str:
    """`comm`, which go-libaudit leaves in hexadecimal. A name has 15 bytes at most: what is longer and looks hexadecimal, is."""
    return name if _CODED_NAME(name) else word(name)


def field(key: str, value: object) -> str | None:
    """One field; None for what no record can hold as it stands, and for ids that are unset."""
    if not isinstance(value, str):
        return None
    return _short_field(key, value) if len(value) < _SHORT and len(key) < _SHORT else _field(key, value)


def _field(key: str, value: str) -> str | None:
    if not value or not _KEY(key) or (value == "unset" and key.endswith(_ID_KEYS)):
        return None
    if key in _UNTRUSTED:
        return f"{key}={word(value)}"
    if _BARE(value):
        return f"{key}={value}"
    return f'{key}="{value}"' if _QUOTABLE(value) else None


_SHORT = 32
_short_field = lru_cache(maxsize=8192)(_field)
"""Most fields say one of a few things: devices, modes, capabilities."""


def numbers(values: Mapping[str, object]) -> list[str]:
    """Fields that are whole numbers; what is none is left out."""
    return [said for key, value in values.items() if value is not None and (said := _number(key, str(value)))]


def _number(key: str, value: str) -> str | None:
    if len(value) > 20:
        return None
    return _short_number(key, value)


@lru_cache(maxsize=8192)
def _short_number(key: str, value: str) -> str | None:
    return f"{key}={value}" if _DECIMAL(value) else None


def addresses(values: Mapping[str, object]) -> list[str]:
    """`a0` to `a3`, which are in hexadecimal."""
    found = ((key, values.get(key)) for key in ("a0", "a1", "a2", "a3"))
    return [f"{key}={value}" for key, value in found if isinstance(value, str) and _HEXADECIMAL(value)]


def system_call(architecture: object, name: object) -> list[str]:
    """`arch` and `syscall` from their names; a call that the core's table does not name is left out."""
    number = _architectures().get(architecture) if isinstance(architecture, str) else None
    if number is None or not isinstance(name, str):
        return []
    call = name if _DECIMAL(name) else _system_calls(number).get(name)
    return [f"arch={number:x}"] if call is None else [f"arch={number:x}", f"syscall={call}"]


def exit_value(value: object) -> list[str]:
    """`exit`, from a number or the name of an error."""
    if not isinstance(value, str):
        return []
    if _DECIMAL(value):
        return [f"exit={value}"]
    return [f"exit={-_ERRORS[value]}"] if value in _ERRORS else []


def keys(labels: list[str]) -> str:
    """Keys of rules: several are joined by 0x01, which makes the kernel write them in hexadecimal."""
    return word("\x01".join(labels)) if labels else "(null)"


def path(values: Mapping[str, str]) -> str:
    """The body of a PATH record. A name that the kernel did not have is one that go-libaudit left out."""
    name = values.get("name")
    said = f"name={word(name)}" if name else "name=(null)"
    head = [*numbers({"item": values.get("item")}), said, *numbers({"inode": values.get("inode")})]
    rest = tuple(map(values.get, _OF_A_FILE))
    is_short = sum(map(len, filter(None, rest))) < 8 * _SHORT
    return " ".join(head + (_short_file(rest) if is_short else _file(rest)))


def _file(values: tuple[str | None, ...]) -> list[str]:
    return [said for key, value in zip(_OF_A_FILE, values, strict=True) if (said := field(key, value))]


_OF_A_FILE = (
    *("dev", "mode", "ouid", "ogid", "rdev", "nametype"),
    *("cap_fp", "cap_fi", "cap_fe", "cap_fver", "cap_frootid"),
)
"""In the kernel's order."""
_short_file = lru_cache(maxsize=4096)(_file)


def socket_address(values: Mapping[str, object]) -> str | None:
    """`struct sockaddr` in hexadecimal, as far as it was kept: not the scope of an IPv6 address."""
    family, whole, unix = values.get("family"), values.get("saddr"), values.get("path")
    if isinstance(whole, str):
        return whole if _ADDRESS(whole) else None
    if family == "unix" and isinstance(unix, str):
        return f"0100{unix.encode().hex().upper()}00"
    try:
        packed = ipaddress.ip_address(str(values.get("addr"))).packed
        port = int(str(values.get("port", "0"))).to_bytes(2, "big")
        flow = int(str(values.get("flow", "0"))).to_bytes(4, "big")
    except (ValueError, OverflowError):
        return None
    head = b"\2\0" + port if len(packed) == 4 else b"\n\0" + port + flow
    return (head + packed).hex().upper()


def names(**values: str | None) -> str:
    """Names of uids, after the byte and in the form that auditd uses when it enriches."""
    known = " ".join([f'{key}="{name}"' for key, name in values.items() if name and _PLAIN(name)])
    return f"\x1d{known}" if known else ""


@lru_cache
def user_types() -> frozenset[str]:
    """Records that programs send: what they say stands in `msg='…'`."""
    return frozenset(record_type_name(number) for number in (*range(1100, 1200), *range(2100, 3000)))


@lru_cache
def _architectures() -> dict[str, int]:
    return architectures()


@lru_cache
def _system_calls(architecture: int) -> dict[str, int]:
    # The first number of a name counts: x32 shares the architecture of x86-64, and comes after it.
    return {name: number for number, name in reversed(system_calls(architecture))}
