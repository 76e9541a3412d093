"""A namespace of a real search server, with a trail that is shipped to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from search_lab import SearchServer

from envtrail.config import Config, load_config
from envtrail.documents.fields import STREAMS, stream_name
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.ship.shipper import Shipper
from envtrail.ship.templates import Templates, identify_cluster


class Cluster:
    """A separate namespace on a server, and a clock that the test sets."""

    def __init__(self, server: SearchServer, trail: Path, namespace: str, *, node: str = "") -> None:
        self.server, self.trail, self.namespace = server, trail, namespace
        self.node = node
        self.now_ms = int(time.time() * 1000)

    def config(self, **settings: Any) -> Config:
        flags = {"data_dir": str(self.trail), "elastic.namespace": self.namespace, "elastic.urls": [self.server.url]}
        flags["node"] = self.node
        return load_config(environ={}, flags=flags | {f"elastic.{name}": value for name, value in settings.items()})

    def client(self, url: str | None = None, *, answer_s: float = 60) -> SearchClient:
        return SearchClient(ClusterConnection(urls=[url or self.server.url]), answer_s=answer_s)

    def templates(self, client: SearchClient) -> Templates:
        return Templates(client, identify_cluster(client), namespace=self.namespace, retention_days=0)

    def setup(self) -> None:
        with closing(self.client()) as client:
            list(self.templates(client).setup())

    def ship(
        self, *, url: str | None = None, answer_s: float = 60, after: Callable[[], None] = lambda: None, **settings: Any
    ) -> None:
        """Until all was sent; the clock goes on by a second each step."""
        with (
            closing(self.client(url, answer_s=answer_s)) as client,
            closing(Shipper(self.trail, client, self.config(**settings), lambda: self.now_ms, jitter=lambda: 0.0)) as shipper,
        ):
            for _ in range(2000):
                shipper.step()
                after()
                if shipper.fault is None and shipper.is_done():
                    return
                self.now_ms += 1000
            raise AssertionError(shipper.fault)

    def documents(self, kind: str) -> list[dict[str, Any]]:
        name = stream_name(kind, self.namespace)
        with closing(self.client()) as client:
            client.request("POST", f"/{name}/_refresh", fine=(404,))
            answer = client.search(f"/{name}/_search", {"size": 10_000}, fine=(404,))
        return [hit["_source"] | {"_id": hit["_id"]} for hit in answer.get("hits", {}).get("hits", ())]

    def of_domain(self, kind: str, type_: type[Any]) -> dict[str, Any]:
        """What was shipped, read back."""
        bodies = [document["envtrail"][kind] for document in self.documents(kind)]
        return {item.id: item for item in (msgspec.convert(body, type_) for body in bodies)}

    def counts(self) -> dict[str, int]:
        return {kind: len(self.documents(kind)) for kind in STREAMS if kind != "heartbeat"}
