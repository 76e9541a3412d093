"""Bills of materials: valid by the official schema, the same each time, right about where things come from."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from conda_lab import CACHE, ensure_root

from envtrail.environments.blame import blame_packages
from envtrail.environments.changes import diff_snapshots
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.purls import purl_of
from envtrail.environments.sbom import make_bom, render_bom, validate_bom
from envtrail.environments.sbom_diff import diff_boms, parse_bom
from envtrail.errors import InputError
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment, Package, Snapshot

NOW = 1_764_000_000_000


def bill(environment: Environment, snapshot: Snapshot, form: str = "json") -> str:
    empty = msgspec.structs.replace(snapshot, packages=[])
    changes = diff_snapshots(empty, snapshot)
    operation = operation_of_drift(snapshot.prefix, "venv", changes, since_ms=NOW, until_ms=NOW, node="n")
    rows = blame_packages(snapshot, [operation], python=environment.python)
    return render_bom(make_bom(environment, snapshot, rows, host="gpu1", time_ms=NOW, operation=operation), form)


def made(*packages: Package) -> str:
    snapshot = Snapshot(prefix="/v", kind="venv", packages=list(packages))
    return bill(Environment(prefix="/v", kind="venv", python="3.11.2"), snapshot)


def of_pypi(name: str, version: str = "1.0", **more: object) -> Package:
    return Package(ecosystem="pypi", name=name, version=version, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["json", "xml"])
def test_the_bill_of_this_environment_is_valid_and_read_back_the_same(form: str) -> None:
    import sys

    environment = identify(Path(sys.prefix))
    assert environment is not None
    text = bill(environment, read_snapshot(environment), form)
    assert validate_bom(text, form) is None
    assert diff_boms(parse_bom(text.encode(), "x"), parse_bom(bill(environment, read_snapshot(environment)).encode(), "y")) == []


@pytest.mark.conda
@pytest.mark.parametrize("form", ["json", "xml"])
def test_conda_and_pypi_side_by_side(form: str) -> None:
    root = ensure_root(CACHE / "root")
    environment = identify(root.prefix)
    assert environment is not None
    text = bill(environment, read_snapshot(environment), form)
    assert validate_bom(text, form) is None
    assert "pkg:conda/python@3.10.13?build=h0_pyenv_0" in text.replace("&amp;", "&")


def test_the_same_question_gives_the_same_bytes() -> None:
    packages = [of_pypi("app", requires=("dep",)), of_pypi("dep")]
    assert made(*packages) == made(*packages)
    assert made(*packages) != made(packages[0])


def test_the_tree_and_who_brought_it_are_in_it() -> None:
    document = json.loads(made(of_pypi("app", requires=("dep>=1",), requested=True), of_pypi("dep", requested=False)))
    tree = {
        item["ref"].partition("@")[0]: [one.partition("@")[0] for one in item.get("dependsOn", [])]
        for item in document["dependencies"]
    }
    assert (tree["pypi:app"], tree["environment"]) == (["pypi:dep"], ["pypi:app"])
    properties = {item["name"]: item["value"] for item in document["components"][0]["properties"]}
    assert properties["envtrail:requested"] == "true"
    assert len(properties["envtrail:operation"]) == 26
    assert {item["name"]: item["value"] for item in document["metadata"]["component"]["properties"]}["envtrail:host"] == "gpu1"


@pytest.mark.parametrize(
    ("package", "purl"),
    [
        (of_pypi("six"), "pkg:pypi/six@1.0"),
        (of_pypi("six", url="https://x/six.whl"), "pkg:pypi/six@1.0?download_url=https://x/six.whl"),
        (of_pypi("six", url="git+https://x/six@abc"), "pkg:pypi/six@1.0?vcs_url=git%2Bhttps://x/six%40abc"),
        (of_pypi("six", url="file:///home/a/six"), None),
        (of_pypi("six", editable=True), None),
        (
            Package(
                ecosystem="conda",
                name="numpy",
                version="1.26",
                build="h1_0",
                url="https://c/conda-forge/linux-64/numpy-1.26-h1_0.conda",
            ),
            "pkg:conda/numpy@1.26?build=h1_0&channel=conda-forge&subdir=linux-64&type=conda",
        ),
    ],
)
def test_purls(package: Package, purl: str | None) -> None:
    found = purl_of(package)
    assert (found.to_string() if found else None) == purl


def test_the_hash_of_an_archive_is_one_and_the_digest_of_a_record_is_none() -> None:
    digest = "ab" * 32
    (component,) = json.loads(made(of_pypi("six", archive=f"sha256:{digest}", digest="sha256:" + "cd" * 32)))["components"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert "cd" * 32 in json.dumps(component["properties"])


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("MIT", {"license": {"id": "MIT"}}),
        ("MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("see the file", {"license": {"name": "see the file"}}),
    ],
)
def test_licences(licence: str, said: dict[str, object]) -> None:
    text = made(of_pypi("six", license=licence))
    assert validate_bom(text, "json") is None
    (component,) = json.loads(text)["components"]
    (found,) = component["licenses"]
    assert said.items() <= found.items()


def test_a_difference_is_told_once_for_each_component() -> None:
    before = made(of_pypi("a"), of_pypi("b"), of_pypi("c", license="MIT"), of_pypi("d", archive="sha256:" + "ab" * 32))
    after = made(
        of_pypi("b", "2.0"), of_pypi("c", license="BSD-3-Clause"), of_pypi("d", archive="sha256:" + "cd" * 32), of_pypi("e")
    )
    changes = diff_boms(parse_bom(before.encode(), "x"), parse_bom(after.encode(), "y"))
    assert [(item.name, item.what) for item in changes] == [
        ("pkg:pypi/a", "removed"),
        ("pkg:pypi/b", "version"),
        ("pkg:pypi/c", "licence"),
        ("pkg:pypi/d", "hash"),
        ("pkg:pypi/e", "added"),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": 1}', b"<", b"<a/>", b'{"bomFormat": "CycloneDX", "components": 3}', b"\xff\xfe"]
)
def test_what_is_no_bill_is_said_so(content: bytes) -> None:
    with pytest.raises(InputError, match="`x`"):
        parse_bom(content, "x")
