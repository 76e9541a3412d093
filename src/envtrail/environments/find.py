"""Find environments without running anything and without walking the whole disk."""

from __future__ import annotations

import glob
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from envtrail.config import Config
from envtrail.model.environment import Environment

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", ".git", "pkgs", ".cache"})
_MARKERS = frozenset({"pyvenv.cfg", "conda-meta"})
_PLACES = (
    ".local/share/uv/tools",
    ".local/share/pipx/venvs",
    ".local/pipx/venvs",
    ".virtualenvs",
    ".local/share/virtualenvs",
    ".cache/pypoetry/virtualenvs",
    ".local/share/hatch/env/virtual",
)
"""Where managers keep environments below a home, deeper than a search goes."""
_PLACES_DEPTH = 3
_TARGETS = ("*.dist-info", "lib/python3*/site-packages/*.dist-info", "local/lib/python3*/dist-packages/*.dist-info")
"""What `--target` and `--prefix` (or `--root`) leave behind."""
_VERSION = re.compile(r"^(\d+\.\d+(?:\.\d+)?)")


def find_environments(config: Config) -> list[Environment]:
    """Every environment below the configured places, each once, sorted by prefix.

    Folders that cannot be read are passed over: another user's closed home is not an error.
    """
    prefixes: dict[str, None] = {}
    for root in _expand(config.names("rules.roots")):
        for prefix in (root, *_children(root / "envs"), *_children(root)):
            prefixes[os.path.realpath(prefix)] = None
    for noted in _registered():
        prefixes[os.path.realpath(noted)] = None
    for interpreter in _expand(config.names("rules.pythons")):
        prefixes[str(Path(os.path.realpath(interpreter)).parent.parent)] = None
    for root in _expand(config.names("rules.venv_roots")):
        for prefix in _search(root, config.number("rules.search_depth")):
            prefixes[os.path.realpath(prefix)] = None
        prefixes[os.path.realpath(root / ".local")] = None
        for place in _PLACES:
            for prefix in _search(root / place, _PLACES_DEPTH):
                prefixes[os.path.realpath(prefix)] = None
    found = (identify(Path(prefix)) for prefix in sorted(prefixes))
    return [environment for environment in found if environment is not None]


def identify(prefix: Path) -> Environment | None:
    """Say what kind of environment a folder is; None when it is none."""
    prefix = Path(os.path.realpath(prefix))
    try:
        owner = prefix.stat()
    except OSError:
        return None
    kind = _kind_of(prefix)
    if kind is None:
        return None
    configuration = _read_pyvenv(prefix) if kind == "venv" else {}
    return Environment(
        prefix=str(prefix),
        kind=kind,
        python=_python_version(prefix, configuration),
        owner_uid=owner.st_uid,
        created_ms=_created_ms(prefix, kind),
        base=configuration.get("home") or _conda_root(prefix, kind),
        site_packages=[str(folder) for folder in site_packages_of(prefix, kind)],
    )


def site_packages_of(prefix: Path, kind: str) -> list[Path]:
    """The folders in which an environment's Python packages lie."""
    if kind == "target" and glob.glob(str(prefix / "*.dist-info")):
        return [prefix]
    patterns = ["lib/python3*/site-packages", "lib64/python3*/site-packages"]
    if kind in {"system", "target"}:
        patterns += [
            "lib/python3/dist-packages",
            "local/lib/python3*/dist-packages",
            "lib/python3*/dist-packages",
        ]
    found = {os.path.realpath(path) for pattern in patterns for path in glob.glob(str(prefix / pattern))}
    return [Path(path) for path in sorted(found)]


def _kind_of(prefix: Path) -> str | None:
    if (prefix / "conda-meta").is_dir():
        return "conda"
    if (prefix / "pyvenv.cfg").is_file():
        return "venv"
    if prefix.name == ".local":
        return "user" if glob.glob(str(prefix / "lib/python3*/site-packages")) else None
    if glob.glob(str(prefix / "bin/python3*")) and (
        glob.glob(str(prefix / "lib/python3*/os.py")) or glob.glob(str(prefix / "lib/python3/dist-packages"))
    ):
        return "system"
    if any(glob.glob(str(prefix / pattern)) for pattern in _TARGETS):
        return "target"
    return None


def _expand(patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            yield Path(path)


def _children(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and os.path.exists(os.path.join(entry.path, "conda-meta")):
                    yield Path(entry.path)
    except OSError:
        return


def _registered() -> Iterator[str]:
    """Prefixes that conda has noted for each user (`~/.conda/environments.txt`)."""
    for home in {entry.pw_dir for entry in pwd.getpwall()}:
        try:
            lines = Path(home, ".conda/environments.txt").read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield from (line for line in lines if line.startswith("/"))


def _search(root: Path, depth: int) -> Iterator[Path]:
    """Virtual environments and conda prefixes at most `depth` levels down; links and other file systems are not followed."""
    try:
        device = root.stat().st_dev
    except OSError:
        return
    folders = [(root, 0)]
    while folders:
        folder, level = folders.pop()
        try:
            with os.scandir(folder) as entries:
                children = list(entries)
        except OSError:
            continue
        if any(entry.name in _MARKERS for entry in children):
            yield folder
            yield from _children(folder / "envs")
            continue
        if level == depth:
            continue
        for entry in children:
            try:
                if (
                    entry.is_dir(follow_symlinks=False)
                    and entry.name not in _SKIPPED
                    and entry.stat(follow_symlinks=False).st_dev == device
                ):
                    folders.append((Path(entry.path), level + 1))
            except OSError:
                continue


def _read_pyvenv(prefix: Path) -> dict[str, str]:
    try:
        lines = (prefix / "pyvenv.cfg").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip().lower(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


def _python_version(prefix: Path, configuration: dict[str, str]) -> str | None:
    told = configuration.get("version") or configuration.get("version_info")
    if told and (found := _VERSION.match(told)):
        return found[1]
    for name in sorted(glob.glob(str(prefix / "conda-meta/python-3*.json"))):
        return Path(name).name.split("-")[1]
    for header in sorted(glob.glob(str(prefix / "include/python3*/patchlevel.h"))):
        defined = re.search(r'PY_VERSION\s+"([^"]+)"', Path(header).read_text(errors="replace"))
        if defined:
            return defined[1]
    versions = [Path(path).name.removeprefix("python") for path in glob.glob(str(prefix / "lib/python3.*"))]
    return max(versions, key=_as_numbers, default=None)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _created_ms(prefix: Path, kind: str) -> int | None:
    """When it was made, as its oldest mark tells; a target was made with its first package."""
    patterns = {"venv": ("pyvenv.cfg",), "conda": ("conda-meta/*.json",), "target": _TARGETS}.get(kind, ())
    marks = [path for pattern in patterns for path in glob.glob(str(prefix / pattern))]
    try:
        return min((os.stat(mark).st_mtime_ns // 1_000_000 for mark in marks), default=None)
    except OSError:
        return None


def _conda_root(prefix: Path, kind: str) -> str | None:
    if kind == "conda" and prefix.parent.name == "envs" and (prefix.parent.parent / "conda-meta").is_dir():
        return str(prefix.parent.parent)
    return None
