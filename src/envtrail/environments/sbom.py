"""An environment as a software bill of materials: CycloneDX by its own library.

The same snapshot gives the same bytes: the serial number is derived, the time stamp is the snapshot's.

References:
    https://cyclonedx.org/docs/1.6/json/
    https://github.com/package-url/purl-spec (types `pypi` and `conda`)
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception import CycloneDxException
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from defusedxml.ElementTree import fromstring
from msgspec import Struct
from packageurl import PackageURL

from envtrail import __version__
from envtrail.environments.blame import Blame
from envtrail.environments.dependencies import read_dependencies
from envtrail.errors import InputError
from envtrail.model.environment import Environment, Package, Snapshot, normalise_name
from envtrail.model.operation import Operation

SCHEMA = SchemaVersion.V1_6
FORMATS = {"json": OutputFormat.JSON, "xml": OutputFormat.XML}
_ALGORITHMS = {"sha256": HashAlgorithm.SHA_256, "md5": HashAlgorithm.MD5, "sha512": HashAlgorithm.SHA_512}
_licences = LicenseFactory()


class ComponentChange(Struct, frozen=True, kw_only=True):
    """One component that two bills do not share."""

    name: str
    """The purl without its version, else the name."""
    what: str
    """`added`, `removed`, `version`, `hash` or `licence`."""
    before: str | None
    after: str | None


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
    root = Component(
        name=environment.prefix,
        type=ComponentType.APPLICATION,
        version=snapshot.digest,
        bom_ref="environment",
        properties=[*_environment_properties(environment, host), *(_operation_properties(operation) if operation else ())],
    )
    metadata = BomMetaData(
        timestamp=datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc),
        component=root,
        tools=ToolRepository(
            components=[Component(name="envtrail", type=ComponentType.APPLICATION, version=__version__, bom_ref="envtrail")]
        ),
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, seed), metadata=metadata)
    told = {_reference(row.package): row for row in blames}
    components = {_reference(package): _component(package, told.get(_reference(package))) for package in snapshot.packages}
    by_name: dict[str, list[Component]] = {}
    for package in snapshot.packages:
        by_name.setdefault(normalise_name(package.name), []).append(components[_reference(package)])
    for component in components.values():
        bom.components.add(component)
    needs = read_dependencies(snapshot, environment.python)
    for package in snapshot.packages:
        needed = [one for name in needs[normalise_name(package.name)] for one in by_name[name]]
        bom.register_dependency(components[_reference(package)], needed)
    wanted = [components[_reference(package)] for package in snapshot.packages if package.requested is not False]
    bom.register_dependency(root, wanted)
    return bom


def render_bom(bom: Bom, form: str) -> str:
    """JSON or XML, indented; the same each time."""
    return str(make_outputter(bom, FORMATS[form], SCHEMA).output_as_string(indent=2)) + "\n"


def validate_bom(text: str, form: str) -> str | None:
    """What the official schema has against it, in one line; null when nothing."""
    fault = make_schemabased_validator(FORMATS[form], SCHEMA).validate_str(text)
    return None if fault is None else str(fault).strip().partition("\n")[0]


def parse_bom(content: bytes, name: str) -> Bom:
    """A bill in JSON or XML.

    Raises:
        InputError: it is none.
    """
    try:
        bom = _parse(content)
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError, CycloneDxException) as fault:
        raise InputError(
            f"`{name}` is no CycloneDX bill: {type(fault).__name__}: {fault}", hint="JSON or XML of CycloneDX"
        ) from None
    if bom is None:
        raise InputError(f"`{name}` is a document of another kind", hint="JSON or XML of CycloneDX")
    return bom


def _parse(content: bytes) -> Bom | None:
    if content.lstrip().startswith(b"<"):
        root = fromstring(content)
        is_bill = root.tag.startswith("{http://cyclonedx.org/schema/bom/")
        return Bom.from_xml(root) if is_bill else None  # type: ignore[attr-defined]
    document = msgspec.json.decode(content)
    is_bill = document.get("bomFormat") == "CycloneDX"
    return Bom.from_json(document) if is_bill else None  # type: ignore[attr-defined]


def purl_of(package: Package) -> PackageURL | None:
    """The package URL; null for what comes from no index: a local project or an editable install is not PyPI's."""
    if package.ecosystem == "conda":
        return PackageURL("conda", None, package.name, package.version, _conda_qualifiers(package))
    url = package.url or ""
    if package.editable or url.startswith("file:"):
        return None
    scheme = url.partition("+")[0]
    qualifiers = {"vcs_url": url} if scheme in {"git", "hg", "svn", "bzr"} else {"download_url": url} if url else {}
    return PackageURL("pypi", None, package.name, package.version, qualifiers)


def diff_boms(before: Bom, after: Bom) -> list[ComponentChange]:
    """Component by component, by purl without version, sorted by name."""
    old, new = _by_identity(before), _by_identity(after)
    changes = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            what = "added" if one is None else "removed"
            changes.append(ComponentChange(name=name, what=what, before=_version(one), after=_version(other)))
            continue
        for what, read in (("version", _version), ("hash", _hashes), ("licence", _licence)):
            if read(one) != read(other):
                changes.append(ComponentChange(name=name, what=what, before=read(one), after=read(other)))
                break
    return changes


def _component(package: Package, row: Blame | None) -> Component:
    algorithm, _, digest = (package.archive or "").partition(":")
    hashes = [HashType(alg=_ALGORITHMS[algorithm], content=digest)] if algorithm in _ALGORITHMS else []
    references = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(package.url))] if package.url else []
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=_reference(package),
        purl=purl_of(package),
        hashes=hashes,
        licenses=[_licences.make_from_string(package.license)] if package.license else [],
        external_references=references,
        properties=list(_properties(package, row)),
    )


def _properties(package: Package, row: Blame | None) -> Iterator[Property]:
    told: dict[str, str | None] = {
        "requested": None if package.requested is None else str(package.requested).lower(),
        "installer": package.installer,
        "editable": "true" if package.editable else None,
        "record-digest": package.digest if package.ecosystem == "pypi" else None,
        "location": package.location,
    }
    yield from (Property(name=f"envtrail:{name}", value=value) for name, value in told.items() if value is not None)
    if row is not None and row.operation is not None:
        yield from _operation_properties(row.operation)


def _operation_properties(operation: Operation) -> Iterator[Property]:
    actor = operation.actor
    told = {
        "operation": operation.id,
        "actor": actor.name or (f"uid {actor.uid}" if actor.uid is not None else "unknown"),
        "actor-confidence": actor.confidence.value,
        "installed": operation.started,
        "command": " ".join(operation.argv) or None,
    }
    yield from (Property(name=f"envtrail:{name}", value=value) for name, value in told.items() if value is not None)


def _environment_properties(environment: Environment, host: str) -> Iterator[Property]:
    yield Property(name="envtrail:host", value=host)
    yield Property(name="envtrail:environment-kind", value=environment.kind)
    if environment.python:
        yield Property(name="envtrail:python", value=environment.python)


def _reference(package: Package) -> str:
    return f"{package.ecosystem}:{package.name}@{package.version}:{package.location or ''}"


def _conda_qualifiers(package: Package) -> dict[str, str]:
    """`build`, `channel`, `subdir` and `type`, from where the archive was fetched."""
    qualifiers = {"build": package.build} if package.build else {}
    folder, _, archive = (package.url or "").rpartition("/")
    channel, _, subdir = folder.rpartition("/")
    if channel:
        qualifiers |= {"channel": channel.rpartition("/")[2], "subdir": subdir}
    for ending in ("conda", "tar.bz2"):
        if archive.endswith(f".{ending}"):
            qualifiers["type"] = ending
    return qualifiers


def _by_identity(bom: Bom) -> dict[str, Component]:
    return {_identity(component): component for component in bom.components}


def _identity(component: Component) -> str:
    purl = component.purl
    return f"pkg:{purl.type}/{f'{purl.namespace}/' if purl.namespace else ''}{purl.name}" if purl else component.name


def _version(component: Component | None) -> str | None:
    return component.version if component else None


def _hashes(component: Component) -> str | None:
    return ", ".join(sorted(f"{item.alg.value}:{item.content}" for item in component.hashes)) or None


def _licence(component: Component) -> str | None:
    names = (
        getattr(item, "value", None) or getattr(item, "id", None) or getattr(item, "name", "") for item in component.licenses
    )
    return ", ".join(sorted(map(str, names))) or None
