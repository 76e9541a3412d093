"""What an environment itself shows of its past: weak evidence for the time before the trail.

References:
    conda/history.py (`conda-meta/history`: `==> time <==`, `# cmd:`, `+`/`-` lines; local time without a zone, no user)
"""

from __future__ import annotations

import re
from datetime import datetime

from envtrail.core import redact_text
from envtrail.environments.reading import Files
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.observation import BaselineChange

_BLOCK = re.compile(r"^==> (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) <==$")
_TOGETHER_MS = 60_000
_HISTORY_BYTES = 4 * 1024 * 1024
"""A line for each package that ever came or went: the longest are some hundred kilobytes."""

_MOST_CHANGES = 2000


def read_baseline(environment: Environment, snapshot: Snapshot, now_ms: int) -> list[BaselineChange]:
    """Past changes, oldest first: conda's history, and pip's packages grouped by the time of their metadata; the latest two thousand.

    What has no time between the epoch and now is left out: owners set times, and write histories, as they like.
    """
    past = read_conda_history(environment, now_ms) if environment.kind == "conda" else []
    found = past + _by_time(environment, snapshot, now_ms)
    return sorted((change for change in found if 0 <= change.when_ms <= now_ms), key=lambda change: change.when_ms)[
        -_MOST_CHANGES:
    ]


def read_conda_history(environment: Environment, now_ms: int) -> list[BaselineChange]:
    """What conda's own history reports, in its order; empty where it cannot be read. Its owner can write what they like into it."""
    try:
        text = Files(environment.prefix).read("conda-meta/history", _HISTORY_BYTES).decode("utf-8", "backslashreplace")
    except OSError:
        return []
    changes: list[BaselineChange] = []
    when_ms: int | None = None
    argv: list[str] | None = None
    added: list[str] = []
    removed: list[str] = []

    def close() -> None:
        if when_ms is not None and (added or removed):
            changes.append(_change(environment, now_ms, when_ms, "conda", argv, list(added), list(removed)))

    for line in text.splitlines():
        if begin := _BLOCK.match(line):
            close()
            added.clear()
            removed.clear()
            argv = None
            when_ms = _local_ms(begin[1])
        elif line.startswith("# cmd:"):
            # Its words are joined by spaces: before they are parted again, a header is still seen as one.
            words = redact_text(line.removeprefix("# cmd:").strip())[0].split()
            argv = [words[0].rpartition("/")[2], *words[1:]] if words else None
        elif line[:1] in "+-" and "-" in line[1:]:
            (added if line[0] == "+" else removed).append(_name_and_version(line[1:]))
    close()
    return changes


def _local_ms(text: str) -> int | None:
    """The file says local time and no zone: this machine's zone is the best that is known. Null for a moment that never was."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").timestamp() * 1000)  # noqa: DTZ007
    except (ValueError, OverflowError, OSError):
        return None


def _name_and_version(dist: str) -> str:
    parts = dist.rpartition("::")[2].rsplit("-", 2)
    return " ".join(parts[:2]) if len(parts) == 3 and all(parts) else dist


def _by_time(environment: Environment, snapshot: Snapshot, now_ms: int) -> list[BaselineChange]:
    """Packages of pip and its kind whose metadata was written within a minute came together."""
    stamped: list[tuple[int, int, str, str, bool]] = []
    try:
        files = Files(environment.prefix)
    except OSError:
        return []
    for package in snapshot.packages:
        if package.ecosystem != "pypi" or package.location is None:
            continue
        try:
            status = files.status(package.location)
        except OSError:
            continue
        tool = (package.installer or "unknown").partition(" ")[0].lower()
        stamped.append(
            (
                status.st_mtime_ns // 1_000_000,
                status.st_uid,
                tool,
                f"{package.name} {package.version}",
                bool(package.requested),
            )
        )
    groups: list[list[tuple[int, int, str, str, bool]]] = []
    for item in sorted(stamped, key=lambda item: (item[2], item[1], item[0])):
        last = groups[-1][-1] if groups else None
        if last and last[1:3] == item[1:3] and item[0] - last[0] <= _TOGETHER_MS:
            groups[-1].append(item)
        else:
            groups.append([item])
    return [
        BaselineChange(
            time_ms=now_ms,
            prefix=environment.prefix,
            kind=environment.kind,
            when_ms=group[0][0],
            argv=None,
            tool=group[0][2],
            owner_uid=group[0][1],
            added=[item[3] for item in sorted(group, key=lambda item: (not item[4], item[3]))],
            removed=[],
        )
        for group in groups
    ]


def _change(
    environment: Environment,
    now_ms: int,
    when_ms: int,
    tool: str,
    argv: list[str] | None,
    added: list[str],
    removed: list[str],
) -> BaselineChange:
    return BaselineChange(
        time_ms=now_ms,
        prefix=environment.prefix,
        kind=environment.kind,
        when_ms=when_ms,
        argv=argv,
        tool=tool,
        owner_uid=environment.owner_uid,
        added=added,
        removed=removed,
    )
