"""What each form of metadata says of a package: every field, and what is reported of metadata that says nothing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from envtrail.core import read_dist_infos
from envtrail.environments.find import identify
from envtrail.environments.inventory import find_linked_projects, read_snapshot
from envtrail.environments.restore import needs_index, plan_restoration
from envtrail.model.environment import Environment, Package, Snapshot

SITE = "lib/python3.11/site-packages"
INFO = f"{SITE}/some_name-1.0.dist-info"
KNOWN = "their names and versions are those of their folders"
SECRET = "https://u:hunter2@x"
SHOWN = "https://<redacted:url-credential>@x"
FILES = {
    "METADATA": "Name: Some.Name\nVersion: 1.0\nLicense-Expression: MIT\nRequires-Dist: dep>=1\n",
    "WHEEL": "Tag: py2-none-any\nTag: py3-none-any\n",
    "INSTALLER": "pip\n",
    "REQUESTED": "",
    "RECORD": f"some_name.py,sha256={'A' * 43},7\nsome_name-1.0.dist-info/RECORD,,\n",
}


def write(prefix: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(text)


def read(prefix: Path) -> Snapshot:
    environment = identify(prefix)
    assert environment is not None
    return read_snapshot(environment)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    write(tmp_path / "v", {"pyvenv.cfg": "home = /usr/bin\n"})
    (tmp_path / "v" / SITE).mkdir(parents=True)
    return tmp_path / "v"


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    (tmp_path / "c/conda-meta").mkdir(parents=True)
    (tmp_path / "c" / SITE).mkdir(parents=True)
    return tmp_path / "c"


class TestDistInfo:
    def test_all_that_it_says_is_kept(self, venv: Path) -> None:
        write(
            venv / INFO,
            {**FILES, "direct_url.json": '{"url": "https://x/y.whl", "archive_info": {"hashes": {"sha256": "ab"}}}'},
        )
        ((info, _),) = read_dist_infos(str(venv), [INFO])
        assert info is not None
        snapshot = read(venv)
        assert (snapshot.prefix, snapshot.kind, snapshot.faults) == (str(venv), "venv", [])
        assert snapshot.packages == [
            Package(
                ecosystem="pypi",
                name="some-name",
                version="1.0",
                source="https://x/y.whl",
                installer="pip",
                digest=f"sha256:{info.record_sha256}",
                content=f"sha256:{info.content_sha256}",
                requested=True,
                location=INFO,
                url="https://x/y.whl",
                archive="sha256:ab",
                requires=("dep>=1",),
                tags=("py2-none-any", "py3-none-any"),
                license="MIT",
                size_bytes=7,
            )
        ]

    def test_what_it_does_not_say_is_not_known(self, venv: Path) -> None:
        write(venv / INFO, {"METADATA": "Name: a\nVersion: 1\n"})
        assert read(venv).packages == [Package(ecosystem="pypi", name="a", version="1", location=INFO)]

    def test_a_size_is_one_that_a_database_holds(self, venv: Path) -> None:
        write(venv / INFO, {**FILES, "RECORD": f"a,,{2**48 + 1}\n"})
        assert read(venv).packages[0].size_bytes == 2**48

    @pytest.mark.parametrize(
        ("reported", "source", "url", "archive"),
        [
            ({"url": "https://x/y"}, "https://x/y", "https://x/y", None),
            ({"url": f"{SECRET}/y"}, f"{SHOWN}/y", f"{SHOWN}/y", None),
            ({"url": "https://x/y", "archive_info": {}}, "https://x/y", "https://x/y", None),
            ({"url": "u", "archive_info": {"hashes": {"md5": "x"}, "hash": "md5=a=b"}}, "u", "u", "md5:a=b"),
            ({"url": "u", "archive_info": {"hashes": {"sha256": "c"}, "hash": "md5=a"}}, "u", "u", "sha256:c"),
            (
                {"url": "https://x/r", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "s"},
                "https://x/r@abc#subdirectory=s",
                "git+https://x/r@abc#subdirectory=s",
                None,
            ),
            ({"url": "https://x/r", "vcs_info": {}}, "https://x/r", "https://x/r", None),
            ({"url": "https://x/r", "vcs_info": {"vcs": "x"}}, "https://x/r", "https://x/r", None),
            ({"no": "url"}, None, None, None),
        ],
    )
    def test_where_it_was_installed_from(
        self, venv: Path, reported: dict[str, object], source: str | None, url: str | None, archive: str | None
    ) -> None:
        write(venv / INFO, {**FILES, "direct_url.json": json.dumps(reported)})
        (found,) = read(venv).packages
        assert (found.source, found.url, found.archive, found.editable) == (source, url, archive, False)

    @pytest.mark.parametrize(("reported", "is_editable"), [({"editable": True}, True), ({"editable": False}, False), ({}, False)])
    def test_whether_it_is_editable(self, venv: Path, reported: dict[str, bool], *, is_editable: bool) -> None:
        write(venv / INFO, {**FILES, "direct_url.json": json.dumps({"url": "file:///p", "dir_info": reported})})
        assert read(venv).packages[0].editable is is_editable

    def test_what_was_built_from_a_repository_is_pinned_to_its_commit(self, venv: Path) -> None:
        """As pip and uv write it: the address without the tool's name (direct_url.json has it beside)."""
        reported = {"url": "https://x/r.git", "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "abc"}}
        write(venv / INFO, {**FILES, "direct_url.json": json.dumps(reported)})
        snapshot = read(venv)
        assert not needs_index(snapshot.packages[0])
        plan = plan_restoration(Environment(prefix=str(venv), kind="venv"), snapshot, {}, at="now")
        assert [(pin.how, pin.hash, pin.url) for pin in plan.pins] == [("commit", "abc", "git+https://x/r.git@abc")]

    def test_what_is_no_package_is_a_fault_that_names_it(self, venv: Path) -> None:
        for name in ("~ix-1.0.dist-info", "empty-1.dist-info"):
            (venv / SITE / name).mkdir()
        write(venv / SITE, {"old-1.egg-info": "Name: old\n", "other": ""})
        snapshot = read(venv)
        assert snapshot.packages == []
        assert snapshot.faults == [
            "empty-1.dist-info: no METADATA with a name and a version",
            "old-1.egg-info: no PKG-INFO with a name and a version",
            "~ix-1.0.dist-info: half-removed by an interrupted pip",
        ]

    def test_a_document_that_is_a_link_is_a_fault_and_the_rest_is_kept(self, venv: Path) -> None:
        write(venv / INFO, FILES)
        (venv / INFO / "direct_url.json").symlink_to("/none")
        snapshot = read(venv)
        assert [(one.name, one.url) for one in snapshot.packages] == [("some-name", None)]
        assert [fault.partition(": ")[0] for fault in snapshot.faults] == ["some_name-1.0.dist-info"]

    def test_a_link_in_the_place_of_metadata_is_counted(self, venv: Path) -> None:
        for name in ("a-1", "b-2"):
            (venv / SITE / f"{name}.dist-info").mkdir()
            (venv / SITE / f"{name}.dist-info/METADATA").symlink_to("/none")
        snapshot = read(venv)
        assert [(one.name, one.version) for one in snapshot.packages] == [("a", "1"), ("b", "2")]
        assert snapshot.faults == [
            f"{SITE}: METADATA of 2 of its packages is a symbolic link (`uv --link-mode symlink`), which is not followed: {KNOWN}"
        ]


class TestEggs:
    HEADER = "Metadata-Version: 1.0\nName: Old_One \nversion:\t2.0\r\n\nName: body\n"

    @pytest.mark.parametrize("name", ["old-2.0.egg-info", "old-2.0.egg-info/PKG-INFO", "old-2.0.egg/EGG-INFO/PKG-INFO"])
    def test_its_header_says_what_it_is(self, venv: Path, name: str) -> None:
        write(venv / SITE, {name: self.HEADER})
        location = f"{SITE}/{name.partition('/')[0]}"
        assert read(venv).packages == [Package(ecosystem="pypi", name="old-one", version="2.0", location=location)]

    @pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_one_that_is_packed(self, venv: Path, how: int) -> None:
        with zipfile.ZipFile(venv / SITE / "old-2.0.egg", "w", how) as archive:
            archive.writestr("EGG-INFO/PKG-INFO", self.HEADER)
        (found,) = read(venv).packages
        assert (found.name, found.version, found.location) == ("old-one", "2.0", f"{SITE}/old-2.0.egg")
        with zipfile.ZipFile(venv / SITE / "old-2.0.egg", "w") as archive:
            archive.writestr("PKG-INFO", self.HEADER)
        said = "There is no item named 'EGG-INFO/PKG-INFO' in the archive"
        assert read(venv).faults == [f'old-2.0.egg: no archive that can be read: "{said}"']

    def test_a_link_leads_to_a_project_and_makes_its_package_editable(self, venv: Path, tmp_path: Path) -> None:
        write(tmp_path / "p", {"my_work.egg-info/PKG-INFO": "Name: my-work\nVersion: 3\n"})
        write(venv / SITE, {"my-work.egg-link": f"{tmp_path}/p \n..\n", "my_work-3.egg-info": "Name: my-work\nVersion: 3\n"})
        known = {"ecosystem": "pypi", "name": "my-work", "version": "3", "editable": True}
        assert read(venv).packages == [
            Package(**known, location=f"{SITE}/my-work.egg-link"),  # type: ignore[arg-type]
            Package(**known, location=f"{SITE}/my_work-3.egg-info"),  # type: ignore[arg-type]
        ]
        assert find_linked_projects(str(venv)) == [f"{tmp_path}/p/my_work.egg-info/PKG-INFO"]

    def test_links_that_lead_nowhere_lead_to_no_project(self, venv: Path) -> None:
        (venv / SITE / "a.egg-link").write_bytes(b"/p\0q\n")
        (venv / SITE / "b.egg-link").mkdir()
        (venv / SITE / "c.egg-link").write_text("/p")
        assert find_linked_projects(str(venv)) == ["/p/c.egg-info/PKG-INFO"]
        assert find_linked_projects(str(venv / "none")) == []
        for number in range(300):
            (venv / SITE / f"d{number}.egg-link").write_text("/p")
        assert len(find_linked_projects(str(venv))) == 198

    @pytest.mark.parametrize(("letters", "count"), [(250, 1), (251, 0), (0, 0)])
    def test_a_name_is_of_a_length_that_names_have(self, venv: Path, letters: int, count: int) -> None:
        write(
            venv / SITE,
            {"a.egg-info": f"Name: {'a' * letters}\nVersion: 1\n", "b.egg-info": f"Name: b\nVersion: {'1' * letters}\n"},
        )
        assert len(read(venv).packages) == 2 * count


class TestConda:
    def write(self, prefix: Path, **reported: object) -> None:
        write(
            prefix, {"conda-meta/six-1-0.json": json.dumps({"name": "Six", "version": "1", **reported}), "conda-meta/history": ""}
        )

    def test_all_that_a_document_says_is_kept(self, conda: Path) -> None:
        self.write(
            conda,
            build="py_0",
            channel=f"{SECRET}/c",
            url=f"{SECRET}/c/six.conda",
            sha256="ab",
            md5="cd",
            requested_specs=["six"],
            depends=["python >=3"],
            license="MIT",
            paths_data={
                "paths": [
                    {"_path": "a", "size_in_bytes": 3},
                    {"_path": "b"},
                    {"_path": "c", "size_in_bytes": -5},
                    {"size_in_bytes": 4},
                ]
            },
        )
        assert read(conda) == Snapshot(
            prefix=str(conda),
            kind="conda",
            packages=[
                Package(
                    ecosystem="conda",
                    name="Six",
                    version="1",
                    build="py_0",
                    source=f"{SHOWN}/c",
                    installer="conda",
                    digest="sha256:ab",
                    requested=True,
                    location="conda-meta/six-1-0.json",
                    url=f"{SHOWN}/c/six.conda",
                    archive="sha256:ab",
                    md5="cd",
                    requires=("python >=3",),
                    license="MIT",
                    size_bytes=7,
                )
            ],
        )

    @pytest.mark.parametrize(
        ("reported", "expected"),
        [
            ({}, {}),
            ({"md5": "cd"}, {"md5": "cd", "digest": "md5:cd", "archive": "md5:cd"}),
            ({"channel": {"name": "x"}, "url": "https://x/u"}, {"source": "https://x/u", "url": "https://x/u"}),
            ({"paths_data": {"paths": []}}, {"size_bytes": 0}),
            ({"paths_data": {"paths": [{"size_in_bytes": 2**48 + 1}]}}, {"size_bytes": 2**48}),
            ({"requested_spec": "six"}, {"requested": True}),
        ],
    )
    def test_what_it_does_not_say_is_not_known(
        self, conda: Path, reported: dict[str, object], expected: dict[str, object]
    ) -> None:
        self.write(conda, **reported)
        known = {"ecosystem": "conda", "name": "Six", "version": "1", "installer": "conda", "location": "conda-meta/six-1-0.json"}
        assert read(conda).packages == [Package(**{**known, "requested": False, **expected})]  # type: ignore[arg-type]

    def test_documents_that_are_none_are_faults_and_the_rest_is_read(self, conda: Path) -> None:
        self.write(conda)
        write(conda, {"conda-meta/a.json": "{", "conda-meta/b.json": '{"name": "", "version": "1"}', "conda-meta/~c.txt": ""})
        snapshot = read(conda)
        assert [one.name for one in snapshot.packages] == ["Six"]
        assert snapshot.faults == [
            "conda-meta/a.json: Input data was truncated",
            "conda-meta/b.json: no name and version of a package",
        ]

    @pytest.mark.parametrize("end", [".dist-info/METADATA", ".egg-info/PKG-INFO"])
    def test_a_document_counts_while_one_of_its_own_metadata_is_there(self, conda: Path, end: str) -> None:
        listed = [f"{SITE}/six-1{end}", f"{SITE}/six-2{end}"]
        self.write(conda, files=listed, paths_data={"paths": [{"_path": "other"}]})
        assert read(conda).packages == []
        write(conda, {listed[1]: ""})
        assert [one.name for one in read(conda).packages] == ["Six"]

    def test_metadata_that_cannot_be_looked_at_is_not_called_gone(self, conda: Path) -> None:
        self.write(conda, files=[f"lib/python3.11/site-packages/{'x' * 300}.dist-info/METADATA"])
        assert [one.name for one in read(conda).packages] == ["Six"]

    @pytest.mark.parametrize(
        ("installer", "version", "kept"),
        [
            ("conda", "1", [("conda", "1")]),
            ("conda", "2", [("conda", "1")]),
            ("pip", "1", [("pypi", "1")]),
            ("pip", "2", [("conda", "1"), ("pypi", "2")]),
        ],
    )
    def test_of_two_of_one_name_what_was_put_there_last_counts(
        self, conda: Path, installer: str, version: str, kept: list[tuple[str, str]]
    ) -> None:
        self.write(conda)
        write(conda / SITE / "SIX-1.dist-info", {"METADATA": f"Name: SIX\nVersion: {version}\n", "INSTALLER": installer})
        write(conda / SITE / "own-1.dist-info", {"METADATA": "Name: own\nVersion: 1\n", "INSTALLER": "conda"})
        assert [(one.ecosystem, one.version) for one in read(conda).packages if one.name != "own"] == kept
        assert "own" in [one.name for one in read(conda).packages]

    def test_what_a_package_says_of_itself_in_a_venv_is_no_condas(self, venv: Path) -> None:
        write(venv / INFO, {"METADATA": "Name: a\nVersion: 1\n", "INSTALLER": "conda"})
        environment = Environment(prefix=str(venv), kind="venv", site_packages=[str(venv / SITE)])
        write(venv, {"conda-meta/b-1-0.json": '{"name": "b", "version": "1"}'})
        assert [one.name for one in read_snapshot(environment).packages] == ["a"]


class TestBounds:
    def test_of_endless_faults_the_first_are_kept_and_the_rest_is_counted(self, venv: Path) -> None:
        for number in range(1002):
            (venv / SITE / f"~{number:04}").mkdir()
        faults = read(venv).faults
        assert len(faults) == 1001
        assert faults[-2:] == ["~0999: half-removed by an interrupted pip", "… and 2 more"]

    def test_an_environment_of_which_nothing_could_be_read_has_no_snapshot(self, venv: Path) -> None:
        environment = Environment(prefix=str(venv), kind="venv", faults=["it is", "locked"])
        with pytest.raises(OSError, match="it is; locked"):
            read_snapshot(environment)
        assert read_snapshot(Environment(prefix=str(venv), kind="venv")).packages == []

    def test_packages_that_tell_too_much_of_themselves_are_none(self, venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(venv / INFO, {"METADATA": "Name: a\nVersion: 1\n"})
        monkeypatch.setattr("envtrail.environments.inventory._TOLD_BYTES", 100)
        with pytest.raises(OSError, match="its packages tell more than 100 bytes of themselves"):
            read(venv)

    def test_site_packages_that_are_being_removed_hold_nothing(self, venv: Path) -> None:
        environment = Environment(prefix=str(venv), kind="venv", site_packages=[str(venv / "gone")])
        assert read_snapshot(environment) == Snapshot(prefix=str(venv), kind="venv", packages=[])
