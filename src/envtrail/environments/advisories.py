"""Advisories from an export of OSV that the user has: a folder of JSON files, or the official zip. Nothing is fetched.

References:
    https://ossf.github.io/osv-schema/ (`affected`, `ranges`, `events`, `versions`, `withdrawn`)
    https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip is where such a zip comes from
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from packaging.version import InvalidVersion, Version

from envtrail.errors import InputError
from envtrail.model.environment import normalise_name

_ECOSYSTEM = "PyPI"


class _Event(Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None


class _Range(Struct):
    type: str = ""
    events: list[_Event] = []


class _Package(Struct):
    ecosystem: str = ""
    name: str = ""


class _Affected(Struct):
    package: _Package | None = None
    ranges: list[_Range] = []
    versions: list[str] = []


class Advisory(Struct):
    """What an advisory says, as far as it is asked."""

    id: str
    aliases: list[str] = []
    related: list[str] = []
    summary: str = ""
    withdrawn: str | None = None
    affected: list[_Affected] = []

    @property
    def names(self) -> set[str]:
        """Normalised names of the PyPI projects that it is about."""
        return {
            normalise_name(item.package.name) for item in self.affected if item.package and item.package.ecosystem == _ECOSYSTEM
        }

    def holds_for(self, name: str, version: str) -> bool:
        """Whether this version of a project (normalised name) is affected.

        A version that is none by PEP 440 is compared with the listed ones alone.
        """
        return any(
            version in item.versions or any(_is_within(one, version) for one in item.ranges)
            for item in self.affected
            if item.package and item.package.ecosystem == _ECOSYSTEM and normalise_name(item.package.name) == name
        )


class Advisories(Struct, frozen=True, kw_only=True):
    """All of an export."""

    by_id: dict[str, Advisory]
    """By id and by every alias, in capitals."""
    by_name: dict[str, list[Advisory]]
    """By normalised name of a project; without withdrawn ones."""
    faults: list[str]
    """Documents that could not be read, each with its place."""


_decode = msgspec.json.Decoder(Advisory).decode


def read_advisories(path: Path, on_progress: Callable[[int, int], None] | None = None) -> Advisories:
    """Read an export.

    Raises:
        InputError: there is no such folder or zip, or it holds no advisory.
    """
    by_id: dict[str, Advisory] = {}
    by_name: dict[str, list[Advisory]] = {}
    faults: list[str] = []
    for at, (name, total, content) in enumerate(_documents(path)):
        if on_progress is not None and at % 200 == 0:
            on_progress(at, total)
        try:
            advisory = _decode(content)
        except msgspec.DecodeError as fault:
            faults.append(f"{name}: {fault}")
            continue
        for key in (advisory.id, *advisory.aliases):
            # An id of its own comes before an alias of another one.
            if key == advisory.id or key.upper() not in by_id:
                by_id[key.upper()] = advisory
        if advisory.withdrawn is None:
            for project in advisory.names:
                by_name.setdefault(project, []).append(advisory)
    if not by_id:
        raise InputError(f"`{path}` holds no advisory of OSV", hint="unpack or point to an export: `PyPI/all.zip` of osv.dev")
    return Advisories(by_id=by_id, by_name=by_name, faults=faults)


def _documents(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Name, number of all, content of each document."""
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        for file in files:
            yield str(file), len(files), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            for name in names:
                yield f"{path}!{name}", len(names), archive.read(name)
    except (OSError, zipfile.BadZipFile) as fault:
        raise InputError(f"`{path}` cannot be read: {fault}", hint="a folder of JSON files, or a zip of them") from None


def _is_within(one: _Range, version: str) -> bool:
    """The evaluation of the schema: events in order of version, each switching on or off."""
    if one.type != "ECOSYSTEM":
        return False
    try:
        wanted = Version(version)
        events = sorted(((*_place(event), event) for event in one.events), key=lambda item: item[:2])
    except InvalidVersion:
        return False
    affected = False
    for at, _, event in events:
        if event.introduced is not None and wanted >= at:
            affected = True
        elif (event.fixed is not None and wanted >= at) or (event.last_affected is not None and wanted > at):
            affected = False
    return affected


def _place(event: _Event) -> tuple[Version, int]:
    """Where an event stands; at one version, `fixed` comes before `introduced`."""
    told = event.introduced if event.introduced is not None else event.fixed if event.fixed is not None else event.last_affected
    return Version(told if told and told != "0" else "0.dev0"), int(event.introduced is not None)
