"""Bills of materials: valid by the official schema, the same each time, right about where things come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conda_lab import CACHE, ensure_root
from wheels import make_wheel

from envtrail.environments.blame import blame_packages, settled_by
from envtrail.environments.changes import diff_snapshots
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.purls import purl_of
from envtrail.environments.sbom import make_bom, render_bom, validate_bom
from envtrail.environments.sbom_diff import diff_boms, parse_bom
from envtrail.errors import InputError
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment, Package, Snapshot, SnapshotRef

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
        (of_pypi("six", url="git+file:///home/a/six@abc"), None),
        (of_pypi("six", editable=True), None),
        (of_pypi("six", installer="conda"), None),
        (of_pypi("six", location="lib/python3/dist-packages/six-1.0.dist-info"), None),
        (of_pypi("six", location="local/lib/python3.11/dist-packages/six-1.0.dist-info"), "pkg:pypi/six@1.0"),
        (of_pypi("/"), None),
        (
            Package(
                ecosystem="conda",
                name="x",
                version="1",
                url="https://conda.anaconda.org/conda-forge/label/dev/noarch/x-1-0.tar.bz2",
            ),
            "pkg:conda/x@1?channel=conda-forge/label/dev&subdir=noarch&type=tar.bz2",
        ),
        (
            Package(ecosystem="conda", name="x", version="1", source="https://repo.anaconda.com/pkgs/main/linux-64"),
            "pkg:conda/x@1?channel=main&subdir=linux-64",
        ),
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


@pytest.mark.parametrize(
    "spoilt",
    [
        {"license": "a\x1b[31m"},
        {"url": "https://x/%zz"},
        {"url": "C:\\x"},
        {"archive": "sha256:xyz"},
        {"location": "a\x00\ufffe"},
        {"installer": "\u2028"},
        {"version": ""},
    ],
)
def test_a_package_cannot_spoil_the_bill_of_the_others(spoilt: dict[str, str]) -> None:
    held = msgspec.structs.replace(of_pypi("six"), **spoilt)
    snapshot = Snapshot(prefix="/v", kind="venv", packages=[of_pypi("good"), held])
    for form in ("json", "xml"):
        text = bill(Environment(prefix="/v", kind="venv", python="3.11.2"), snapshot, form)
        assert validate_bom(text, form) is None
        assert sorted(component.name for component in parse_bom(text.encode(), "x").components) == ["good", "six"]


def test_what_the_format_cannot_hold_is_a_property() -> None:
    (component,) = json.loads(made(of_pypi("six", archive="blake3:ab", url="https://x/%zz")))["components"]
    told = {item["name"]: item["value"] for item in component["properties"]}
    assert (told["envtrail:archive"], told["envtrail:url"]) == ("blake3:ab", "https://x/%zz")
    assert "hashes" not in component


def test_the_graph_reaches_what_nobody_asked_for() -> None:
    document = json.loads(made(of_pypi("a", requires=("b",), requested=False), of_pypi("b", requested=False)))
    tree = {item["ref"]: item.get("dependsOn") for item in document["dependencies"]}
    assert tree["environment"] == ["pypi:a@1.0:"]
    document = json.loads(made(of_pypi("a", requires=("b",), requested=False), of_pypi("b", requires=("a",), requested=False)))
    tree = {item["ref"]: item.get("dependsOn") for item in document["dependencies"]}
    assert tree["environment"] == ["pypi:a@1.0:", "pypi:b@1.0:"]


def test_markers_are_judged_by_the_python_of_that_time() -> None:
    conda = Package(ecosystem="conda", name="python", version="3.10.13")
    now = Environment(prefix="/v", kind="conda", python="3.12.1")
    app = of_pypi("app", requires=("old; python_version<'3.11'", "new; python_version>='3.11'"))

    def needs(environment: Environment, *more: Package) -> list[str]:
        packages = [app, of_pypi("new"), of_pypi("old"), *more]
        document = json.loads(bill(environment, Snapshot(prefix="/v", kind="conda", packages=packages)))
        return next(item["dependsOn"] for item in document["dependencies"] if item["ref"].startswith("pypi:app@"))

    assert needs(now) == ["pypi:new@1.0:"]
    assert needs(now, conda) == ["pypi:old@1.0:"]
    older = of_pypi("z", location="lib/python3.9/site-packages/z-1.0.dist-info")
    assert needs(now, older) == ["pypi:old@1.0:"]
    same = of_pypi("z", location="lib/python3.12/site-packages/z-1.0.dist-info")
    assert needs(now, same) == ["pypi:new@1.0:"]


def test_what_was_still_at_work_has_not_brought_anything_in_yet() -> None:
    empty = Snapshot(prefix="/v", kind="venv", packages=[])
    snapshot = Snapshot(prefix="/v", kind="venv", packages=[of_pypi("six")])
    done = operation_of_drift("/v", "venv", diff_snapshots(empty, snapshot), since_ms=NOW, until_ms=NOW + 5, node="n")
    at_work = msgspec.structs.replace(done, image=7)
    before = msgspec.structs.replace(done, ended=None)

    def settled(at_ms: int, *images: int) -> list[bool]:
        taken = [
            SnapshotRef(
                prefix="/v", time_ms=at_ms, digest="", kind="venv", reason="operation", image=image, packages=1, size_bytes=0
            )
            for image in images
        ]
        found = list(settled_by([done, at_work, before], taken, at_ms))
        return [operation in found for operation in (done, at_work, before)]

    assert settled(NOW + 4) == [False, False, True]
    assert settled(NOW + 4, 7) == [False, True, True]
    assert settled(NOW + 5) == [True, True, True]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """From an index, from a file, and editable: made by pip from local wheels (uv calls every package requested)."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "v")], check=True)
    make_wheel(folder / "index", "dep-one", "1.0")
    make_wheel(folder / "index", "extra-one", "2.0")
    make_wheel(
        folder / "index",
        "app-one",
        "1.0",
        requires=["dep-one>=1", "extra-one; extra == 'more'", "never; python_version < '3'"],
        extras=["more"],
    )
    direct = make_wheel(folder / "direct", "direct-one", "3.0", requires=["app-one[more]"])
    project = folder / "project"
    project.mkdir()
    backend = (
        "pyproject.toml",
        '[build-system]\nrequires=[]\nbuild-backend="back"\nbackend-path=["."]\n[project]\nname="mine"\nversion="0.1"\n',
    )
    code = f"""import shutil, sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "support")!r})
from pathlib import Path
from wheels import make_wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    return make_wheel(Path(folder), "mine", "0.1").name
build_wheel = build_editable
def get_requires_for_build_editable(config_settings=None):
    return []
"""
    (project / backend[0]).write_text(backend[1])
    (project / "back.py").write_text(code)
    install = [str(folder / "v/bin/pip"), "install", "-q", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*install, "--find-links", str(folder / "index"), str(direct), "-e", str(project)], check=True)
    found = identify(folder / "v")
    assert found is not None
    return found


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_real_environment_of_wheels(venv: Environment, form: str) -> None:
    text = bill(venv, read_snapshot(venv), form)
    assert validate_bom(text, form) is None
    bom = parse_bom(text.encode(), "x")
    told = {component.name: component.purl and component.purl.to_string() for component in bom.components}
    purls = {name: purl for name, purl in told.items() if name not in {"pip", "setuptools"}}
    assert purls == {
        "app-one": "pkg:pypi/app-one@1.0",
        "dep-one": "pkg:pypi/dep-one@1.0",
        "extra-one": "pkg:pypi/extra-one@2.0",
        "direct-one": None,
        "mine": None,
    }


def test_the_tree_of_a_real_environment_follows_extras_and_markers(venv: Environment) -> None:
    document = json.loads(bill(venv, read_snapshot(venv)))
    tree = {
        item["ref"].partition("@")[0]: [one.partition("@")[0] for one in item.get("dependsOn", [])]
        for item in document["dependencies"]
    }
    assert tree["pypi:direct-one"] == ["pypi:app-one"]
    assert tree["pypi:app-one"] == ["pypi:dep-one", "pypi:extra-one"]
    assert [name for name in tree["environment"] if name not in {"pypi:pip", "pypi:setuptools"}] == [
        "pypi:direct-one",
        "pypi:mine",
    ]
    editable = next(item for item in document["components"] if item["name"] == "mine")
    assert {"name": "envtrail:editable", "value": "true"} in editable["properties"]


def test_packages_of_one_name_are_counted_and_those_inside_of_others_too() -> None:
    both = made(of_pypi("six", location="a"), of_pypi("six", location="b"))
    one = made(of_pypi("six", location="a"))
    found = diff_boms(parse_bom(both.encode(), "x"), parse_bom(one.encode(), "y"))
    assert [(item.name, item.what, item.before) for item in found] == [("pkg:pypi/six", "removed", "1.0")]
    document = json.loads(one)
    document["components"][0]["components"] = [
        {"type": "library", "name": "inner", "version": "2", "purl": "pkg:generic/inner@2"}
    ]
    found = diff_boms(parse_bom(one.encode(), "x"), parse_bom(json.dumps(document).encode(), "y"))
    assert [(item.name, item.what, item.after) for item in found] == [("pkg:generic/inner", "added", "2")]


def test_another_licence_is_told_beside_a_new_version() -> None:
    before, after = made(of_pypi("a", license="MIT")), made(of_pypi("a", "2", license="AGPL-3.0-only"))
    found = diff_boms(parse_bom(before.encode(), "x"), parse_bom(after.encode(), "y"))
    assert [(item.what, item.before, item.after) for item in found] == [
        ("version", "1.0", "2"),
        ("licence", "MIT", "AGPL-3.0-only"),
    ]


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
    "content",
    [
        b'<!DOCTYPE x [<!ENTITY a "b">]><bom xmlns="http://cyclonedx.org/schema/bom/1.6">&a;</bom>',
        b"",
        b"{",
        b"[]",
        b'{"a": 1}',
        b"<",
        b"<a/>",
        b'{"bomFormat": "CycloneDX", "components": 3}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_bill_is_said_so(content: bytes) -> None:
    with pytest.raises(InputError, match="`x`"):
        parse_bom(content, "x")
