"""Shipping to a real Elasticsearch, beside the bulk helper of its official client: documents a second, and the sender's own CPU."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from big_trail import fill, fill_events
from elasticsearch import Elasticsearch, helpers
from report import Table
from search_lab import SearchServer, search_server

from envtrail.config import load_config
from envtrail.documents.base import Site
from envtrail.documents.fields import stream_name
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.ship.segments import SegmentReader
from envtrail.ship.sender import Sender
from envtrail.ship.ship_state import BulkItem, ShipState
from envtrail.ship.templates import Templates, identify_cluster
from envtrail.trail.layout import Layout

EVENTS, OPERATIONS = 100_000, 10_000
BULK = load_config(environ={}).elastic.bulk_documents
HELPER = "elasticsearch-py's helpers.bulk, documents ready"
SENDING = "Envtrail's sender, documents ready: each settled on disk"
WHOLE = "`envtrail elastic ship`: from segments and state, start included"


def measure(work: Path, *, quick: bool) -> Table:
    rounds = 1 if quick else 3
    trail = fill(work / "trail", OPERATIONS, 0)
    fill_events(work, trail, EVENTS)
    bulk_items = list(_bulk_items(trail))
    seconds: dict[str, list[tuple[int, float, float]]] = {HELPER: [], SENDING: [], WHOLE: []}
    with search_server("elasticsearch") as server:
        for at in range(rounds + 1):
            for name, run in ((HELPER, _by_helper), (SENDING, _by_sender), (WHOLE, _whole)):
                namespace = f"r{at}_{list(seconds).index(name)}"
                measured = run(server, work, trail, bulk_items, namespace)
                if at:  # the first round warms the server
                    seconds[name].append(measured)
    rows: list[list[str | int | float]] = []
    for name, values in seconds.items():
        count = values[0][0]
        wall, cpu = (statistics.median(value[column] for value in values) for column in (1, 2))
        rows.append([name, count, round(wall, 1), round(count / wall), round(1e6 * cpu / count, 1)])
    return Table(
        title="Shipping",
        what=(
            f"A real Elasticsearch 9.5.3 on the same two cores (it is most of the wall time), bulks of {BULK:,} documents, gzip; medians of {rounds} "
            "alternating rounds. The helper is given documents that are made; it keeps no book."
        ),
        columns=["contestant", "documents", "wall s", "documents a second", "own CPU, µs a document"],
        rows=rows,
    )


def _bulk_items(trail: Path) -> Iterable[BulkItem]:
    reader = SegmentReader(Layout(trail), Site())
    segment = row = 0
    while bulk_items := reader.read(segment, row, BULK):
        yield from bulk_items
        segment, row = reader.position(*reader.position(segment, row))
        segment, row = reader.position(segment, row + len(bulk_items))


def _timed(work: Callable[[], None], who: int) -> tuple[float, float]:
    before, began = resource.getrusage(who), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(who)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _setup(server: SearchServer, namespace: str) -> None:
    with closing(SearchClient(ClusterConnection(urls=[server.url]))) as client:
        list(Templates(client, identify_cluster(client), namespace=namespace, retention_days=0).setup())


def _by_helper(
    server: SearchServer, _work: Path, _trail: Path, bulk_items: list[BulkItem], namespace: str
) -> tuple[int, float, float]:
    _setup(server, namespace)
    name = stream_name("event", namespace)
    actions = [{"_op_type": "create", "_index": name, "_id": one.id, "_source": json.loads(one.body)} for one in bulk_items]
    client = Elasticsearch(server.url, http_compress=True, request_timeout=60)

    def send() -> None:
        helpers.bulk(client, actions, chunk_size=BULK, max_chunk_bytes=5 << 20)

    wall, cpu = _timed(send, resource.RUSAGE_SELF)
    assert server.count(name) == len(bulk_items)
    return len(bulk_items), wall, cpu


def _by_sender(
    server: SearchServer, work: Path, _trail: Path, bulk_items: list[BulkItem], namespace: str
) -> tuple[int, float, float]:
    _setup(server, namespace)
    path = work / f"{namespace}.sqlite"
    with closing(SearchClient(ClusterConnection(urls=[server.url]))) as client, closing(ShipState(path)) as ship_state:
        sender = Sender(
            ship_state,
            client,
            namespace=namespace,
            retention_days=0,
            bulk_bytes=5 << 20,
            advance=lambda _rows: None,
            amend=lambda _bulk_item, _now_ms: None,
            jitter=lambda: 1.0,
        )

        def send() -> None:
            for at in range(0, len(bulk_items), BULK):
                sender.send(bulk_items[at : at + BULK], int(time.time() * 1000))
                assert sender.fault is None, sender.fault

        wall, cpu = _timed(send, resource.RUSAGE_SELF)
    assert server.count(stream_name("event", namespace)) == len(bulk_items)
    return len(bulk_items), wall, cpu


def _whole(
    server: SearchServer, _work: Path, trail: Path, bulk_items: list[BulkItem], namespace: str
) -> tuple[int, float, float]:
    _setup(server, namespace)
    for path in trail.glob("elastic.sqlite*"):
        path.unlink()
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "elastic", "ship", "--once", "--url", server.url]
    variables = {"ENVTRAIL_ELASTIC_NAMESPACE": namespace, "ENVTRAIL_ELASTIC_RETENTION_DAYS": "0", "PATH": "/usr/bin:/bin"}

    def ship() -> None:
        subprocess.run(words, check=True, env=variables)

    wall, cpu = _timed(ship, resource.RUSAGE_CHILDREN)
    kinds = ("operation", "change", "event")
    count = sum(server.count(stream_name(kind, namespace)) for kind in kinds)
    assert count > len(bulk_items)
    return count, wall, cpu
