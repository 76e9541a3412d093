"""Advisories of OSV: what they say of a version, which of them are one, and exports that are damaged."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from envtrail.environments.advisories import Advisory, Record, group_records, read_advisories
from envtrail.environments.impact import target_of
from envtrail.errors import InputError
from envtrail.model.environment import Package


def package(name: str, version: str = "1.0", ecosystem: str = "pypi") -> Package:
    return Package(ecosystem=ecosystem, name=name, version=version)


def advisory(*events: dict[str, str], versions: list[str] | None = None, **more: object) -> Advisory:
    affected = {
        "package": {"ecosystem": "PyPI", "name": "Some_Thing"},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
        "versions": versions or [],
    }
    return Advisory(records=[msgspec.convert({"id": "GHSA-1", "affected": [affected], **more}, Record)])


def record(identity: str, *aliases: str) -> Record:
    return Record(id=identity, aliases=list(aliases))


class TestOsv:
    @pytest.mark.parametrize(
        ("events", "inside", "outside"),
        [
            ([{"introduced": "0"}, {"fixed": "2.0"}], ["0.1", "1.9", "2.0rc1"], ["2.0", "3"]),
            ([{"introduced": "1.0"}, {"last_affected": "1.5"}], ["1.0", "1.5"], ["0.9", "1.5.1"]),
            ([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.5"}], ["0.5", "2.4"], ["1.5", "2.5"]),
            ([{"fixed": "2.5"}, {"introduced": "2.0"}], ["2.1"], ["1.0", "2.5"]),
            ([{"introduced": "0"}], ["0", "99"], []),
        ],
    )
    def test_events(self, events: list[dict[str, str]], inside: list[str], outside: list[str]) -> None:
        found = advisory(*events)
        assert [version for version in [*inside, *outside] if found.holds_for("some-thing", version)] == inside
        assert not found.holds_for("another", inside[0])

    def test_a_version_that_is_none_is_compared_with_the_listed_ones(self) -> None:
        found = advisory({"introduced": "0"}, versions=["1.1.1w"])
        assert found.holds_for("some-thing", "1.1.1w")
        assert not found.holds_for("some-thing", "1.1.1x")

    @given(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=4, unique=True).map(sorted),
        st.tuples(st.integers(0, 5), st.integers(0, 9)),
    )
    def test_alternating_events_are_the_union_of_specifiers(
        self, places: list[tuple[int, int]], version: tuple[int, int]
    ) -> None:
        names = [f"{major}.{minor}" for major, minor in places]
        events = [{"introduced" if at % 2 == 0 else "fixed": name} for at, name in enumerate(names)]
        spans = [names[at : at + 2] for at in range(0, len(names), 2)]
        sets = [SpecifierSet(f">={span[0]}" + (f",<{span[1]}" if len(span) > 1 else "")) for span in spans]
        wanted = f"{version[0]}.{version[1]}"
        assert advisory(*events).holds_for("some-thing", wanted) == any(one.contains(wanted) for one in sets)

    def test_a_local_version_is_the_release_it_is_built_from(self) -> None:
        assert advisory({"introduced": "0"}, {"last_affected": "2.5.1"}).holds_for("some-thing", "2.5.1+cu121")
        assert advisory(versions=["2.5.1"]).holds_for("some-thing", "2.5.1+cu121")
        assert advisory(versions=["2.5.1-RC1"]).holds_for("some-thing", "2.5.1rc1")
        assert not advisory(versions=["2.5.1"]).holds_for("some-thing", "2.5.2+cu121")

    def test_a_range_that_cannot_be_judged_is_reported_and_its_list_still_holds(self) -> None:
        found = advisory({"introduced": "0"}, {"fixed": "r2024"}, versions=["1.0"])
        assert found.unreadable("some-thing") == ["GHSA-1: `r2024` in a range of `some-thing` is no version (PEP 440)"]
        assert found.holds_for("some-thing", "1.0")
        assert not found.holds_for("some-thing", "1.1")

    def test_what_speaks_of_one_matter_is_one_advisory(self) -> None:
        records = [record("GHSA-a", "CVE-1"), record("PYSEC-1", "CVE-1", "CVE-2"), record("GHSA-b"), record("GHSA-c", "cve-2")]
        for order in (records, records[::-1]):
            by_id = group_records(order)
            assert by_id["CVE-1"] is by_id["GHSA-A"] is by_id["PYSEC-1"] is by_id["GHSA-C"] is not by_id["GHSA-B"]
            assert (by_id["CVE-2"].id, by_id["CVE-2"].aliases) == ("PYSEC-1", ["GHSA-a", "GHSA-c", "CVE-1", "CVE-2", "cve-2"])

    @given(st.lists(st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=3), max_size=9), st.randoms())
    def test_groups_are_what_aliases_connect_in_any_order(self, names: list[list[str]], chance: random.Random) -> None:
        chance.shuffle(names)
        by_id = group_records(record(*item) for item in names)
        whole = {one: {one} for item in names for one in item}
        for _ in names:
            for item in names:
                joined = set().union(*(whole[one] for one in item))
                whole.update(dict.fromkeys(joined, joined))
        found = {one: {other for other, group in by_id.items() if group is by_id[one]} for one in by_id}
        assert found == whole
        groups = {id(group): group for group in by_id.values()}.values()
        assert sum(len(group.records) for group in groups) == len(names)

    def test_one_record_that_says_so_is_enough_and_a_withdrawn_one_says_nothing(self) -> None:
        narrow = advisory({"introduced": "0"}, {"fixed": "1"}).records[0]
        wide = msgspec.structs.replace(advisory({"introduced": "0"}, {"fixed": "2"}).records[0], id="PYSEC-1")
        gone = msgspec.structs.replace(wide, withdrawn="2026-01-01T00:00:00Z")
        assert Advisory(records=[narrow, wide]).holds_for("some-thing", "1.5")
        assert not Advisory(records=[narrow, gone]).holds_for("some-thing", "1.5")
        assert (Advisory(records=[narrow, gone]).withdrawn, Advisory(records=[narrow, gone]).id) == (None, "GHSA-1")
        assert Advisory(records=[gone]).holds_for("some-thing", "1.5")
        assert Advisory(records=[gone]).withdrawn == "2026-01-01T00:00:00Z"

    def test_malware_of_pypi_is_not_condas_and_a_server_is_not_its_client(self) -> None:
        found = advisory({"introduced": "0"})
        python = msgspec.structs.replace(package("some-thing", "1", "conda"), requires=("python >=3.10,<3.11.0a0",))
        server = msgspec.structs.replace(package("some-thing", "1", "conda"), requires=("libgcc-ng >=12", "python-dateutil"))
        target = target_of(found, "some-thing")
        assert (target.matches(python), target.matches(server), target.matches(package("some-thing", "1"))) == (True, False, True)
        malware = Advisory(records=[msgspec.structs.replace(found.records[0], id="MAL-2026-1")])
        target = target_of(malware, "some-thing")
        brought = msgspec.structs.replace(package("some-thing", "1"), installer="conda")
        assert [target.matches(one) for one in (python, brought, package("some-thing", "1"))] == [False, False, True]

    def test_a_damaged_member_is_named_and_the_rest_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "all.zip"
        text = json.dumps({"id": "GHSA-1", "summary": "x" * 500})
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("crc", "deflate", "secret", "packed"):
                archive.writestr(f"{name}.json", text.replace("GHSA-1", name))
            archive.writestr("good.json", text)
            big = zipfile.ZipInfo("big.json")
            archive.writestr(big, b" " * (17 * 1024 * 1024), zipfile.ZIP_DEFLATED)
            places = {item.filename: item.header_offset for item in archive.infolist()}
        content = bytearray(path.read_bytes())
        content[places["deflate.json"] + 30 + len("deflate.json")] ^= 0xFF
        for name, field, value in (("crc", 16, 0xAA), ("secret", 8, 0x01), ("packed", 10, 99)):
            entry = content.rfind(b"PK\x01\x02", 0, content.rfind(f"{name}.json".encode()))
            content[entry + field] ^= value
            if field != 16:
                content[places[f"{name}.json"] + field - 2] ^= value
        path.write_bytes(content)
        found = read_advisories(path)
        assert set(found.by_id) == {"GHSA-1"}
        assert sorted(fault.partition("!")[2].partition(".")[0] for fault in found.faults) == [
            "big",
            "crc",
            "deflate",
            "packed",
            "secret",
        ]

    def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"id": "GHSA-1"}')
        (tmp_path / "b.json").symlink_to("nowhere")
        (tmp_path / "c.json").mkdir()
        found = read_advisories(tmp_path)
        assert (set(found.by_id), len(found.faults)) == ({"GHSA-1"}, 2)

    def test_an_export_is_a_folder_or_a_zip_and_a_bad_document_ends_nothing(self, tmp_path: Path) -> None:
        good = {"id": "GHSA-1", "aliases": ["CVE-1"], "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}}]}
        gone = {
            "id": "GHSA-2",
            "withdrawn": "2026-01-01T00:00:00Z",
            "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}}],
        }
        texts = {"1.json": json.dumps(good), "2.json": json.dumps(gone), "3.json": "{", "4.json": '{"id": 3}', "readme.txt": "x"}
        folder = tmp_path / "osv"
        folder.mkdir()
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for name, text in texts.items():
                (folder / name).write_text(text)
                archive.writestr(name, text)
        for path in (folder, tmp_path / "all.zip"):
            found = read_advisories(path)
            assert set(found.by_id) == {"GHSA-1", "GHSA-2", "CVE-1"}
            assert [item.id for item in found.by_name["a"]] == ["GHSA-1"]
            assert len(found.faults) == 2

    @pytest.mark.parametrize("content", [None, b"", b"no zip"])
    def test_what_is_no_export_is_said_so(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "all.zip"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError):
            read_advisories(path)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "id",
                            "affected",
                            "package",
                            "ranges",
                            "events",
                            "introduced",
                            "fixed",
                            "versions",
                            "ecosystem",
                            "name",
                            "x",
                        ]
                    ),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_document_is_read_or_refused(self, document: object) -> None:
        try:
            found = Advisory(records=[msgspec.convert(document, Record)])
        except msgspec.ValidationError:
            return
        for name in found.names:
            assert isinstance(target_of(found, name).matches(package(name)), bool)
            assert isinstance(found.unreadable(name), list)


class TestRecords:
    def of(self, **reported: object) -> Advisory:
        affected = {"package": {"ecosystem": "PyPI", "name": "Some_Thing"}, **reported}
        return Advisory(records=[msgspec.convert({"id": "GHSA-1", "affected": [affected]}, Record)])

    def test_what_is_of_another_ecosystem_or_another_kind_of_range_says_nothing(self) -> None:
        events = [{"introduced": "0"}]
        for reported, is_meant in (
            ({"ranges": [{"type": "ECOSYSTEM", "events": events}]}, True),
            ({"ranges": [{"type": "GIT", "events": events}]}, False),
            ({"ranges": [{"type": "GIT", "events": events}, {"type": "ECOSYSTEM", "events": events}]}, True),
            ({"versions": ["1.0"]}, True),
            ({"versions": ["1.1", "x"]}, False),
            ({"versions": ["1.0"], "package": {"ecosystem": "PyPI:x", "name": "some.thing"}}, True),
            ({"versions": ["1.0"], "package": {"ecosystem": "npm", "name": "some-thing"}}, False),
            ({"versions": ["1.0"], "package": None}, False),
        ):
            found = self.of(**reported)
            assert found.holds_for("some-thing", "1.0") is is_meant, reported
            assert found.names == ({"some-thing"} if "package" not in reported or "PyPI" in str(reported["package"]) else set())
        git = {"type": "GIT", "events": [{"introduced": "0"}, {"fixed": "abc"}]}
        assert self.of(ranges=[git]).unreadable("some-thing") == []

    def test_it_goes_by_the_first_of_its_ids_and_says_the_first_summary(self) -> None:
        def of(identity: str, summary: str = "", withdrawn: str | None = None) -> Record:
            return Record(id=identity, aliases=["OSV-1"], summary=summary, withdrawn=withdrawn)

        found = Advisory(records=[of("CVE-1"), of("GHSA-2", "two"), of("GHSA-1", "one"), of("MAL-1"), of("PYSEC-1")])
        assert (found.id, found.summary, found.withdrawn, found.is_malware) == ("PYSEC-1", "two", None, True)
        assert found.aliases == ["MAL-1", "GHSA-1", "GHSA-2", "CVE-1", "OSV-1"]
        gone = Advisory(records=[of("CVE-1", withdrawn="2025"), of("PYSEC-1", withdrawn="2026"), of("GHSA-1", withdrawn="2024")])
        assert (gone.id, gone.summary, gone.withdrawn, gone.is_malware) == ("PYSEC-1", "", "2026", False)
        assert Advisory(records=[*gone.records, of("XMAL-1")]).id == "XMAL-1"

    def test_of_a_long_export_the_progress_is_reported_and_a_project_finds_all_of_its_advisories(self, tmp_path: Path) -> None:
        names = {number: ["a", "B_b"] if number == 7 else ["a"] if number == 3 else [f"n{number}"] for number in range(401)}
        for number, projects in names.items():
            affected = [{"package": {"ecosystem": "PyPI", "name": name}} for name in projects]
            (tmp_path / f"{number:03}.json").write_text(json.dumps({"id": f"GHSA-{number}", "affected": affected}))
        reported: list[tuple[int, int]] = []
        found = read_advisories(tmp_path, lambda done, of: reported.append((done, of)))
        assert reported == [(0, 401), (200, 401), (400, 401)]
        assert [one.id for one in found.by_name["a"]] == ["GHSA-3", "GHSA-7"]
        assert [one.id for one in found.by_name["b-b"]] == ["GHSA-7"]
        assert (len(found.by_id), len(found.by_name), found.faults) == (401, 401, [])

    def test_what_is_no_export_is_said_with_its_first_fault(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("{")
        for path, why, hint in (
            (
                tmp_path,
                f"`{tmp_path}` holds no advisory of OSV: {tmp_path}/a.json: Input data was truncated",
                "point to an export",
            ),
            (
                tmp_path / "a.json",
                f"`{tmp_path}/a.json` cannot be read: File is not a zip file",
                "a folder of JSON files, or a zip of them",
            ),
        ):
            with pytest.raises(InputError) as reported:
                read_advisories(path)
            assert (str(reported.value), (reported.value.hint or "").partition(":")[0]) == (why, hint)
        (tmp_path / "a.json").unlink()
        with pytest.raises(InputError, match=r"holds no advisory of OSV$"):
            read_advisories(tmp_path)
