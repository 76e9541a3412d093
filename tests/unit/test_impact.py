"""Who has it, who had it, and since when: by name, by range, by advisory."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from envtrail.environments.advisories import Advisory, Record, group_records, read_advisories
from envtrail.environments.impact import is_advisory_id, merge_spans, parse_spec, target_of
from envtrail.errors import InputError, UsageError
from envtrail.interpret.times import to_rfc3339
from envtrail.model.environment import Holding, Package, Snapshot
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Actor, Confidence, EnvironmentRef, Outcome
from envtrail.model.run import Run
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.layout import Layout
from envtrail.store.remote import RemoteStore
from envtrail.store.server import Request, StoreServer, answer
from envtrail.store.state import State
from envtrail.store.store import Query, Viewer

NOW = 1_764_000_000_000


def package(name: str, version: str = "1.0", ecosystem: str = "pypi") -> Package:
    return Package(ecosystem=ecosystem, name=name, version=version)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    layout = Layout(tmp_path)
    layout.create()
    opened = State(layout.state)
    yield opened
    opened.close()


def put(state: State, at: int, *packages: Package, prefix: str = "/v", image: int | None = None) -> None:
    held = Snapshot(prefix=prefix, kind="venv", packages=list(packages))
    state.put_snapshot(held, time_ms=NOW + at, reason="operation", image=image)


class TestHoldings:
    def spans(self, state: State, name: str | None = None, *, past: bool = True) -> list[tuple[str, str, int, int | None]]:
        store = EmbeddedStore(state.path.parent)
        return [
            (item.prefix, item.package.version, item.since_ms - NOW, item.until_ms - NOW if item.until_ms else None)
            for item in store.holdings(name, past=past)
        ]

    def test_a_span_begins_and_ends_with_a_snapshot(self, state: State) -> None:
        put(state, 0, package("six", "1"))
        put(state, 1, package("six", "1"), package("other"))
        put(state, 2, package("six", "2"), package("other"))
        put(state, 3, package("other"))
        put(state, 4, package("six", "1"), prefix="/w")
        assert self.spans(state, "six") == [("/v", "1", 0, 2), ("/v", "2", 2, 3), ("/w", "1", 4, None)]
        assert self.spans(state, "six", past=False) == [("/w", "1", 4, None)]
        assert self.spans(state, "other", past=False) == [("/v", "1.0", 1, None)]

    def test_what_was_there_before_comes_back_as_a_span_of_its_own(self, state: State) -> None:
        for at, held in enumerate([[package("six")], [], [package("six")]]):
            put(state, at, *held)
        assert self.spans(state, "six") == [("/v", "1.0", 0, 1), ("/v", "1.0", 2, None)]

    def test_putting_again_changes_nothing(self, state: State) -> None:
        for _ in range(2):
            put(state, 0, package("six"))
            put(state, 1)
            put(state, 2, package("six"))
        for at, held in enumerate([[package("six")], [], [package("six")]]):
            put(state, at, *held)
        assert self.spans(state, "six") == [("/v", "1.0", 0, 1), ("/v", "1.0", 2, None)]

    def test_who_began_and_ended_it_is_known_by_image(self, state: State) -> None:
        put(state, 0, package("six"), image=7)
        put(state, 1, image=8)
        (found,) = EmbeddedStore(state.path.parent).holdings("six")
        assert (found.since_image, found.until_image) == (7, 8)

    def test_a_question_is_as_quick_with_many_snapshots(self, state: State) -> None:
        with state.transaction():
            for at in range(1500):
                put(state, at, package("six", str(at % 7)), package(f"p{at}"), prefix=f"/v{at % 30}")
        assert len(self.spans(state, "p77")) == 1
        plan = state._database.execute(
            "EXPLAIN QUERY PLAN SELECT 1 FROM packages p JOIN holdings h ON h.package = p.id WHERE p.name = 'six'"
        ).fetchall()
        assert not [row for row in plan if row[3].startswith("SCAN")], plan


class TestUses:
    def put_run(self, state: State, at: int, *, name: str | None = "alice", uid: int = 1001, **more: Any) -> None:
        event = EventId(node="h", time_ms=NOW + at, serial=at)
        confidence = Confidence.CERTAIN
        actor = Actor(name=name, uid=uid, auid=uid, method="auid", confidence=confidence)
        fields: dict[str, Any] = {
            "id": make_operation_id(event, "/v", kind="run"),
            "kind": "script",
            "program": "/x.py",
            "argv": ["x"],
            "host": "h",
            "environment": EnvironmentRef(prefix="/v", kind="venv"),
            "actor": actor,
            "started": to_rfc3339(NOW + at),
            "ended": None,
            "outcome": Outcome.UNKNOWN,
            "exit_code": None,
            "signal": None,
            "snapshot": None,
            "cwd": None,
            "pid": 1,
            "image": 1,
            "absent": {},
            "evidence": [],
        }
        state.put_run(Run(**{**fields, **more}))

    def asked(self, state: State, since: int | None = None, until: int | None = None) -> list[tuple[str | None, int | None, int]]:
        at = [None if moment is None else NOW + moment for moment in (since, until)]
        return [
            (use.user, use.uid, use.runs) for use in EmbeddedStore(state.path.parent).uses("/v", since_ms=at[0], until_ms=at[1])
        ]

    def test_each_person_is_summed_and_loops_count_as_many_as_they_are(self, state: State) -> None:
        self.put_run(state, 1)
        self.put_run(state, 2, count=5)
        self.put_run(state, 3, part_of="01ABC")
        self.put_run(state, 4, kind="system")
        self.put_run(state, 5, environment=EnvironmentRef(prefix="/v2", kind="venv"))
        self.put_run(state, 6, name="bob", uid=1002)
        self.put_run(state, 7, name=None, uid=7)
        assert self.asked(state) == [("alice", 1001, 6), (None, 7, 1), ("bob", 1002, 1)]
        first = next(EmbeddedStore(state.path.parent).uses("/v"))
        assert (first.first, first.last) == (to_rfc3339(NOW + 1), to_rfc3339(NOW + 2))

    def test_a_span_has_its_first_moment_and_not_its_last(self, state: State) -> None:
        for at in (1, 2, 3):
            self.put_run(state, at)
        assert self.asked(state, 2, 3) == [("alice", 1001, 1)]
        assert self.asked(state, 2) == [("alice", 1001, 2)]
        assert self.asked(state, None, 2) == [("alice", 1001, 1)]
        assert self.asked(state, 4) == []

    def test_sums_agree_with_the_runs_that_are_listed(self, state: State) -> None:
        for at in range(200):
            self.put_run(state, at, uid=1000 + at % 3, count=1 + at % 4, kind=("script", "system", "module")[at % 3])
        listed = EmbeddedStore(state.path.parent).runs(Query(environment="/v", since_ms=NOW + 50, until_ms=NOW + 149))
        assert sum(run.count for run in listed) == sum(row[2] for row in self.asked(state, 50, 150)) > 0

    def test_a_member_is_told_of_their_own_runs_alone(self, state: State) -> None:
        self.put_run(state, 1)
        self.put_run(state, 2, name="bob", uid=1002)
        store = EmbeddedStore(state.path.parent)

        def asked(uid: int, *, everything: bool = False) -> list[str | None]:
            viewer = Viewer(uid=uid, sees_everything=everything)
            return [use.user for use in answer(store, Request(method="uses", text="/v"), viewer)]

        assert asked(1001) == ["alice"]
        assert asked(1003) == []
        assert asked(0, everything=True) == ["alice", "bob"]

    def test_the_service_answers_as_the_folder_does(self, state: State, tmp_path: Path) -> None:
        self.put_run(state, 1)
        put(state, 0, package("six"))
        server = StoreServer(tmp_path / "s.sock", state.path.parent, group="envtrail")
        try:
            remote, embedded = RemoteStore(str(tmp_path / "s.sock")), EmbeddedStore(state.path.parent)
            span = {"since_ms": NOW, "until_ms": NOW + 9}
            assert list(remote.uses("/v", **span)) == list(embedded.uses("/v", **span)) != []
            assert list(remote.uses("/v", since_ms=NOW + 2)) == []
            assert list(remote.holdings("six")) == list(embedded.holdings("six")) != []
            assert list(remote.holdings(past=False)) == list(embedded.holdings(past=False)) != []
        finally:
            server.close()

    def test_runs_are_read_from_the_index(self, state: State) -> None:
        asked: list[str] = []
        store = EmbeddedStore(state.path.parent)
        store._database.set_trace_callback(asked.append)
        list(store.uses("/v", since_ms=1))
        list(store.runs(Query(environment="/v")))
        list(store.operations(Query(environment="/v", package="six")))
        plans = [" ".join(row[3] for row in store._database.execute(f"EXPLAIN QUERY PLAN {text}")) for text in list(asked)]
        assert "COVERING INDEX runs_prefix" in plans[0]
        assert "INDEX runs_prefix" in plans[1]
        assert "INDEX operations_prefix" in plans[2]


class TestSpans:
    def held(self, since: int, until: int | None, version: str = "1", prefix: str = "/v", image: int | None = None) -> Holding:
        return Holding(
            prefix=prefix, package=package("six", version), since_ms=since, until_ms=until, since_image=image, until_image=None
        )

    def spans(self, *holdings: Holding) -> list[tuple[str, str, int, int | None, int | None]]:
        return [(one.prefix, one.package.version, one.since_ms, one.until_ms, one.since_image) for one in merge_spans(holdings)]

    def test_a_version_that_is_put_there_again_was_there_all_the_time(self) -> None:
        found = self.spans(self.held(1, 5, image=7), self.held(5, 9, image=8), self.held(9, None))
        assert found == [("/v", "1", 1, None, 7)]

    def test_a_time_without_it_another_version_and_another_place_part_spans(self) -> None:
        assert len(self.spans(self.held(1, 5), self.held(6, None))) == 2
        assert len(self.spans(self.held(1, 5), self.held(5, 6, "2"), self.held(6, None))) == 3
        assert len(self.spans(self.held(1, 5), self.held(5, None, prefix="/w"))) == 2

    def test_two_of_a_name_at_once_are_told_apart(self) -> None:
        found = self.spans(self.held(1, 5, "1"), self.held(2, None, "2"), self.held(5, None, "1"))
        assert found == [("/v", "1", 1, None, None), ("/v", "2", 2, None, None)]


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "yes", "no"),
        [
            ("numpy", package("numpy", "1"), package("numpy2", "1")),
            ("NumPy==2.0", package("numpy", "2.0.0"), package("numpy", "2.0.1")),
            ("numpy>=2,<2.1", package("numpy", "2.0.5", "conda"), package("numpy", "2.1")),
            ("numpy>2", package("numpy", "2.1rc1"), package("numpy", "1.9")),
            ("pkg:pypi/numpy@2.0", package("numpy", "2.0"), package("numpy", "2.0", "conda")),
            ("numpy vers:pypi/>=2.0|<2.1", package("numpy", "2.0.5"), package("numpy", "2.1")),
            ("pkg:pypi/numpy?vers=vers:pypi%2F%3E%3D2.0", package("numpy", "2.0.5"), package("numpy", "1.9")),
            ("pkg:conda/numpy", package("numpy", "2.0", "conda"), package("numpy", "2.0")),
            ("pkg:conda/openssl@1.1.1w", package("openssl", "1.1.1w", "conda"), package("openssl", "1.1.1x", "conda")),
        ],
    )
    def test_matches(self, spec: str, yes: Package, no: Package) -> None:
        target = parse_spec(spec)
        assert target.matches(yes)
        assert not (target.matches(no) and target.name == no.name)

    @pytest.mark.parametrize(
        "spec", ["", "==1", "pkg:npm/left-pad", "pkg:", "a b c", "vers:pypi/1", "a[b]", "a @ https://x/a.whl", "a vers:npm/1"]
    )
    def test_what_names_nothing_is_said_so(self, spec: str) -> None:
        with pytest.raises(UsageError):
            parse_spec(spec)

    def test_ids(self) -> None:
        assert all(
            map(is_advisory_id, ("GHSA-aaaa-bbbb-cccc", "cve-2026-1", "PYSEC-2026-9", "MAL-2026-1", "PYSEC-0000-CVE-2014-1858"))
        )
        assert not any(map(is_advisory_id, ("numpy", "ghsa", "cve_checker==1", "cve-bin-tool", "osv-scanner", "mal-2026")))


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

    def test_a_range_that_cannot_be_judged_is_told_and_its_list_still_holds(self) -> None:
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
