"""How old a version is, as a real server of an index on loopback says it; and where the policy's repository is."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envtrail.config import load_config
from envtrail.errors import CannotRunError, ConfigError
from envtrail.policy.ages import IndexAges, read_births
from envtrail.policy.git import PolicySource, _variables, moment_of, source_of
from envtrail.policy.signatures import sign

FILES: list[dict[str, Any]] = [
    {"filename": "six-1.0.tar.gz", "upload-time": "2026-01-02T00:00:00Z"},
    {"filename": "six-1.0-py3-none-any.whl", "upload-time": "2026-01-01T00:00:00Z"},
    {"filename": "six-2.0.zip", "upload-time": "2026-01-03T00:00:00.5Z"},
    {"filename": "six-3.0.zip", "upload-time": "soon"},
    {"filename": "six-4.0.zip"},
    {"filename": "six.txt", "upload-time": "2026-01-03T00:00:00Z"},
    {"upload-time": "2026-01-03T00:00:00Z"},
]
FIRST_MS = 1_767_225_600_000


@pytest.fixture
def index() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Accept"]))
            body = json.dumps({"files": FILES}).encode() if "six" in self.path else b"[]"
            self.send_response(404 if "none" in self.path else 200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple", asked
    server.shutdown()
    thread.join()
    server.server_close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_the_first_file_of_a_version_counts() -> None:
    assert read_births(FILES) == {"1.0": FIRST_MS, "2.0": FIRST_MS + 2 * 86_400_000 + 500}


def test_a_version_is_as_old_as_the_index_says(index: tuple[str, list[tuple[str, str | None]]]) -> None:
    url, asked = index
    ages = IndexAges(url)
    assert (ages.is_known("six"), ages.born_ms("six", "1.0")) == (False, None)
    for _ in range(2):
        ages.request(["six", "a b", "none"])
    wait_for(lambda: all(map(ages.is_known, ("six", "a b", "none"))))
    assert sorted(asked) == [(f"/simple/{name}/", "application/vnd.pypi.simple.v1+json") for name in ("a%20b", "none", "six")]
    assert ages.born_ms("six", "9") is None
    assert ages.born_ms("six", "1.0") == FIRST_MS
    assert (ages.born_ms("none", "1.0"), ages.born_ms("a b", "x")) == (None, None)
    ages.forget("six")
    assert not ages.is_known("six")
    ages.forget("never")
    ages.request(["six"])
    wait_for(lambda: ages.is_known("six"))
    ages.close()


def test_where_the_repository_is() -> None:
    with pytest.raises(ConfigError) as raised:
        source_of(load_config(environ={}, flags={}))
    assert raised.value.message == "no repository is named"
    assert raised.value.hint == 'set policy.git, as in `policy.git = "https://git.example/policy.git"`'
    flags: dict[str, Any] = {"policy.git": "https://g/p.git", "policy.git_ref": "stable", "policy.git_folder": "a/b"}
    found = source_of(load_config(environ={}, flags={**flags, "policy.git_signed": False}))
    assert found == PolicySource(url="https://g/p.git", ref="refs/heads/stable", folder="a/b", allowed_signers=None)
    whole = load_config(environ={}, flags={**flags, "policy.git_ref": "refs/tags/v1", "policy.git_signed": True})
    found = source_of(whole)
    assert (found.ref, found.allowed_signers) == ("refs/tags/v1", whole.policy.allowed_signers)


def test_nothing_around_redirects_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_SSL_CAINFO", "LC_ALL", "GIT_TERMINAL_PROMPT"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    found = _variables()
    assert "GIT_DIR" not in found
    assert found["GIT_SSL_CAINFO"] == "theirs"
    assert (found["LC_ALL"], found["GIT_TERMINAL_PROMPT"], found["GIT_ALLOW_PROTOCOL"]) == ("C", "0", "file:https:ssh")
    assert found["GIT_SSH_COMMAND"] == "ssh -o BatchMode=yes"
    monkeypatch.setenv("GIT_SSH_COMMAND", "mine")
    assert _variables()["GIT_SSH_COMMAND"] == "mine"


def test_a_commit_may_claim_any_time() -> None:
    assert [moment_of(text) for text in ("-5", "7", "9" * 30)] == [0, 7000, 253_370_764_800_000]


def test_without_ssh_keygen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRunError) as raised:
        sign(b"x", tmp_path / "key")
    assert (raised.value.message, raised.value.hint) == ("`ssh-keygen` is not installed", "install openssh-client")
