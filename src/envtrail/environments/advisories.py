"""Advisories from an export of OSV that the user has: a folder of JSON files, or the official zip. Nothing is fetched.

References:
    https://ossf.github.io/osv-schema/ (`affected`, `ranges`, `events`, `versions`, `aliases`, `withdrawn`)
    https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip is where such a zip comes from
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from packaging.version import Version

from envtrail.environments.ranges import (
    FIXED,
    INTRODUCED,
    LAST_AFFECTED,
    Event,
    is_affected,
    is_same_release,
    make_event,
    read_version,
)
from envtrail.errors import InputError
from envtrail.model.naming import normalise_name

_ECOSYSTEM = "PyPI"
_MOST_BYTES = 16 * 1024 * 1024
"""Of one document; the longest of OSV's has 3 MB."""
_FIRST = ("PYSEC", "MAL", "GHSA", "CVE")
"""By which of its ids an advisory is called: pip-audit's order, and malware before it is anything else."""


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


class Record(Struct):
    """One document of an export, as far as it is used."""

    id: str
    aliases: list[str] = []
    summary: str = ""
    withdrawn: str | None = None
    affected: list[_Affected] = []

    @property
    def names(self) -> set[str]:
        """Normalised names of the PyPI projects that it is about."""
        return {normalise_name(item.package.name) for item in self.affected if item.package and _is_of_pypi(item)}

    def affected_of(self, name: str) -> Iterator[_Affected]:
        """What it says of a project (normalised name)."""
        for item in self.affected:
            if item.package and _is_of_pypi(item) and normalise_name(item.package.name) == name:
                yield item


class Advisory(Struct, kw_only=True):
    """What all records of one matter say together: PyPA's, GitHub's and others speak of one, each under its own id."""

    records: list[Record]

    @property
    def id(self) -> str:
        """The id it goes by: that of a record which stands, PyPA's first."""
        standing = [record for record in self.records if record.withdrawn is None]
        return min((record.id for record in standing or self.records), key=_rank)

    @property
    def aliases(self) -> list[str]:
        """All its other ids."""
        known = {name for record in self.records for name in (record.id, *record.aliases)}
        return sorted(known - {self.id}, key=_rank)

    @property
    def summary(self) -> str:
        """In a line, where one of the records gives it."""
        return next((record.summary for record in self.records if record.summary), "")

    @property
    def withdrawn(self) -> str | None:
        """When it was withdrawn; null while one of the records stands."""
        moments = [record.withdrawn for record in self.records]
        return None if None in moments else max(moment for moment in moments if moment)

    @property
    def is_malware(self) -> bool:
        """Whether what PyPI had under this name was malicious: a matter of the index, not of the project."""
        return any(record.id.startswith("MAL-") for record in self.records)

    @property
    def names(self) -> set[str]:
        """Normalised names of the PyPI projects that it is about."""
        return {name for record in self._standing() for name in record.names}

    def holds_for(self, name: str, version: str) -> bool:
        """Whether this version of a project (normalised name) is affected, as one of the records says.

        A version that is none by PEP 440 is compared with the listed ones alone.
        """
        read = read_version(version)
        return any(
            version in item.versions or (read is not None and (_is_in_ranges(item, read) or _is_listed(item, read)))
            for record in self._standing()
            for item in record.affected_of(name)
        )

    def unreadable(self, name: str) -> list[str]:
        """What stands in its ranges for a project and is no version: there, only the listed versions were compared."""
        return [
            f"{record.id}: `{text}` in a range of `{name}` is no version (PEP 440)"
            for record in self._standing()
            for item in record.affected_of(name)
            for span in item.ranges
            if span.type == "ECOSYSTEM"
            for kind, text in _listed_events(span)
            if make_event(kind, text) is None
        ]

    def _standing(self) -> Iterable[Record]:
        return [record for record in self.records if record.withdrawn is None] or self.records


class Advisories(Struct, frozen=True, kw_only=True):
    """All of an export."""

    by_id: dict[str, Advisory]
    """By each id and alias, in capitals."""
    by_name: dict[str, list[Advisory]]
    """By normalised name of a project; without withdrawn ones."""
    faults: list[str]
    """Documents that could not be read, each with its place."""


_decode = msgspec.json.Decoder(Record).decode


def read_advisories(path: Path, on_progress: Callable[[int, int], None] | None = None) -> Advisories:
    """Read an export.

    Raises:
        InputError: there is no such folder or zip, or it holds no advisory.
    """
    records: list[Record] = []
    faults: list[str] = []
    for at, (name, total, read) in enumerate(_documents(path)):
        if on_progress is not None and at % 200 == 0:
            on_progress(at, total)
        try:
            records.append(_decode(read()))
        # What a damaged, encrypted or strangely packed member of a zip raises: https://docs.python.org/3/library/zipfile.html
        except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as fault:
            faults.append(f"{name}: {fault}")
    if not records:
        detail = f": {faults[0]}" if faults else ""
        raise InputError(f"`{path}` holds no advisory of OSV{detail}", hint="point to an export: `PyPI/all.zip` of osv.dev")
    by_id = group_records(records)
    by_name: dict[str, list[Advisory]] = {}
    for advisory in {id(one): one for one in by_id.values()}.values():
        for project in advisory.names if advisory.withdrawn is None else ():
            by_name.setdefault(project, []).append(advisory)
    return Advisories(by_id=by_id, by_name=by_name, faults=faults)


def group_records(records: Iterable[Record]) -> dict[str, Advisory]:
    """By each id and alias, in capitals, the records that it joins: aliases hold both ways, and over several steps."""
    by_id: dict[str, Advisory] = {}
    for record in records:
        joined = Advisory(records=[record])
        names = {name.upper() for name in (record.id, *record.aliases)}
        for known in {id(by_id[name]): by_id[name] for name in names if name in by_id}.values():
            joined.records += known.records
            names |= {name.upper() for one in known.records for name in (one.id, *one.aliases)}
        by_id.update(dict.fromkeys(names, joined))
    return by_id


def _documents(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, number of all, and how to read each document."""
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        for file in files:
            yield str(file), len(files), file.read_bytes
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".json")]
            for member in members:
                yield f"{path}!{member.filename}", len(members), lambda member=member: _unpack(archive, member)  # type: ignore[misc]
    except (OSError, zipfile.BadZipFile) as fault:
        raise InputError(f"`{path}` cannot be read: {fault}", hint="a folder of JSON files, or a zip of them") from None


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > _MOST_BYTES:
        raise ValueError(f"{member.file_size} bytes, more than any advisory has")
    return archive.read(member)


def _is_of_pypi(item: _Affected) -> bool:
    return item.package is not None and item.package.ecosystem.partition(":")[0] == _ECOSYSTEM


def _is_in_ranges(item: _Affected, version: Version) -> bool:
    return any(is_affected(events, version) for span in item.ranges if (events := _events(span)))


def _is_listed(item: _Affected, version: Version) -> bool:
    read = (read_version(text) for text in item.versions)
    return any(one is not None and is_same_release(version, one) for one in read)


def _events(span: _Range) -> list[Event]:
    """Empty for another kind of range, and where one of the versions is none: then nothing is known of the order."""
    events = [make_event(kind, text) for kind, text in _listed_events(span)] if span.type == "ECOSYSTEM" else []
    return [event for event in events if event is not None] if None not in events else []


def _listed_events(span: _Range) -> Iterator[tuple[int, str]]:
    for event in span.events:
        for kind, text in ((INTRODUCED, event.introduced), (FIXED, event.fixed), (LAST_AFFECTED, event.last_affected)):
            if text is not None:
                yield kind, text


def _rank(name: str) -> tuple[int, str]:
    kind = name.partition("-")[0]
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST), name
