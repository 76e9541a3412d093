"""The archive of each installed package is found again: where it is looked for, in which order, and why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from wheels import make_wheel

from envtrail.environments.artefacts import Artefact, Found, Miss, Places, find_artefacts
from envtrail.environments.wheels import WheelFacts, read_wheel
from envtrail.model.environment import Package


def package(name: str, content: str | None = "sha256:1") -> Package:
    return Package(ecosystem="pypi", name=name, version="1.0", content=content)


def artefact(name: str, sha256: str, **more: str) -> Artefact:
    return Artefact(filename=f"{name}-1.0-py3-none-any.whl", sha256=sha256 * 64, url=f"https://x/{name}", origin="index", **more)


def facts(name: str, content: str = "sha256:1") -> WheelFacts:
    return WheelFacts(name=name, version="1.0", content=content, filename="")


class Shelf:
    """An index that has what it is given."""

    def __init__(
        self, name: str, answers: dict[str, list[Artefact] | str], seen: dict[str, WheelFacts | str] | None = None
    ) -> None:
        self.name = name
        self.asked: list[list[str]] = []
        self.looked: list[str] = []
        self._answers = answers
        self._seen = seen or {}

    def ask(self, packages: Sequence[Package]) -> dict[Package, list[Artefact] | Miss]:
        self.asked.append([item.name for item in packages])
        answers = {item: self._answers.get(item.name, "nothing of this name") for item in packages}
        return {item: Miss(reason=answer) if isinstance(answer, str) else answer for item, answer in answers.items()}

    def look_into(self, artefacts: Sequence[Artefact]) -> dict[str, WheelFacts | Miss]:
        self.looked += [item.sha256[0] for item in artefacts]
        return {key * 64: Miss(reason=one) if isinstance(one, str) else one for key, one in self._seen.items()}


def look(packages: Sequence[Package], folder: Path, *shelves: Shelf) -> tuple[dict[str, Found], list[tuple[int, int]]]:
    reported: list[tuple[int, int]] = []
    found = find_artefacts(packages, Places(extracted=folder), shelves, lambda done, of: reported.append((done, of)))
    return {item.name: one for item, one in found.items()}, reported


def test_each_index_is_asked_for_what_those_before_it_did_not_have(tmp_path: Path) -> None:
    first = Shelf("first", {"a": [artefact("a", "1")]}, {"1": facts("a")})
    second = Shelf("second", {"b": [artefact("b", "2")]}, {"2": facts("b")})
    third = Shelf("third", {})
    found, reported = look([package("a"), package("b")], tmp_path, first, second, third)
    assert found == {"a": artefact("a", "1", proof="files"), "b": artefact("b", "2", proof="files")}
    assert (first.asked, second.asked, third.asked) == ([["a", "b"]], [["b"]], [])
    assert (first.looked, second.looked) == (["1"], ["2"])
    assert reported == [(1, 2), (2, 2), (2, 2), (2, 2)]


def test_what_is_refused_or_cannot_be_fetched_is_passed_over_and_said(tmp_path: Path) -> None:
    shelf = Shelf(
        "index (uv)",
        {
            "a": [artefact("a", "1"), artefact("a", "2"), artefact("a", "3")],
            "b": [artefact("b", "1"), artefact("b", "2"), artefact("b", "4")],
            "c": [],
        },
        {"1": facts("a", "sha256:2"), "2": "404", "3": facts("a")},
    )
    found, reported = look([package("a"), package("b"), package("c"), package("d")], tmp_path, shelf)
    refused = f"b-1.0-py3-none-any.whl (sha256:{'1' * 12}…) is refused: its RECORD shows other files than were installed"
    fetched = "b-1.0-py3-none-any.whl cannot be fetched: 404; b-1.0-py3-none-any.whl cannot be fetched: it was not fetched"
    assert found == {
        "a": artefact("a", "3", proof="files"),
        "b": Miss(reason=f"index (uv): {refused}; {fetched}; no cache holds it"),
        "c": Miss(reason="index (uv): it has no wheel of this version; no cache holds it"),
        "d": Miss(reason="nothing of this name; no cache holds it"),
    }
    assert sorted(shelf.looked) == ["1", "2", "3", "4"]
    assert reported == [(1, 4), (4, 4)]


def test_where_the_trail_does_not_know_the_files_only_the_name_speaks_for_an_artefact(tmp_path: Path) -> None:
    shelf = Shelf("index", {"a": [artefact("a", "1")]}, {"1": facts("a")})
    assert look([package("a", None)], tmp_path, shelf)[0] == {"a": artefact("a", "1", proof="tags")}


@pytest.mark.parametrize("origin", ["disk", "cache (pip)"])
def test_what_no_index_has_is_looked_for_on_this_machine(tmp_path: Path, origin: str) -> None:
    wheel = make_wheel(tmp_path / "wheels", "a", "1.0")
    known = read_wheel(wheel)
    assert known is not None
    (tmp_path / "cache/http-v2").mkdir(parents=True)
    (tmp_path / "cache/http-v2/1.body").write_bytes(wheel.read_bytes())
    places = {"folders": [tmp_path / "wheels"]} if origin == "disk" else {"pip_caches": [tmp_path / "cache"]}
    silent = Shelf("index", {"a": "it is down", "b": "it is down"}), Shelf("other", {"a": "it is down", "b": "it is down"})
    packages = [package("b", known.content), package("a", known.content), package("a", "sha256:other"), package("a", None)]
    found = find_artefacts(packages, Places(extracted=tmp_path / "out", **places), silent, lambda *_: None)
    missed = Miss(reason="it is down; no cache holds it")
    assert list(found.values()) == [
        missed,
        Artefact(
            filename=wheel.name,
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            path=str(wheel if origin == "disk" else tmp_path / "out" / wheel.name),
            size_bytes=wheel.stat().st_size,
            origin=origin,
            proof="files",
        ),
        missed,
        missed,
    ]


def test_where_no_index_may_be_asked_it_is_said(tmp_path: Path) -> None:
    found, reported = look([package("a")], tmp_path)
    assert found == {"a": Miss(reason="no cache holds it, and no index was queried")}
    assert reported == [(1, 1)]
