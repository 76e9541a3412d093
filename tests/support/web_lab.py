"""The web UI in a separate process, over a trail of the test's."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port
from unit_lab import confined_as


class Page:
    """`envtrail web`."""

    def __init__(self, process: subprocess.Popen[str], port: int, link: str, token: str) -> None:
        self.process = process
        self.port = port
        self.link = link
        self.token = token
        self.cookie = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of one request; with the session's cookie, when there is one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, body=body, headers={name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        connection.close()
        return answer.status, found, text

    def enter(self) -> None:
        """Use the link."""
        status, headers, _ = self.ask(self.link.removeprefix(self.address))
        assert status == 200, status
        self.cookie = headers["set-cookie"].partition(";")[0]


@contextmanager
def serve_page(data_dir: Path, *options: str, **variables: str) -> Iterator[Page]:
    """Serve a trail, or with `--store` a fleet, until the end of the test."""
    port = free_port()
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(data_dir), *options, "web", "--port", str(port)]
    words = [*confined_as("envtrail-web.service"), *command]
    process = subprocess.Popen(words, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "Bearer" in line:
            break
    text = "".join(lines)
    link, token = re.search(r"open (\S+)", text), re.search(r"Bearer (\S+)", text)
    assert link, text
    assert token, text
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    page = Page(process, port, link[1], token[1])
    try:
        _await(page)
        yield page
    finally:
        process.terminate()
        process.wait(15)
        drain.join(5)
        process.stderr.close()


def _await(page: Page) -> None:
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if page.ask("/healthz")[0] in {200, 503}:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the web UI did not begin to answer")
