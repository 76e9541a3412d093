"""The web UI's own accounts: a file of names, roles and argon2id hashes.

References:
    https://www.rfc-editor.org/rfc/rfc9106 (Argon2)
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from functools import cached_property
from pathlib import Path

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Struct

from envtrail.errors import CannotRunError, InputError, UsageError
from envtrail.host_directory import uid_of_name
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.identity import Identity, Role

SHORTEST = 12
"""Characters of a password (NIST SP 800-63B requires 8, and 15 without a second factor)."""
_HASHER = PasswordHasher()


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may sign in with a password of the web UI."""

    name: str
    role: Role
    machine_account: str | None = None
    """The uid whose operations are their own."""
    hash: str
    """PHC string."""
    token: str | None = None
    """SHA-256 of their programs' token, in hexadecimal: the token is too long to be guessed."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    accounts: list[Account]


class Accounts:
    """The file of accounts.

    Args:
        path: Of the file; it may not exist yet.
        reader: Group of the web UI's account, which may read a file that root creates; None: there is none.
    """

    def __init__(self, path: Path, *, reader: int | None = None) -> None:
        self._reader = reader
        self._path = path

    @cached_property
    def _dummy(self) -> str:
        return _HASHER.hash("nobody's")

    def read(self) -> list[Account]:
        """All of them, by name.

        Raises:
            CannotRunError: others may read or write the file.
            InputError: its content is invalid.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise CannotRunError(
                f"`{self._path}` cannot be read: {fault.strerror}",
                hint="its group must be that of the web UI's account (`web.account`)",
            ) from None
        if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise CannotRunError(f"`{self._path}` is accessible to users other than its owner", hint=f"chmod 640 {self._path}")
        try:
            found = msgspec.json.decode(text, type=_File)
        except UNDECODABLE as fault:
            raise InputError(
                f"`{self._path}` is not a file of accounts: {fault}", hint="`envtrail account add` writes it"
            ) from None
        if found.version != 1:
            raise InputError(f"`{self._path}` has version {found.version}; this Envtrail knows 1", hint="upgrade Envtrail")
        return sorted(found.accounts, key=lambda account: account.name)

    def put(self, name: str, password: str, role: Role, machine_account: str | None) -> None:
        """Add or change an account.

        Raises:
            UsageError: the name or the password is not acceptable.
            CannotRunError: the file cannot be written.
        """
        if not name or len(name) > 64 or not name.isprintable() or name != name.strip() or name == "root":
            raise UsageError(f"`{name}` is not acceptable as a name", hint="1 to 64 printable characters, and not `root`")
        if len(password) < SHORTEST:
            raise UsageError("the password is too short", hint=f"{SHORTEST} characters at least")
        accounts = self.read()
        token = next((item.token for item in accounts if item.name == name), None)
        made = Account(name=name, role=role, machine_account=machine_account, hash=_HASHER.hash(password), token=token)
        self._write([*(item for item in accounts if item.name != name), made])

    def give_token(self, name: str) -> str:
        """Make a new token for an account's programs; the previous one becomes invalid.

        Raises:
            InputError: there is no such account.
        """
        token = secrets.token_urlsafe(32)
        self._change(name, token=_digest(token))
        return token

    def take_token(self, name: str) -> None:
        """Invalidate the token of an account's programs.

        Raises:
            InputError: there is no such account.
        """
        self._change(name, token=None)

    def remove(self, name: str) -> None:
        """Remove an account.

        Raises:
            InputError: there is no such account.
        """
        accounts = self.read()
        left = [item for item in accounts if item.name != name]
        if len(left) == len(accounts):
            raise InputError(f"no account `{name}`", hint="`envtrail account list`")
        self._write(left)

    def check(self, name: str, password: str) -> Identity | None:
        """The account with this name and password; an unknown name takes as long."""
        account = next((item for item in self.read() if item.name == name), None)
        try:
            _HASHER.verify(account.hash if account is not None else self._dummy, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return None
        return _identity(account) if account is not None else None

    def of_token(self, token: str) -> Identity | None:
        """The account with this token."""
        digest = _digest(token)
        found = (item for item in self.read() if item.token is not None and hmac.compare_digest(item.token, digest))
        account = next(found, None)
        return _identity(account) if account is not None else None

    def _change(self, name: str, *, token: str | None) -> None:
        accounts = self.read()
        if all(item.name != name for item in accounts):
            raise InputError(f"no account `{name}`", hint="`envtrail account list`")
        changed = [msgspec.structs.replace(item, token=token) if item.name == name else item for item in accounts]
        self._write(changed)

    def _write(self, accounts: list[Account]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            known = self._path.stat() if self._path.exists() else None
            handle, part = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            with os.fdopen(handle, "wb") as file:
                if known is not None:
                    os.fchmod(handle, stat.S_IMODE(known.st_mode))
                    if os.geteuid() == 0:
                        os.fchown(handle, known.st_uid, known.st_gid)
                elif self._reader is not None and os.geteuid() == 0:
                    os.fchown(handle, 0, self._reader)
                    os.fchmod(handle, 0o640)
                file.write(msgspec.json.format(msgspec.json.encode(_File(version=1, accounts=accounts)), indent=2) + b"\n")
                file.flush()
                os.fsync(handle)
            os.replace(part, self._path)
        except OSError as fault:
            raise CannotRunError(f"`{self._path}` cannot be written: {fault.strerror}", hint="sudo envtrail account …") from None


def _identity(account: Account) -> Identity:
    uid = uid_of_name(account.machine_account) if account.machine_account else None
    return Identity(name=account.name, role=account.role, uid=uid, method="local")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
