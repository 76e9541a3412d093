"""An event of which one file holds a part and the next file the rest is one event, whichever import reads which of them first."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from log_lab import LOGS, Trail, check_quotes

from envtrail.detect.hunt import hunt
from envtrail.detect.load import load_detections
from envtrail.model.hours import When
from envtrail.state.embedded import EmbeddedStore

LINES = (LOGS / "golden" / "pip" / "input.log").read_bytes().splitlines(keepends=True)
ONE_COMMAND_SAYS_MORE = frozenset({"segment", "offset", "ended_by", "evidence", "image", "parent_image", "tracked_image"})
CUTS = (1, 3, 5, 7, 9)
"""Within an exec of six records, and the change of a file that follows it."""
ENDS = {1: 6, 3: 6, 5: 6, 7: 11, 9: 11}
"""Where the event that is cut ends."""


def rows(trail: Trail) -> list[dict[str, Any]]:
    """All events with their records, without where they lie."""
    events = trail.events()
    check_quotes(events)
    shown = [{"records": event.records, **event.values} for event in events]
    return [{name: str(value) for name, value in row.items() if name not in ONE_COMMAND_SAYS_MORE} for row in shown]


def whole(folder: Path) -> Trail:
    trail = Trail(folder / "whole")
    trail.take_text(b"".join(LINES))
    return trail


def parts(folder: Path, at: int) -> list[Path]:
    files = [folder / "audit.log.1", folder / "audit.log"]
    for file, lines in zip(files, (LINES[:at], LINES[at:]), strict=True):
        file.write_bytes(b"".join(lines))
    return files


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_cut_event_is_one_event_with_all_its_records(tmp_path: Path, is_reversed: bool, is_sealed: bool) -> None:
    expected = rows(whole(tmp_path))
    assert all(LINES[at - 1].split()[1] == LINES[at].split()[1] for at in CUTS)
    for at in CUTS:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        files = parts(folder, at)
        trail = Trail(folder / "trail")
        reports = []
        for file in files[::-1] if is_reversed else files:
            reports.append(trail.take(file))
            if is_sealed:
                trail.seal()
        assert rows(trail) == expected, at
        assert (reports[1].supplemented, sum(report.events for report in reports)) == (1, len(expected))
        ended_by = [event.values["ended_by"] for event in trail.events()]
        assert ended_by.count("supplemented") == 1
        trail.take(*files)
        again = trail.take(*files[::-1])
        assert (again.events, again.supplemented, rows(trail)) == (0, 0, expected)
        trail.seal()
        assert [event.values["ended_by"] for event in trail.events()] == ended_by
        assert trail.differences() == []
        trail.rebuild()
        assert rows(trail) == expected


def test_operations_are_those_of_one_import(tmp_path: Path) -> None:
    kept = ("outcome", "exit_code", "argv", "started", "ended", "environment", "changes", "actor", "via")

    def said(trail: Trail) -> str:
        return json.dumps([{name: row[name] for name in kept} for row in trail.said().operations], indent=1)

    def of_parts(at: int, order: int) -> str:
        folder = tmp_path / f"{at}_{order}"
        folder.mkdir()
        trail = Trail(folder / "trail")
        for file in parts(folder, at)[::order]:
            trail.take(file)
        return said(trail)

    expected = said(whole(tmp_path))
    newest_first = {end: of_parts(end, -1) for end in set(ENDS.values())}
    for at in CUTS:
        assert of_parts(at, 1) == expected
        assert of_parts(at, -1) == newest_first[ENDS[at]]


def test_a_hunt_hits_a_cut_event_once(tmp_path: Path) -> None:
    rule = {
        "title": "pip",
        "id": "7d0f0f2e-9f3b-4d0a-9f0a-000000000001",
        "logsource": {"product": "linux", "category": "process_creation"},
        "detection": {"sel": {"CommandLine|contains": "six"}, "condition": "sel"},
    }
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(rule))
    loaded = load_detections([tmp_path / "rule.yml"])

    def hits(trail: Trail) -> int:
        with closing(EmbeddedStore(trail.config.data_dir)) as store:
            return len(
                list(hunt(store, loaded.detections, loaded.detections[0], since_ms=0, until_ms=1 << 50, office_hours=When()))
            )

    expected = hits(whole(tmp_path))
    assert expected > 0
    for at in CUTS[:2]:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        trail = Trail(folder / "trail")
        for file in parts(folder, at):
            trail.take(file)
            trail.seal()
        assert hits(trail) == expected


def test_three_parts_in_any_order_are_one_event(tmp_path: Path) -> None:
    expected = rows(whole(tmp_path))
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0]):
        folder = tmp_path / "".join(map(str, order))
        folder.mkdir()
        trail = Trail(folder / "trail")
        texts = LINES[:2], LINES[2:4], LINES[4:]
        for at in order:
            file = folder / f"audit.log.{2 - at}"
            file.write_bytes(b"".join(texts[at]))
            trail.take(file)
        assert rows(trail) == expected, order


def test_other_content_under_the_same_identity_is_another_event(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    trail.take_text(b"".join(LINES[:6]))
    trail.take_text(b"".join(LINES[:6]).replace(b"pid=200", b"pid=201").replace(b"six", b"attrs"), name="other.log")
    assert [(event.values["pid"], event.values["ended_by"]) for event in trail.events()] == [(200, "proctitle"), (201, "late")]
    trail.seal()
    assert [event.values["ended_by"] for event in trail.events()] == ["proctitle", "late"]
