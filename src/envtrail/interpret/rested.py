"""Changes of files that a log recorded and that its end cut: what its next part records of the same process goes on in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from envtrail.model.observation import FilesChanged
from envtrail.model.operation import Evidence, FileChange

_REST_MS = 3000
"""As in the core (`log_files`): what follows within this time is the same thing."""
_MOST_MS = 600_000
_MOST = 16
_MOST_FILES = 1000
_MOST_EVIDENCE = 100
_BEGINS, _ENDS = frozenset({"created", "moved_to"}), frozenset({"deleted", "moved_from"})


class Rested:
    """The newest of them."""

    def __init__(self) -> None:
        self._newest: list[FilesChanged] = []

    def join(self, changed: FilesChanged) -> FilesChanged:
        """With what it goes on in, if it does."""
        known = next((one for one in self._newest if _goes_on(one, changed)), None)
        if known is not None:
            self._newest.remove(known)
            changed = _joined(known, changed)
        self._newest = [*self._newest, changed][-_MOST:]
        return changed

    def save(self) -> list[FilesChanged]:
        """For the next segment."""
        return self._newest

    def restore(self, newest: Iterable[FilesChanged]) -> None:
        """Take up what the segment before handed on."""
        self._newest = list(newest)


def _goes_on(known: FilesChanged, changed: FilesChanged) -> bool:
    is_same = (known.node, known.pid, known.image, known.prefix) == (changed.node, changed.pid, changed.image, changed.prefix)
    is_near = known.time_ms <= changed.time_ms <= known.until_ms + _REST_MS
    return is_same and is_near and changed.until_ms - known.time_ms <= _MOST_MS


def _joined(known: FilesChanged, changed: FilesChanged) -> FilesChanged:
    files = {file.path: file.what for file in known.files}
    total = known.total + changed.total
    for file in changed.files:
        before = files.get(file.path)
        if before is None:
            files[file.path] = file.what
            continue
        total -= 1
        if before in _BEGINS and file.what in _ENDS:
            del files[file.path]
            total -= 1
        elif before in _ENDS and file.what in _BEGINS:
            files[file.path] = "written"
        elif file.what not in {"written", "attributes"} or before == "attributes":
            files[file.path] = file.what
    return msgspec.structs.replace(
        known,
        until_ms=max(known.until_ms, changed.until_ms),
        files=[FileChange(path=path, what=what) for path, what in files.items()][:_MOST_FILES],
        total=total,
        is_new=known.is_new or changed.is_new,
        marked=known.marked or changed.marked,
        metadata=[*known.metadata, *changed.metadata],
        kind=changed.kind,
        tool=changed.tool or known.tool,
        evidence=_once([*known.evidence, *changed.evidence])[: _MOST_EVIDENCE + 1],
        ended_ms=changed.ended_ms,
        exit_code=changed.exit_code,
        signal=changed.signal,
    )


def _once(items: Sequence[Evidence]) -> list[Evidence]:
    return list(dict.fromkeys(items))
