"""A trail with a row of every kind, made of the demo's recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from envtrail.agent.build import Opened, open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Approval, Grant, GrantKind, Request, Terms, make_grant_id, make_request_id
from envtrail.model.decided import (
    AccessRecorded,
    FindingMade,
    FindingTriaged,
    GrantGiven,
    PolicyLoaded,
    RequestMade,
    SuppressionSet,
)
from envtrail.model.finding import Finding, Level, Status, Suppression, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.observation import CursorMoved, GapFound, Observation
from envtrail.model.operation import Operation
from envtrail.tasks.demo import play
from envtrail.trail.verify import VerifyReport

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
TERMS = Terms(
    prefix="/opt/conda",
    user="alice",
    uid=1001,
    action="install",
    packages=[],
    dependencies=True,
    until_ms=NOW_MS + 1,
    uses=1,
    why="w",
)


def config_of(folder: Path, **values: object) -> Config:
    flags = {"data_dir": str(folder), "node": "gpu1", "store.min_free_bytes": 0, **values}
    return load_config(environ={}, flags=flags)


def decided(operation: str, at_ms: int = NOW_MS) -> list[Observation]:
    """One observation for each kind of row that people make."""
    request = Request(id=make_request_id(TERMS, at_ms), time_ms=at_ms, host="gpu1", terms=TERMS)
    approval = Approval(name="bob", uid=1002, time_ms=at_ms, method="service")
    grant = Grant(
        id=make_grant_id(GrantKind.LATE, operation, at_ms),
        kind=GrantKind.LATE,
        since_ms=at_ms,
        terms=TERMS,
        approvals=[approval],
        request=request.id,
        operation=operation,  # type: ignore[arg-type]
    )
    finding = Finding(
        id=make_finding_id("rule", operation, at_ms),
        detection="rule",
        source="sigma",
        title="t",
        level=Level.HIGH,
        time_ms=at_ms,
        host="gpu1",
        user="alice",
        uid=1001,
    )
    auditor = Identity(name="audrey", role=Role.AUDITOR, uid=None, method="local")
    mute = Suppression(id="M" * 26, detection="d", reason="r", owner="eve", until_ms=at_ms, made_ms=at_ms)
    gap = Gap(id=f"gap-{at_ms}", cause=GapCause.RESTART, host="gpu1", since_ms=at_ms, until_ms=at_ms, records=None, detail="")
    return [
        PolicyLoaded(time_ms=at_ms, digest="sha256:1", files={"a.toml": "x"}),
        FindingMade(time_ms=at_ms, finding=finding),
        FindingTriaged(time_ms=at_ms, finding=finding.id, status=Status.ACKNOWLEDGED, by="bob", why="seen"),
        RequestMade(time_ms=at_ms, request=request),
        GrantGiven(time_ms=at_ms, grant=grant),
        SuppressionSet(time_ms=at_ms, suppression=mute),
        AccessRecorded(
            time_ms=at_ms, entries=[make_access_entry(auditor, "runs", at_ms, user="alice", environment=None, item=None)]
        ),
        GapFound(time_ms=at_ms, gap=gap),
        CursorMoved(time_ms=at_ms, source="auditd_log", position={"inode": 1, "offset": 7}),
    ]


def note(opened: Opened, observations: Sequence[Observation], at_ms: int = NOW_MS) -> None:
    assert opened.pipeline.observe(observations, at_ms)


def make_trail(folder: Path) -> Config:
    """The demo's segment, and decisions of today, in a sealed segment and in the open one."""
    trail = play(config_of(folder), on_result=lambda _: None, pause=False)
    config = config_of(trail)
    with open_trail(config, world=ImportedWorld()) as opened:
        (first, *_) = operations_of(opened)
        note(opened, decided(first.id))
        opened.writer.seal(wait=True)
        note(opened, decided(first.id, NOW_MS + DAY_MS), NOW_MS + DAY_MS)
    return config


def operations_of(opened: Opened) -> list[Operation]:
    return opened.state.unjudged(0)


def reported(report: VerifyReport) -> list[str]:
    return [fault.text for fault in report.faults]


def as_json(report: VerifyReport) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(report)
    return found
