"""Shipping to real servers: everything arrives, once, whatever happens to the line, the server or the shipper."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster_lab import Cluster
from faulty_proxy import faulty_proxy
from search_lab import SearchServer, search_server

from envtrail.documents.base import EcsDocument, Site, site_of
from envtrail.documents.ecs import document_id
from envtrail.documents.fields import STREAMS, mapping, stream_name
from envtrail.documents.heartbeat import heartbeat_document, heartbeat_of
from envtrail.errors import SearchError
from envtrail.fleet.heartbeats import last_heartbeats
from envtrail.fleet.searching import Searching
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import faults_of
from envtrail.model.operation import Operation
from envtrail.model.run import Run
from envtrail.ship.process import run
from envtrail.ship.ship_state import ShipState, read_refused, read_shipping
from envtrail.ship.shipper import Shipper
from envtrail.state.agent_status import AgentStatus, KernelFigures, PolicyInForce, RulesStatus, write_status
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]


@pytest.fixture
def trail(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "trail"))


@pytest.fixture
def cluster(server: SearchServer, trail: Path, request: pytest.FixtureRequest) -> Cluster:
    namespace = f"{abs(hash(request.node.name)):x}"[:12]
    return Cluster(server, trail, namespace)


@pytest.fixture
def lonely(trail: Path) -> Iterator[Cluster]:
    """On a server where nobody else has templates."""
    with search_server("opensearch") as started:
        yield Cluster(started, trail, "default")


def held(trail: Path) -> EmbeddedStore:
    return EmbeddedStore(trail)


def test_all_that_the_trail_holds_arrives_and_reads_back_as_it_was(cluster: Cluster) -> None:
    cluster.setup()
    cluster.ship()
    store = held(cluster.trail)
    operations = {item.id: item for item in store.operations(Query())}
    assert cluster.of_domain("operation", Operation) == operations
    runs = {
        item.id: item for item in store.runs(Query(everything=True)) if item.part_of is None and "running" not in str(item.absent)
    }
    assert cluster.of_domain("run", Run) == runs
    assert cluster.of_domain("finding", Finding) == {item.id: item for item in store.findings(Query())}
    assert cluster.of_domain("gap", Gap) == {item.id: item for item in store.gaps(Query())}
    changes = Counter((item.id, change.name) for item in operations.values() for change in item.changes or ())
    shipped = Counter((body["envtrail"]["id"], body["package"]["name"][0]) for body in cluster.documents("change"))
    assert shipped == changes
    rows = {(row.values["time"], row.values["serial"]): row.values for row in store.events(Query()) if row.segment == 1}
    events = {body["event"]["sequence"]: body for body in cluster.documents("event")}
    assert len(events) == len(rows) > 100
    for (_, serial), row in rows.items():
        body = events[serial]
        assert body.get("process", {}).get("args", []) == (row["argv"] or [])
        assert body.get("process", {}).get("pid") == row["pid"]
        assert body["envtrail"]["event"].get("keys", []) == (row["keys"] or [])


def test_a_strict_server_knows_every_field(cluster: Cluster) -> None:
    """The table of fields is whole: a server that refuses what it does not know takes every document."""
    cluster.setup()
    with closing(cluster.client()) as client:
        for kind in STREAMS:
            template = {
                "index_patterns": [stream_name(kind, cluster.namespace)],
                "data_stream": {},
                "priority": 900,
                "template": {"mappings": mapping(dynamic="strict")},
            }
            client.request("PUT", f"/_index_template/logs-envtrail.{kind}-{cluster.namespace}", template)
    cluster.ship()
    assert not read_refused(cluster.trail / "elastic.sqlite", 10)
    assert cluster.counts()["operation"] > 10
    assert cluster.documents("heartbeat")


def test_what_a_server_has_is_not_sent_twice_even_when_the_book_is_lost(cluster: Cluster) -> None:
    cluster.setup()
    cluster.ship()
    before = cluster.counts()
    cluster.ship()
    assert cluster.counts() == before
    for path in cluster.trail.glob("elastic.sqlite*"):
        path.unlink()
    cluster.ship()
    assert cluster.counts() == before
    shipping = read_shipping(cluster.trail / "elastic.sqlite")
    assert shipping is not None
    assert {count.stream: count.there for count in shipping.counts} == {kind: n for kind, n in before.items() if n}


def test_another_place_gets_everything(cluster: Cluster) -> None:
    cluster.setup()
    cluster.ship()
    before = cluster.counts()
    elsewhere = Cluster(cluster.server, cluster.trail, f"{cluster.namespace}_else")
    elsewhere.ship()
    assert elsewhere.counts() == before
    assert cluster.counts() == before


def test_a_change_after_it_was_sent_is_an_amendment(cluster: Cluster) -> None:
    cluster.setup()
    cluster.ship()
    before = cluster.counts()
    operation = next(iter(held(cluster.trail).operations(Query())))

    def change(**fields: Any) -> None:
        state = State(Layout(cluster.trail).state)
        with state.transaction():
            state.put_operation(msgspec.structs.replace(operation, **fields))
        state.close()

    change(grant="G1")
    cluster.ship()
    change(grant="G2")
    # The ship state is lost as well: the server has the document, and says 409; what it says since is not swallowed.
    for path in cluster.trail.glob("elastic.sqlite*"):
        path.unlink()
    cluster.ship()
    assert cluster.counts() == before | {"amendment": 2}
    amendments = sorted(cluster.documents("amendment"), key=lambda body: str(body["envtrail"]["amends"]["made"]))
    assert [body["envtrail"]["operation"]["grant"] for body in amendments] == ["G1", "G2"]
    assert {body["envtrail"]["amends"]["id"] for body in amendments} == {document_id(operation, Site())}
    cluster.ship()
    assert cluster.counts()["amendment"] == 2


def test_a_document_that_no_server_takes_holds_up_nothing(cluster: Cluster) -> None:
    cluster.setup()
    with closing(ShipState(cluster.trail / "elastic.sqlite")) as ship_state:
        body = {"@timestamp": "2026-01-01T00:00:00.000Z", "host": "not an object"}
        ship_state.put(EcsDocument(stream="operation", id="poison", body=body))
    cluster.ship()
    assert cluster.counts()["operation"] == len(list(held(cluster.trail).operations(Query())))
    (refused,) = read_refused(cluster.trail / "elastic.sqlite", 10)
    assert (refused.id, refused.stream) == ("poison", "operation")
    assert refused.reason.startswith("400 ")
    assert "host" in refused.reason


def test_a_bulk_whose_answer_was_lost_is_asked_for_before_it_is_sent_again(cluster: Cluster) -> None:
    """Even when a new backing index was created in between, which would take the same `_id` once more."""
    cluster.setup()
    lost = 0

    def fate(method: str, path: str) -> str:
        nonlocal lost
        if method == "POST" and path.startswith("/_bulk") and lost < 8:
            lost += 1
            return "swallow" if lost % 2 else "cut"
        return "pass"

    rolled = 0

    def roll_over() -> None:
        nonlocal rolled
        if rolled < lost:
            rolled = lost
            for kind in ("operation", "change", "event"):
                # One that has no document yet cannot be rolled over.
                with contextlib.suppress(urllib.error.HTTPError):
                    cluster.server.call("POST", f"/{stream_name(kind, cluster.namespace)}/_rollover")

    with faulty_proxy(cluster.server.url, fate) as url:
        cluster.ship(url=url, after=roll_over, bulk_documents=100)
    assert lost == 8
    store = held(cluster.trail)
    assert len(cluster.documents("operation")) == len(list(store.operations(Query())))
    ids = Counter(body["_id"] for kind in ("operation", "change", "event") for body in cluster.documents(kind))
    assert set(ids.values()) == {1}
    shipping = read_shipping(cluster.trail / "elastic.sqlite")
    assert shipping is not None
    assert sum(count.sent + count.there for count in shipping.counts) == sum(cluster.counts().values())


def test_without_its_templates_nothing_is_sent(lonely: Cluster) -> None:
    lonely.setup()
    with closing(lonely.client()) as client:
        client.request("DELETE", "/_index_template/logs-envtrail.run")
        config = lonely.config()
        with closing(Shipper(lonely.trail, client, config, lambda: lonely.now_ms, jitter=lambda: 0.0)) as shipper:
            for _ in range(3):
                shipper.step()
                lonely.now_ms += 1000
            assert shipper.fault == "/_index_template/logs-envtrail.run is not there, and 0 more; envtrail elastic setup"
        with pytest.raises(SearchError, match="is not there") as raised:
            run(lonely.trail, config, threading.Event(), once=True)
        assert raised.value.hint == "envtrail elastic setup"
        states = {step.what: step.state for step in lonely.templates(client).check()}
        assert states.pop("/_index_template/logs-envtrail.run") == "missing"
        assert set(states.values()) == {"fine"}
    assert sum(lonely.counts().values()) == 0
    lonely.setup()
    lonely.ship()
    assert lonely.counts()["run"] > 0


def test_setup_brings_up_to_date_and_leaves_what_is_newer(lonely: Cluster) -> None:
    lonely.setup()
    path = "/_component_template/envtrail-mappings"
    with closing(lonely.client()) as client:
        lonely.ship()
        reported = client.request("GET", path)["component_templates"][0]["component_template"]
        held_now = {name: reported[name] for name in ("template", "version", "_meta")}
        older = copy.deepcopy(held_now) | {"version": 0}
        del older["template"]["mappings"]["properties"]["rule"]
        client.request("PUT", path, older)
        states = {step.what: step.state for step in lonely.templates(client).setup()}
        assert states[path] == "updated"
        assert states[stream_name("operation", lonely.namespace)] == "updated"
        assert {step.state for step in lonely.templates(client).setup()} == {"fine"}
        client.request("PUT", path, held_now | {"version": 99})
        assert {step.what: step.state for step in lonely.templates(client).setup()}[path] == "newer"
        client.request("PUT", path, held_now)
        assert {step.state for step in lonely.templates(client).check()} == {"fine"}


def test_the_commands(cluster: Cluster) -> None:
    def ask(*words: str, code: int = 0) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "envtrail", "--data-dir", str(cluster.trail), "elastic", *words, "--json"]
        if words[0] == "ship":
            command.pop()
        variables = {"ENVTRAIL_ELASTIC_NAMESPACE": cluster.namespace, "ENVTRAIL_ELASTIC_URLS": cluster.server.url}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    ask("setup")
    assert {step["state"] for step in ask("setup")} == {"fine", "impossible"}
    assert {step["state"] for step in ask("check")} == {"fine", "impossible"}
    ask("ship", "--once")
    (status,) = ask("status")
    counts = {kind: n for kind, n in cluster.counts().items() if n}
    assert {count["stream"]: count["sent"] for count in status["counts"]} == counts
    assert (status["outbox"], status["changed"], status["refused"], status["fault"]) == (0, 0, 0, None)
    ask("refused", code=1)


def test_a_machine_that_is_not_watched_or_not_heard_of_is_reported(cluster: Cluster) -> None:
    cluster.setup()
    with closing(cluster.client()) as client:
        with pytest.raises(SearchError, match=f"no data stream of the namespace `{cluster.namespace}`"):
            last_heartbeats(Searching(client, cluster.namespace))
        cluster.ship()
        host = cluster.config().node
        client.request("POST", f"/{stream_name('heartbeat', cluster.namespace)}/_refresh")
        (beat,) = last_heartbeats(Searching(client, cluster.namespace))
        assert (beat.host, beat.watching, beat.refused) == (host, False, 0)
        assert faults_of(beat, beat.time_ms + 59_000) == ["agent not running"]
        assert faults_of(beat, beat.time_ms + 61_000) == ["silent"]
        watching = AgentStatus(
            pid=os.getpid(),
            version="1",
            started_ms=0,
            updated_ms=cluster.now_ms + 30_000,
            source="netlink",
            rules=RulesStatus(profile="lean", expected=9, loaded=9, locked=False),
            kernel=KernelFigures(lost=0, backlog=0, backlog_limit=1),
            counters={},
            lag_ms=7,
            cpu_s=0,
            rss_bytes=0,
            policy=PolicyInForce(digest="sha256:aa", commit="c0ffee"),
        )
        write_status(cluster.trail, watching)
        cluster.now_ms += 30_000
        cluster.ship()
        client.request("POST", f"/{stream_name('heartbeat', cluster.namespace)}/_refresh")
        (beat,) = last_heartbeats(Searching(client, cluster.namespace))
        assert (beat.watching, beat.rules_loaded, beat.lag_ms, beat.lost) == (True, 9, 7, 0)
        assert (beat.policy_digest, beat.policy_commit) == ("sha256:aa", "c0ffee")
        assert faults_of(beat, beat.time_ms + 1000) == []
        assert faults_of(beat, beat.time_ms - 20_000) == ["its clock is 20 s ahead"]
    words = ["--data-dir", str(cluster.trail), "fleet", "status", "--url", cluster.server.url, "--json"]
    variables = os.environ | {"ENVTRAIL_ELASTIC_NAMESPACE": cluster.namespace}
    done = subprocess.run([sys.executable, "-m", "envtrail", *words], capture_output=True, text=True, env=variables, check=False)
    assert [json.loads(line)["host"] for line in done.stdout.splitlines()] == [host], done.stderr


def test_a_machine_with_another_policy_than_most_is_marked(cluster: Cluster) -> None:
    cluster.setup()
    names = {"gpu1": "sha256:aa", "gpu2": "sha256:aa", "gpu3": "sha256:bb", "gpu4": "sha256:aa", "gpu5": None}
    with closing(cluster.client()) as client:
        for host, digest in names.items():
            status = AgentStatus(
                pid=os.getpid(),
                version="1",
                started_ms=0,
                updated_ms=cluster.now_ms,
                source="netlink",
                rules=None,
                kernel=None,
                counters={},
                lag_ms=7,
                cpu_s=0,
                rss_bytes=0,
                policy=PolicyInForce(digest=digest, commit="c0ffee") if digest else None,
            )
            beat = heartbeat_of(host, cluster.now_ms, status, outbox=0, refused=0)
            document = heartbeat_document(beat, site_of(cluster.config()))
            client.request("POST", f"/{stream_name('heartbeat', cluster.namespace)}/_doc", document.body)
        client.request("POST", f"/{stream_name('heartbeat', cluster.namespace)}/_refresh")
    words = ["--data-dir", str(cluster.trail), "fleet", "status", "--url", cluster.server.url]
    variables = os.environ | {"ENVTRAIL_ELASTIC_NAMESPACE": cluster.namespace}

    def ask(*more: str) -> str:
        command = [sys.executable, "-m", "envtrail", *words, *more]
        done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
        assert done.returncode == 1, done.stderr
        return done.stdout

    reported = {line["host"]: line["faults"] for line in map(json.loads, ask("--json").splitlines())}
    assert reported == {
        **{host: [] for host in ("gpu1", "gpu2", "gpu4")},
        "gpu3": ["not the policy of most"],
        "gpu5": ["no policy, as most have"],
    }
    assert [line.count("c0ffee") for line in ask().splitlines() if line.startswith("gpu")] == [1, 1, 1, 1, 0]


def test_teardown_takes_away_what_setup_made(lonely: Cluster) -> None:
    lonely.setup()
    lonely.ship()
    with closing(lonely.client()) as client:
        assert "in use" in {step.state for step in lonely.templates(client).teardown(with_data=False)}
        assert lonely.counts()["operation"] > 0
        assert {step.state for step in lonely.templates(client).teardown(with_data=True)} == {"removed"}
        assert {step.state for step in lonely.templates(client).check()} == {"missing"}
    assert sum(lonely.counts().values()) == 0
