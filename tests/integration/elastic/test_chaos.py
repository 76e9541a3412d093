"""Everything arrives once, while the server is killed, throttled and full, streams are rolled over, and the shipper is killed -9.

    ENVTRAIL_CHAOS=full .venv/bin/python -m pytest -m search tests/integration/elastic/test_chaos.py

passes a million events and 100,000 operations through twenty of each fault; without it, a fiftieth through two.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from big_trail import fill, fill_events
from search_lab import SERVERS, SearchServer, search_server
from unit_lab import confined_as

from envtrail.config import load_config
from envtrail.documents.base import site_of
from envtrail.documents.ecs import documents_of
from envtrail.documents.ecs_events import documents_of_rows
from envtrail.documents.fields import STREAMS, stream_name
from envtrail.ship.ship_state import read_refused, read_shipping
from envtrail.state.change_log import ChangeLog
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.schema import LOGGED
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

FULL = os.environ.get("ENVTRAIL_CHAOS") == "full"
EVENTS, OPERATIONS, RUNS, TIMES = (1_000_000, 100_000, 20_000, 20) if FULL else (20_000, 2_000, 500, 2)
KINDS = tuple(kind for kind in STREAMS if kind != "heartbeat")
pytestmark = [pytest.mark.search, pytest.mark.timeout(7200 if FULL else 420)]


class Shipping:
    """`envtrail elastic ship --once`, started again whenever it was killed."""

    def __init__(self, trail: Path, url: str) -> None:
        command = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "elastic", "ship", "--once", "--url", url]
        self._command = [*confined_as("envtrail-elastic.service"), *command]
        self._variables = {**os.environ, "ENVTRAIL_ELASTIC_BULK_DOCUMENTS": "500", "ENVTRAIL_ELASTIC_RETENTION_DAYS": "0"}
        self._said = trail.parent / "said.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._said.open("ab") as log:
            return subprocess.Popen(self._command, env=self._variables, stderr=log)

    def said(self) -> dict[str, int]:
        """How often the faults reached the shipper, by what it said of them."""
        words = ("does not answer", ": 429 ", "cluster_block_exception", ": 503 ")
        text = self._said.read_text()
        return {word.strip(": "): text.count(word) for word in words}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def finish(self) -> None:
        assert self.process.wait(3600 if FULL else 240) == 0


class Faults:
    """What may happen to a server, for real."""

    def __init__(self, server: SearchServer, shipping: Shipping, dice: random.Random) -> None:
        self._server, self._shipping, self._dice = server, shipping, dice

    def all(self) -> list[Callable[[], None]]:
        return [self.kill_shipper, self.kill_server, self.throttle, self.fill_disk, self.roll_over, self.freeze]

    def kill_shipper(self) -> None:
        self._shipping.kill()

    def kill_server(self) -> None:
        self._server.kill()
        time.sleep(self._dice.random())
        self._server.start()

    def throttle(self) -> None:
        """Others fill the server's memory for what is being indexed: it says 429."""
        line = json.dumps({"index": {"_index": "noise"}}) + "\n" + json.dumps({"text": "x" * 4000}) + "\n"
        body = (line * 900).encode()
        until = time.monotonic() + 1 + self._dice.random()

        def push() -> None:
            while time.monotonic() < until:
                request = urllib.request.Request(
                    self._server.url + "/_bulk", data=body, method="POST", headers={"Content-Type": "application/x-ndjson"}
                )
                try:
                    urllib.request.urlopen(request, timeout=30).close()
                except OSError:
                    time.sleep(0.01)

        threads = [threading.Thread(target=push) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def fill_disk(self) -> None:
        """The flood-stage watermark is reached: indices become read-only until it is not any more."""
        name = "cluster.routing.allocation.disk"
        marks = {f"{name}.watermark.{level}": "100000gb" for level in ("low", "high", "flood_stage")}
        self._settings({f"{name}.threshold_enabled": True, **marks})
        until = time.monotonic() + 15
        while time.monotonic() < until and not self._is_blocked():
            time.sleep(0.5)
        time.sleep(self._dice.random())
        self._settings({f"{name}.threshold_enabled": None, **dict.fromkeys(marks)})
        # A server takes the block away by itself once there is space; it checks every ten seconds or more.
        for kind in KINDS:
            self._try("PUT", f"/{stream_name(kind, 'default')}/_settings", {"index.blocks.read_only_allow_delete": None})

    def roll_over(self) -> None:
        for kind in KINDS:
            self._try("POST", f"/{stream_name(kind, 'default')}/_rollover")

    def freeze(self) -> None:
        self._server.freeze()
        time.sleep(1 + self._dice.random())
        self._server.thaw()

    def _is_blocked(self) -> bool:
        blocks = self._server.call("GET", "/_cluster/state/blocks").get("blocks", {}).get("indices", {})
        return any(name.startswith(".ds-logs-envtrail") for name in blocks)

    def _settings(self, values: dict[str, object]) -> None:
        self._server.call("PUT", "/_cluster/settings", {"persistent": values})

    def _try(self, method: str, path: str, body: object = None) -> None:
        with contextlib.suppress(urllib.error.HTTPError):  # a stream that has no document yet
            self._server.call(method, path, body)


@pytest.mark.parametrize("product", SERVERS[:1] if FULL else SERVERS)
def test_everything_arrives_once(product: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("ENVTRAIL_CHAOS_SEED") or random.randrange(1 << 30))
    print("seed", seed)
    dice = random.Random(seed)
    trail = fill(tmp_path / "trail", OPERATIONS, RUNS)
    events = fill_events(tmp_path, trail, EVENTS)
    expected = Counter(_expected(trail))
    assert sum(1 for stream, _ in expected if stream == "event") == events
    # A tenth of the heap, as it is by default, would take all that these few push; an interval of 10 s is the least.
    pressure = {"indexing_pressure.memory.limit": "8mb", "cluster.info.update.interval": "10s"}
    with search_server(product, **pressure) as server:
        subprocess.run(
            [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "elastic", "setup", "--url", server.url],
            check=True,
            capture_output=True,
        )
        shipping = Shipping(trail, server.url)
        kinds = Faults(server, shipping, dice).all()
        # In rounds: each kind is met also where all is sent before the last fault.
        faults = [fault for _ in range(TIMES) for fault in dice.sample(kinds, len(kinds))]
        met: Counter[str] = Counter()
        for fault in faults:
            time.sleep(dice.random() * (3 if FULL else 0.6))
            if shipping.process.poll() is not None:
                break
            fault()
            met[fault.__name__] += 1
        shipping.finish()
        print("met", dict(met), "said", shipping.said())
        assert len(met) == 6, met
        arrived = Counter((stream, id_) for stream in KINDS for id_ in _ids(server, stream_name(stream, "default")))
        assert not expected - arrived, "lost"
        assert not arrived - expected, "twice"
    assert not read_refused(trail / "elastic.sqlite", 1)
    shown = read_shipping(trail / "elastic.sqlite")
    assert shown is not None
    assert (shown.outbox, shown.changed) == (0, 0)


def _expected(trail: Path) -> Iterator[tuple[str, str]]:
    site = site_of(load_config(environ={}))
    with closing(ChangeLog(Layout(trail).state)) as change_log:
        change_log.changed()
        for kind in LOGGED:
            for key in change_log.ids(kind, "", -1):
                item = change_log.item(kind, key)
                assert item is not None
                yield from ((document.stream, document.id) for document in documents_of(item, site))
    with closing(EmbeddedStore(trail)) as store:
        yield from (("event", id_) for id_, _body in documents_of_rows(store.events(Query()), site))


def _ids(server: SearchServer, name: str) -> Iterator[str]:
    """Every `_id` that a data stream holds, over all its backing indices."""
    try:
        server.call("POST", f"/{name}/_refresh")
    except urllib.error.HTTPError:
        return
    page = server.call("POST", f"/{name}/_search?scroll=2m", {"size": 10_000, "_source": False, "sort": ["_doc"]})
    while page["hits"]["hits"]:
        yield from (hit["_id"] for hit in page["hits"]["hits"])
        page = server.call("POST", "/_search/scroll", {"scroll": "2m", "scroll_id": page["_scroll_id"]})
