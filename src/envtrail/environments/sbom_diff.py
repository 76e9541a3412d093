"""Two bills of materials side by side: ours, or anybody's in CycloneDX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from cyclonedx.exception import CycloneDxException
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from msgspec import Struct

from envtrail.errors import InputError


class ComponentChange(Struct, frozen=True, kw_only=True):
    """One thing in which two bills are not alike."""

    name: str
    """The purl without version and qualifiers, else the name."""
    what: str
    """`added`, `removed`, `version`, `hash` or `licence`."""
    before: str | None
    after: str | None


def parse_bom(content: bytes, name: str) -> Bom:
    """A bill in JSON or XML.

    Raises:
        InputError: it is none.
    """
    try:
        bom = _parse(content)
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError, CycloneDxException, DefusedXmlException) as fault:
        raise InputError(
            f"`{name}` is no CycloneDX bill: {type(fault).__name__}: {fault}", hint="JSON or XML of CycloneDX"
        ) from None
    if bom is None:
        raise InputError(f"`{name}` is a document of another kind", hint="JSON or XML of CycloneDX")
    return bom


def diff_boms(before: Bom, after: Bom) -> list[ComponentChange]:
    """Component by component, sorted by name; of one name, what is on both sides is no change and the rest is paired in order.

    A new version has another hash: that is reported once. Another licence is reported also beside a new version.
    """
    old, new = _by_identity(before), _by_identity(after)
    changes: list[ComponentChange] = []
    for name in sorted(old.keys() | new.keys()):
        ours, theirs = old.get(name, []), new.get(name, [])
        gone = _without(ours, theirs)
        come = _without(theirs, ours)
        for one, other in zip(gone, come, strict=False):
            changes += _compare(name, one, other)
        pairs = min(len(gone), len(come))
        changes += [ComponentChange(name=name, what="removed", before=one.version, after=None) for one in gone[pairs:]]
        changes += [ComponentChange(name=name, what="added", before=None, after=other.version) for other in come[pairs:]]
    return changes


def _compare(name: str, one: Component, other: Component) -> Iterator[ComponentChange]:
    is_same_version = one.version == other.version
    sides = {
        "version": (one.version, other.version),
        "hash": (_hashes(one), _hashes(other)) if is_same_version else (None, None),
        "licence": (_licences(one), _licences(other)),
    }
    for what, (before, after) in sides.items():
        if before != after:
            yield ComponentChange(name=name, what=what, before=before, after=after)


def _parse(content: bytes) -> Bom | None:
    if content.lstrip().startswith(b"<"):
        root = fromstring(content)
        is_bill = root.tag.startswith("{http://cyclonedx.org/schema/bom/")
        return Bom.from_xml(root) if is_bill else None  # type: ignore[attr-defined]
    document = msgspec.json.decode(content)
    is_bill = document.get("bomFormat") == "CycloneDX"
    return Bom.from_json(document) if is_bill else None  # type: ignore[attr-defined]


def _by_identity(bom: Bom) -> dict[str, list[Component]]:
    found: dict[str, list[Component]] = {}
    for component in _walk(bom.components):
        found.setdefault(_identity(component), []).append(component)
    return {name: sorted(components, key=_aspects) for name, components in found.items()}


def _walk(components: Iterable[Component]) -> Iterator[Component]:
    """Components, and those inside of them."""
    for component in components:
        yield component
        yield from _walk(component.components)


def _without(components: list[Component], others: list[Component]) -> list[Component]:
    """What is left when each one alike has been taken away from the other side, one for one."""
    waiting = [_aspects(other) for other in others]
    left = []
    for component in components:
        aspects = _aspects(component)
        if aspects in waiting:
            waiting.remove(aspects)
        else:
            left.append(component)
    return left


def _aspects(component: Component) -> tuple[str, str, str]:
    return component.version or "", _hashes(component) or "", _licences(component) or ""


def _identity(component: Component) -> str:
    purl = component.purl
    if purl is None:
        return f"{component.group}/{component.name}" if component.group else component.name
    return f"pkg:{purl.type}/{f'{purl.namespace}/' if purl.namespace else ''}{purl.name}"


def _hashes(component: Component) -> str | None:
    return ", ".join(sorted(f"{item.alg.value}:{item.content}" for item in component.hashes)) or None


def _licences(component: Component) -> str | None:
    names = (
        getattr(item, "value", None) or getattr(item, "id", None) or getattr(item, "name", "") for item in component.licenses
    )
    return ", ".join(sorted(map(str, names))) or None
