"""Upload time of a version on its index. Queried over the network only when `policy.index` names an index.

References:
    PEP 691 (JSON), PEP 700 (`upload-time`)
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from urllib.parse import quote

from envtrail.environments.ranges import read_version

_TIMEOUT_S = 5
_MOST_BYTES = 64 * 1024 * 1024
_MOST_KNOWN = 20_000
_WHEEL = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)-.+\.whl$")
_SDIST = re.compile(r"^(?P<name>.+)-(?P<version>[^-]+)\.(?:tar\.gz|zip|tar\.bz2)$")
_ACCEPT = "application/vnd.pypi.simple.v1+json"


class IndexAges:
    """Queries an index in separate threads, and caches the answers.

    Args:
        index: Its simple API, as `https://pypi.org/simple`; http or https.
    """

    def __init__(self, index: str) -> None:
        self._index = index
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="package-ages")
        self._futures: dict[str, Future[dict[str, int]]] = {}
        self._lock = threading.Lock()

    def request(self, names: list[str]) -> None:
        """Start queries for projects (normalised names)."""
        with self._lock:
            if len(self._futures) > _MOST_KNOWN:
                self._futures.clear()
            for name in names:
                if name not in self._futures:
                    self._futures[name] = self._pool.submit(self._fetch, name)

    def is_known(self, name: str) -> bool:
        """Whether the index has answered about a project, or failed to."""
        future = self._futures.get(name)
        return future is not None and future.done()

    def born_ms(self, name: str, version: str) -> int | None:
        """When a version was uploaded; None while it is unknown."""
        future = self._futures.get(name)
        if future is None or not future.done():
            return None
        wanted = read_version(version)
        return future.result().get(str(wanted) if wanted is not None else version)

    def forget(self, name: str) -> None:
        """Query again next time: a project that had no such version may have it now."""
        with self._lock:
            self._futures.pop(name, None)

    def close(self) -> None:
        """Start no further queries."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, name: str) -> dict[str, int]:
        request = urllib.request.Request(f"{self._index}/{quote(name)}/", headers={"Accept": _ACCEPT})  # noqa: S310 - `policy.index` is http or https
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - `policy.index` is http or https
                files = json.loads(answer.read(_MOST_BYTES)).get("files", [])
        except (OSError, ValueError, AttributeError, urllib.error.URLError):
            return {}
        return read_births(files)


def read_births(files: list[dict[str, object]]) -> dict[str, int]:
    """Version (normalised) → upload time of its first file, in ms; files without an upload time are skipped."""
    found: dict[str, int] = {}
    for file in files:
        name, uploaded = file.get("filename"), file.get("upload-time")
        if not isinstance(name, str) or not isinstance(uploaded, str):
            continue
        match = _WHEEL.match(name) or _SDIST.match(name)
        version = read_version(match["version"]) if match else None
        try:
            born_ms = round(datetime.fromisoformat(uploaded.replace("Z", "+00:00")).timestamp() * 1000)
        except ValueError:
            continue
        if version is not None:
            found[str(version)] = min(found.get(str(version), born_ms), born_ms)
    return found
