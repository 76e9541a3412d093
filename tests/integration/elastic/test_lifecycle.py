"""Retention on a server that has ILM: the policy rolls over and deletes, and is compared and brought up to date.

Elasticsearch 6.8 is the newest with ILM that can be had here. It has no data streams: an index with an alias stands in for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from guard_lab import PASSWORDS, elasticsearch_accounts
from search_lab import search_server

from envtrail.documents.fields import stream_name
from envtrail.errors import SearchError
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.ship.templates import POLICY, SetupStep, Templates, identify_cluster

pytestmark = [pytest.mark.search("elasticsearch-ilm"), pytest.mark.timeout(180)]
STREAM = stream_name("operation", "default")


class Hasty(Templates):
    """A day is a second, and what 6.8 does not know is said as it knows it; all else is as it is made for every server."""

    def _policy(self) -> dict[str, Any]:
        body = super()._policy()
        policy = body["policy"]
        rollover = policy["phases"]["hot"]["actions"]["rollover"]
        del policy["_meta"]
        rollover["max_size"] = rollover.pop("max_primary_shard_size")
        for bounds in (rollover, policy["phases"].get("delete", {})):
            for name in bounds.keys() & {"max_age", "min_age"}:
                assert bounds[name].endswith("d")
                bounds[name] = bounds[name].replace("d", "s")
        return body

    def settings(self) -> dict[str, Any]:
        """Of each index of operations, as the templates have them."""
        bodies = dict(self._wanted())
        parts = (bodies[path] for path in ("/_component_template/envtrail-settings", "/_index_template/logs-envtrail.operation"))
        return {name: value for body in parts for name, value in body["template"]["settings"]["index"].items()}


@pytest.fixture(scope="module")
def client() -> Iterator[SearchClient]:
    with (
        search_server("elasticsearch-ilm", **{"indices.lifecycle.poll_interval": "1s"}) as server,
        closing(SearchClient(ClusterConnection(urls=[server.url]))) as client,
    ):
        yield client


@pytest.fixture
def kept_for(client: SearchClient) -> Iterator[Callable[[int], Hasty]]:
    cluster = identify_cluster(client)
    assert (cluster.product, cluster.version, cluster.lifecycle) == ("elasticsearch", "6.8.23", "ilm")
    yield lambda days: Hasty(client, cluster, namespace="default", retention_days=days)
    client.request("DELETE", f"/{STREAM}-0*")
    client.request("DELETE", f"/_ilm/policy/{POLICY}", fine=(404,))


def setup(templates: Templates) -> SetupStep:
    """What became of the policy: 6.8 has none of the templates that come after it."""
    return next(templates.setup())


def check(templates: Templates) -> SetupStep:
    return next(templates.check())


def wait_until(is_so: Callable[[], bool], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, f"not within {within_s} s"
        time.sleep(0.2)


def test_an_index_is_rolled_over_and_deleted_as_the_policy_says(client: SearchClient, kept_for: Callable[[int], Hasty]) -> None:
    month, days = kept_for(60), kept_for(3)
    assert setup(month).state == "made"
    settings = month.settings()
    assert settings["lifecycle"] == {"name": POLICY}
    settings["lifecycle"]["rollover_alias"] = STREAM
    client.request("PUT", f"/_template/{STREAM}", {"index_patterns": [f"{STREAM}-*"], "settings": {"index": settings}})
    client.request("PUT", f"/{STREAM}-000001", {"aliases": {STREAM: {"is_write_index": True}}})

    def write(name: str) -> str:
        return str(client.request("POST", f"/{STREAM}/_doc/{name}?refresh=true", {"name": name})["_index"])

    def is_there(name: str) -> bool:
        found = client.request("POST", f"/{STREAM}/_search", {"query": {"ids": {"values": [name]}}})
        return bool(found["hits"]["total"] == 1)

    def is_closed(index: str) -> bool:
        answer = client.request("GET", f"/{index}/_alias/{STREAM}")
        return answer[index]["aliases"][STREAM]["is_write_index"] is False

    born_in = write("old")
    wait_until(lambda: is_closed(born_in), within_s=20)  # an index is open for a tenth: 6 s
    assert is_there("old")
    explained = client.request("GET", f"/{born_in}/_ilm/explain")["indices"][born_in]
    assert (explained["managed"], explained["policy"]) == (True, POLICY)
    next_index = write("new")
    assert next_index != born_in
    assert client.request("GET", f"/{next_index}/_ilm/explain")["indices"][next_index]["policy"] == POLICY

    assert setup(days).state == "updated"
    wait_until(lambda: not client.exists(f"/{born_in}"), within_s=30)  # half of what was said first
    write("newest")
    assert is_there("newest")
    assert not is_there("old")


def test_an_index_that_is_kept_longer_is_not_deleted(client: SearchClient, kept_for: Callable[[int], Hasty]) -> None:
    # Without this, a server that deletes whatever is rolled over would pass the other test.
    templates = kept_for(12)
    setup(templates)
    settings = templates.settings()
    settings["lifecycle"]["rollover_alias"] = STREAM
    client.request("PUT", f"/{STREAM}-000001", {"settings": {"index": settings}, "aliases": {STREAM: {"is_write_index": True}}})
    wait_until(lambda: client.exists(f"/{STREAM}-000002"), within_s=15)
    rolled_over = time.monotonic()
    wait_until(lambda: not client.exists(f"/{STREAM}-000001"), within_s=40)
    assert time.monotonic() - rolled_over > 12 - 3  # it was seen up to a look late


def test_the_policy_is_compared_with_what_the_server_made_of_it(client: SearchClient, kept_for: Callable[[int], Hasty]) -> None:
    path = f"/_ilm/policy/{POLICY}"
    assert check(kept_for(60)) == SetupStep(what=path, state="missing", hint="envtrail elastic setup")
    assert [setup(kept_for(60)).state for _ in range(3)] == ["made", "fine", "fine"]
    assert check(kept_for(60)) == SetupStep(what=path, state="fine")
    held = client.request("GET", path)[POLICY]
    assert held["version"] == 1, "a second setup writes nothing"
    assert held["policy"]["phases"]["delete"]["min_age"] == "60s"
    assert check(kept_for(90)).state == "different"
    assert setup(kept_for(90)) == SetupStep(what=path, state="updated")
    assert check(kept_for(90)).state == "fine"
    held = client.request("GET", path)[POLICY]
    assert (held["version"], held["policy"]["phases"]["delete"]["min_age"]) == (2, "90s")


def test_what_is_kept_for_ever_is_no_longer_deleted(client: SearchClient, kept_for: Callable[[int], Hasty]) -> None:
    path = f"/_ilm/policy/{POLICY}"
    assert list(kept_for(0)._setup_policy()) == [], "without a policy from before there is nothing to take back"
    setup(kept_for(60))
    assert check(kept_for(0)).state == "different"
    assert setup(kept_for(0)).state == "updated"
    assert [setup(kept_for(0)).state, check(kept_for(0)).state] == ["fine", "fine"]
    phases = client.request("GET", path)[POLICY]["policy"]["phases"]
    assert (phases.keys(), phases["hot"]["actions"]["rollover"]["max_age"]) == ({"hot"}, "30s")
    assert check(kept_for(60)).state == "different"


def test_what_is_refused_is_reported(client: SearchClient) -> None:
    """The body as a newer server gets it: 6.8 names the field that it does not know."""
    with pytest.raises(SearchError, match="400"):
        setup(Templates(client, identify_cluster(client), namespace="default", retention_days=60))


def test_who_may_only_ship_need_not_know_of_the_lifecycle() -> None:
    """The documented role may not request it (403): that is no reason to ship nothing."""
    privileges = ["create", "create_index", "read"]  # 6.8 has no create_doc, auto_configure and maintenance
    roles = {"ships": {"cluster": ["monitor"], "indices": [{"names": ["logs-envtrail.*"], "privileges": privileges}]}}
    root = ("root", PASSWORDS["root"])
    shipper = {"user": "shipper", "password": PASSWORDS["shipper"]}
    files = elasticsearch_accounts(roles)
    with (
        search_server("elasticsearch-ilm", files=files, account=root, **{"xpack.security.enabled": True}) as server,
        closing(SearchClient(ClusterConnection(urls=[server.url], **shipper))) as client,
    ):
        with pytest.raises(SearchError, match="403"):
            client.request("GET", "/_ilm/status")
        assert identify_cluster(client).lifecycle == "ilm"
        with pytest.raises(SearchError, match="403"):
            setup(Hasty(client, identify_cluster(client), namespace="default", retention_days=60))
