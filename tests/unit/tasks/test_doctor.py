"""What the doctor says of shipping."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from envtrail.config import load_config
from envtrail.errors import SearchError
from envtrail.ship.ship_state import BulkItem, ShipState
from envtrail.tasks.checks import Host
from envtrail.tasks.doctor import CHECKS
from envtrail.trail.layout import ProcessLock

NOW = int(time.time() * 1000)


def said(folder: Path, *urls: str) -> list[str]:
    config = load_config(environ={}, flags={"data_dir": str(folder), "elastic.urls": list(urls)})
    host = Host(config=config, euid=0, status=None, status_error=None, rules=None, mounts=[], now_ms=NOW)
    (check,) = (check for check in CHECKS if check.__name__ == "_check_shipping")
    return [finding.what for finding in check(host)]


def test_who_ships_nowhere_is_not_told_to(tmp_path: Path) -> None:
    assert said(tmp_path) == []


def test_a_cluster_that_is_named_and_to_which_nothing_ships(tmp_path: Path) -> None:
    assert said(tmp_path, "https://es.example:9200") == ["`elastic.urls` is set, and nothing ships"]


def test_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert said(tmp_path, "https://es.example:9200") == ["`elastic.urls` is set, and httpx is not installed"]


def test_what_fails_and_what_was_refused_is_reported(tmp_path: Path) -> None:
    ship_state = ShipState(tmp_path / "elastic.sqlite")
    with ship_state.transaction():
        ship_state.keep("fault", SearchError("401 no such key").message)
        ship_state.keep("failures", 3)
        ship_state.refuse(BulkItem(stream="run", id="x", body=b"{}"), "400 mapper_parsing_exception", NOW)
    ship_state.close()
    with closing(ProcessLock(tmp_path / "elastic.lock", "ships")):
        found = said(tmp_path, "https://es.example:9200")
    assert found == ["shipping fails, 3 times in a row: 401 no such key", "the cluster rejected 1 documents"]
