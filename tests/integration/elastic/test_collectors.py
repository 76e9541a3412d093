"""Collectors with the configurations of docs/collectors: what stands in the file is in the data streams, each document once.

They are stopped, killed and started again while the file grows and is renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from audit_lab import wait_until
from cluster_lab import Cluster
from collector_lab import Collector, fetch
from line_lab import Writing, files_of, lines_of
from search_lab import SearchServer, search_server

from envtrail.documents.fields import STREAMS, stream_name
from envtrail.ship.shipper import Shipper
from envtrail.ship.writer import line_file_of

pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def opensearch() -> Iterator[SearchServer]:
    with search_server("opensearch") as started:
        yield started


@pytest.mark.parametrize("name", ["rsyslog", "syslog-ng"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_each_line_becomes_one_document(
    name: str, ending: signal.Signals, opensearch: SearchServer, recorded: Path, tmp_path: Path
) -> None:
    try:
        fetch(name)
    except LookupError as why:
        pytest.skip(f"{name} cannot be had: {why}")
    trail = Path(shutil.copytree(recorded, tmp_path / "trail"))
    namespace = f"{name}-{ending.name}".lower().replace("-", "_")
    cluster = Cluster(opensearch, trail, namespace)
    cluster.setup()
    writing = Writing(trail, tmp_path / "log" / "envtrail.ndjson")
    collector = Collector(name, tmp_path, opensearch.url, tmp_path / "log")
    found: list[dict[str, Any]] = []
    try:
        _follow(writing, collector, ending, namespace)
        expected = {line[16:42].decode(): json.loads(line) for line in lines_of(writing.path, beats=True)}
        assert len(files_of(writing.path)) > 3
        assert len(expected) > 1300

        def all_there() -> bool:
            found[:] = _documents(cluster)
            return len(found) >= len(expected)

        wait_until(all_there, f"{len(expected)} documents", timeout_s=60)
    finally:
        collector.stop()
        print(len(found), collector.starts, collector.said()[-1500:])
    assert len(found) == len({document["_id"] for document in found})
    held = {document.pop("_id"): document for document in found}
    for id_, document in expected.items():
        assert document.pop("document_id") == id_
        assert held[id_] == document
    assert held.keys() == expected.keys()
    assert not (tmp_path / "refused.log").exists()


@pytest.mark.skipif(os.environ.get("ENVTRAIL_COLLECTORS") != "full", reason="ENVTRAIL_COLLECTORS=full builds it, in minutes")
@pytest.mark.timeout(1800)
def test_the_opentelemetry_collector_reads_each_line(recorded: Path, tmp_path: Path) -> None:
    """What sends could not be had: what it reads, with the attributes that decide where it goes, is compared in a file.

    It is stopped in good order: its file exporter says that it has what is still in its memory.
    """
    try:
        fetch("otelcol")
    except LookupError as why:
        pytest.skip(f"it cannot be had: {why}")
    writing = Writing(Path(shutil.copytree(recorded, tmp_path / "trail")), tmp_path / "log" / "envtrail.ndjson")
    collector = Collector("otelcol", tmp_path, "http://127.0.0.1:9200", tmp_path / "log")
    found: dict[str, tuple[str, str, Any]] = {}
    try:
        _follow(writing, collector, signal.SIGTERM, "otel")
        expected = {line[16:42].decode(): json.loads(line) for line in lines_of(writing.path, beats=True)}

        def all_there() -> bool:
            found.update(_read_by_otelcol(tmp_path / "read.jsonl"))
            return len(found) >= len(expected)

        wait_until(all_there, f"{len(expected)} documents", timeout_s=60)
    finally:
        collector.stop()
        print(len(found), collector.said()[-1500:])
    for id_, document in expected.items():
        assert document.pop("document_id") == id_
        assert found[id_] == (document["data_stream"]["dataset"], "otel", document)
    assert found.keys() == expected.keys()


def _read_by_otelcol(path: Path) -> dict[str, tuple[str, str, Any]]:
    """By id: data set, namespace and document."""
    read = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):  # one is being written, or was when it was killed
            for resource in json.loads(line)["resourceLogs"]:
                for record in (record for scope in resource["scopeLogs"] for record in scope["logRecords"]):
                    reported = {item["key"]: _plain(item["value"]) for item in record["attributes"]}
                    key = reported["elasticsearch.document_id"]
                    read[key] = (reported["data_stream.dataset"], reported["data_stream.namespace"], _plain(record["body"]))
    return read


def _plain(value: dict[str, Any]) -> Any:
    """A value of OTLP's JSON.

    References:
        https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    match value:
        case {"kvlistValue": items}:
            return {item["key"]: _plain(item["value"]) for item in items.get("values", ())}
        case {"arrayValue": items}:
            return [_plain(item) for item in items.get("values", ())]
        case {"intValue": number}:
            return int(number)
        case {}:
            return next(iter(value.values()), None)


def _follow(writing: Writing, collector: Collector, ending: signal.Signals, namespace: str) -> None:
    """The file grows and is renamed under a collector that is ended three times, and is renamed while it stands still."""
    config = writing.config(namespace=namespace, bulk_documents=60, file_bytes=300_000, file_count=0)
    dice = random.Random(os.environ.get("ENVTRAIL_SEED", "1"))
    renamed = []
    with closing(Shipper(writing.trail, line_file_of(config), config, lambda: writing.now_ms, jitter=lambda: 0.0)) as shipper:
        for step in range(200):
            shipper.step()
            writing.now_ms += 1000
            if step == 2:
                collector.start()
            elif step in {6, 12, 18}:
                _wait_for_some(collector)
                time.sleep(dice.random())
                collector.stop(ending)
                before = len(files_of(writing.path))
            elif step in {10, 16, 22}:
                renamed.append(len(files_of(writing.path)) - before)
                collector.start()
            if shipper.is_done() and step > 22:
                break
    assert collector.starts == 4
    assert sum(renamed) >= 2, "it was renamed while the collector stood still"


def _wait_for_some(collector: Collector) -> None:
    """A moment in which it reads: it is not to be ended before it began."""
    work = collector.folder / "work"
    wait_until(lambda: any(work.iterdir()) or not collector.is_running(), "its first state", timeout_s=20)
    assert collector.is_running(), collector.said()


def _documents(cluster: Cluster) -> list[dict[str, Any]]:
    found = []
    for kind in STREAMS:
        cluster.server.call("POST", f"/{stream_name(kind, cluster.namespace)}*/_refresh?ignore_unavailable=true")
        found += cluster.documents(kind)
    return found
