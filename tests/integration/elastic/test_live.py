"""A watched machine and a real cluster: what somebody types is there in seconds, and so is the news that nobody watches any more."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from audit_lab import open_folders, run_as, running_agent, wait_until
from search_lab import SearchServer, search_server
from wheels import make_wheel

from envtrail.fleet.cluster import ClusterStore
from envtrail.fleet.heartbeats import last_heartbeats
from envtrail.fleet.searching import Searching
from envtrail.model.heartbeat import INTERVAL_MS, SILENT_MS, faults_of
from envtrail.model.operation import Operation
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.ship.templates import Templates, identify_cluster
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

pytestmark = [pytest.mark.search, pytest.mark.kernel, pytest.mark.timeout(240)]

AUID = 61117


def test_a_machine_tells_what_is_done_and_that_it_is_watched(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("live")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    make_wheel(home / "wheels", "leaf", "1.0")
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with search_server("opensearch") as server, closing(SearchClient(ClusterConnection(urls=[server.url]))) as client:
        list(Templates(client, identify_cluster(client), namespace="live", retention_days=0).setup())
        variables = {
            "ENVTRAIL_ELASTIC_URLS": server.url,
            "ENVTRAIL_ELASTIC_NAMESPACE": "live",
            "ENVTRAIL_ELASTIC_RETENTION_DAYS": "0",
        }
        with running_agent(folder, AUID, roots=[home], **variables) as agent:
            wait_until(lambda: "venv" in agent.ask("env", "list").stdout, "the environment to be known")
            pip = [
                str(home / "env/bin/python"),
                "-m",
                "pip",
                "install",
                "-q",
                "--no-index",
                f"--find-links={home / 'wheels'}",
                "leaf",
            ]
            run_as(AUID, pip, cwd=home)
            began = time.monotonic()
            wait_until(lambda: bool(_installs(server, home)), "the operation to be on the cluster", timeout_s=30)
            print(f"on the cluster and found {time.monotonic() - began:.1f} s after pip ended")
            (operation,) = _installs(server, home)
            assert [change.name for change in operation.changes or ()] == ["leaf"]
            assert operation.actor.auid == AUID
            wait_until(lambda: _events(server, operation), "what the kernel wrote of it", timeout_s=30)
            assert not Layout(agent.data_dir).numbers(), "its segment is still open"
            wait_until(lambda: bool(_faultless(server, client)), "a heartbeat of a watched machine", timeout_s=30)
            os.kill(agent.process.pid, 9)
            agent.process.wait()
            time.sleep(2)
            server.call("POST", "/logs-envtrail.heartbeat-live/_refresh")
            (last,) = last_heartbeats(Searching(client, "live"))
            time.sleep(INTERVAL_MS / 1000 + 2)
            server.call("POST", "/logs-envtrail.heartbeat-live/_refresh")
            assert last_heartbeats(Searching(client, "live")) == [last], "its shipper ended with it"
            assert SILENT_MS <= 60_000
            assert faults_of(last, last.time_ms + SILENT_MS + 1) == ["silent"]


def _installs(server: SearchServer, home: Path) -> list[Operation]:
    with closing(ClusterStore(SearchClient(ClusterConnection(urls=[server.url])), "live", "")) as store:
        return list(store.operations(Query(environment=str(home / "env"), kind="install", outcome="success", package="leaf")))


def _events(server: SearchServer, operation: Operation) -> bool:
    with closing(ClusterStore(SearchClient(ClusterConnection(urls=[server.url])), "live", "")) as store:
        return any(row.values["image"] == operation.image for row in store.events(Query(kind="exec")))


def _faultless(server: SearchServer, client: SearchClient) -> bool:
    beats = last_heartbeats(Searching(client, "live"))
    return [faults_of(beat, int(time.time() * 1000)) for beat in beats] == [[]]
