"""The servers and the trail that these tests share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from big_trail import fill
from cluster_lab import Cluster
from line_lab import Writing
from search_lab import SERVERS, SearchServer, search_server
from two_stores import Both, amend, notice

from envtrail.documents.fields import STREAMS
from envtrail.ship.ship_state import CLUSTER_STATE
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Query


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[SearchServer]:
    with search_server(request.param) as started:
        yield started


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Shared by all: a test ships from a copy of it."""
    folder = tmp_path_factory.mktemp("recorded")
    subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"], check=True, capture_output=True
    )
    yield folder / "demo"
    assert not (folder / "demo" / CLUSTER_STATE).exists(), "a test shipped from the trail that all share"


@pytest.fixture(scope="session", params=["recorded", "made"])
def both(
    request: pytest.FixtureRequest, server: SearchServer, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "recorded":
        trail = Path(shutil.copytree(recorded, folder / "trail"))
    else:
        trail = fill(folder / "trail", 2_500, 2_500)
    notice(trail)
    with closing(EmbeddedStore(trail)) as held:
        host = next(held.operations(Query(limit=1))).host
    cluster = Cluster(server, trail, request.param, node=host)
    cluster.setup()
    cluster.ship()
    amend(trail)
    cluster.ship()
    for kind in STREAMS:
        cluster.documents(kind)  # refreshed
    both = Both(trail, cluster)
    yield both
    both.held.close()
    both.fleet.close()


@pytest.fixture
def writing(recorded: Path, tmp_path: Path) -> Writing:
    return Writing(Path(shutil.copytree(recorded, tmp_path / "trail")), tmp_path / "log" / "envtrail.ndjson")
