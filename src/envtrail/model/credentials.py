"""What somebody types to sign in, and the answer to it."""

from __future__ import annotations

from msgspec import Struct


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name and a password, on the way from the web UI to PAM; never stored, never shown."""

    name: str
    password: str
    address: str
    """Of the browser."""

    def __repr__(self) -> str:
        return f"Credentials(name={self.name!r})"


class Checked(Struct, frozen=True, kw_only=True):
    """The same for a wrong name, a wrong password and an account that may not."""

    is_right: bool
    uid: int | None = None
    wait_s: float = 0.0
    """It was not looked at: too many were wrong."""
