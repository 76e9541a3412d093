"""What a name means: environments, packages, people. The one matcher: every comparison of a given name with a stored one is made here.

Conditions in SQL (`store.conditions`) and in Lucene (`export.filters`) are made from the values of this module.

References:
    https://packaging.python.org/en/latest/specifications/name-normalization/ (PEP 503)
    https://peps.python.org/pep-0508/ ; https://docs.conda.io/projects/conda/en/latest/user-guide/concepts/pkg-specs.html
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
_SEPARATORS = re.compile(r"[-_.]+")
_SLASHES = re.compile(r"/{2,}")
_SPEC = re.compile(
    r"^(?:[^:\s]+::)?(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|_[A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(?P<rest>$|[=<>!~@;\s(].*)"
)
_PINNED = re.compile(r"^={2,3}\s*(?P<version>[^\s,;*=]+)\s*(?:=[^\s,;]+)?\s*(?:;.*)?$")
_BUILT = re.compile(r"^=(?P<version>[^\s,;*=]+)=[^\s,;=]+$")
_WHEEL = re.compile(
    r"(?:^|/)(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[A-Za-z0-9._!+]+)(?:-\d[^-/]*)?-[^-/]+-[^-/]+-[^-/]+\.whl(?:$|[?#])"
)
_CONDA_FILE = re.compile(r"(?:^|/)(?P<name>[a-z0-9_][a-z0-9_.-]*)-(?P<version>[^-/]+)-[^-/]+\.(?:conda|tar\.bz2)(?:$|[?#])")
_EGG = re.compile(r"[#&]egg=(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)")
BASE = "base"
"""What conda calls the environment of its root."""
_MOST_KNOWN = 8


# Packages


def normalise_name(name: str) -> str:
    """The normal form of a project's name (PEP 503), and of a pattern of such names.

    Letters other than ASCII stay: `str.lower` makes a `k` of the sign of Kelvin, and metadata that was made by hand may have one.
    """
    return _SEPARATORS.sub("-", name).translate(_SMALL)


def package_key(ecosystem: str, name: str) -> str:
    """`ECOSYSTEM:NAME`, by which the changes of one package are known: conda has `ruamel.yaml` and `ruamel_yaml`, which PyPI takes for one."""
    return f"{ecosystem}:{normalise_name(name) if ecosystem == 'pypi' else name}"


def is_package(given: str, name: str) -> bool:
    """Whether a given name means a package."""
    return normalise_name(given) == normalise_name(name)


def fits_package_name(pattern: str, name: str) -> bool:
    """Whether a pattern of names (`charset_*`) fits a package."""
    return fnmatchcase(normalise_name(name), normalise_name(pattern))


def requested_name(spec: str) -> str | None:
    """The normalised name of what pip or conda is given; None for a path or an address that does not name one.

    `six==1.16.0`, `conda-forge::six=1.16`, `./six-1.16.0-py3-none-any.whl`, `git+https://…#egg=six`.
    """
    found = _archive(spec) or _EGG.search(spec) or _SPEC.match(spec)
    return normalise_name(found["name"]) if found else None


def requested_version(spec: str) -> str | None:
    """The one version that a specification allows; None where it allows several, or is none."""
    if archive := _archive(spec):
        return archive["version"]
    found = _SPEC.match(spec)
    pinned = found and (_PINNED.match(found["rest"].strip()) or _BUILT.match(found["rest"].strip()))
    return pinned["version"] if pinned else None


def _archive(spec: str) -> re.Match[str] | None:
    return _WHEEL.search(spec) or _CONDA_FILE.search(spec)


# Environments


class EnvironmentReference(NamedTuple):
    """What a name of an environment says."""

    host: str | None
    """The machine; None where the name has none."""
    path: str
    """Without a slash at its end; whole where it begins with one, else the last folders of one."""

    @property
    def is_whole(self) -> bool:
        """Whether it can mean one prefix only."""
        return self.path.startswith("/")

    @property
    def end(self) -> str:
        """How every prefix ends that it means, other than the path itself."""
        return "/" + self.path


def place(host: str, prefix: str) -> str:
    """How a fleet names an environment: `HOST:PREFIX`, as scp names a file. One machine's store says `PREFIX`."""
    return f"{host}:{prefix}"


def place_of(name: str) -> tuple[str | None, str]:
    """The machine, where one is named, and the prefix, or the last part of one."""
    host, colon, prefix = name.partition(":")
    return (host, prefix) if colon and host and "/" not in host else (None, name)


def clean_path(path: str) -> str:
    """A path without doubled slashes, and without one at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or path[:1]


def parse_place(name: str) -> EnvironmentReference:
    """A prefix, its last folder or folders, or either with its machine: `HOST:PREFIX`."""
    host, path = place_of(name)
    return EnvironmentReference(host, clean_path(path))


def is_environment(given: str, prefix: str, *, host: str | None = None) -> bool:
    """Whether a given name means an environment.

    Args:
        given: The name.
        prefix: Of the environment, or `HOST:PREFIX`.
        host: Its machine, where the prefix does not name it.
    """
    meant, known = parse_place(given), parse_place(prefix)
    if meant.host is not None and meant.host not in {known.host, host}:
        return False
    return known.path == meant.path or (not meant.is_whole and known.path.endswith(meant.end))


def is_path(given: str, path: str) -> bool:
    """Whether a given name means a file: by its whole path, or by the end of it."""
    meant = clean_path(given)
    return path == meant or (not meant.startswith("/") and path.endswith("/" + meant))


def expand_home(name: str, home_of: Callable[[str], str | None]) -> str:
    """A name that begins with `~` or `~user`, with the folder in its place.

    Args:
        name: As given.
        home_of: Name of an account (empty: the caller) → their folder; None for nobody.
    """
    if not name.startswith("~"):
        return name
    user, slash, rest = name[1:].partition("/")
    home = home_of(user)
    return name if home is None else home.rstrip("/") + slash + rest


def environment_names(prefix: str) -> tuple[str, str]:
    """What patterns may call an environment: its prefix, and the last folder of it."""
    path = clean_path(prefix)
    return path, path.rpartition("/")[2]


def fits_environment(patterns: Collection[str], prefix: str) -> bool:
    """Whether a pattern of environments fits one; no patterns fit everything."""
    names = environment_names(prefix)
    return not patterns or any(fnmatchcase(name, clean_path(pattern)) for name in names for pattern in patterns)


def conda_roots(places: Iterable[tuple[str, str]]) -> list[str]:
    """The roots of conda among (prefix, kind) of environments: what has others below its `envs`, else what lies in no such folder."""
    conda = [prefix for prefix, kind in places if kind == "conda"]
    outer = [prefix for prefix in conda if "/envs/" not in prefix]
    with_others = [prefix for prefix in outer if any(one.startswith(f"{prefix}/envs/") for one in conda)]
    return with_others or outer


# People

ROOT = "root"
"""Whose number is 0 on every machine, whether or not a record says so."""


class Number(NamedTuple):
    """A number that a name belongs to on a machine."""

    host: str
    """Empty: the machine that the trail is of."""
    uid: int


def is_person(given: str, name: str | None, number: int | None) -> bool:
    """Whether a login name, or a uid in decimal digits, means a person: somebody who is called `1001` is not looked over."""
    if given == ROOT and name is None:
        return number == 0
    return given == name or (as_uid(given) is not None and as_uid(given) == number)


def as_uid(given: str) -> int | None:
    """The number that is given; None for a name, and for what no uid can be."""
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= 10 and int(given) < 1 << 32 else None


def fits_person(patterns: Collection[str], name: str | None, number: int | None = None) -> bool:
    """Whether a pattern of a policy fits a person; no patterns fit everybody.

    A number fits only who has no name: a hub lets people be called as they like.
    """
    if not patterns:
        return True
    if name is None:
        return number is not None and str(number) in patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# What is not known


def nearest(given: str, known: Iterable[str]) -> list[str]:
    """Known names that are most like one, best first; all where there are few."""
    names = sorted(set(known))
    # The last folder of a prefix is what people type.
    labels = {name: (name if given.startswith("/") else clean_path(name).rpartition("/")[2]).casefold() for name in names}
    close = difflib.get_close_matches(given.casefold(), sorted(set(labels.values())), n=3, cutoff=0.6)
    found = [name for label in close for name in names if labels[name] == label]
    return found[:_MOST_KNOWN] or (names if len(names) <= _MOST_KNOWN else [])
