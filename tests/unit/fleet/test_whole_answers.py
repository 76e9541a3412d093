"""A cluster's answer is whole, or it is none: what a server leaves out in a 200 is an error, in whatever shape it says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from envtrail.errors import ExitCode, SearchError
from envtrail.fleet import searching as searching_module
from envtrail.fleet.cluster import ClusterStore
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.state.store import Query

Answer = Callable[[str, Any], tuple[int, Any]]
SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
NONE = {"took": 1, "timed_out": False, "_shards": SHARDS, "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}
ABSENT = {"error": {"type": "index_not_found_exception", "reason": "no such index"}, "status": 404}


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, document = answer(self.path, json.loads(body or b"null"))
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@contextmanager
def store(answer: Answer, namespace: str = "ns") -> Iterator[ClusterStore]:
    with server(answer) as url, closing(ClusterStore(SearchClient(ClusterConnection(urls=[url])), namespace, url)) as made:
        yield made


QUESTIONS: dict[str, Callable[[ClusterStore], Any]] = {
    "operations": lambda it: list(it.operations(Query())),
    "operation": lambda it: it.operation("01"),
    "runs": lambda it: list(it.runs(Query())),
    "run": lambda it: it.run("01"),
    "findings": lambda it: list(it.findings(Query())),
    "gaps": lambda it: list(it.gaps(Query())),
    "events": lambda it: list(it.events(Query())),
    "activity": lambda it: list(it.activity(Query())),
    "programs": lambda it: list(it.programs(Query())),
    "weeks": lambda it: it.weeks(),
    "names": lambda it: it.names(),
    "known": lambda it: list(it.known("people")),
    "status": lambda it: it.status(),
    "machines": lambda it: it.machines(),
    "environments": lambda it: list(it.environments()),
    "summaries": lambda it: list(it.summaries()),
    "snapshot": lambda it: it.snapshot("h:/e"),
    "snapshots": lambda it: list(it.snapshots()),
    "holdings": lambda it: list(it.holdings("six")),
    "uses": lambda it: list(it.uses("h:/e")),
    "sessions": lambda it: list(it.sessions(Query())),
    "requests": lambda it: list(it.requests(Query())),
    "grants": lambda it: list(it.grants(Query())),
    "access_log": lambda it: list(it.access_log(Query())),
    "suppressions": lambda it: list(it.suppressions()),
}
IN_PART = {
    "a shard failed": {
        "_shards": {"total": 3, "successful": 2, "failed": 1, "failures": [{"reason": {"type": "x", "reason": "y"}}]}
    },
    "a shard failed, and why is not reported": {"_shards": {"total": 3, "successful": 2, "failed": 1}},
    "a shard did not answer": {"_shards": {"total": 3, "successful": 2, "failed": 0}},
    "it took too long": {"timed_out": True},
    "no shard at all": {"_shards": {"total": 0, "successful": 0, "failed": 0}},
    "no word about shards": {"_shards": None},
    "no hits": {"hits": None},
    "another cluster is left out": {"_clusters": {"total": 2, "successful": 1, "skipped": 1}},
}


def test_the_questions_are_all_that_a_store_answers() -> None:
    others = {"agent", "close"}
    assert set(QUESTIONS) | others == {name for name in vars(ClusterStore) if not name.startswith("_")}


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_no_question_is_answered_in_part(question: str) -> None:
    said: dict[str, Any] = {}
    with store(lambda *_: (200, NONE | said)) as it:
        for changed in IN_PART.values():
            said.clear()
            said.update(changed)
            with pytest.raises(SearchError) as raised:
                QUESTIONS[question](it)
            assert "logs-envtrail." in raised.value.message
            assert raised.value.hint
            assert raised.value.exit_code is ExitCode.FAILED


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name not in {"weeks", "names"}])
def test_what_fails_after_a_stream_was_seen_is_told_too(question: str) -> None:
    def answer(_: str, body: Any) -> tuple[int, Any]:
        return 200, NONE if body == {"size": 0} else NONE | IN_PART["a shard failed"]

    with store(answer) as it, pytest.raises(SearchError, match="1 of 3 shards failed: x: y"):
        QUESTIONS[question](it)


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_a_namespace_that_is_not_there_is_unknown(question: str) -> None:
    with store(lambda *_: (404, ABSENT), "mistyped") as it, pytest.raises(SearchError) as raised:
        QUESTIONS[question](it)
    assert "namespace `mistyped`" in raised.value.message
    assert "elastic.namespace" in str(raised.value.hint)


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_where_anything_was_shipped_a_stream_that_is_not_there_holds_nothing(question: str) -> None:
    def answer(path: str, _: Any) -> tuple[int, Any]:
        assert "," not in path, "a search names what is there only"
        return (200, NONE) if path.startswith("/logs-envtrail.heartbeat-ns/") else (404, ABSENT)

    with store(answer) as it:
        QUESTIONS[question](it)


def test_every_search_asks_for_a_whole_answer_and_none_lets_anything_be_left_out() -> None:
    asked: list[str] = []

    def answer(path: str, _: Any) -> tuple[int, Any]:
        asked.append(path)
        return 200, NONE | {"_shards": SHARDS | {"total": 9, "successful": 9, "skipped": 4}}

    with store(answer) as it:
        for question in QUESTIONS.values():
            question(it)
    assert len(asked) > len(QUESTIONS)
    assert all("allow_partial_search_results=false" in path for path in asked)
    assert not any("ignore_unavailable" in path for path in asked)


def test_a_server_that_drops_one_of_two_streams_is_found_out() -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        return 200, NONE

    with store(answer) as it, pytest.raises(SearchError, match="1 shards answered for 2 data streams"):
        list(it.operations(Query()))


def test_a_stream_that_comes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching_module, "_ABSENT_S", 0.0)
    streams = ["operation"]

    def answer(path: str, _: Any) -> tuple[int, Any]:
        named = path.split("/")[1].split(",")
        if not all(name.removeprefix("logs-envtrail.").removesuffix("-ns") in streams for name in named):
            return 404, ABSENT
        return 200, NONE | {"_shards": SHARDS | {"total": len(named), "successful": len(named)}}

    with store(answer) as it:
        assert list(it.gaps(Query())) == []
        streams += ["gap", "amendment"]
        assert list(it.gaps(Query())) == []
        streams.remove("gap")
        with pytest.raises(SearchError, match="404"):
            list(it.gaps(Query()))


def test_a_key_that_may_read_some_namespaces_does_not_answer_for_all() -> None:
    def answer(path: str, body: Any) -> tuple[int, Any]:
        if path == "/_security/user/_has_privileges":
            names = body["index"][0]["names"]
            return 200, {"index": {name: {"read": "gap" not in name} for name in names}}
        return 200, NONE | {"_shards": SHARDS | {"total": 2, "successful": 2}}

    with store(answer, "*") as it, pytest.raises(SearchError, match=r"may not read all.*logs-envtrail\.gap-\*"):
        list(it.operations(Query()))
    with store(lambda path, body: (400, {"error": "no handler"}) if "_security" in path else answer(path, body), "*") as it:
        assert list(it.operations(Query())) == []
