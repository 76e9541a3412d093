"""Find environments without running anything and without walking the whole disk."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from envtrail.environments.reading import Files, on_disk, show, tell
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
_DEFINED = re.compile(rb'PY_VERSION\s+"([^"]{1,40})"')
_REGISTER = ".conda/environments.txt"
_USER_ID = re.compile(r"(?:^|,)user_id=([0-9]{1,10})(?:,|$)")
_OCTAL = re.compile(r"\\([0-7]{3})")
_CONFIGURATION_BYTES = 64 * 1024
_REGISTERED_BYTES = 1024 * 1024
_LATEST_MS = 253_402_300_799_000
"""The end of the year 9999: no calendar goes further, and owners set times as they like."""


def expand_roots(patterns: Iterable[str], skipped: Collection[str] = ()) -> Iterator[str]:
    """The paths that patterns of file names match, sorted; nothing at or below a skipped folder is looked at.

    Each `*` is of one component, and does not match a leading dot (glob(7)).
    """
    for pattern in patterns:
        yield from sorted(_expand("/", [part for part in pattern.split("/") if part], skipped))


def expand_pythons(patterns: Iterable[str], skipped: Collection[str] = ()) -> Iterator[str]:
    """The prefixes of the interpreters that patterns match."""
    for interpreter in expand_roots(patterns, skipped):
        with contextlib.suppress(OSError):
            yield str(Path(os.path.realpath(interpreter, strict=True)).parent.parent)


def has_register(home: str) -> bool:
    """Whether conda has noted prefixes for a user."""
    return os.path.lexists(os.path.join(home, _REGISTER))


def user_mounts(mountinfo: str) -> dict[str, int]:
    """Where users have mounted their own file systems, whose programs may never answer, and their uids.

    References:
        proc_pid_mountinfo(5); Documentation/filesystems/fuse.rst (`user_id=`)
    """
    found = {}
    for line in mountinfo.splitlines() if "user_id=" in mountinfo else ():
        place, _, kind = line.partition(" - ")
        fields, kinds = place.split(" "), kind.split(" ")
        if len(fields) > 4 and kinds[0].startswith("fuse") and (user := _USER_ID.search(kinds[-1])) and user[1] != "0":
            found[_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4])] = int(user[1])
    return found


def search_folders(
    roots: Iterable[str], venv_roots: Iterable[str], registers: Iterable[str], depth: int, skipped: Collection[str] = ()
) -> list[str]:
    """Folders that may be environments, each once, sorted; what cannot be read is passed over.

    Args:
        roots: That may be roots of conda.
        venv_roots: To be searched.
        registers: Homes with a file in which conda has noted prefixes.
        depth: How many levels below `venv_roots`.
        skipped: Folders that are not looked at.
    """
    prefixes: set[str] = set()
    for root in map(Path, roots):
        prefixes.update(map(str, (root, *_children(root / "envs"), *_children(root))))
    for home in registers:
        prefixes.update(_registered(home))
    for root in map(Path, venv_roots):
        prefixes.update(map(str, _search(root, depth, skipped)))
        prefixes.add(str(root / ".local"))
        for place in _PLACES:
            prefixes.update(map(str, _search(root / place, _PLACES_DEPTH, skipped)))
    return sorted(prefixes)


def identify(prefix: Path) -> Environment | None:
    """Say what kind of environment a folder is; None when it is none. What cannot be read of it is reported in its `faults`."""
    try:
        path = on_disk(str(prefix))
    except OSError as fault:
        return Environment(prefix=show(str(prefix)), kind="unknown", faults=[tell(fault)])
    try:
        real = os.path.realpath(path)
        owner_uid = os.stat(real).st_uid
    except (OSError, ValueError):
        return None
    try:
        return _identify(Files(real), owner_uid)
    except Exception as fault:  # noqa: BLE001 - what somebody put into a folder never ends whoever looks at it
        if isinstance(fault, OSError) and fault.errno != errno.E2BIG:
            return None
        return Environment(prefix=show(real), kind="unknown", owner_uid=owner_uid, faults=[tell(fault)])


def _identify(files: Files, owner_uid: int) -> Environment | None:
    kind = _kind_of(files)
    if kind is None:
        return None
    faults: list[str] = []
    configuration = _read_pyvenv(files, faults) if kind == "venv" else {}
    return Environment(
        prefix=show(files.prefix),
        kind=kind,
        python=_python_version(files, configuration, faults),
        owner_uid=owner_uid,
        created_ms=_created_ms(files, kind),
        base=configuration.get("home") or _conda_root(files.prefix, kind),
        site_packages=[show(os.path.join(files.prefix, below)) for below in _sites_of(files, kind, faults)],
        faults=[show(fault) for fault in faults],
        sees_system=_sees_system(configuration) if configuration else None,
    )


def _sees_system(configuration: dict[str, str]) -> bool:
    """Whether packages of the interpreter that it was made with are packages of it too (`site.venv()`)."""
    return configuration.get("include-system-site-packages", "true").lower() == "true"


def _sites_of(files: Files, kind: str, faults: list[str]) -> list[str]:
    """The folders in which an environment's Python packages lie; a link to one of them does not count."""
    if kind == "target" and files.match("*.dist-info"):
        return [""]
    patterns = ["lib/python3*/site-packages", "lib64/python3*/site-packages"]
    if kind in {"system", "target"}:
        patterns += [
            "lib/python3/dist-packages",
            "local/lib/python3*/dist-packages",
            "lib/python3*/dist-packages",
        ]
    found = sorted({path for pattern in patterns for path in files.match(pattern)})
    links = [path for path in found if not stat.S_ISDIR(files.status(path).st_mode)]
    faults += [f"{path}: no folder of its own" for path in links]
    return [path for path in found if path not in links]


def _kind_of(files: Files) -> str | None:
    if _has(files, "conda-meta", is_folder=True):
        return "conda"
    if _has(files, "pyvenv.cfg", is_folder=False):
        return "venv"
    if os.path.basename(files.prefix) == ".local":
        return "user" if files.match("lib/python3*/site-packages") else None
    if files.match("bin/python3*") and (files.match("lib/python3*/os.py") or files.match("lib/python3/dist-packages")):
        return "system"
    if any(files.match(pattern) for pattern in _TARGETS) and not _is_metadata_alone(files):
        return "target"
    return None


def _is_metadata_alone(files: Files) -> bool:
    """What a build backend says of a package that is not built yet (PEP 517, `prepare_metadata_for_build_wheel`): nothing is installed."""
    return all(name.endswith((".dist-info", ".egg-info")) for name in files.match("*")) and not files.match("*.dist-info/RECORD")


def _has(files: Files, name: str, *, is_folder: bool) -> bool:
    try:
        return stat.S_ISDIR(files.status(name).st_mode) == is_folder
    except OSError:
        return False


def _expand(folder: str, parts: list[str], skipped: Collection[str]) -> Iterator[str]:
    if folder in skipped:
        return
    if not parts:
        yield folder
        return
    name, rest = parts[0], parts[1:]
    if not glob.has_magic(name):
        path = os.path.join(folder, name)
        if rest or os.path.lexists(path):
            yield from _expand(path, rest, skipped)
        return
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for found in names:
        if fnmatchcase(found, name) and (name.startswith(".") or not found.startswith(".")):
            yield from _expand(os.path.join(folder, found), rest, skipped)


def _children(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and os.path.exists(os.path.join(entry.path, "conda-meta")):
                    yield Path(entry.path)
    except OSError:
        return


def _registered(home: str) -> Iterator[str]:
    """Prefixes that conda has noted for a user."""
    try:
        lines = os.fsdecode(Files(home).read(_REGISTER, _REGISTERED_BYTES)).splitlines()
    except OSError:
        return
    yield from (line for line in lines if line.startswith("/") and "\0" not in line)


def _search(root: Path, depth: int, skipped: Collection[str]) -> Iterator[Path]:
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
                    and entry.path not in skipped
                    and entry.stat(follow_symlinks=False).st_dev == device
                ):
                    folders.append((Path(entry.path), level + 1))
            except OSError:
                continue


def _read_pyvenv(files: Files, faults: list[str]) -> dict[str, str]:
    try:
        lines = files.read("pyvenv.cfg", _CONFIGURATION_BYTES).decode("utf-8", "backslashreplace").splitlines()
    except OSError as fault:
        faults.append(f"pyvenv.cfg: {tell(fault)}")
        return {}
    return {key.strip().lower(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


def _python_version(files: Files, configuration: dict[str, str], faults: list[str]) -> str | None:
    version = configuration.get("version") or configuration.get("version_info")
    if version and (found := _VERSION.match(version)):
        return found[1]
    for document in files.match("conda-meta/python-3*.json"):
        return show(os.path.basename(document).split("-")[1])
    for header in files.match("include/python3*/patchlevel.h"):
        try:
            defined = _DEFINED.search(files.read(header, _CONFIGURATION_BYTES))
        except OSError as fault:
            faults.append(f"{header}: {tell(fault)}")
            continue
        if defined:
            return defined[1].decode("utf-8", "backslashreplace")
    versions = [show(os.path.basename(path)).removeprefix("python") for path in files.match("lib/python3.*")]
    return max(versions, key=_as_numbers, default=None)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version))


def _created_ms(files: Files, kind: str) -> int | None:
    """When it was made, by its oldest mark; a target was made with its first package."""
    patterns = {"venv": ("pyvenv.cfg",), "conda": ("conda-meta/*.json",), "target": _TARGETS}.get(kind, ())
    marks = [path for pattern in patterns for path in files.match(pattern)]
    try:
        made_ms = min((files.status(mark).st_mtime_ns // 1_000_000 for mark in marks), default=None)
    except OSError:
        return None
    return made_ms if made_ms is not None and 0 <= made_ms <= _LATEST_MS else None


def _conda_root(prefix: str, kind: str) -> str | None:
    above = Path(prefix).parent
    return (
        show(str(above.parent)) if kind == "conda" and above.name == "envs" and (above.parent / "conda-meta").is_dir() else None
    )
