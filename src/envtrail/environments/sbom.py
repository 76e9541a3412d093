"""An environment as a software bill of materials: CycloneDX by its own library.

The same snapshot gives the same bytes: the serial number is derived, the time stamp is the snapshot's. What a package says of itself is
anybody's text: what the format cannot hold is escaped or becomes a property, so that no package can spoil the bill of the others.

References:
    https://cyclonedx.org/docs/1.6/json/
    https://www.w3.org/TR/xml/#charsets (what XML cannot hold)
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator

from envtrail import __version__
from envtrail.environments.blame import Blame, blame_packages, settled_by
from envtrail.environments.dependencies import find_python, read_dependencies
from envtrail.environments.purls import purl_of
from envtrail.model.environment import Environment, Package, Snapshot, SnapshotRef
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Operation

SCHEMA = SchemaVersion.V1_6
FORMATS = {"json": OutputFormat.JSON, "xml": OutputFormat.XML}
_ALGORITHMS = {
    "md5": (HashAlgorithm.MD5, 32),
    "sha1": (HashAlgorithm.SHA_1, 40),
    "sha256": (HashAlgorithm.SHA_256, 64),
    "sha384": (HashAlgorithm.SHA_384, 96),
    "sha512": (HashAlgorithm.SHA_512, 128),
}
_HEX = re.compile(r"[0-9a-fA-F]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9/?#@!$&'()*+,;=:._~-]|%[0-9A-Fa-f]{2})+")
_UNWRITABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_licences = LicenseFactory()


def make_bom(
    environment: Environment,
    snapshot: Snapshot,
    blames: Iterable[Blame],
    *,
    host: str,
    time_ms: int,
    operation: Operation | None = None,
) -> Bom:
    """The bill of an environment at a moment.

    Args:
        environment: Which.
        snapshot: What was in it.
        blames: Who brought each package in; their operations become properties.
        host: This machine.
        time_ms: Of the snapshot.
        operation: That left it so, where the bill is of one.
    """
    seed = f"envtrail:{host}:{environment.prefix}:{snapshot.digest}:{operation.id if operation else ''}"
    brought_by = {_reference(row.package): row.operation for row in blames}
    python = find_python(snapshot, environment)
    root = Component(
        name=_clean(environment.prefix),
        type=ComponentType.APPLICATION,
        version=snapshot.digest,
        bom_ref="environment",
        properties=[
            *_properties({"host": host, "environment-kind": environment.kind, "python": python}),
            *(_operation_properties(operation) if operation else ()),
        ],
    )
    tool = Component(name="envtrail", type=ComponentType.APPLICATION, version=__version__, bom_ref="envtrail")
    metadata = BomMetaData(
        timestamp=datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc),
        component=root,
        tools=ToolRepository(components=[tool]),
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, seed.encode("utf-8", "backslashreplace").decode()), metadata=metadata)
    components = {_reference(item): _component(item, brought_by.get(_reference(item))) for item in snapshot.packages}
    by_name: dict[str, list[Component]] = {}
    for package in snapshot.packages:
        by_name.setdefault(normalise_name(package.name), []).append(components[_reference(package)])
    for component in components.values():
        bom.components.add(component)
    needs = read_dependencies(snapshot, python)
    needed_by_some = {name for names in needs.values() for name in names}
    for package in snapshot.packages:
        needed = [one for name in needs[normalise_name(package.name)] for one in by_name[name]]
        bom.register_dependency(components[_reference(package)], needed)
    # What nobody requested and nobody needs hangs on the environment too: the graph reaches everything.
    tops = [
        package
        for package in snapshot.packages
        if package.requested is not False or normalise_name(package.name) not in needed_by_some
    ]
    bom.register_dependency(root, [components[_reference(package)] for package in tops or snapshot.packages])
    return bom


def bill_of(
    environment: Environment,
    snapshot: Snapshot,
    taken: list[SnapshotRef],
    seen: Iterable[Operation],
    *,
    host: str,
    operation: Operation | None = None,
) -> Bom:
    """The bill of an environment as a snapshot shows it.

    Args:
        environment: Whose.
        snapshot: The last one of `taken`.
        taken: Its history up to then, oldest first.
        seen: The operations on it up to then, newest first.
        host: Where it is.
        operation: After which it was read, where the bill is requested by operation.
    """
    until_ms = taken[-1].time_ms
    blames = blame_packages(snapshot, settled_by(seen, taken, until_ms), python=find_python(snapshot, environment))
    return make_bom(environment, snapshot, blames, host=host, time_ms=until_ms, operation=operation)


def render_bom(bom: Bom, form: str) -> str:
    """JSON or XML, indented; the same each time."""
    return str(make_outputter(bom, FORMATS[form], SCHEMA).output_as_string(indent=2)) + "\n"


def validate_bom(text: str, form: str) -> str | None:
    """What the official schema has against it, in one line; None when nothing."""
    fault = make_schemabased_validator(FORMATS[form], SCHEMA).validate_str(text)
    return None if fault is None else str(fault).strip().partition("\n")[0]


def _component(package: Package, operation: Operation | None) -> Component:
    package = _cleaned(package)
    hashes = _hashes(package)
    is_url = package.url is not None and _URL.fullmatch(package.url) is not None
    distribution = ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(package.url or "")) if is_url else None
    values = {
        "requested": None if package.requested is None else str(package.requested).lower(),
        "installer": package.installer,
        "editable": "true" if package.editable else None,
        "record-digest": package.digest if package.ecosystem == "pypi" else None,
        "location": package.location,
        "archive": None if hashes else package.archive,
        "url": None if is_url else package.url,
    }
    return Component(
        name=package.name or "unnamed",
        version=package.version or None,
        type=ComponentType.LIBRARY,
        bom_ref=_reference(package),
        purl=purl_of(package),
        hashes=hashes,
        licenses=[_licences.make_from_string(package.license)] if package.license else [],
        external_references=[distribution] if distribution else [],
        properties=[*_properties(values), *(_operation_properties(operation) if operation else ())],
    )


def _operation_properties(operation: Operation) -> Iterator[Property]:
    actor = operation.actor
    values = {
        "operation": operation.id,
        "actor": actor.name or (f"uid {actor.uid}" if actor.uid is not None else "unknown"),
        "actor-confidence": actor.confidence.value,
        "installed": operation.started,
        "command": " ".join(operation.argv) or None,
    }
    return _properties(values)


def _properties(values: dict[str, str | None]) -> Iterator[Property]:
    yield from (Property(name=f"envtrail:{name}", value=_clean(value)) for name, value in values.items() if value is not None)


def _hashes(package: Package) -> list[HashType]:
    """The archive's, where it is one of those that the format knows."""
    algorithm, _, digest = (package.archive or "").partition(":")
    known, length = _ALGORITHMS.get(algorithm, (None, 0))
    is_hash = known is not None and len(digest) == length and _HEX.fullmatch(digest) is not None
    return [HashType(alg=known, content=digest)] if known is not None and is_hash else []


def _cleaned(package: Package) -> Package:
    names = ("name", "version", "build", "installer", "location", "url", "source", "license", "digest", "archive")
    texts = {name: getattr(package, name) for name in names}
    return msgspec.structs.replace(package, **{name: _clean(text) for name, text in texts.items() if text is not None})


def _clean(text: str) -> str:
    """Text of one line that XML can hold, without space at the ends; what it cannot is written as its number, as `safe` does on a terminal."""
    return _UNWRITABLE.sub(
        lambda found: f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}", text
    ).strip()


def _reference(package: Package) -> str:
    return _clean(f"{package.ecosystem}:{package.name}@{package.version}:{package.location or ''}")
