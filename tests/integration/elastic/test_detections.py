"""A detection that is converted says of documents on a real server what it says here of the trail, case by case of the pack."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster_lab import Cluster
from pack_cases import CASES, OFFICE_HOURS, Given
from search_lab import SearchServer

from envtrail.core import Assembler
from envtrail.dashboards.alerts import OWN
from envtrail.detect.detection import PACK
from envtrail.detect.load import read_rules, source_of, translate_rule
from envtrail.detect.lucene import Lucene
from envtrail.detect.translate import RefusedError
from envtrail.documents.base import EcsDocument, Site
from envtrail.documents.ecs import documents_of
from envtrail.documents.ecs_events import event_documents
from envtrail.documents.fields import stream_name
from envtrail.model.gap import Gap
from envtrail.model.operation import Operation

NOT_SAID = {
    # Arguments by their place, what a machine has met before, and what is counted or put in a row.
    "audit_switched_off": "a0",
    "rules_removed": "a0",
    "first_use_of_source": "first_source",
    "name_like_a_popular_project": "similar_to",
}
COUNTED = {"download_piped", "mass_download", "many_failed_installs"}
SITE = Site(namespace="pack", office_hours=OFFICE_HOURS)
RULES = {rule.name: rule for rule, _ in read_rules([PACK])}
pytestmark = [pytest.mark.search, pytest.mark.timeout(180)]


def documents(given: Given) -> Iterator[EcsDocument]:
    if isinstance(given, bytes):
        assembler = Assembler(node="host")
        assembler.push(given)
        assembler.flush()
        made = event_documents(SITE).make(assembler.drain().events(), 1)
        yield from (EcsDocument(stream="event", id=id_, body=msgspec.json.decode(body)) for id_, body in made)
        return
    items: list[Operation | Gap] = [given] if isinstance(given, Gap) else list(given)
    for item in items:
        yield from documents_of(item, SITE)


@pytest.fixture(scope="module")
def cluster(server: SearchServer, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Each case is a document, or a few, with its name and number; those that must fire and those that must not lie together."""
    cluster = Cluster(server, tmp_path_factory.mktemp("pack"), "pack")
    cluster.setup()
    lines = bytearray()
    for name, sides in CASES.items():
        for fires, cases in zip((True, False), sides, strict=True):
            for number, given in enumerate(cases):
                for at, document in enumerate(documents(given)):
                    id_ = f"{name} {fires} {number} {at}"
                    action = {"create": {"_index": stream_name(document.stream, "pack"), "_id": id_}}
                    lines += msgspec.json.encode(action) + b"\n" + msgspec.json.encode(document.body) + b"\n"
    with_client = cluster.client()
    answer = with_client.request("POST", "/_bulk?refresh=true", bytes(lines))
    with_client.close()
    assert not answer["errors"], answer
    return cluster


@pytest.mark.parametrize("name", sorted(set(CASES) - set(NOT_SAID) - COUNTED))
def test_it_finds_what_it_finds_here(cluster: Cluster, name: str) -> None:
    rule = RULES[name]
    source = source_of(rule)
    query = f"{source.ecs_where} AND {translate_rule(rule, source, Lucene())}"
    answer = cluster.server.call(
        "POST", "/logs-envtrail.*-pack/_search", {"size": 10_000, "_source": False, "query": {"query_string": {"query": query}}}
    )
    found = {tuple(hit["_id"].split()[:3]) for hit in answer["hits"]["hits"]}
    own = {(fires, int(number)) for one, fires, number in found if one == name}
    fires, _silent = CASES[name]
    assert own == {("True", number) for number in range(len(fires))}, query


def test_what_cannot_be_said_is_named() -> None:
    for name, word in NOT_SAID.items():
        with pytest.raises(RefusedError, match=word):
            translate_rule(RULES[name], source_of(RULES[name]), Lucene())


def test_the_alerts_of_a_fleet_are_searches_that_a_server_takes(cluster: Cluster, tmp_path: Path) -> None:
    """Kibana, Watcher and OpenSearch Alerting cannot be had here: the searches are run, the rest is checked for its shape."""

    def made(program: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "envtrail", "--data-dir", str(tmp_path), "elastic", "alerts", "--for", program],
            capture_output=True,
            text=True,
            check=True,
        )
        if program == "elastic":
            assert all(word in done.stderr for word in set(NOT_SAID.values())), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    rules = made("elastic")
    assert len({rule["rule_id"] for rule in rules}) == len(rules) == len(set(CASES) - set(NOT_SAID) - COUNTED) + len(OWN)
    for rule in rules:
        assert rule["severity"] in {"low", "medium", "high", "critical"}
        cluster.server.call(
            "POST", "/logs-envtrail.*-pack/_search", {"size": 0, "query": {"query_string": {"query": rule["query"]}}}
        )
    monitors = made("opensearch")
    assert len(monitors) == len(rules) + 1
    for monitor in monitors:
        body = json.dumps(monitor["inputs"][0]["search"]["query"]).replace("{{period_end}}", "2026-11-25T00:00:00Z")
        body = body.replace(', "format": "epoch_millis"', "")
        cluster.server.call("POST", "/logs-envtrail.*-pack/_search", json.loads(body))
    (watched,) = made("watcher")
    cluster.server.call("POST", "/logs-envtrail.*-pack/_search", watched["input"]["search"]["request"]["body"])
