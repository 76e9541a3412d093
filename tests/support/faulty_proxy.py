"""A line to a server that breaks: a request is carried over and its answer is lost, or it never gets there."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Alter = Callable[[str, bytes], bytes]
"""Path and an answer's content → what is given instead."""
Fate = Callable[[str, str], str]
"""Method and path → `pass`, `swallow` (the server gets it, its answer is lost) or `cut` (it never gets there)."""


@contextmanager
def faulty_proxy(server_url: str, fate: Fate, alter: Alter = lambda _, content: content) -> Iterator[str]:
    """Carry requests to a server; gives the address to use instead."""
    target = urlsplit(server_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            what = fate(self.command, self.path)
            if what == "cut":
                self.close_connection = True
                self.connection.close()
                return
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "accept-encoding"}}
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                content = alter(self.path, answer.read())
            except OSError:
                self.close_connection = True
                self.connection.close()
                return
            finally:
                connection.close()
            if what == "swallow":
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _carry  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
