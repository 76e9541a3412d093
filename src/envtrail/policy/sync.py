"""Installs the policy from a Git repository: checked first, and installed in one step.

`policy.path` becomes a link to a folder beside it that is never written again. A reader sees the old policy or the new one, and a sync that
is killed leaves the old one.

References:
    renameat2(2), RENAME_EXCHANGE
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.config import Config
from envtrail.errors import CannotRunError, EnvtrailError, InputError
from envtrail.model.bounds import UNDECODABLE
from envtrail.policy.files import PolicyFault, parse_policy
from envtrail.policy.git import Commit, PolicySource, Repository, source_of
from envtrail.trail.layout import sync_folder

_RECORD = ".from-git.json"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_STILL_READ_S = 60
"""How long a replaced folder is kept."""


class PlacedFile(Struct, frozen=True, kw_only=True):
    """A file from the repository."""

    sha256: str
    last: Commit
    """The commit of the file."""


class Placed(Struct, frozen=True, kw_only=True):
    """What is installed; kept beside the files."""

    url: str
    ref: str
    commit: Commit
    signer: str | None = None
    files: dict[str, PlacedFile] = {}
    """Name → origin."""

    def author_of(self, file: Path) -> Commit | None:
        """The commit of a file; None for one that was changed on this machine."""
        known = self.files.get(file.name)
        try:
            return known.last if known is not None and _digest(file.read_bytes()) == known.sha256 else None
        except OSError:
            return None


class Synced(Struct, frozen=True, kw_only=True):
    """Result of a sync."""

    state: str
    """`fine`: it is installed already; `updated`; `would update`; `refused`."""
    path: str
    before: str | None
    """Commit that was installed before; None: none from a repository."""
    commit: Commit
    signer: str | None
    files: list[str]
    faults: list[PolicyFault] = []
    aside: str | None = None
    """Where the folder was moved that was there before the first sync."""


def read_placed(path: Path) -> Placed | None:
    """The commit of the installed policy; None when no sync installed it."""
    try:
        return msgspec.json.decode((path / _RECORD).read_bytes(), type=Placed)
    except (OSError, *UNDECODABLE):
        return None


def sync_policy(config: Config, *, force: bool = False, dry_run: bool = False) -> Synced:
    """Fetch, check and install.

    Args:
        config: For `policy.*` and the folder of the trail.
        force: Accept a branch that does not continue from the installed commit.
        dry_run: Only report what would be done.

    Raises:
        ConfigError: a setting is at fault.
        InputError: the branch was rewound, is not signed by an allowed signer, or has no policy.
        CannotRunError: git is not installed, or this user may not.
        EnvtrailError: the repository cannot be reached.
    """
    source = source_of(config)
    path = config.policy.path
    try:
        with _lock(config.data_dir) as lock:
            repository = Repository(config.data_dir / "policy.git", lock)
            return _sync(repository, source, path, force=force, dry_run=dry_run)
    except PermissionError as fault:
        raise CannotRunError(f"`{fault.filename}` cannot be written by this user", hint="sudo envtrail policy sync") from None


def _sync(repository: Repository, source: PolicySource, path: Path, *, force: bool, dry_run: bool) -> Synced:
    commit = repository.fetch(source)
    before = read_placed(path)
    if (
        before is not None
        and before.commit.id != commit.id
        and not force
        and not repository.is_ancestor(before.commit.id, commit.id)
    ):
        raise InputError(
            f"commit {commit.id[:12]} does not continue from {before.commit.id[:12]}, which is installed: the branch was rewound or replaced",
            hint="if this is intended: envtrail policy sync --force",
        )
    signer = repository.signer(commit.id, source.allowed_signers) if source.allowed_signers is not None else None
    files = repository.files(commit.id, source.folder)
    if not files:
        where = f"`{source.folder}` of " if source.folder else ""
        raise InputError(f"{where}commit {commit.id[:12]} has no YAML files", hint="policy.git_folder")
    result = Synced(
        state="fine",
        path=str(path),
        before=before.commit.id if before else None,
        commit=commit,
        signer=signer,
        files=list(files),
        faults=_faults(files, path),
    )
    if result.faults:
        return msgspec.structs.replace(result, state="refused")
    if before is not None and before.commit.id == commit.id and _is_whole(path, before):
        return result
    if dry_run:
        return msgspec.structs.replace(result, state="would update")
    prefix = f"{source.folder}/" if source.folder else ""
    known = {
        name: PlacedFile(sha256=_digest(content), last=repository.last_change(commit.id, prefix + name))
        for name, content in files.items()
    }
    aside = _place(path, files, Placed(url=source.url, ref=source.ref, commit=commit, signer=signer, files=known))
    return msgspec.structs.replace(result, state="updated", aside=str(aside) if aside else None)


def _faults(files: dict[str, bytes], path: Path) -> list[PolicyFault]:
    """The faults that `policy check` reports, before anything is installed."""
    return parse_policy({str(path / name): content for name, content in files.items()}).faults


def _is_whole(path: Path, placed: Placed) -> bool:
    """Whether no file was changed, added or removed since."""
    try:
        found = {file.name: _digest(file.read_bytes()) for file in path.iterdir() if file.suffix in {".yaml", ".yml"}}
    except OSError:
        return False
    return found == {name: file.sha256 for name, file in placed.files.items()}


def _place(path: Path, files: dict[str, bytes], placed: Placed) -> Path | None:
    """Make the new folder, then point the path to it; returns where a folder in its place was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_parent(path.parent)
    if path.exists() and not path.is_dir():
        raise InputError(f"policy.path: `{path}` is a file, and a repository has many", hint="name a folder")
    kept = path.with_name(f"{path.name}.git")
    _make_folder(kept)
    folder = kept / f"{placed.commit.id[:12]}-{secrets.token_hex(4)}"
    _make_folder(folder)
    for name, content in (files | {_RECORD: msgspec.json.encode(placed)}).items():
        _write(folder / name, content)
    sync_folder(folder)
    sync_folder(kept)

    link = path.with_name(f".{path.name}.link")
    _remove(link)
    link.symlink_to(Path(kept.name) / folder.name)
    before = path.resolve() if path.is_symlink() else None
    aside = None
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f"{path.name}.before-git-{secrets.token_hex(4)}")
        _exchange(link, path)
        link.rename(aside)
    else:
        link.replace(path)
    sync_folder(path.parent)
    _tidy(kept, folder, before)
    return aside


def _tidy(kept: Path, folder: Path, before: Path | None) -> None:
    """The previous folder may still be in use by a reader."""
    if before is not None and before.parent == kept.resolve():
        os.utime(before)
    now_s = time.time()
    for old in kept.iterdir():
        if old != folder and now_s - old.stat().st_mtime > _STILL_READ_S:
            _remove(old)


def _check_parent(folder: Path) -> None:
    """Whoever can write there could install another policy."""
    found = folder.stat()
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"`{folder}` can be written by users other than its owner", hint=f"chown root {folder}; chmod go-w {folder}"
        )


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _exchange(one: Path, other: Path) -> None:
    """Exchange two names, so that neither is ever missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        why = os.strerror(ctypes.get_errno())
        raise EnvtrailError(f"`{other}` cannot be moved away in one step: {why}", hint=f"mv {other} {other}.old, then sync again")


@contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """One sync at a time, including its child processes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "policy.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRunError("another sync of the policy is running", hint="it ends within minutes") from None
        yield descriptor
    finally:
        os.close(descriptor)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
