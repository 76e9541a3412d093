"""What stands in a bill, word for word, and what differs between two."""

from __future__ import annotations

import json

import msgspec
import pytest
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from packageurl import PackageURL

from envtrail import __version__
from envtrail.environments.sbom import bill_of, render_bom
from envtrail.environments.sbom_diff import ComponentChange, diff_boms, parse_bom
from envtrail.errors import InputError
from envtrail.model.environment import Environment, Package, Snapshot, SnapshotRef
from envtrail.model.operation import Actor, Confidence, Operation
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

NOW = 1_764_000_000_000
SITE = "lib/python3.11/site-packages"
SIX = Package(
    ecosystem="pypi",
    name="six",
    version="1.0",
    url="https://x/six.whl",
    archive="sha256:" + "AB" * 32,
    digest="sha256:cd",
    installer="pip\x1b",
    requested=True,
    location=f"{SITE}/six-1.0.dist-info",
    license="MIT",
    requires=("dep",),
)
DEP = Package(ecosystem="pypi", name="dep", version="2", editable=True, requested=False, archive="blake3:ab", url="C:\\x")
PYTHON = Package(ecosystem="conda", name="python", version="3.11.4", digest="md5:ab", archive="md5:" + "e" * 32)


def operation(at_ms: int, ended_ms: int | None, *packages: str, **more: object) -> Operation:
    made = operation_of(Case(tool="pip", packages=list(packages), user="alice"))
    ended = None if ended_ms is None else to_rfc3339(ended_ms)
    return msgspec.structs.replace(made, id=f"{at_ms:026}", started=to_rfc3339(at_ms), ended=ended, **more)


def taken(at_ms: int) -> SnapshotRef:
    reported = {"digest": "", "kind": "venv", "reason": "operation", "image": None, "packages": 3, "size_bytes": 0}
    return SnapshotRef(prefix="/v", time_ms=at_ms, **reported)  # type: ignore[arg-type]


def bill(*packages: Package, last: Operation | None = None, prefix: str = "/v") -> Bom:
    snapshot = Snapshot(prefix=prefix, kind="venv", packages=list(packages))
    unnamed = Actor(name=None, uid=7, auid=None, method="uid", confidence=Confidence.STRONG)
    seen = [
        operation(NOW - 1, NOW + 1, "six==1.0", "dep==2"),
        operation(NOW - 8, NOW - 7, "six==1.0", argv=["pip", "install", "six"]),
        operation(NOW - 9, NOW - 9, "dep==2", actor=unnamed),
    ]
    environment = Environment(prefix=prefix, kind="venv", python="3.9.1")
    return bill_of(environment, snapshot, [taken(NOW - 50), taken(NOW)], iter(seen), host="gpu1", operation=last)


def reported(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": f"envtrail:{name}", "value": value} for name, value in sorted(pairs)]


def test_every_word_of_a_bill() -> None:
    last = operation(
        NOW - 8, NOW - 7, "six==1.0", actor=Actor(name=None, uid=None, auid=None, method="none", confidence=Confidence.NONE)
    )
    text = render_bom(bill(PYTHON, DEP, SIX, last=last), "json")
    document = json.loads(text)
    assert text.endswith("}\n")
    snapshot = Snapshot(prefix="/v", kind="venv", packages=[PYTHON, DEP, SIX])
    six, dep, python = f"pypi:six@1.0:{SITE}/six-1.0.dist-info", "pypi:dep@2:", "conda:python@3.11.4:"
    assert document["metadata"] == {
        "component": {
            "bom-ref": "environment",
            "name": "/v",
            "type": "application",
            "version": snapshot.digest,
            "properties": reported(
                ("host", "gpu1"),
                ("environment-kind", "venv"),
                ("python", "3.11.4"),
                ("operation", last.id),
                ("actor", "unknown"),
                ("actor-confidence", "none"),
                ("installed", last.started),
            ),
        },
        "timestamp": "2025-11-24T16:00:00+00:00",
        "tools": {"components": [{"bom-ref": "envtrail", "name": "envtrail", "type": "application", "version": __version__}]},
    }
    by_alice = [
        ("operation", f"{NOW - 8:026}"),
        ("actor", "alice"),
        ("actor-confidence", "certain"),
        ("installed", to_rfc3339(NOW - 8)),
    ]
    by_seven = [
        ("operation", f"{NOW - 9:026}"),
        ("actor", "uid 7"),
        ("actor-confidence", "strong"),
        ("installed", to_rfc3339(NOW - 9)),
    ]
    assert {item["name"]: item for item in document["components"]} == {
        "six": {
            "bom-ref": six,
            "name": "six",
            "version": "1.0",
            "type": "library",
            "purl": "pkg:pypi/six@1.0?download_url=https://x/six.whl",
            "hashes": [{"alg": "SHA-256", "content": "AB" * 32}],
            "licenses": [{"license": {"id": "MIT"}}],
            "externalReferences": [{"type": "distribution", "url": "https://x/six.whl"}],
            "properties": reported(
                ("requested", "true"),
                ("installer", "pip\\x1b"),
                ("record-digest", "sha256:cd"),
                ("location", f"{SITE}/six-1.0.dist-info"),
                *by_alice,
                ("command", "pip install six"),
            ),
        },
        "dep": {
            "bom-ref": dep,
            "name": "dep",
            "version": "2",
            "type": "library",
            "properties": reported(
                ("requested", "false"), ("editable", "true"), ("archive", "blake3:ab"), ("url", "C:\\x"), *by_seven
            ),
        },
        "python": {
            "bom-ref": python,
            "name": "python",
            "version": "3.11.4",
            "type": "library",
            "purl": "pkg:conda/python@3.11.4",
            "hashes": [{"alg": "MD5", "content": "e" * 32}],
        },
    }
    tree = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert tree == {"environment": sorted([python, six]), six: [dep], dep: [], python: []}


def test_the_serial_number_is_of_host_place_state_and_operation() -> None:
    one = bill(SIX)
    last = operation(NOW - 8, NOW - 7)
    others = [bill(SIX, DEP), bill(SIX, last=last), bill(SIX, prefix="/w"), bill(SIX, prefix="/v\udcff")]
    assert bill(SIX).serial_number == one.serial_number
    assert len({bom.serial_number for bom in (one, *others)}) == 5
    assert [bom.metadata.component and bom.metadata.component.name for bom in others[2:]] == ["/w", "/v\\udcff"]


def test_a_package_without_a_name_is_called_so() -> None:
    (component,) = bill(msgspec.structs.replace(SIX, name="", version="")).components
    assert (component.name, component.version, component.purl) == ("unnamed", None, None)


@pytest.mark.parametrize(
    ("archive", "algorithm"),
    [
        (f"sha1:{'a' * 40}", "SHA-1"),
        (f"sha384:{'a' * 96}", "SHA-384"),
        (f"sha512:{'A' * 128}", "SHA-512"),
        (f"sha256:{'a' * 63}", None),
        (f"sha256:{'g' * 64}", None),
        ("a" * 64, None),
    ],
)
def test_a_hash_of_the_formats_algorithms_is_one_and_another_is_a_property(archive: str, algorithm: str | None) -> None:
    (component,) = bill(msgspec.structs.replace(SIX, archive=archive)).components
    assert [item.alg.value for item in component.hashes] == ([algorithm] if algorithm else [])
    assert {item.value for item in component.properties if item.name == "envtrail:archive"} == (set() if algorithm else {archive})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a\tb ", "a\\x09b"),
        ("\x7f\x9f\xa0ä", "\\x7f\\x9f\xa0ä"),
        ("\u2027\u2028\u202a", "\u2027\\u2028\u202a"),
        ("\uffff😀", "\\uffff😀"),
    ],
)
def test_what_xml_cannot_hold_is_written_as_its_number(text: str, shown: str) -> None:
    (component,) = bill(msgspec.structs.replace(SIX, installer=text)).components
    assert {item.value for item in component.properties if item.name == "envtrail:installer"} == {shown.strip()}


def component(
    name: str, version: str | None = "1", *, purl: str | None = None, group: str | None = None, **more: object
) -> Component:
    return Component(name=name, version=version, group=group, purl=PackageURL.from_string(purl) if purl else None, **more)  # type: ignore[arg-type]


def differences(before: list[Component], after: list[Component]) -> list[tuple[str, str, str | None, str | None]]:
    found = diff_boms(Bom(components=before), Bom(components=after))
    assert all(isinstance(one, ComponentChange) for one in found)
    return [(one.name, one.what, one.before, one.after) for one in found]


class TestDifferences:
    def test_each_is_reported_with_both_sides_by_the_name_of_its_component(self) -> None:
        hashes = [[HashType(alg=HashAlgorithm.MD5, content=text * 16)] for text in ("ab", "cd")]
        before = [component("x", purl="pkg:npm/%40scope/x@1"), component("z", group="g"), component("d", hashes=hashes[0])]
        after = [component("x", "2", purl="pkg:npm/%40scope/x@2?a=b"), component("w", None), component("d", hashes=hashes[1])]
        assert differences(before, after) == [
            ("d", "hash", "MD5:" + "ab" * 16, "MD5:" + "cd" * 16),
            ("g/z", "removed", "1", None),
            ("pkg:npm/@scope/x", "version", "1", "2"),
            ("w", "added", None, None),
        ]
        assert differences([component("d", "1", hashes=hashes[0])], [component("d", "2", hashes=hashes[1])]) == [
            ("d", "version", "1", "2")
        ]
        assert (
            differences([component("d", hashes=[*hashes[0], *hashes[1]])], [component("d", hashes=[*hashes[1], *hashes[0]])])
            == []
        )

    def test_all_hashes_of_a_component_are_reported(self) -> None:
        hashes = [HashType(alg=HashAlgorithm.SHA_1, content="cd" * 20), HashType(alg=HashAlgorithm.MD5, content="ab" * 16)]
        reported = f"MD5:{'ab' * 16}, SHA-1:{'cd' * 20}"
        assert differences([component("d")], [component("d", hashes=hashes)]) == [("d", "hash", None, reported)]

    def test_of_one_name_what_is_on_both_sides_is_no_change_and_the_rest_is_paired_in_order(self) -> None:
        before, after = [component("a", one) for one in ("3", "1", "1", "2")], [component("a", one) for one in ("5", "4", "1")]
        for components, place in ((before, "b"), (after, "a")):
            for number, one in enumerate(components):
                one.bom_ref.value = f"{place}{number}"
                one.description = f"{place}{number}"
        assert differences(before, after) == [("a", "version", "1", "4"), ("a", "version", "2", "5"), ("a", "removed", "3", None)]
        assert differences(after, before) == [("a", "version", "4", "1"), ("a", "version", "5", "2"), ("a", "added", None, "3")]

    def test_licences_are_reported_in_one_order(self) -> None:
        by_name, by_id = DisjunctiveLicense(name="mine"), DisjunctiveLicense(id="MIT")
        one, other = component("a", licenses=[by_name, by_id]), component("a", licenses=[LicenseExpression("MIT OR ISC")])
        assert differences([one], [other]) == [("a", "licence", "MIT, mine", "MIT OR ISC")]
        assert differences([one], [component("a")]) == [("a", "licence", "MIT, mine", None)]


class TestParse:
    def test_a_bill_is_read_whatever_stands_before_it(self) -> None:
        xml, document = render_bom(bill(SIX), "xml"), render_bom(bill(SIX), "json")
        for text in (document, "\n " + document, xml, "\n " + xml.partition("\n")[2]):
            assert [one.name for one in parse_bom(text.encode(), "x").components] == ["six"]

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b'{"bomFormat": "SPDX"}', "`x` is a document of another kind"),
            (b'<bom xmlns="urn:other"/>', "`x` is a document of another kind"),
            (b"[]", "`x` is no CycloneDX bill: AttributeError: 'list' object has no attribute 'get'"),
        ],
    )
    def test_what_is_none_is_said_so(self, content: bytes, why: str) -> None:
        with pytest.raises(InputError) as reported:
            parse_bom(content, "x")
        assert (str(reported.value), reported.value.hint) == (why, "JSON or XML of CycloneDX")
