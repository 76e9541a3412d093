"""Real collectors that follow the file of `elastic write`, unpacked beside the system (two of them cannot be installed on one Debian).

Their packages come from Debian by apt, which checks them; nothing is installed, no service of the machine is touched. The OpenTelemetry
Collector is built from the Go proxy (go.sum), which takes minutes; its Elasticsearch exporter could not be had.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from search_lab import CACHE

DOCS = Path(__file__).parents[2] / "docs" / "collectors"
SOURCES = Path(__file__).parent
UNPACKED = CACHE.with_name("envtrail-collectors")
_STOP_S = 30
LIBRARIES = "usr/lib/x86_64-linux-gnu"
PACKAGES = {
    "rsyslog": ("rsyslog", "rsyslog-elasticsearch", "libestr0", "libfastjson4", "liblognorm5"),
    "syslog-ng": ("syslog-ng-core", "syslog-ng-mod-http", "libivykis0", "libnet1", "libpcre3"),
}


def fetch(name: str) -> Path:
    """The folder in which a collector's packages are unpacked.

    Raises:
        LookupError: they cannot be had here, and why.
    """
    home = UNPACKED / name
    if home.is_dir():
        return home
    if name == "otelcol":
        return _build(home)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise LookupError("there is no apt here")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as folder:
        done = subprocess.run(
            ["apt-get", "-qq", "download", *PACKAGES[name]], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LookupError(f"apt-get download: {done.stderr.strip()[-200:]} (apt-get update?)")
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), f"{folder}/unpacked"], check=True)
        with suppress(OSError):  # another process was quicker
            (Path(folder) / "unpacked").rename(home)
    return home


def _build(home: Path) -> Path:
    if shutil.which("go") is None:
        raise LookupError("there is no Go here")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as folder:
        command = ["nice", "go", "build", "-mod=readonly", "-o", f"{folder}/built/", "."]
        done = subprocess.run(command, cwd=SOURCES / "otelcol", capture_output=True, text=True, check=False)
        if done.returncode:
            raise LookupError(f"go build: {done.stderr.strip()[-500:]}")
        with suppress(OSError):
            (Path(folder) / "built").rename(home)
    return home


@dataclass
class Collector:
    """One that runs with the configuration of the docs, in which nothing but places is another."""

    name: str
    folder: Path
    url: str
    log: Path
    """Folder of the file that is followed."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = field(default=0)

    def configuration(self) -> str:
        """The file of the docs, with the places of this test."""
        (file,) = DOCS.glob(f"{self.name}.*")
        text = file.read_text()
        assert "/var/log/envtrail/" in text or '"/var/log/envtrail"' in text
        assert "127.0.0.1:9200" in text
        for place, other in {
            "/var/log/envtrail-refused.log": str(self.folder / "refused.log"),
            "/var/log/envtrail": str(self.log),
            "/var/lib/syslog-ng": str(self.folder / "work"),
            "/var/lib/otelcol": str(self.folder / "work"),
            "127.0.0.1:9200": re.sub("^https?://", "", self.url),
        }.items():
            text = text.replace(place, other)
        return text

    def start(self) -> None:
        """Start it, with what it remembers."""
        home = fetch(self.name)
        (self.folder / "work").mkdir(parents=True, exist_ok=True)
        conf = self.folder / "conf"
        text = self.configuration()
        match self.name:
            case "rsyslog":
                text = f'global(workDirectory="{self.folder}/work")\n{text}'
            case "syslog-ng":
                text = f"@version: 3.35\n{text}"
            case "otelcol":
                text = self._reading_half(text)
        conf.write_text(text)
        paths = [home / LIBRARIES, home / "lib/x86_64-linux-gnu", home / "usr/lib/syslog-ng", home / "usr/lib/syslog-ng/3.38"]
        with (self.folder / "said.log").open("ab") as said:
            self.process = subprocess.Popen(
                self._command(home, conf),
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, paths))},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        self.starts += 1

    def _reading_half(self, text: str) -> str:
        """What it reads goes into a file instead of to the cluster."""
        conf = yaml.safe_load(text)
        del conf["processors"]
        conf["exporters"] = {"file": {"path": str(self.folder / "read.jsonl"), "append": True}}
        pipeline = conf["service"]["pipelines"]["logs"]
        assert (pipeline.pop("processors"), pipeline["exporters"]) == (["transform"], ["elasticsearch"])
        pipeline["exporters"] = ["file"]
        conf["service"]["telemetry"] = {"metrics": {"level": "none"}}
        return yaml.safe_dump(conf)

    def _command(self, home: Path, conf: Path) -> list[str]:
        if self.name == "rsyslog":
            modules = home / LIBRARIES / "rsyslog"
            return [f"{home}/usr/sbin/rsyslogd", "-n", "-M", str(modules), "-f", str(conf), "-i", f"{self.folder}/work/pid"]
        if self.name == "otelcol":
            return [f"{home}/otelcol", "--config", f"file:{conf}"]
        work = self.folder / "work"
        return [
            f"{home}/usr/sbin/syslog-ng",
            "--foreground",
            "--no-caps",
            "--stderr",
            f"--module-path={home}/usr/lib/syslog-ng/3.38",
            f"--cfgfile={conf}",
            f"--persist-file={work}/persist",
            f"--pidfile={work}/pid",
            f"--control={work}/control",
        ]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, in good order or not."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        """Its own log."""
        return (self.folder / "said.log").read_text(errors="replace")
