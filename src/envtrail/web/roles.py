"""Which role somebody has, by the settings."""

from __future__ import annotations

from collections.abc import Iterable

from envtrail.config import Config
from envtrail.model.identity import Role, highest


def role_of(name: str, groups: Iterable[str], config: Config) -> Role | None:
    """The highest that a name or a group of theirs is given; null: they may not come in.

    Args:
        name: As the machine, or the one who vouches for them, calls them.
        groups: Likewise.
        config: `web.admins`, `web.security`, `web.auditors`, `web.members`: names, `@group`, or `*` for everybody.
    """
    if name.startswith("@") or name == "*":
        # A provider's users may be called anything: not what stands for a group, or for everybody, here.
        return None
    words = {name, "*", *(f"@{group}" for group in groups)}
    web = config.web
    members = {Role.ADMIN: web.admins, Role.SECURITY: web.security, Role.AUDITOR: web.auditors, Role.MEMBER: web.members}
    given = [role for role, names in members.items() if words.intersection(names)]
    return highest(given) if given else None
