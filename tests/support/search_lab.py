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

from ports import free_port

CENTRAL = "https://repo1.maven.org/maven2"
# Not below /root, which nobody may read.
CACHE = (
    Path("/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "envtrail-search"
)
START_S = 90
STOP_S = 60


@dataclass(frozen=True)
class Archive:
    """A zip of Maven Central, pinned."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def url(self) -> str:
        return f"{CENTRAL}/{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.name}-{self.version}.zip"


@dataclass(frozen=True)
class Release:
    """One server, pinned."""

    archive: Archive
    java: tuple[int, int]
    """The oldest and the newest JDK that run it; from 18 on a security manager, which the older servers have, is refused."""
    main: str = ""
    """The class to start; empty: it has a launcher."""
    modules: tuple[str, ...] = ()
    """Those to keep; empty: all."""
    plugins: tuple[Archive, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def product(self) -> str:
        return self.archive.name

    @property
    def version(self) -> str:
        return self.archive.version


_OPENSEARCH = "org.opensearch.bootstrap.OpenSearch"
_MODULES = (
    "analysis-common",
    "ingest-common",
    "lang-painless",
    "lang-mustache",
    "mapper-extras",
    "reindex",
    "transport-netty4",
)
RELEASES = {
    "opensearch": Release(
        archive=Archive(
            "org.opensearch.distribution.integ-test-zip",
            "opensearch",
            "3.8.0",
            "196c3cf4602c394f2e40e6174ccbf2a924eae37246f08fa6bbb6b75f9fd5ff1f",
        ),
        java=(21, 99),
        main=_OPENSEARCH,
        modules=_MODULES,
    ),
    "elasticsearch": Release(
        archive=Archive(
            "org.elasticsearch.distribution.integ-test-zip",
            "elasticsearch",
            "9.5.3",
            "bec49f3b8d00e75c8d1cec85c35298635ec9fbd3ae80ef5aeb6bc05abdb3db2d",
        ),
        java=(21, 99),
        settings=(("xpack.security.enabled", False),),
    ),
    "opensearch-guarded": Release(
        archive=Archive(
            "org.opensearch.distribution.integ-test-zip",
            "opensearch",
            "2.19.4",
            "3902e642715210d1d9d7cbdcc8f5abd6f931d1d7a679cea3750937becf16c406",
        ),
        java=(17, 17),
        main=_OPENSEARCH,
        modules=_MODULES,
        plugins=(
            Archive(
                "org.opensearch.plugin",
                "opensearch-security",
                "2.19.4.0",
                "1f673622c462c4171a8c53f9b1ad20e5b839834cb79b0d3b388da180a0e514e8",
            ),
        ),
    ),
    "elasticsearch-ilm": Release(
        archive=Archive(
            "org.elasticsearch.distribution.zip",
            "elasticsearch",
            "6.8.23",
            "490e9b9fbab9ffb3499938c45850318bd6554d439497842450b60ef22c114fb6",
        ),
        java=(17, 17),
        settings=(("xpack.ml.enabled", False),),
    ),
}
SERVERS = ("opensearch", "elasticsearch")
"""What everything is tried on; the others have what these lack: accounts, a lifecycle."""


def why_no_server(name: str = "opensearch") -> str | None:
    """Why this server cannot be started here."""
    oldest, newest = RELEASES[name].java
    if find_java(oldest, newest):
        return None
    wanted = f"JDK {oldest}" if oldest == newest else f"JDK of {oldest} or newer"
    return f"no {wanted} (Debian: openjdk-{oldest}-jdk-headless, or Temurin)"


def find_java(oldest: int, newest: int) -> Path | None:
    """The home of a JDK that fits: `JAVA_HOME`, then what is installed."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    if found := shutil.which("java"):
        homes.append(Path(found).resolve().parent.parent)
    fitting = []
    for home in homes:
        with contextlib.suppress(OSError):
            version = re.search(r'JAVA_VERSION="(\d+)', (home / "release").read_text())
            if version and oldest <= int(version[1]) <= newest and (home / "bin/java").exists():
                fitting.append((int(version[1]), home))
    return min(fitting)[1] if fitting else None


def fetch(release: Release) -> Path:
    """The unpacked server; fetched when it is not there yet."""
    home = CACHE / f"{release.product}-{release.version}"
    if home.is_dir():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _unpack(release.archive, Path(folder))
        unpacked = Path(folder) / home.name
        if release.modules:
            for module in (unpacked / "modules").iterdir():
                if module.name not in release.modules:
                    shutil.rmtree(module)
        for name in ("bin", "plugins", "extensions"):
            (unpacked / name).mkdir(exist_ok=True)
        for plugin in release.plugins:
            _unpack(plugin, unpacked / "plugins" / plugin.name)
        for item in unpacked.rglob("*"):
            item.chmod(0o755 if item.is_dir() or item.parent.name == "bin" else 0o644)
        Path(folder).chmod(0o755)
        unpacked.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was quicker
            unpacked.rename(home)
    return home


def _unpack(archive: Archive, folder: Path) -> None:
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=CACHE) as file:
        with urllib.request.urlopen(archive.url, timeout=60) as answer:
            while piece := answer.read(1 << 20):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != archive.sha256:
            raise RuntimeError(f"{archive.url} has sha256 {digest.hexdigest()}, expected {archive.sha256}")
        with zipfile.ZipFile(file) as unzipped:
            unzipped.extractall(folder)


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
    """How the test itself signs in, where the server has a certificate."""
    account: tuple[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        java = find_java(*self.release.java)
        assert java is not None, f"no JDK of {self.release.java}"
        home = fetch(self.release)
        conf = self.folder / "conf"
        for name in ("conf", "data", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (conf / f"{self.release.product}.yml").write_text(json.dumps(self._settings()))
        for name, text in self.files.items():
            (conf / name).parent.mkdir(exist_ok=True)
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
        if not self.release.main:
            return [str(home / "bin/elasticsearch")]
        jars = [f"{home}/lib/*", *map(str, home.glob("agent/opensearch-agent-bootstrap-*.jar"))]
        return [
            str(java / "bin/java"),
            *self._options(),
            "-Dlog4j2.disable.jmx=true",
            f"-Dopensearch.path.home={home}",
            f"-Dopensearch.path.conf={self.folder}/conf",
            "-Dopensearch.distribution.type=zip",
            "-cp",
            ":".join(jars),
            self.release.main,
        ]

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "out.log").read_text(errors="replace")[-2000:]
        return ""


@contextmanager
def search_server(
    name: str,
    *,
    files: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    account: tuple[str, str] | None = None,
    **settings: Any,
) -> Iterator[SearchServer]:
    """A separate node, removed at the end."""
    with tempfile.TemporaryDirectory(prefix=f"envtrail-{name}-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = SearchServer(RELEASES[name], Path(folder), free_port(), settings, files=files or {}, tls=tls, account=account)
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
