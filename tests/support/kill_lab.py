"""Does something with a copy of a trail, and is killed before each change of a file in turn.

`python kill_lab.py WHAT TRAIL OUT` leaves one copy per kill in OUT: 0001, 0002, …; the last one was not killed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.model.observation import GapFound
from envtrail.tasks.rebuild import rebuild_state
from envtrail.trail.writer import TrailWriter

_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"})
_MOST = 400
_FUTURE_MS = 4_000_000_000_000


def config_for(folder: Path) -> Config:
    flags: dict[str, Any] = {"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, "store.retention_days": 1}
    return load_config(environ={}, flags=flags)


def seal(folder: Path) -> None:
    with open_trail(config_for(folder), world=ImportedWorld(), on_result=lambda _: None) as opened:
        opened.writer.seal(wait=True)


def retain(folder: Path) -> None:
    writer = TrailWriter(config_for(folder), [])

    def enter(gaps: list[Any]) -> bool:
        writer.append(b"", [GapFound(time_ms=_FUTURE_MS, gap=gap) for gap in gaps])
        return True

    writer.retain(_FUTURE_MS, enter)
    writer.close()


def rebuild(folder: Path) -> None:
    rebuild_state(config_for(folder))


_ACTS: dict[str, Callable[[Path], None]] = {"seal": seal, "retain": retain, "rebuild": rebuild}


def _kill_before(change: int) -> None:
    seen = 0

    def note(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        is_made = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _CHANGES or is_made:
            seen += 1
            if seen == change:
                os._exit(9)

    sys.addaudithook(note)


def main(what: str, trail: Path, out: Path) -> int:
    """Leave the copies."""
    for change in range(1, _MOST):
        copy = out / f"{change:04d}"
        shutil.copytree(trail, copy)
        child = os.fork()
        if child == 0:
            _kill_before(change)
            _ACTS[what](copy)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return 0
        if code != 9:
            return 1
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
