"""The people of this machine, as its directory (nsswitch.conf(5)) knows them."""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache


@lru_cache(maxsize=1024)
def groups_of(name: str) -> frozenset[str]:
    """The groups of a person on this machine, by name; none for somebody whom it does not know."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: no name at all, as with a NUL in it
        return frozenset()
    found = set()
    for number in os.getgrouplist(name, entry.pw_gid):
        try:
            found.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(found)


def uid_of_name(name: str | None) -> int | None:
    """The uid of a name on this machine."""
    try:
        return pwd.getpwnam(name).pw_uid if name is not None else None
    except (KeyError, ValueError):  # ValueError: no name at all, as with a NUL in it
        return None


@lru_cache(maxsize=1024)
def name_of_uid(uid: int | None) -> str | None:
    """The name of a uid on this machine."""
    try:
        return pwd.getpwuid(uid).pw_name if uid is not None else None
    except KeyError:
        return None


def forget_people() -> None:
    """Names and groups are asked for again."""
    groups_of.cache_clear()
    name_of_uid.cache_clear()
