"""A cluster that requires authentication: real TLS with a client's certificate, accounts and roles, and the words when one of them is wrong."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cluster_lab import Cluster
from guard_lab import PASSWORDS, Guarded, guarded_server, make_keys

from envtrail.config import Config, load_config
from envtrail.documents.fields import stream_name
from envtrail.errors import ConfigError, SearchError
from envtrail.fleet.cluster import ClusterStore
from envtrail.ship.client import SearchClient, connection_of
from envtrail.ship.process import run
from envtrail.ship.ship_state import RefusedDocument, ShipState, read_refused
from envtrail.ship.shipper import Shipper
from envtrail.ship.templates import SetupStep, Templates, identify_cluster
from envtrail.state.store import Query

pytestmark = [pytest.mark.search, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(
    scope="module",
    params=["elasticsearch", pytest.param("opensearch-guarded", marks=pytest.mark.search("opensearch-guarded"))],
)
def guarded(request: pytest.FixtureRequest, keys: Path) -> Iterator[Guarded]:
    with guarded_server(request.param, keys) as started:
        yield started


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return f"{abs(hash(request.node.name)):x}"[:12]


@pytest.fixture
def ours(guarded: Guarded, keys: Path, recorded: Path, tmp_path: Path, namespace: str) -> Ours:
    shutil.copytree(recorded, tmp_path / "trail")
    return Ours(guarded, keys, tmp_path, namespace)


class Ours:
    """A trail, and a user who ships it to a separate namespace."""

    def __init__(self, guarded: Guarded, keys: Path, folder: Path, namespace: str) -> None:
        self.keys, self.folder, self.namespace = keys, folder, namespace
        self.ship_state = folder / "trail/elastic.sqlite"
        self._server = guarded.server
        self.product = guarded.server.release.product
        self._cluster = Cluster(guarded.server, folder / "trail", namespace)

    def config(self, *, user: str = "shipper", password: str = "", **changed: str) -> Config:
        secret = self.folder / f"{user}.password"
        secret.write_text(password or PASSWORDS[user])
        flags = {
            "data_dir": str(self.folder / "trail"),
            "elastic.urls": [self._server.url],
            "elastic.namespace": self.namespace,
            "elastic.user": user,
            "elastic.password_file": str(secret),
            "elastic.ca_file": str(self.keys / "ca.pem"),
            "elastic.client_cert": str(self.keys / "client.pem"),
            "elastic.client_key": str(self.keys / "client.key"),
            "elastic.retention_days": 0,
        }
        return load_config(environ={}, flags=flags | {f"elastic.{name}": value for name, value in changed.items()})

    def client(self, user: str = "shipper", password: str = "", **changed: str) -> SearchClient:
        return SearchClient(connection_of(self.config(user=user, password=password, **changed)))

    def set_up(self, user: str = "admin") -> list[SetupStep]:
        with closing(self.client(user)) as client:
            return list(Templates(client, identify_cluster(client), namespace=self.namespace, retention_days=0).setup())

    def ship(self, user: str = "shipper", password: str = "") -> str | None:
        """Until all was sent, or something went wrong: that is given."""
        config = self.config(user=user, password=password)
        with (
            closing(SearchClient(connection_of(config))) as client,
            closing(Shipper(self.folder / "trail", client, config, lambda: self._cluster.now_ms, jitter=lambda: 0.0)) as shipper,
        ):
            for _ in range(200):
                shipper.step()
                self._cluster.now_ms += 1000
                if shipper.fault is not None or shipper.is_done():
                    return shipper.fault
            raise AssertionError("it does not come to an end")

    def refused(self) -> list[RefusedDocument]:
        return read_refused(self.ship_state, 1000)

    def count(self, kind: str) -> int:
        return self._server.count(stream_name(kind, self.namespace))


def test_the_roles_that_are_documented_are_enough_and_no_more(ours: Ours) -> None:
    with pytest.raises(SearchError, match="403") as raised:
        ours.set_up("shipper")
    assert "docs/elastic.md" in str(raised.value.hint)
    assert {step.state for step in ours.set_up()} <= {"made", "fine"}
    assert ours.ship() is None
    assert ours.count("operation") == 21
    name = stream_name("operation", ours.namespace)
    with closing(ours.client()) as client:
        hit = client.request("POST", f"/{name}/_search?seq_no_primary_term=true", {"size": 1})["hits"]["hits"][0]
        document = f"/{hit['_index']}/_doc/{hit['_id']}"
        for method, path, body in (
            ("POST", f"/{name}/_delete_by_query", {"query": {"match_all": {}}}),
            ("DELETE", f"/_data_stream/{name}", None),
            ("DELETE", document, None),
            ("PUT", document, hit["_source"]),
            ("POST", document.replace("_doc", "_update"), {"doc": {"message": "another"}}),
            ("POST", "/else-0/_doc", {"a": 1}),
        ):
            with pytest.raises(SearchError, match=r"40[03]"):
                client.request(method, path, body)
        # Elasticsearch's `create_doc` is to add and nothing else; OpenSearch has no such privilege.
        replaced = f"{document}?if_seq_no={hit['_seq_no']}&if_primary_term={hit['_primary_term']}"
        status = client.request("PUT", replaced, hit["_source"], fine=(403,)).get("status")
        assert status == (403 if ours.product == "elasticsearch" else None)
    assert ours.count("operation") == 21


def test_a_new_version_is_set_up_where_documents_are(ours: Ours, guarded: Guarded) -> None:
    ours.set_up()
    assert ours.ship() is None
    path = "/_component_template/envtrail-mappings"
    held = guarded.server.call("GET", path)["component_templates"][0]["component_template"]
    guarded.server.call("PUT", path, {"template": held["template"], "version": 0})
    states = {step.what: step.state for step in ours.set_up()}
    assert states[path] == "updated"
    assert states[stream_name("operation", ours.namespace)] == "updated"


def test_a_wrong_password_is_named_and_loses_nothing(ours: Ours) -> None:
    ours.set_up()
    fault = ours.ship(password="wrong-one-1")
    assert fault is not None
    assert "401" in fault
    assert "elastic.password_file" in fault
    assert "wrong-one-1" not in fault
    with pytest.raises(SearchError, match="401"):
        run(ours.folder / "trail", ours.config(password="wrong-one-1"), threading.Event(), once=True)
    assert ours.ship() is None
    assert ours.count("operation") == 21
    assert ours.refused() == []


def test_who_may_read_reads_the_fleet_and_ships_nothing(ours: Ours) -> None:
    ours.set_up()
    assert ours.ship() is None
    assert ours.count("operation") == 21  # refreshed
    with closing(ClusterStore(ours.client("reader"), ours.namespace, "")) as store:
        assert len(list(store.operations(Query()))) == 21

    ours.ship_state.unlink()
    fault = ours.ship("reader")
    assert fault is not None
    assert "403" in fault
    assert "docs/elastic.md" in fault
    assert ours.refused() == [], "a key that may not write at all: everything waits"
    assert ours.ship() is None


def test_one_stream_that_is_forbidden_holds_up_nothing(ours: Ours, guarded: Guarded) -> None:
    ours.set_up()
    guarded.set_role("ships", but="run")
    try:
        assert ours.ship() is None, "the others are taken"
    finally:
        guarded.set_role("ships")
    assert ours.count("operation") == 21
    refused = ours.refused()
    assert {item.stream for item in refused} == {"run"}
    assert all("403 security_exception" in item.reason for item in refused)
    with closing(ShipState(ours.ship_state)) as ship_state:
        assert ship_state.retry_refused() == len(refused)
    assert ours.ship() is None
    assert ours.count("run") == len(refused)
    assert ours.refused() == []


@pytest.mark.parametrize(
    ("changed", "said", "hint"),
    [
        ({"password": "wrong"}, "401", "is not accepted"),
        ({"ca_file": "other.pem"}, "CERTIFICATE_VERIFY_FAILED", "elastic.ca_file"),
        ({"client_cert": "", "client_key": ""}, "does not answer", ""),
    ],
)
def test_what_is_wrong_is_named(ours: Ours, changed: dict[str, str], said: str, hint: str) -> None:
    changed = {name: str(ours.keys / value) if value.endswith(".pem") else value for name, value in changed.items()}
    with closing(ours.client(**changed)) as client:
        with pytest.raises(SearchError, match=said) as raised:
            identify_cluster(client)
        assert hint in str(raised.value.hint)
        assert "wrong" not in raised.value.message


def test_a_key_that_cannot_be_read_is_named(ours: Ours) -> None:
    with pytest.raises(ConfigError, match=r"elastic\.client_key"):
        ours.client(client_key=str(ours.keys / "ca.pem"))
