"""A file that is written by one and closed last by another: fanotify names the second, whom the first may have chosen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.interpret.actors import Named
from envtrail.interpret.writes import begin_write
from envtrail.model.environment import Environment
from envtrail.model.operation import Actor, Confidence
from envtrail.record.file_queue import SeenFiles

ALICE, BOB = 1001, 1002
PREFIX = "/home/alice/v"
SITE = f"{PREFIX}/lib/python3.11/site-packages"
GROUP = SeenFiles(
    time_ms=1_764_000_000_000, until_ms=1_764_000_000_001, pid=7, root=PREFIX, files=[(f"{SITE}/a.py", "written")], total=1, gone=False,
    exe="/usr/bin/bash", comm="bash", argv=["bash"], ppid=1, uid=BOB, auid=BOB, ses=3,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "owner", "confidence"),
    [
        ({}, ALICE, Confidence.WEAK),
        ({"uid": 0, "auid": None}, ALICE, Confidence.WEAK),
        ({"uid": ALICE}, ALICE, Confidence.CERTAIN),
        ({}, None, Confidence.CERTAIN),
        # What has a name was made by the process itself.
        ({"files": [(f"{SITE}/a.py", "written"), (f"{SITE}/b.py", "created")]}, ALICE, Confidence.CERTAIN),
        # Records name who opened it.
        ({"events": [(1, 1_764_000_000_000, 5)]}, ALICE, Confidence.CERTAIN),
    ],
)
def test_who_only_closes_files_of_another_is_named_with_doubt(
    tmp_path: Path, changed: dict[str, object], owner: int | None, confidence: Confidence
) -> None:
    with open_trail(load_config(environ={}, flags={"data_dir": str(tmp_path), "node": "n"}), world=ImportedWorld()) as opened:
        files = opened.pipeline.files
        files.watch({PREFIX: Environment(prefix=PREFIX, kind="venv", owner_uid=owner)})
        seen = files._observe(msgspec.structs.replace(GROUP, **changed))
    assert seen is not None
    actor = Actor(name="bob", uid=BOB, auid=BOB, method="auid", confidence=Confidence.CERTAIN)
    write = begin_write(seen, node="n", named=Named(actor=actor, absent={}, why="the login uid"), lineage=[])
    assert write.named.actor.confidence is confidence
    assert ("passed" in write.named.why) == (confidence is Confidence.WEAK)
