"""Who has it, who had it, and since when: by name, by range, by advisory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from envtrail.environments.advisories import Advisory, Record, read_advisories
from envtrail.environments.impact import is_advisory_id, parse_spec, target_of
from envtrail.errors import InputError, UsageError
from envtrail.model.environment import Package, Snapshot
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.layout import Layout
from envtrail.store.state import State

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


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "yes", "no"),
        [
            ("numpy", package("numpy", "1"), package("numpy2", "1")),
            ("NumPy==2.0", package("numpy", "2.0.0"), package("numpy", "2.0.1")),
            ("numpy>=2,<2.1", package("numpy", "2.0.5", "conda"), package("numpy", "2.1")),
            ("numpy>2", package("numpy", "2.1rc1"), package("numpy", "1.9")),
            ("pkg:pypi/numpy@2.0", package("numpy", "2.0"), package("numpy", "2.0", "conda")),
            ("pkg:conda/numpy", package("numpy", "2.0", "conda"), package("numpy", "2.0")),
            ("pkg:conda/openssl@1.1.1w", package("openssl", "1.1.1w", "conda"), package("openssl", "1.1.1x", "conda")),
        ],
    )
    def test_matches(self, spec: str, yes: Package, no: Package) -> None:
        target = parse_spec(spec)
        assert target.matches(yes)
        assert not (target.matches(no) and target.name == no.name)

    @pytest.mark.parametrize("spec", ["", "==1", "pkg:npm/left-pad", "pkg:", "a b c"])
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
