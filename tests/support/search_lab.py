"""Real search servers on loopback: fetched once from Maven Central, started as nobody, stopped by pid.

The Elasticsearch zip is under the Elastic License: it is fetched when it is needed and never kept in the repository.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notify_lab import free_port

CENTRAL = "https://repo1.maven.org/maven2"
# Not below /root, which nobody may read.
CACHE = (
    Path("/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "envtrail-search"
)
START_S = 90
STOP_S = 60


@dataclass(frozen=True)
class Release:
    """One server, pinned."""

    product: str
    version: str
    sha256: str
    main: str
    modules: tuple[str, ...]
    java: int
    """The oldest JDK that runs it."""
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def url(self) -> str:
        group = {"opensearch": "org/opensearch", "elasticsearch": "org/elasticsearch"}[self.product]
        return f"{CENTRAL}/{group}/distribution/integ-test-zip/{self.product}/{self.version}/{self.product}-{self.version}.zip"


RELEASES = {
    "opensearch": Release(
        product="opensearch",
        version="3.8.0",
        sha256="196c3cf4602c394f2e40e6174ccbf2a924eae37246f08fa6bbb6b75f9fd5ff1f",
        main="org.opensearch.bootstrap.OpenSearch",
        modules=(
            "analysis-common",
            "ingest-common",
            "lang-painless",
            "lang-mustache",
            "mapper-extras",
            "reindex",
            "transport-netty4",
        ),
        java=21,
    ),
    "elasticsearch": Release(
        product="elasticsearch",
        version="9.5.3",
        sha256="bec49f3b8d00e75c8d1cec85c35298635ec9fbd3ae80ef5aeb6bc05abdb3db2d",
        main="",
        modules=(),
        java=21,
        settings=(("xpack.security.enabled", False),),
    ),
}


def why_no_server() -> str | None:
    """Why no server can be started here."""
    return None if find_java(21) else "no JDK of 21 or newer (Debian: openjdk-21-jdk-headless, or Temurin)"


def find_java(oldest: int) -> Path | None:
    """The home of a JDK that is new enough: `JAVA_HOME`, then what is installed."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    if found := shutil.which("java"):
        homes.append(Path(found).resolve().parent.parent)
    fitting = []
    for home in homes:
        with contextlib.suppress(OSError):
            version = re.search(r'JAVA_VERSION="(\d+)', (home / "release").read_text())
            if version and int(version[1]) >= oldest and (home / "bin/java").exists():
                fitting.append((int(version[1]), home))
    return min(fitting)[1] if fitting else None


def fetch(release: Release) -> Path:
    """The unpacked server; fetched when it is not there yet."""
    home = CACHE / f"{release.product}-{release.version}"
    if home.is_dir():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"{home.name}.zip"
    _download(release, archive)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        unpacked = Path(folder) / home.name
        if release.modules:
            for module in (unpacked / "modules").iterdir():
                if module.name not in release.modules:
                    shutil.rmtree(module)
        for name in ("bin", "plugins", "extensions"):
            (unpacked / name).mkdir(exist_ok=True)
        for item in unpacked.rglob("*"):
            item.chmod(0o755 if item.is_dir() or item.parent.name == "bin" else 0o644)
        Path(folder).chmod(0o755)
        unpacked.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was quicker
            unpacked.rename(home)
    archive.unlink(missing_ok=True)
    return home


def _download(release: Release, archive: Path) -> None:
    part = archive.with_suffix(f".{secrets.token_hex(4)}.part")
    digest = hashlib.sha256()
    with urllib.request.urlopen(release.url, timeout=60) as answer, part.open("wb") as file:
        while piece := answer.read(1 << 20):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != release.sha256:
        part.unlink()
        raise RuntimeError(f"{release.url} has sha256 {digest.hexdigest()}, expected {release.sha256}")
    part.rename(archive)


@dataclass
class SearchServer:
    """One node; it may be stopped, killed and started again on the same data and port."""

    release: Release
    folder: Path
    port: int
    settings: dict[str, Any] = field(default_factory=dict)
    heap_mb: int = 512
    files: dict[str, str] = field(default_factory=dict)
    """Beside its settings: accounts, roles, keys."""
    tls: ssl.SSLContext | None = None
    """How the test itself comes in, where the server has a certificate."""
    account: tuple[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        java = find_java(self.release.java)
        assert java is not None, why_no_server()
        home = fetch(self.release)
        conf = self.folder / "conf"
        for name in ("conf", "data", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (conf / f"{self.release.product}.yml").write_text(json.dumps(self._settings()))
        for name, text in self.files.items():
            (conf / name).write_text(text)
        (conf / "log4j2.properties").write_text(_LOG4J)
        (conf / "jvm.options").write_text("\n".join(self._options()) + "\n")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody:nogroup", str(self.folder)], check=True)
        with (self.folder / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_as_nobody(), *self._command(java, home)],
                cwd=self.folder,
                env={
                    "PATH": f"{java}/bin:/usr/bin:/bin",
                    "HOME": str(self.folder),
                    "JAVA_HOME": str(java),
                    "ES_JAVA_HOME": str(java),
                    "ES_PATH_CONF": str(conf),
                    "ES_TMPDIR": str(self.folder / "tmp"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers as healthy."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.release.product} ended: {self._last_words()}")
            with contextlib.suppress(OSError, ValueError):
                if self.call("GET", "/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10)["status"] in {
                    "yellow",
                    "green",
                }:
                    return
            time.sleep(0.25)
        raise RuntimeError(f"{self.release.product} did not answer in {START_S} s: {self._last_words()}")

    def call(self, method: str, path: str, body: Any = None, *, timeout: float = 30) -> Any:
        """One request; the answer's document."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.account is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.account).encode()).decode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout, context=self.tls) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def count(self, target: str) -> int:
        """Documents that can be found now."""
        self.call("POST", f"/{target}/_refresh")
        return int(self.call("GET", f"/{target}/_count")["count"])

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As when the machine's power fails for this process."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It answers nothing, and keeps its connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            # The session that we began: the launcher's server is a child of it.
            os.killpg(self.process.pid, number)

    def _end(self, number: int) -> None:
        self._signal(signal.SIGCONT)
        self._signal(number)
        if self.process is not None:
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()

    def _settings(self) -> dict[str, Any]:
        base: dict[str, Any] = {
            "cluster.name": f"envtrail-{self.port}",
            "node.name": "one",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": free_port(),
            "discovery.type": "single-node",
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "action.destructive_requires_name": False,
        }
        return base | dict(self.release.settings) | self.settings

    def _options(self) -> list[str]:
        heap = [f"-Xms{self.heap_mb}m", f"-Xmx{self.heap_mb}m"]
        return [*heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={self.folder}/tmp"]

    def _command(self, java: Path, home: Path) -> list[str]:
        if self.release.product == "elasticsearch":
            return [str(home / "bin/elasticsearch")]
        agent = next(home.glob("agent/opensearch-agent-bootstrap-*.jar"), None)
        return [
            str(java / "bin/java"),
            *self._options(),
            "-Dlog4j2.disable.jmx=true",
            f"-Dopensearch.path.home={home}",
            f"-Dopensearch.path.conf={self.folder}/conf",
            "-Dopensearch.distribution.type=zip",
            "-cp",
            f"{home}/lib/*:{agent}",
            self.release.main,
        ]

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "out.log").read_text(errors="replace")[-2000:]
        return ""


@contextmanager
def search_server(
    product: str,
    *,
    files: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    account: tuple[str, str] | None = None,
    **settings: Any,
) -> Iterator[SearchServer]:
    """A node of its own, gone at the end."""
    with tempfile.TemporaryDirectory(prefix=f"envtrail-{product}-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = SearchServer(RELEASES[product], Path(folder), free_port(), settings, files=files or {}, tls=tls, account=account)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _as_nobody() -> list[str]:
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


_LOG4J = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
