"""Where environments are: which folders may be some is found by names alone, and each owner's are looked into with their rights."""

from __future__ import annotations

import os
import pwd
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from msgspec import Struct

from envtrail.config import Config
from envtrail.inspect.client import ForkedInspector, Inspector
from envtrail.inspect.protocol import ExpandPatterns, FolderOf, FoldersSearched, PatternsExpanded, ReadingRefused, SearchFolders
from envtrail.model.environment import Environment

_AT_ONCE = 4
"""Owners whose folders are searched; one whose folders keep their searcher waiting does not hold up the others."""
_MOST_LOOKED_AT = 2000


class EnvironmentSearch(Struct, frozen=True, kw_only=True):
    """What a search found."""

    environments: list[Environment]
    """Each once, sorted by prefix."""
    failures: dict[int, str] = {}
    """Uid → why this owner's folders could not be searched; -1: nobody's could."""

    def with_known(self, known: Iterable[Environment]) -> list[Environment]:
        """And what was known before of owners whose folders could not be searched."""
        found = {environment.prefix: environment for environment in self.environments}
        for environment in known:
            if -1 in self.failures or environment.owner_uid in self.failures:
                found.setdefault(environment.prefix, environment)
        return [found[prefix] for prefix in sorted(found)]


def find_environments(config: Config, inspector: Inspector) -> EnvironmentSearch:
    """Every environment below the configured places.

    Folders that cannot be read are passed over: another user's closed home is not an error.
    """
    rules = config.rules
    expanded = inspector.ask(
        ExpandPatterns(
            roots=list(rules.roots),
            venv_roots=list(rules.venv_roots),
            pythons=list(rules.pythons),
            homes=sorted({os.path.normpath(entry.pw_dir) for entry in pwd.getpwall() if entry.pw_dir.startswith("/")}),
        )
    )
    if not isinstance(expanded, PatternsExpanded):
        return EnvironmentSearch(environments=[], failures={-1: _reason(expanded)})
    found: dict[str, Environment] = {}
    failures: dict[int, str] = {}
    others = _search(inspector, _requests(expanded, rules.search_depth), found, failures)
    left = [folder for folder in others if folder.path not in found]
    _search(inspector, _look_at(left), found, failures)
    return EnvironmentSearch(environments=[found[prefix] for prefix in sorted(found)], failures=failures)


def search_once(config: Config) -> EnvironmentSearch:
    """For a command: with an inspector that ends with it."""
    with closing(ForkedInspector()) as inspector:
        return find_environments(config, inspector)


def _requests(expanded: PatternsExpanded, depth: int) -> list[SearchFolders]:
    """One for each owner."""
    owners = sorted(
        {one.uid for kind in (expanded.roots, expanded.venv_roots, expanded.prefixes, expanded.registers) for one in kind}
    )

    def of(uid: int, folders: Sequence[FolderOf]) -> list[str]:
        return [folder.path for folder in folders if folder.uid == uid]

    return [
        SearchFolders(
            uid=uid,
            roots=of(uid, expanded.roots),
            venv_roots=of(uid, expanded.venv_roots),
            registers=of(uid, expanded.registers),
            prefixes=of(uid, expanded.prefixes),
            depth=depth,
        )
        for uid in owners
    ]


def _look_at(folders: Iterable[FolderOf]) -> list[SearchFolders]:
    by_owner: dict[int, set[str]] = defaultdict(set)
    for folder in folders:
        by_owner[folder.uid].add(folder.path)
    return [SearchFolders(uid=uid, prefixes=sorted(paths)[:_MOST_LOOKED_AT]) for uid, paths in sorted(by_owner.items())]


def _search(
    inspector: Inspector, requests: Iterable[SearchFolders], found: dict[str, Environment], failures: dict[int, str]
) -> list[FolderOf]:
    requests, others = list(requests), []
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search-folders") as threads:
        answers = list(threads.map(inspector.ask, requests))
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, FoldersSearched):
            failures[request.uid] = _reason(answer)
            continue
        # What a user's folders say of others' is theirs to say.
        found.update((one.prefix, one) for one in answer.environments if one.owner_uid == request.uid)
        others += answer.others
    return others


def _reason(answer: object) -> str:
    return answer.reason if isinstance(answer, ReadingRefused) else "no answer"
