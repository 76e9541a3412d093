"""Who can sign in, and who cannot; what the API answers; what every answer carries."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from web_lab import Page, serve_page

from envtrail.environments.changes import diff_snapshots
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.times import LATEST_MS, to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.web.pages.words import change_of

PATHS = ["/", "/operations", "/environments", "/environment?prefix=/opt", "/people", "/person?name=alice", "/runs", "/findings", "/requests", "/trail", "/health", "/settings"]  # fmt: skip
API = ["/api/v1/operations", "/api/v1/status", "/api/openapi.json", "/metrics"]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"]
    subprocess.run(words, check=True, capture_output=True)
    return folder / "demo"


@pytest.fixture(scope="module")
def page(trail: Path) -> Iterator[Page]:
    with serve_page(trail) as served:
        yield served


@pytest.fixture
def stranger(page: Page) -> Page:
    return Page(page.process, page.port, page.link, page.token)


@pytest.fixture(scope="module")
def inside(page: Page) -> Page:
    page.enter()
    return page


@pytest.mark.parametrize("path", [*PATHS, *API, "/operations/x", "/_nicegui/nothing", "/nothing"])
def test_without_a_session_nothing_is_returned(stranger: Page, path: str) -> None:
    status, headers, text = stranger.ask(path)
    assert status == 401
    assert "alice" not in text
    assert headers["cache-control"] == "no-store"
    status, headers, _ = stranger.ask(path, Accept="text/html")
    assert (status, headers["location"]) == (303, "/login")


def test_the_link_works_once_and_wrong_ones_do_not_close_it(trail: Path) -> None:
    with serve_page(trail) as served:
        path = served.link.removeprefix(served.address)
        assert {served.ask(f"/login?token={at}")[0] for at in range(30)} == {403}
        assert served.ask(path)[0] == 200
        assert served.ask(path)[0] == 403, "used up"


@pytest.mark.parametrize("path", PATHS)
def test_with_a_session_every_page_is_there_with_strict_headers(inside: Page, path: str) -> None:
    status, headers, text = inside.ask(path)
    assert status == 200
    assert "<html" in text
    policy = headers["content-security-policy"]
    assert all(word in policy for word in ("default-src 'self'", "object-src 'none'", "frame-ancestors 'none'"))
    assert "http://" not in policy.replace("'self'", "")
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
    assert "server" not in headers


def test_no_page_asks_another_machine_for_anything(inside: Page) -> None:
    import re

    for path in PATHS:
        text = inside.ask(path)[2]
        assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == [], path


def test_a_session_cannot_be_chosen_and_ends_when_it_is_left(trail: Path) -> None:
    with serve_page(trail) as served:
        served.cookie = "envtrail_session=chosen"
        status, headers, _ = served.ask(served.link.removeprefix(served.address))
        assert status == 200
        given = headers["set-cookie"]
        assert "chosen" not in given
        assert all(word in given for word in ("HttpOnly", "SameSite=strict", "Path=/"))
        served.cookie = given.partition(";")[0]
        assert served.ask("/health")[0] == 200
        served.ask("/leave")
        assert served.ask("/health")[0] == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Host": "evil.example:80"}, 421), ({"Host": "localhost"}, 200), ({}, 200)],
)
def test_another_name_is_a_rebinding_attack(inside: Page, headers: dict[str, str], status: int) -> None:
    assert inside.ask("/api/v1/status", **headers)[0] == status


def test_another_sites_requests_are_refused(inside: Page) -> None:
    assert inside.ask("/api/v1/status", method="POST", Origin="http://evil.example")[0] == 403
    assert inside.ask("/leave", method="POST", Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(("cookie", "origin", "lets_in"), [(True, True, True), (False, True, False), (True, False, False)])
def test_the_pages_socket_is_as_closed_as_the_page(inside: Page, cookie: bool, origin: bool, lets_in: bool) -> None:
    lines = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{inside.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Origin: http://127.0.0.1:{inside.port}" if origin else "Origin: http://evil.example",
        *([f"Cookie: {inside.cookie}"] if cookie else []),
    ]
    with socket.create_connection(("127.0.0.1", inside.port), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = connection.recv(200).decode("latin-1")
    assert ("101" in answer.splitlines()[0]) is lets_in, answer


def test_links_back_stay_within(inside: Page) -> None:
    for back in ("//evil.example", "http://evil.example", "/\\evil.example", "javascript:alert(1)"):
        assert inside.ask(f"/language/en?back={back}")[1]["location"] == "/"
    assert inside.ask("/language/en?back=/runs")[1]["location"] == "/runs"


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%00", "a" * 3000, "%F0%28%8C%28", "<script>alert(1)</script>"])
def test_a_strange_name_is_a_page_without_anything(inside: Page, name: str) -> None:
    for path in ("/operations/", "/people/", "/findings/", "/environment?prefix="):
        status, _, text = inside.ask(path + name.replace("<", "%3C").replace(">", "%3E"))
        assert status in {200, 404}
        assert "<script>alert(1)</script>" not in text
        assert "root:x:" not in text


def test_the_api_tells_what_the_command_line_tells(inside: Page, trail: Path) -> None:
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "log", "--json"]
    reported = [
        json.loads(line) for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    ]
    status, headers, text = inside.ask("/api/v1/operations?limit=1000")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(text) == reported
    assert json.loads(inside.ask(f"/api/v1/operations/{reported[0]['id']}")[2]) == reported[0]
    assert inside.ask("/api/v1/operations/nothing")[0] == 422
    assert inside.ask(f"/api/v1/operations/{'0' * 26}")[0] == 404


def test_a_program_comes_in_with_the_token_and_to_the_api_alone(stranger: Page) -> None:
    for path in API:
        assert stranger.ask(path, Authorization=f"Bearer {stranger.token}")[0] == 200
        assert stranger.ask(path, Authorization="Bearer wrong")[0] == 401
    assert stranger.ask("/health", Authorization=f"Bearer {stranger.token}")[0] == 401


@pytest.mark.parametrize(
    "words",
    ["limit=0", "limit=1001", "since_ms=-1", "since_ms=x", "since_ms=9007199254740992", "until_ms=253402300800000", "colour=red"],
)
def test_words_that_mean_nothing_are_refused_with_the_place(inside: Page, words: str) -> None:
    status, _, text = inside.ask(f"/api/v1/operations?{words}")
    assert status == 422
    assert words.partition("=")[0] in text


@pytest.mark.parametrize("number", [1 << 53, 253402300799999, 10**40, -1])
def test_moments_that_no_calendar_has_are_no_fault_of_the_server(inside: Page, number: int) -> None:
    for path in ("operations", "runs", "sessions", "findings", "requests", "grants", "gaps", "activity", "looks", "programs"):
        for name in ("since_ms", "until_ms"):
            assert inside.ask(f"/api/v1/{path}?{name}={number}")[0] == (200 if number == LATEST_MS else 422), (path, name)
    assert inside.ask(f"/api/v1/snapshot?prefix=/opt&at_ms={number}")[0] == (404 if number == LATEST_MS else 422)
    for path in (*PATHS, "/sessions", "/looks"):
        joined = f"{path}{'&' if '?' in path else '?'}until={number}"
        assert inside.ask(joined)[0] == 200, path


def test_the_description_knows_every_document(inside: Page) -> None:
    document = json.loads(inside.ask("/api/openapi.json")[2])
    assert {"Operation", "Run", "Finding", "Grant", "StoreStatus"} <= set(document["components"]["schemas"])
    text = json.dumps(document)
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
    assert len(document["paths"]) >= 13


def test_figures_for_prometheus(inside: Page, trail: Path) -> None:
    lines = inside.ask("/metrics")[2].splitlines()
    figures = dict(line.split(" ") for line in lines if line and not line.startswith("#"))
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "status", "--json"]
    status = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["trail"]
    for name in ("operations", "runs", "environments", "gaps"):
        assert float(figures[f"envtrail_{name}"]) == status[name], name
    assert figures["envtrail_agent_up"] == "0.0"


def test_health_is_told_to_everybody_and_says_nothing_else(stranger: Page) -> None:
    assert stranger.ask("/healthz")[2] == '{"trail":true,"agent":false}\n'


def test_another_address_than_loopback_wants_tls(trail: Path) -> None:
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "web", "--host", "0.0.0.0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "--certificate" in done.stderr


def test_what_happens_now_is_told_within_a_second(trail: Path, stranger: Page) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stranger.port, timeout=10)
    connection.request("GET", "/api/v1/live", headers={"Authorization": f"Bearer {stranger.token}"})
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    assert answer.readline() == b": still here\n"
    now_ms = int(time.time() * 1000)
    made = operation_of(Case(user="just-now", packages=["six==1"], time=to_rfc3339(now_ms)))
    made = msgspec.structs.replace(made, id=make_operation_id(EventId(node="h", time_ms=now_ms, serial=9), "x"))
    state = State(trail / "state/state.sqlite")
    with state.transaction():
        state.put_operation(made)
    state.close()
    began = time.monotonic()
    lines = []
    while not any(line.startswith(b"data: ") for line in lines):
        lines.append(answer.readline())
        assert time.monotonic() - began < 5
    connection.close()
    assert b"event: operation\n" in lines
    assert json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])["id"] == made.id


def test_two_moments_of_an_environment_beside_each_other(inside: Page, trail: Path) -> None:
    prefix = "/opt/conda/envs/ml-exp"
    store = EmbeddedStore(trail)
    points = [item.time_ms for item in store.snapshots(prefix)]
    changed = diff_snapshots(store.snapshot(prefix, points[0]), store.snapshot(prefix, points[-1]) or pytest.fail("no snapshot"))
    store.close()
    assert changed
    status, _, text = inside.ask(f"/environment?prefix={prefix}&from={points[0]}&to={points[-1]}")
    assert status == 200
    assert all(change_of(change) in text for change in changed)
    for words in ("from=x&to=y", "from=-1&to=5", f"from={10**40}&to={10**40}", "from=&to="):
        assert inside.ask(f"/environment?prefix={prefix}&{words}")[0] == 200
