"""An environment of which nothing could be read is what it was."""

from __future__ import annotations

from pathlib import Path

from envtrail.model.environment import Environment
from envtrail.state.state import State


def test_one_that_could_not_be_read_keeps_its_owner_and_since_when_it_is_theirs(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    seen = Environment(prefix="/home/alice/v", kind="venv", owner_uid=1000, site_packages=["/home/alice/v/lib"])
    state.put_environment(seen, seen_ms=1)
    state.put_environment(Environment(prefix=seen.prefix, kind="unknown", faults=["it took too long"]), seen_ms=2)
    kept = state.environment(seen.prefix)
    assert kept is not None
    assert (kept.kind, kept.owner_uid, kept.owned_since_ms, kept.site_packages) == ("venv", 1000, 0, seen.site_packages)
    assert kept.faults == ["it took too long"]
    state.put_environment(Environment(prefix=seen.prefix, kind="venv", owner_uid=1001), seen_ms=3)
    other = state.environment(seen.prefix)
    assert other is not None
    assert (other.owner_uid, other.owned_since_ms, other.faults) == (1001, 3, [])
    state.close()
