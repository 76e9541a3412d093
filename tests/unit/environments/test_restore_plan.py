"""What a state of an environment is made again from: each package is pinned, or it is said why it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envtrail.environments.artefacts import Artefact, Found, Miss
from envtrail.environments.restore import (
    Difference,
    compare,
    needs_index,
    plan_restoration,
    render_explicit,
    render_pylock,
    render_requirements,
    render_sources,
)
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.restoration import Lost, Pin, Restoration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
MD5 = "c" * 32
WHEEL = "https://x/six-1.0-py3-none-any.whl"


def pypi(name: str = "six", version: str = "1.0", **more: object) -> Package:
    return Package(ecosystem="pypi", name=name, version=version, **more)  # type: ignore[arg-type]


def conda(name: str, **more: object) -> Package:
    reported = {"url": f"https://c/linux-64/{name}-1-0.conda", "archive": A, **more}
    return Package(ecosystem="conda", name=name, version="1", **reported)  # type: ignore[arg-type]


def plan(*packages: Package, found: dict[Package, Found] | None = None) -> Restoration:
    environment = Environment(prefix="/v\nw", kind="venv", python="3.11.2")
    snapshot = Snapshot(prefix="/v", kind="conda", packages=list(packages))
    made = plan_restoration(environment, snapshot, found or {}, at="yesterday")
    assert (made.prefix, made.kind, made.python, made.at) == ("/v\nw", "venv", "3.11.2", "yesterday")
    assert made.snapshot == snapshot.digest
    return made


def pin(name: str = "six", **more: object) -> Pin:
    reported = {"ecosystem": "pypi", "version": "1.0", "how": "hash", "hash": A, "md5": None, "proof": "archive", **more}
    return Pin(name=name, **reported)  # type: ignore[arg-type]


def test_what_metadata_says_is_pinned_by_it(tmp_path: Path) -> None:
    archive = tmp_path / "a b-1.0-py3-none-any.whl"
    archive.touch()
    repository = "git+https://x/r@v1@abc#subdirectory=s"
    made = plan(
        pypi("local", url=archive.as_uri(), archive=B),
        pypi("direct", url=WHEEL, archive=A),
        pypi("built", url=repository),
        conda("openssl", md5=MD5),
    )
    url = "https://c/linux-64/openssl-1-0.conda"
    of_file = {"origin": "direct_url.json", "direct": True}
    assert (made.lost, made.pins) == (
        [],
        [
            pin("openssl", ecosystem="conda", version="1", md5=MD5, filename="openssl-1-0.conda", origin="conda-meta", url=url),
            pin("built", how="commit", hash="abc", filename="", proof="commit", url=repository, **of_file),
            pin("direct", filename="six-1.0-py3-none-any.whl", url=WHEEL, **of_file),
            pin("local", hash=B, filename="a b-1.0-py3-none-any.whl", url=archive.as_uri(), **of_file),
        ],
    )


def test_what_only_an_index_can_say_is_pinned_by_what_was_found() -> None:
    one, two, three = pypi("one"), pypi("two"), pypi("three")
    reported = {"filename": "x.whl", "sha256": "a" * 64, "size_bytes": 7, "proof": "files"}
    found: dict[Package, Found] = {
        one: Artefact(url=WHEEL, path="/p/x.whl", origin="index (uv)", **reported),  # type: ignore[arg-type]
        two: Artefact(path="/p/x.whl", origin="disk", **reported),  # type: ignore[arg-type]
        three: Miss(reason="it is down"),
    }
    made = plan(one, two, three, pypi("four"), found=found)
    same = {"filename": "x.whl", "path": "/p/x.whl", "size_bytes": 7, "proof": "files"}
    assert made.pins == [
        pin("one", origin="index (uv)", url=WHEEL, **same),
        pin("two", origin="disk", url="file:///p/x.whl", **same),
    ]
    assert made.lost == [
        Lost(ecosystem="pypi", name="three", version="1.0", reason="not restorable by hash: it is down"),
        Lost(ecosystem="pypi", name="four", version="1.0", reason="not restorable by hash: no index was queried"),
    ]


@pytest.mark.parametrize(
    ("package", "why"),
    [
        (pypi(name="-e"), "its name or its version is none"),
        (pypi(version="one"), "its name or its version is none"),
        (pypi(version="1.0 "), "its name or its version is none"),
        (Package(ecosystem="conda", name="a", version="1 0"), "its name or its version is none"),
        (pypi(url=WHEEL, archive="sha256:ab"), "the hash of its archive is none"),
        (conda("a", md5="c" * 31), "the hash of its archive is none"),
        (pypi(url="https://x/a b", archive=A), "the address of its archive is none"),
        (pypi(url="https://x/a\x1b", archive=A), "the address of its archive is none"),
        (pypi(url="http://[", archive=A), "the address of its archive is none"),
        (conda("a", url=None), "its document in conda-meta has no address, or no hash"),
        (conda("a", archive=None), "its document in conda-meta has no address, or no hash"),
        (
            pypi(location="lib/python3/dist-packages/six-1.0.dist-info"),
            "it belongs to the distribution: its package manager brings it back",
        ),
        (pypi(editable=True, source="file:///p"), "an editable install of file:///p: its files are not the environment's"),
        (pypi(editable=True), "an editable install of a project: its files are not the environment's"),
        (pypi(url=WHEEL), f"installed from {WHEEL}, which has no hash"),
        (pypi(url="file:///none/six.whl", archive=A), "installed from file:///none/six.whl, which is no longer there"),
    ],
)
def test_what_cannot_be_pinned_is_said_with_the_reason(package: Package, why: str) -> None:
    assert not needs_index(package)
    made = plan(package)
    assert made.pins == []
    assert made.lost == [Lost(ecosystem=package.ecosystem, name=package.name, version=package.version, reason=why)]


@pytest.mark.parametrize(
    ("package", "needs"),
    [
        (pypi(), True),
        (pypi(name="_a.b-C9"), True),
        (pypi(location="local/lib/python3.11/dist-packages/six-1.0.dist-info"), True),
        (pypi(archive="sha512:" + "a" * 128, md5=MD5), True),
        (pypi(url=WHEEL, archive=A), False),
        (conda("a"), False),
    ],
)
def test_only_a_package_of_pip_that_says_nothing_of_its_archive_needs_an_index(package: Package, *, needs: bool) -> None:
    assert needs_index(package) is needs


def test_a_conda_package_is_linked_behind_what_it_needs() -> None:
    ring = conda("b", requires=("c",)), conda("c", requires=("b",))
    assert [one.name for one in plan(pypi("z", url=WHEEL, archive=A), *reversed(ring)).pins] == ["b", "c", "z"]
    packages = conda("a", requires=("d >=1", "z")), conda("d", requires=("e",)), conda("e"), conda("b", url=None)
    assert [one.name for one in plan(pypi("z", url=WHEEL, archive=A), *packages).pins] == ["e", "d", "a", "z"]


class TestFiles:
    pins = (
        pin("x", ecosystem="conda", url="https://c/x.conda", filename="", origin=""),
        pin("y", ecosystem="conda", url="https://c/y.conda", md5=MD5, filename="", origin=""),
        pin("direct", url=WHEEL, filename="", origin="", direct=True),
        pin("Named", url="https://x/named.whl", filename="Named-1.0-py3-none-any.whl", origin="", size_bytes=7),
        pin("built", how="commit", hash="abc", url="git+https://x/r@v1@abc#subdirectory=s", filename="", origin=""),
        pin("flat", how="commit", hash="def", url="hg+https://x/q@def", filename="", origin=""),
    )

    def plan(self, *pins: Pin) -> Restoration:
        return Restoration(prefix="/v\nw", kind="venv", python=None, at="now\n", snapshot="", pins=list(pins), lost=[])

    def test_what_conda_takes(self) -> None:
        title = "# /v w as it was at now\n"
        assert render_explicit(self.plan(*self.pins)) == (
            f"{title}@EXPLICIT\nhttps://c/x.conda#{'a' * 64}\nhttps://c/y.conda#{MD5}\n"
        )
        assert render_explicit(self.plan(*self.pins[2:])) is None

    def test_what_pip_takes(self) -> None:
        title = "# /v w as it was at now\n"
        direct, named = f"direct @ {WHEEL} \\\n    --hash={A}\n", f"Named==1.0 \\\n    --hash={A}\n"
        assert render_requirements(self.plan(*self.pins)) == title + direct + named
        assert render_requirements(self.plan(*self.pins[:2], *self.pins[4:])) is None

    def test_what_is_built_from_a_repository(self) -> None:
        built, flat = (f"{one.name} @ {one.url}\n" for one in self.pins[4:])
        assert render_sources(self.plan(*self.pins)) == built + flat
        assert render_sources(self.plan(*self.pins[:4])) is None

    def test_what_every_installer_of_the_standard_takes(self) -> None:
        text = render_pylock(self.plan(*self.pins))
        assert text is not None
        hashes = {"sha256": "a" * 64}
        wheel = {"name": "Named-1.0-py3-none-any.whl", "url": "https://x/named.whl", "size": 7, "hashes": hashes}
        of_git = {"type": "git", "url": "https://x/r@v1", "commit-id": "abc", "subdirectory": "s"}
        assert tomllib.loads(text) == {
            "lock-version": "1.0",
            "created-by": "envtrail",
            "packages": [
                {"name": "direct", "archive": {"url": WHEEL, "hashes": hashes}},
                {"name": "named", "version": "1.0", "wheels": [wheel]},
                {"name": "built", "vcs": of_git},
                {"name": "flat", "vcs": {"type": "hg", "url": "https://x/q", "commit-id": "def"}},
            ],
        }
        assert render_pylock(self.plan(*self.pins[:2])) is None


class TestCompare:
    @pytest.mark.parametrize(
        ("wanted", "found", "why"),
        [
            (pypi(digest="1"), pypi(name="SIX", digest="2"), None),
            (pypi(), None, "it is not there"),
            (pypi(), pypi(version="2"), "another version or build"),
            (conda("a", build="0"), conda("a", build="1"), "another version or build"),
            (conda("a"), conda("a", archive=B), "another archive"),
            (conda("a"), conda("a", archive=None), None),
            (conda("a", archive=None), conda("a"), None),
            (conda("a", content="1"), conda("a", content="2"), None),
            (pypi(content="1"), pypi(content="2"), "other files"),
            (pypi(content="1"), pypi(content=None), None),
            (pypi(content=None), pypi(content="1"), None),
            (pypi(content="1", archive=A), pypi(content="1", archive=B), None),
        ],
    )
    def test_a_package_is_as_it_was_or_it_is_said_what_is_not(
        self, wanted: Package, found: Package | None, why: str | None
    ) -> None:
        version = found.version if found else None
        expected = [Difference(name=wanted.name, wanted=wanted.version, found=version, why=why)] if why else []
        assert compare(self.state(wanted), self.state(*[found] if found else []), []) == expected

    def test_what_was_lost_is_no_surprise_and_what_is_there_beside_is_one(self) -> None:
        lost = [
            Lost(ecosystem="pypi", name="Lost", version="1.0", reason=""),
            Lost(ecosystem="pypi", name="other", version="", reason=""),
        ]
        wanted = self.state(pypi("lost"), pypi("one"), conda("lost"), pypi("six"))
        restored = self.state(pypi("lost", "2"), pypi("beside", "3"), pypi("other"), conda("lost"), pypi("six"))
        assert compare(wanted, restored, lost) == [
            Difference(name="one", wanted="1.0", found=None, why="it is not there"),
            Difference(name="beside", wanted=None, found="3", why="it was not there"),
        ]

    def state(self, *packages: Package) -> Snapshot:
        return Snapshot(prefix="/v", kind="venv", packages=list(packages))
