"""A detection over what has happened."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import yaml
from log_lab import ALL, LOGS, Trail

from envtrail.detect.hunt import hunt
from envtrail.detect.load import load_detections
from envtrail.model.hours import When
from envtrail.state.embedded import EmbeddedStore
from envtrail.trail.writer import TrailWriter

PIP = {
    "title": "pip",
    "id": "7d0f0f2e-9f3b-4d0a-9f0a-000000000001",
    "logsource": {"product": "linux", "category": "process_creation"},
    "detection": {"sel": {"CommandLine|contains": "install"}, "condition": "sel"},
}


def test_evidence_names_the_segment_that_holds_its_event(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    for name in ("pip", "uv"):
        trail.take(LOGS / "golden" / name / "input.log")
        writer = TrailWriter(trail.config, [])
        writer.seal(wait=True)
        writer.close()
    trail.take(LOGS / "golden" / "pipx" / "input.log")
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(PIP))
    loaded = load_detections([tmp_path / "rule.yml"])
    (rule,) = loaded.detections
    with closing(EmbeddedStore(trail.config.data_dir)) as store:
        held = {(event.segment, event.values["time"], event.values["serial"]) for event in store.events(ALL)}
        found = list(hunt(store, loaded.detections, rule, since_ms=0, until_ms=1 << 50, office_hours=When()))
    named = [(item.segment, item.time_ms, item.serial) for finding in found for item in finding.evidence]
    assert len(named) == len(found) > 3
    assert {segment for segment, _, _ in named} == {1, 2, 3}
    assert set(named) <= held
