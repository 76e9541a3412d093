"""Roles by the settings."""

from __future__ import annotations

from collections.abc import Iterable

from envtrail.config import Config
from envtrail.model.identity import Role, highest


def role_of(name: str, groups: Iterable[str], config: Config) -> Role | None:
    """The highest role that a name or a group is given; None: they may not sign in.

    Args:
        name: As the machine, or the vouching service, reports it.
        groups: Likewise.
        config: `web.admins`, `web.security`, `web.auditors`, `web.members`: names, `@group`, or `*` for everybody.
    """
    if name.startswith("@") or name == "*":
        # A provider's users may have any name: not one that stands for a group, or for everybody, here.
        return None
    words = {name, "*", *(f"@{group}" for group in groups)}
    web = config.web
    members = {Role.ADMIN: web.admins, Role.SECURITY: web.security, Role.AUDITOR: web.auditors, Role.MEMBER: web.members}
    given = [role for role, names in members.items() if words.intersection(names)]
    return highest(given) if given else None
