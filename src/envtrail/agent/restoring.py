"""Restore through the real tools: which they are, what they are told, and what came of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from envtrail.core import redact_text
from envtrail.environments.artefacts import Found, Index, Places, find_artefacts
from envtrail.environments.find import identify
from envtrail.environments.indexes import Done, PipIndex, UvIndex
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.restore import Difference, compare, needs_index
from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.restoration import Restoration

_LAST_LINES = 12


class Source(Struct, frozen=True, kw_only=True):
    """Where archives may come from; by default what the user's own settings of uv or pip say."""

    index_url: str | None = None
    find_links: list[str] = []
    offline: bool = False


def resolve(
    environment: Environment, snapshot: Snapshot, source: Source, folder: Path, report: Callable[[int, int], None]
) -> dict[Package, Found]:
    """The artefact of each package whose own metadata does not tell it.

    Args:
        environment: Whose state it is.
        snapshot: The state.
        source: Where to ask.
        folder: Where copies out of a cache go.
        report: Told of the progress.
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
        indexes.append(
            UvIndex([uv], _run, python=python, words=words, offline=source.offline, interpreter=_interpreter(environment))
        )
    elif not source.offline:
        indexes.append(PipIndex(_pip(environment), _run, python=environment.python, words=words))
    return find_artefacts(wanted, places, indexes, report)


def plan_commands(plan: Restoration, folder: Path, target: Path, source: Source) -> list[list[str]]:
    """The command lines that make the target out of the files in a folder, in order.

    Raises:
        CannotRunError: a tool that is needed is not there.
    """
    commands: list[list[str]] = []
    python = str(target / "bin/python")
    if plan.kind == "conda":
        conda = _find_conda(plan.prefix)
        offline = ["--offline"] if source.offline else []
        commands.append([conda, "create", "-y", "-q", "-p", str(target), *offline, "--file", str(folder / "conda-explicit.txt")])
    else:
        commands.append([_base_python(plan), "-m", "venv", "--without-pip", str(target)])
    for name, more in (("requirements.txt", ["--require-hashes"]), ("sources.txt", [])):
        if (folder / name).exists():
            commands.append([*_installer(python), "--no-deps", *more, *_words(source), "-r", str(folder / name)])
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
                f"`{' '.join(command[:4])} …` ended with {done.code}:\n{said}", hint="the target is half made: remove it"
            )


def check_result(plan: Restoration, wanted: Snapshot, target: Path) -> list[Difference]:
    """What is other than it was; empty when all is the same, package by package and hash by hash."""
    made = identify(target)
    if made is None:
        raise EnvtrailError(f"`{target}` is no environment", hint="the tools said that they had made one; look into it")
    return compare(wanted, read_snapshot(made), plan.lost)


def _run(command: Sequence[str], text: str) -> Done:
    # Another environment that is active must not be taken for the target.
    left_out = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(list(command), input=text, text=True, capture_output=True, check=False, env=environment)
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def _words(source: Source) -> list[str]:
    words = ["--index-url", source.index_url] if source.index_url else []
    words += [word for link in source.find_links for word in ("--find-links", link)]
    if source.offline:
        words += ["--offline"] if _find_uv() else ["--no-index"]
    return words


def _find_uv() -> str | None:
    return shutil.which("uv") or (str(beside) if (beside := Path(sys.executable).with_name("uv")).exists() else None)


def _installer(python: str) -> list[str]:
    uv = _find_uv()
    return (
        [uv, "pip", "install", "-q", "--python", python]
        if uv
        else [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    )


def _pip(environment: Environment) -> list[str]:
    own = Path(environment.prefix, "bin/pip")
    return [str(own)] if own.exists() else [sys.executable, "-m", "pip"]


def _interpreter(environment: Environment) -> str:
    own = Path(environment.prefix, "bin/python")
    return str(own) if own.exists() else sys.executable


def _base_python(plan: Restoration) -> str:
    """The interpreter that the environment was made with; else one of the same version."""
    made = identify(Path(plan.prefix))
    version = ".".join((plan.python or "3").split(".")[:2])
    places = [f"{made.base}/python{version}", f"{made.base}/python3"] if made and made.base else []
    found = next((place for place in places if os.access(place, os.X_OK)), None) or shutil.which(f"python{version}")
    if found is None:
        raise CannotRunError(f"there is no Python {version} to make the environment with", hint=f"install python{version}")
    return found


def _find_conda(prefix: str) -> str:
    """The conda of the root that owns the environment, else the one of the session."""
    for folder in (Path(prefix), Path(prefix).parent.parent):
        if os.access(folder / "bin/conda", os.X_OK):
            return str(folder / "bin/conda")
    found = os.environ.get("CONDA_EXE") or shutil.which("conda") or shutil.which("mamba") or shutil.which("micromamba")
    if found is None:
        raise CannotRunError("no conda is found to restore with", hint="set CONDA_EXE, or put conda on PATH")
    return found
