"""Which package of an environment needs which other one, by their own metadata.

References:
    https://packaging.python.org/en/latest/specifications/dependency-specifiers/ (PEP 508)
    https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html (match specs: the name comes first)
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement

from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.naming import normalise_name

_SITE = re.compile(r"(?:^|/)lib(?:64)?/python(\d+\.\d+)/")
_CONDA_NAME = re.compile(r"^(?:[^:\s]+::)?([A-Za-z0-9_.-]+)")


def read_dependencies(snapshot: Snapshot, python: str | None) -> dict[str, tuple[str, ...]]:
    """Normalised name → normalised names of the installed packages that it needs, both sorted.

    An extra counts where some package requires it (which ones the person requested is not looked up): `foo[bar]` brings what `foo` needs for `bar`.

    Args:
        snapshot: Of the environment.
        python: Its version, by which markers are judged; this interpreter's where it is not known.
    """
    packages = {normalise_name(package.name): package for package in snapshot.packages}
    environment = _marker_environment(python)
    extras: dict[str, set[str]] = {name: set() for name in packages}
    needs: dict[str, set[str]] = {name: set() for name in packages}
    waiting = deque(packages)
    while waiting:
        name = waiting.popleft()
        for needed, wanted in _needed(packages[name], extras[name], environment):
            if needed not in packages or needed == name:
                continue
            needs[name].add(needed)
            if not wanted <= extras[needed]:
                extras[needed] |= wanted
                waiting.append(needed)
    return {name: tuple(sorted(needs[name])) for name in sorted(needs)}


def find_python(snapshot: Snapshot, environment: Environment) -> str | None:
    """The version of the environment's Python at that moment, which may not be the one it has now.

    conda's `python` package says it; elsewhere the folders do, to the minor version.
    """
    for package in snapshot.packages:
        if package.ecosystem == "conda" and package.name == "python":
            return package.version
    now = environment.python
    seen = {found[1] for package in snapshot.packages if (found := _SITE.search(package.location or ""))}
    if not seen or (now is not None and ".".join(now.split(".")[:2]) in seen):
        return now
    return max(seen, key=lambda text: tuple(map(int, text.split("."))))


def find_roots(name: str, needs: Mapping[str, Iterable[str]], requested: Iterable[str]) -> list[str]:
    """The packages that were requested and need `name`, directly or not; the nearest first, then by name."""
    needed_by: dict[str, list[str]] = {}
    for package, others in needs.items():
        for other in others:
            needed_by.setdefault(other, []).append(package)
    wanted = set(requested)
    roots: list[str] = []
    seen = {name}
    level = [name]
    while level:
        level = sorted({above for package in level for above in needed_by.get(package, ())} - seen)
        seen.update(level)
        roots += [package for package in level if package in wanted]
    return roots


def _needed(package: Package, extras: set[str], environment: dict[str, str]) -> Iterable[tuple[str, set[str]]]:
    """Name and wanted extras of each requirement that holds here; what cannot be read is passed over."""
    for text in package.requires:
        if package.ecosystem == "conda":
            found = _CONDA_NAME.match(text)
            if found:
                yield normalise_name(found[1]), set()
            continue
        try:
            requirement = Requirement(text)
            marker = requirement.marker
            holds = marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *sorted(extras)))
        except (InvalidRequirement, ValueError, KeyError):
            continue
        if holds:
            yield normalise_name(requirement.name), {normalise_name(extra) for extra in requirement.extras}


def _marker_environment(python: str | None) -> dict[str, str]:
    environment = {name: str(value) for name, value in default_environment().items()}
    if python:
        environment["python_full_version"] = python if python.count(".") >= 2 else f"{python}.0"
        environment["python_version"] = ".".join(python.split(".")[:2])
    return environment
