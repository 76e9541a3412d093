"""Find the artefact of each installed package again: on disk, in the caches of pip and uv, on the index.

What is installed carries no hash of its archive. An artefact counts only when its RECORD shows the same files as the installed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from envtrail.environments.wheels import WheelFacts, find_cached, find_wheels, is_same
from envtrail.model.environment import Package

Report = Callable[[int, int], None]
"""Called with (done, of)."""


class Artefact(Struct, frozen=True, kw_only=True):
    """An archive that may be, or was proven to be, what is installed."""

    filename: str
    sha256: str
    url: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    origin: str
    proof: str = "tags"


class Miss(Struct, frozen=True, kw_only=True):
    """Why there is none."""

    reason: str


Found = Artefact | Miss


class Index(Protocol):
    """A tool that queries an index, with the user's own settings."""

    name: str

    def ask(self, packages: Sequence[Package]) -> dict[Package, list[Artefact] | Miss]:
        """What the index has under each package's name and version, likeliest first."""
        ...

    def look_into(self, artefacts: Sequence[Artefact]) -> dict[str, WheelFacts | Miss]:
        """What is in the archives (fetched by the tool, held against their hashes), by sha256."""
        ...


class Places(Struct, frozen=True, kw_only=True):
    """Where artefacts may lie on this machine."""

    folders: list[Path] = []
    """With wheels: find-links, pip's cache of what was built here, those that come with Python."""
    pip_caches: list[Path] = []
    extracted: Path
    """Where what is taken out of a cache goes."""


def find_artefacts(packages: Sequence[Package], places: Places, indexes: Sequence[Index], report: Report) -> dict[Package, Found]:
    """One artefact for each package, proven by its files; else why there is none.

    Args:
        packages: Of pip and its kind.
        places: Of this machine; searched after the indexes, since what an index has can be fetched again.
        indexes: In order; those after the first are queried for what the ones before did not have.
        report: Called with the progress.
    """
    found: dict[Package, Found] = {}
    misses: dict[Package, list[str]] = {package: [] for package in packages}
    for index in indexes:
        left = [package for package in packages if package not in found]
        if left:
            _ask(index, left, found, misses)
        report(len(found), len(packages))
    left = [package for package in packages if package not in found]
    if left:
        names = frozenset(package.name for package in left)
        local = [("disk", facts) for facts in find_wheels(places.folders, names)]
        local += [("cache (pip)", facts) for facts in find_cached(places.pip_caches, names, places.extracted)]
        for package in left:
            found[package] = _of_local(package, local, misses[package])
    report(len(found), len(packages))
    return found


def _ask(index: Index, packages: Sequence[Package], found: dict[Package, Found], misses: dict[Package, list[str]]) -> None:
    answers = index.ask(packages)
    listed = {package: answer for package, answer in answers.items() if not isinstance(answer, Miss)}
    wanted = {artefact.sha256: artefact for artefacts in listed.values() for artefact in artefacts}
    seen = index.look_into(list(wanted.values()))
    for package in packages:
        answer = answers[package]
        if isinstance(answer, Miss):
            misses[package].append(answer.reason)
            continue
        verdict = _judge(package, answer, seen)
        if isinstance(verdict, Miss):
            misses[package].append(f"{index.name}: {verdict.reason}")
        else:
            found[package] = verdict


def _judge(package: Package, artefacts: Sequence[Artefact], seen: dict[str, WheelFacts | Miss]) -> Found:
    reasons = []
    for artefact in artefacts:
        facts = seen.get(artefact.sha256, Miss(reason="it was not fetched"))
        if isinstance(facts, Miss):
            reasons.append(f"{artefact.filename} cannot be fetched: {facts.reason}")
            continue
        same = is_same(package, facts)
        if same is False:
            reasons.append(
                f"{artefact.filename} (sha256:{artefact.sha256[:12]}…) is refused: its RECORD shows other files than were installed"
            )
            continue
        return msgspec.structs.replace(artefact, proof="files" if same else "tags")
    return Miss(reason="; ".join(reasons) or "it has no wheel of this version")


def _of_local(package: Package, local: Sequence[tuple[str, WheelFacts]], reasons: Sequence[str]) -> Found:
    for origin, facts in local:
        if facts.sha256 and is_same(package, facts):
            return Artefact(
                filename=facts.filename,
                sha256=facts.sha256,
                path=facts.path,
                size_bytes=facts.size_bytes,
                origin=origin,
                proof="files",
            )
    why = "; ".join(dict.fromkeys(reasons))
    return Miss(reason=f"{why}; no cache holds it" if why else "no cache holds it, and no index was queried")
