"""Restores with the real tools: which ones, their arguments, and the result."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from envtrail.core import redact_text
from envtrail.environments.artefacts import Found, Index, Places, find_artefacts
from envtrail.environments.indexes import Done, PipIndex, UvIndex
from envtrail.environments.restore import Difference, compare, needs_index
from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.inspect.client import make_inspector, read_place
from envtrail.inspect.protocol import ReadEnvironment
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.restoration import Restoration

_LAST_LINES = 12
_FOLDERS = ("/usr/local/bin", "/usr/bin")
_PIP = [sys.executable, "-I", "-m", "pip"]


class PackageSource(Struct, frozen=True, kw_only=True):
    """Sources of archives; by default those in the user's own settings of uv or pip."""

    index_url: str | None = None
    find_links: list[str] = []
    offline: bool = False


def resolve(
    environment: Environment, snapshot: Snapshot, source: PackageSource, folder: Path, report: Callable[[int, int], None]
) -> dict[Package, Found]:
    """The artefact of each package whose own metadata does not name it.

    Args:
        environment: The environment of the snapshot.
        snapshot: The state to restore.
        source: Indexes to query.
        folder: Destination of copies from a cache.
        report: Called with the progress.
    """
    wanted = [package for package in snapshot.packages if needs_index(package)]
    links = [word for link in source.find_links for word in ("--find-links", link)]
    words = [*(["--index-url", source.index_url] if source.index_url else []), *links]
    places = Places(
        folders=[Path(link) for link in source.find_links if Path(link).is_dir()],
        pip_caches=[Path.home() / ".cache/pip"],
        extracted=folder,
    )
    uv = _find_uv()
    indexes: list[Index] = []
    if uv is not None:
        python = environment.python
        indexes.append(UvIndex([uv], _run, python=python, words=words, offline=source.offline, interpreter=sys.executable))
    elif not source.offline:
        indexes.append(PipIndex(_PIP, _run, python=environment.python, words=words))
    return find_artefacts(wanted, places, indexes, report)


def plan_commands(
    plan: Restoration, folder: Path, target: Path, source: PackageSource, *, owner_uid: int | None, python: Path | None = None
) -> list[list[str]]:
    """The command lines that create the target from the files in a folder, in order. None runs a program of the environment.

    Args:
        plan: What to create.
        folder: Of the files; absolute.
        target: Of the new environment; absolute.
        source: Sources of archives.
        owner_uid: Owner of the environment: its contents were their choice, and would run with our rights.
        python: The interpreter to create it with; else one of the same version is looked for.

    Raises:
        CannotRunError: a required tool is missing, or root would run what another user has chosen.
    """
    if os.geteuid() == 0 and owner_uid != 0:
        raise CannotRunError(
            f"`{plan.prefix}` does not belong to root: what its owner installed would run as root",
            hint="run this as its owner, or without --run, then create it from the files as its owner",
        )
    there = next(folder for folder in target.parents if folder.exists())
    if os.geteuid() == 0 and not _is_ours(str(there)):
        raise CannotRunError(
            f"users other than root can replace `{target}` while it is created",
            hint="name a target in a folder that only root can write",
        )
    commands: list[list[str]] = []
    if plan.kind == "conda":
        offline = ["--offline"] if source.offline else []
        explicit = str(folder / "conda-explicit.txt")
        commands.append([_find_conda(plan.prefix), "create", "-y", "-q", "-p", str(target), *offline, "--file", explicit])
    else:
        commands.append([str(python or _base_python(plan)), "-I", "-m", "venv", "--without-pip", str(target)])
    for name, more in (("requirements.txt", ["--require-hashes"]), ("sources.txt", [])):
        if (folder / name).exists():
            installer = _installer(str(target / "bin/python"))
            commands.append([*installer, "--no-deps", *more, *_words(source), "-r", str(folder / name)])
    return commands


def run_commands(commands: Sequence[Sequence[str]], on_command: Callable[[Sequence[str]], None]) -> None:
    """Run them, one after the other.

    Raises:
        EnvtrailError: one has failed; its last lines are in the message.
    """
    for command in commands:
        on_command(command)
        done = _run(command, "")
        if done.code:
            lines = [line for line in (done.out + done.err).splitlines() if line.strip()][-_LAST_LINES:]
            said = redact_text("\n".join(lines))[0]
            raise EnvtrailError(
                f"`{' '.join(command[:4])} …` ended with {done.code}:\n{said}", hint="the target is incomplete: remove it"
            )


def check_result(plan: Restoration, wanted: Snapshot, target: Path) -> list[Difference]:
    """The differences from the snapshot; empty when all is the same, package by package and hash by hash."""
    with closing(make_inspector(os.geteuid())) as inspector:
        made = read_place(inspector, ReadEnvironment(prefix=str(target)))
    if made.environment is None or made.snapshot is None:
        why = f": {made.absent}" if made.absent else ""
        raise EnvtrailError(f"`{target}` is not an environment{why}", hint="the tools reported success; check the folder")
    return compare(wanted, made.snapshot, plan.lost)


def _run(command: Sequence[str], text: str) -> Done:
    # Another environment that is active must not be mistaken for the target.
    left_out = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # Nor the current folder: Python imports modules from there, and uv reads its configuration.
    done = subprocess.run(list(command), input=text, text=True, capture_output=True, check=False, env=environment, cwd="/")
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def _words(source: PackageSource) -> list[str]:
    words = ["--index-url", source.index_url] if source.index_url else []
    words += [word for link in source.find_links for word in ("--find-links", link)]
    if source.offline:
        words += ["--offline"] if _find_uv() else ["--no-index"]
    return words


def _find_uv() -> str | None:
    """The tool's own, else one that can be trusted."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else find_program(["uv"])


def _installer(python: str) -> list[str]:
    uv = _find_uv()
    return [uv, "pip", "install", "-q", "--python", python] if uv else [*_PIP, "--python", python, "install", "-q"]


def _base_python(plan: Restoration) -> str:
    """One of the version that the environment was created with."""
    given = re.match(r"[0-9]+\.[0-9]+", plan.python or "")
    version = given[0] if given else "3"
    found = find_program([f"python{version}"], not_below=plan.prefix)
    if found is None:
        raise CannotRunError(
            f"no trusted Python {version} to create the environment with was found: only root or you may be able to write it",
            hint=f"install python{version}, or name one: `--python PATH`",
        )
    return found


def _find_conda(prefix: str) -> str:
    """The conda of the session, else of the root that owns the environment; never the environment's own."""
    above = Path(prefix).parent.parent / "bin/conda"
    given = os.environ.get("CONDA_EXE")
    also = [*([Path(given)] if given else []), above]
    found = find_program(["conda", "mamba", "micromamba"], also=also, not_below=prefix)
    if found is None:
        raise CannotRunError(
            "no trusted conda to restore with was found: only root or you may be able to write it",
            hint="set CONDA_EXE, or put conda on PATH",
        )
    return found


def find_program(names: Sequence[str], *, also: Sequence[Path] = (), not_below: str | None = None) -> str | None:
    """The first program of these names, on PATH or in other places, that only root and this user can write.

    Args:
        names: In order of preference.
        also: Whole paths; before PATH.
        not_below: An environment whose programs are never used, whoever owns it.
    """
    folders = [folder for folder in [*os.environ.get("PATH", "").split(":"), *_FOLDERS] if folder.startswith("/")]
    for place in [*map(str, also), *(f"{folder}/{name}" for name in names for folder in folders)]:
        real = os.path.realpath(place)
        is_inside = not_below is not None and any(path.startswith(f"{not_below}/") for path in (place, real))
        if not is_inside and os.access(real, os.X_OK) and all(map(_is_ours, (place, real))):
            return place
    return None


def _is_ours(path: str) -> bool:
    """Whether only root and this user could write a file, or replace it."""
    trusted = {0, os.geteuid()}
    try:
        statuses = [os.lstat(one) for one in (path, *map(str, Path(path).parents))]
    except OSError:
        return False
    return all(status.st_uid in trusted and _is_closed(status) for status in statuses)


def _is_closed(status: os.stat_result) -> bool:
    """A link has no own mode, and in a sticky folder other users cannot replace its entries."""
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return True
    is_of_us = status.st_gid in {0, os.getegid()} or not status.st_mode & stat.S_IWGRP
    return is_of_us and not status.st_mode & stat.S_IWOTH
