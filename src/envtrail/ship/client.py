"""A search server over plain HTTP: the few calls that the project needs, the same for Elasticsearch 8 and 9 and for OpenSearch.

Neither official client is used: each rejects the other product's servers, and Elasticsearch's rejects its own other major versions.

References:
    https://www.elastic.co/docs/api/doc/elasticsearch; https://docs.opensearch.org/latest/api-reference
    RFC 9110 section 10.2.3 (Retry-After)
"""

from __future__ import annotations

import contextlib
import gzip
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from envtrail.config import Config
from envtrail.errors import ConfigError, SearchError
from envtrail.model.bounds import UNDECODABLE

CONNECT_S = 5.0
ANSWER_S = 60.0
_GZIP_LEVEL = 1
_NEXT_ENDPOINT = {502, 503, 504}
_LONGEST_REASON = 500
_NO_SHARD = "search_phase_execution_exception"
_NOT_WHOLE = "what is missing is not known: fix the cluster (`GET /_cat/shards`) or the key (docs/elastic.md), then query again"
_SHARD_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class ClusterConnection(Struct, frozen=True, kw_only=True):
    """Addresses and credentials of a cluster."""

    urls: list[str]
    """Of one cluster; when one server does not answer, the next one is tried."""
    api_key: str | None = None
    user: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


def connection_of(config: Config) -> ClusterConnection:
    """Reads the connection from the settings.

    Raises:
        ConfigError: no server is named, or a file cannot be read.
    """
    urls = list(config.elastic.urls)
    if not urls:
        raise ConfigError(
            "no search server is named", hint="`--url https://es.example:9200`, or elastic.urls in /etc/envtrail/envtrail.toml"
        )
    user = config.elastic.user
    return ClusterConnection(
        urls=urls,
        api_key=_secret("elastic.api_key_file", config.elastic.api_key_file),
        user=user,
        password=_secret("elastic.password_file", config.elastic.password_file) if user else None,
        ca_file=config.elastic.ca_file,
        client_cert=config.elastic.client_cert,
        client_key=config.elastic.client_key,
    )


class SearchClient:
    """A client of one cluster; not thread-safe.

    Args:
        connection: Addresses and credentials.
        answer_s: Time limit for a response.

    Raises:
        ConfigError: a certificate or a key cannot be used.
    """

    def __init__(self, connection: ClusterConnection, *, answer_s: float = ANSWER_S) -> None:
        headers = {"Accept": "application/json"}
        if connection.api_key is not None:
            headers["Authorization"] = f"ApiKey {connection.api_key}"
        auth = (connection.user, connection.password or "") if connection.user and connection.api_key is None else None
        self._urls = connection.urls
        self._at = 0
        self._http = httpx.Client(
            headers=headers,
            auth=auth,
            verify=_tls(connection),
            timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
            trust_env=False,
        )

    def request(self, method: str, path: str, body: Any = None, *, fine: Sequence[int] = ()) -> Any:
        """Send one request; when a server does not answer, the next one is tried.

        Args:
            method: HTTP method.
            path: With its query.
            body: Encoded as JSON; bytes are sent unchanged, as lines of JSON.
            fine: Statuses besides 2xx that are not errors: their document is returned.

        Raises:
            SearchError: the server rejects the request or fails, or no server answers.
        """
        content, headers = _encode(body)
        fault: SearchError | None = None
        for _ in self._urls:
            url = self._urls[self._at]
            try:
                answer = self._http.request(method, url + path, content=content, headers=headers)
            except httpx.HTTPError as problem:
                fault = _no_answer(url, problem)
            else:
                if answer.is_success or answer.status_code in fine:
                    return _document(answer)
                fault = _refusal(url, method, path, answer)
                if answer.status_code not in _NEXT_ENDPOINT:
                    raise fault
            self._at = (self._at + 1) % len(self._urls)
            if fault.is_uncertain and method == "POST":
                raise fault
        assert fault is not None  # noqa: S101 - there is at least one address
        raise fault

    def search(self, path: str, body: Any, *, fine: Sequence[int] = (), least: int = 1) -> Any:
        """Run a search and return the complete answer or none; retried briefly while a new stream's shard is not started yet.

        Args:
            path: With its query.
            body: Of the search.
            fine: 404: a missing stream is not an error.
            least: Number of shards that must have answered: one for each stream that is named.

        Raises:
            SearchError: as for `request`; or a part of the answer is missing.
        """
        path += ("&" if "?" in path else "?") + "allow_partial_search_results=false"
        for wait_s in (*_SHARD_WAITS_S, None):
            try:
                answer = self.request("POST", path, body, fine=fine)
                break
            except SearchError as fault:
                if wait_s is None or fault.status != HTTPStatus.SERVICE_UNAVAILABLE or _NO_SHARD not in str(fault):
                    raise
                time.sleep(wait_s)
        if why := None if is_absent(answer) else _why_not_whole(answer, least):
            where = f"{self._urls[self._at]}{path.partition('?')[0]}"
            raise SearchError(
                f"{where} was not answered completely: {why}", hint=_NOT_WHOLE, status=HTTPStatus.SERVICE_UNAVAILABLE
            )
        return answer

    def exists(self, path: str) -> bool:
        """Whether the path exists."""
        return bool(self.request("GET", path, fine=(404,)).get("status") != 404)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def is_absent(answer: Any) -> bool:
    """Whether the server answers that the requested item does not exist."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get("type") == "index_not_found_exception"


def _why_not_whole(answer: Any, least: int) -> str | None:
    """What a search's answer leaves out; None when it is complete.

    `_shards.skipped` leaves nothing out: those shards were queried, and hold no match.
    """
    shards = answer.get("_shards") if isinstance(answer, dict) else None
    if not isinstance(shards, dict) or not isinstance(answer.get("hits"), dict):
        return "this is not a search response"
    if answer.get("timed_out"):
        return "it took too long (`timed_out`)"
    total, successful = int(shards.get("total", 0)), int(shards.get("successful", 0))
    if successful < total or shards.get("failed"):
        failures = shards.get("failures") or [{}]
        return (
            f"{max(total - successful, shards.get('failed', 0))} of {total} shards failed: {reason_of(failures[0].get('reason'))}"
        )
    if total < least:
        return f"{total} shards answered for {least} data streams: this key or user may not read all of them"
    others = answer.get("_clusters") or {}
    return "a remote cluster is left out" if any(others.get(name) for name in ("skipped", "partial", "failed")) else None


def _encode(body: Any) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    if isinstance(body, bytes):
        return gzip.compress(body, _GZIP_LEVEL), {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    return msgspec.json.encode(body), {"Content-Type": "application/json"}


def _document(answer: httpx.Response) -> Any:
    if not answer.content:
        return {}
    try:
        return msgspec.json.decode(answer.content)
    except UNDECODABLE:
        raise SearchError(
            f"{answer.url.copy_with(query=None)} does not answer with JSON: {answer.text[:80]!r}",
            hint="is this a search server, or a proxy in front of it?",
            status=answer.status_code,
            is_uncertain=True,
        ) from None


def _no_answer(url: str, problem: httpx.HTTPError) -> SearchError:
    # Before the connection is established nothing can have been accepted.
    is_certain = isinstance(problem, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    said = str(problem) or type(problem).__name__
    hint = (
        "elastic.ca_file names the certificate authority"
        if "CERTIFICATE" in said.upper()
        else "is it running, and is the address right?"
    )
    return SearchError(f"{url} does not answer: {said}", hint=hint, is_uncertain=not is_certain)


def _refusal(url: str, method: str, path: str, answer: httpx.Response) -> SearchError:
    reason = answer.text[:_LONGEST_REASON]
    with contextlib.suppress(AttributeError, *UNDECODABLE):
        error = msgspec.json.decode(answer.content).get("error")
        reason = reason_of(error) if error else reason
    status = answer.status_code
    hint = {
        401: "elastic.api_key_file, or elastic.user with elastic.password_file, is not accepted",
        403: "this key or user may not do this: docs/elastic.md lists what it needs",
        413: "http.max_content_length of the server is smaller than elastic.bulk_bytes",
    }.get(status)
    wait = answer.headers.get("retry-after", "")
    return SearchError(
        f"{method} {url}{path.partition('?')[0]}: {status} {reason}",
        hint=hint,
        status=status,
        is_uncertain=status >= 500,
        wait_s=float(wait) if wait.isdigit() else None,
    )


def reason_of(error: Any) -> str:
    """The reason in a server's error document, on one line."""
    if not isinstance(error, dict):
        return str(error)[:_LONGEST_REASON]
    cause = error.get("caused_by")
    below = f": {cause.get('reason')}" if isinstance(cause, dict) and cause.get("reason") else ""
    return f"{error.get('type')}: {error.get('reason')}{below}"[:_LONGEST_REASON]


def _tls(connection: ClusterConnection) -> ssl.SSLContext | bool:
    if connection.ca_file is None and connection.client_cert is None:
        return True
    try:
        context = ssl.create_default_context(cafile=connection.ca_file)
        if connection.client_cert is not None:
            context.load_cert_chain(connection.client_cert, connection.client_key)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigError(
            f"elastic.ca_file, elastic.client_cert or elastic.client_key cannot be used: {fault}", hint="PEM files are required"
        ) from None
    return context


def _secret(key: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except OSError as fault:
        raise ConfigError(
            f"{key}: `{path}` cannot be read: {fault.strerror}", hint="the file must hold the secret and nothing else"
        ) from None
