"""The people of this machine, as its directory (nsswitch.conf(5)) knows them, and PAM their passwords.

References:
    pam(3), pam_authenticate(3), pam_acct_mgmt(3)
"""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache

from envtrail.errors import CannotRunError

_MOST_BYTES = 1024
"""Of a password."""


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


def check_password(service: str, name: str, password: str) -> int | None:
    """The uid of an account, where this is its password and it may sign in now.

    Args:
        service: Name of the file in /etc/pam.d.
        name: Of the account.
        password: As it was typed.

    Raises:
        CannotRunError: PAM is not available.
    """
    try:
        import pamela
    except (ImportError, OSError) as fault:
        raise CannotRunError(f"PAM is not available: {fault}", hint="pip install 'envtrail[web]', and libpam") from None
    if not name or "\0" in name + password or len(password.encode()) > _MOST_BYTES:
        return None
    try:
        pamela.authenticate(name, password, service=service)
        return pwd.getpwnam(name).pw_uid
    except (pamela.PAMError, KeyError, UnicodeEncodeError):
        return None


def forget_people() -> None:
    """Names and groups are looked up again."""
    groups_of.cache_clear()
    name_of_uid.cache_clear()
