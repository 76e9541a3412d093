"""Every verb with `--store`, and the web UI of a fleet, over real servers that cannot answer whole: exit code 4 and why, never "there is none"."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cluster_lab import Cluster
from faulty_proxy import Alter, faulty_proxy
from guard_lab import PASSWORDS, Guarded, guarded_server, make_keys
from search_lab import SearchServer
from web_lab import serve_page

from envtrail.cli.main import _OF_ONE_MACHINE, COMMANDS, run
from envtrail.documents.fields import STREAMS, mapping, stream_name
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Query

pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]
POLICY = "version: 1\nrules: [{name: a, verdict: deny}]\n"
READERS: dict[str, list[str]] = {
    "log": ["log"],
    "show": ["show", "{operation}"],
    "explain": ["explain", "{operation}"],
    "env": ["env", "list"],
    "env show": ["env", "show", "{environment}"],
    "env history": ["env", "history", "{environment}"],
    "env blame": ["env", "blame", "{environment}"],
    "env diff": ["env", "diff", "{environment}", "{operation}.."],
    "env unused": ["env", "unused"],
    "sbom": ["sbom", "{environment}"],
    "impact": ["impact", "six"],
    "runs": ["runs"],
    "top": ["top", "installs"],
    "top people": ["top", "people"],
    "top scripts": ["top", "scripts"],
    "top off-hours": ["top", "off-hours"],
    "report": ["report", "--format", "json", "--no-verify"],
    "sessions": ["sessions"],
    "events": ["events"],
    "gaps": ["gaps"],
    "access-log": ["access-log"],
    "requests": ["requests"],
    "grants": ["grants"],
    "findings": ["findings"],
    "finding": ["finding", "01"],
    "policy": ["policy", "replay", "--policy", "{policy}"],
    "policy explain": ["policy", "explain", "{operation}", "--policy", "{policy}"],
    "fleet": ["fleet", "status"],
    "status": ["status"],
    "export": ["export"],
}
DECIDES = {"request", "approve", "deny", "revoke", "break-glass", "ack", "mute"}
OF_NO_TRAIL = {"detections", "elastic", "config", "completion"}
PAGES = [
    "/",
    "/operations",
    "/environments",
    "/people",
    "/runs",
    "/sessions",
    "/findings",
    "/requests",
    "/looks",
    "/trail",
    "/health",
]
NEVER_SHIPPED = {"/findings", "/requests", "/looks"}
"""Of the recorded trail: there is no such stream, and none to be queried."""
ANSWERS = ["operations", "runs", "environments", "sessions"]


def test_the_verbs_are_all_that_read_a_trail() -> None:
    verbs = {verb for section in COMMANDS.values() for verb in section}
    assert {name.partition(" ")[0] for name in READERS} == verbs - _OF_ONE_MACHINE - DECIDES - OF_NO_TRAIL - {"web"}


class Asker:
    """Somebody at a terminal, with their own settings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], words: dict[str, str]) -> None:
        self.folder, self._capsys, self._words = folder, capsys, words
        (folder / "policy.yaml").write_text(POLICY)

    def settings(self, **elastic: Any) -> Path:
        path = self.folder / "read.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in elastic.items()]
        path.write_text("\n".join(["[elastic]", *lines]) + "\n")
        return path

    def ask(self, name: str, url: str, **elastic: Any) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a verb."""
        words = self._words | {"policy": str(self.folder / "policy.yaml")}
        given = [word.format(**words) for word in READERS[name]]
        if name == "fleet":
            given += ["--url", url]
        code = run(["--config", str(self.settings(**elastic)), "--store", url, *given])
        reported = self._capsys.readouterr()
        return code, reported.out, reported.err

    def ask_all(self, url: str, said: str, **elastic: Any) -> None:
        """Each verb ends with 4, says why, and gives a hint."""
        for name in READERS:
            code, out, err = self.ask(name, url, **elastic)
            assert code == 4, (name, code, out, err)
            assert said in err, (name, err)
            assert "hint: " in err, (name, err)
            for word in ("no gaps", "there is nothing to read", "no environment has", "no operations"):
                assert word not in out, (name, out)


def words_of(trail: Path) -> dict[str, str]:
    with closing(EmbeddedStore(trail)) as held:
        operation = next(it for it in held.operations(Query()) if it.changes)
        return {"operation": operation.id, "environment": f"{operation.host}:{operation.environment.prefix}"}


@pytest.fixture(scope="module")
def shipped(server: SearchServer, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    trail = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("whole") / "trail"))
    cluster = Cluster(server, trail, "whole", node="gpu1")
    cluster.setup()
    cluster.ship()
    for kind in STREAMS:
        cluster.documents(kind)  # refreshed
    return cluster


@pytest.fixture
def asker(shipped: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Asker:
    monkeypatch.chdir(tmp_path)
    return Asker(tmp_path, capsys, words_of(shipped.trail))


def test_a_whole_answer_is_one_and_what_was_never_shipped_is_none(shipped: Cluster, asker: Asker) -> None:
    for name in set(READERS) - {"finding"}:
        code, out, err = asker.ask(name, shipped.server.url, namespace=shipped.namespace)
        assert code in {0, 1}, (name, out, err)
    _, out, err = asker.ask("gaps", shipped.server.url, namespace=shipped.namespace)
    assert "no gaps" in out + err
    assert shipped.documents("gap") == []


def test_a_namespace_that_is_mistyped_is_unknown(shipped: Cluster, asker: Asker) -> None:
    asker.ask_all(shipped.server.url, "no data stream of the namespace `whoel`", namespace="whoel")


def spoil(changed: Callable[[dict[str, Any]], dict[str, Any]], *, first: int = 0) -> Alter:
    """Searches answered in part, the first ones not."""
    seen = 0

    def alter(path: str, content: bytes) -> bytes:
        nonlocal seen
        seen += "_search" in path
        answer = json.loads(content) if "_search" in path and seen > first else {}
        return json.dumps(answer | changed(answer)).encode() if "hits" in answer else content

    return alter


def failed(answer: dict[str, Any]) -> dict[str, Any]:
    total = answer["_shards"]["total"] + 1
    reason = {"type": "no_shard_available_action_exception", "reason": "gone"}
    return {"_shards": answer["_shards"] | {"total": total, "failed": 1, "failures": [{"shard": 0, "reason": reason}]}}


@pytest.mark.parametrize(
    ("changed", "said"), [(failed, "gone"), (lambda _: {"timed_out": True}, "timed_out")], ids=["failed", "timed out"]
)
def test_a_part_of_an_answer_is_none(
    shipped: Cluster, asker: Asker, changed: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    for first in (0, 1):
        with faulty_proxy(shipped.server.url, lambda *_: "pass", spoil(changed, first=first)) as url:
            if first == 0:
                asker.ask_all(url, said, namespace=shipped.namespace)
            else:
                code, _, err = asker.ask("log", url, namespace=shipped.namespace)
                assert (code, said in err) == (4, True), err


def test_an_index_that_is_closed_is_named(server: SearchServer, recorded: Path, asker: Asker, tmp_path: Path) -> None:
    """With `ignore_unavailable` a server left it out without a word."""
    cluster = Cluster(server, Path(shutil.copytree(recorded, tmp_path / "trail")), "closed", node="gpu1")
    cluster.setup()
    cluster.ship()
    for kind in STREAMS:
        cluster.documents(kind)
    name = stream_name("operation", "closed")
    index = server.call("GET", f"/{name}/_search?size=1")["hits"]["hits"][0]["_index"]
    server.call("POST", f"/{name}/_rollover")
    server.call("POST", f"/{index}/_close")
    for verb in ("log", "top", "status", "show", "env history"):
        code, out, err = asker.ask(verb, server.url, namespace="closed")
        assert (code, "index_closed_exception" in err) == (4, True), (verb, out, err)


def test_all_namespaces_are_read_together(shipped: Cluster, asker: Asker) -> None:
    code, out, err = asker.ask("log", shipped.server.url, namespace="whole*")
    assert (code, bool(out)) == (0, True), err
    assert asker.ask("log", shipped.server.url, namespace="whoel*")[0] == 4


def test_the_page_of_a_fleet_says_so(shipped: Cluster, tmp_path: Path) -> None:
    is_whole = True
    partly = spoil(failed)

    def alter(path: str, content: bytes) -> bytes:
        return content if is_whole else partly(path, content)

    with (
        faulty_proxy(shipped.server.url, lambda *_: "pass", alter) as url,
        serve_page(tmp_path / "none", "--store", url, ENVTRAIL_ELASTIC_NAMESPACE=shipped.namespace) as page,
    ):
        page.enter()
        for path in PAGES:
            status, _, text = page.ask(path)
            assert (status, "was not answered completely" in text) == (200, False), path
        is_whole = False
        for path in sorted(set(PAGES) - NEVER_SHIPPED):
            status, _, text = page.ask(path)
            assert "was not answered completely" in text, (path, status, text[-2000:])
        for name in ANSWERS:
            status, _, text = page.ask(f"/api/v1/{name}")
            assert (status, json.loads(text)["error"]["id"]) == (503, "search-server"), name
        assert page.ask("/metrics")[0] == 503


def test_the_page_of_a_namespace_that_is_mistyped_says_so(shipped: Cluster, tmp_path: Path) -> None:
    with serve_page(tmp_path / "none", "--store", shipped.server.url, ENVTRAIL_ELASTIC_NAMESPACE="whoel") as page:
        page.enter()
        for path in [*PAGES, f"/environment?prefix={quote('gpu1:/opt/conda')}"]:
            text = page.ask(path)[2]
            assert "no data stream of the namespace" in text, path
            assert "whoel" in text, path
        assert page.ask("/api/v1/gaps")[0] == 503


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(
    scope="module",
    params=["elasticsearch", pytest.param("opensearch-guarded", marks=pytest.mark.search("opensearch-guarded"))],
)
def guarded(request: pytest.FixtureRequest, keys: Path) -> Iterator[Guarded]:
    with guarded_server(request.param, keys) as started:
        for kind in ("operation", "amendment", "heartbeat", "environment"):
            body = {"@timestamp": "2026-01-01T00:00:00Z"}
            for namespace in ("mine", "theirs"):
                path = f"/{stream_name(kind, namespace)}"
                started.server.call("PUT", f"/_index_template/t-{kind}", template(kind))
                started.server.call("POST", f"{path}/_doc?op_type=create&refresh=true", body)
        yield started


class TestAccounts:
    """Who may not read gets an error that says so; what is readable stays so."""

    @pytest.fixture
    def settings(self, guarded: Guarded, keys: Path, tmp_path: Path) -> dict[str, Any]:
        (tmp_path / "password").write_text(PASSWORDS["reader"])
        return {
            "user": "reader",
            "password_file": str(tmp_path / "password"),
            "ca_file": str(keys / "ca.pem"),
            "client_cert": str(keys / "client.pem"),
            "client_key": str(keys / "client.key"),
            "namespace": "mine",
        }

    @pytest.fixture
    def reader(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Asker:
        monkeypatch.chdir(tmp_path)
        return Asker(tmp_path, capsys, {"operation": "01ABC", "environment": "gpu1:/opt/e"})

    def test_a_role_without_read_is_no_empty_fleet(self, guarded: Guarded, reader: Asker, settings: dict[str, Any]) -> None:
        code, out, err = reader.ask("gaps", guarded.server.url, **settings)
        assert (code, "no gaps" in out + err) == (1, True), "it may read, and nothing is missing"
        with guarded.reads("other-*"):
            reader.ask_all(guarded.server.url, "403", **settings)

    def test_a_role_that_may_read_some_streams_answers_for_those(
        self, guarded: Guarded, reader: Asker, settings: dict[str, Any]
    ) -> None:
        with guarded.reads("logs-envtrail.operation-*", "logs-envtrail.amendment-*"):
            for verb in ("gaps", "impact", "findings", "fleet"):
                code, out, err = reader.ask(verb, guarded.server.url, **settings)
                assert (code, "403" in err) == (4, True), (verb, out, err)

    def test_a_role_of_one_namespace_does_not_answer_for_all(
        self, guarded: Guarded, reader: Asker, settings: dict[str, Any]
    ) -> None:
        with guarded.reads("logs-envtrail.*-mine"):
            assert reader.ask("gaps", guarded.server.url, **settings)[0] == 1
            for namespace in ("*", "theirs"):
                for verb in ("gaps", "requests"):
                    code, out, err = reader.ask(verb, guarded.server.url, **settings | {"namespace": namespace})
                    assert code == 4, (namespace, verb, out, err)


def template(kind: str) -> dict[str, Any]:
    return {
        "index_patterns": [f"logs-envtrail.{kind}-*"],
        "data_stream": {},
        "priority": 500,
        "template": {"mappings": mapping(), "settings": {"number_of_replicas": 0}},
    }
