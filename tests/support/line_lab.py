"""The file that `elastic write` makes, with those that it was before, and the process that writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from envtrail.config import Config, load_config
from envtrail.ship.shipper import Shipper
from envtrail.ship.writer import line_file_of


def files_of(path: Path) -> list[Path]:
    """All of them, the oldest first."""
    renamed = {int(other.suffix[1:]): other for other in path.parent.glob(f"{path.name}.*")}
    return [*(renamed[number] for number in sorted(renamed, reverse=True)), *([path] if path.exists() else [])]


def lines_of(path: Path, *, beats: bool = False) -> list[bytes]:
    """Every line of every file in order, each whole; heartbeats only when they are requested."""
    lines = []
    for file in files_of(path):
        text = file.read_bytes()
        assert not text or text.endswith(b"\n"), f"{file} ends within a line"
        for line in text.splitlines():
            document = json.loads(line)
            if beats or document["envtrail"].get("kind") != "heartbeat":
                lines.append(line)
    return lines


class Writing:
    """A trail that is written into a file, by steps of this process and a clock that goes as the test wants."""

    def __init__(self, trail: Path, path: Path) -> None:
        self.trail, self.path = trail, path
        self.now_ms = int(time.time() * 1000)

    def config(self, **settings: Any) -> Config:
        flags = {"data_dir": str(self.trail), "elastic.file": str(self.path)}
        return load_config(environ={}, flags=flags | {f"elastic.{name}": value for name, value in settings.items()})

    def write(self, *, after: Callable[[], None] = lambda: None, **settings: Any) -> None:
        """Until all is written."""
        config = self.config(**settings)
        with closing(Shipper(self.trail, line_file_of(config), config, lambda: self.now_ms, jitter=lambda: 0.0)) as shipper:
            for _ in range(5000):
                shipper.step()
                after()
                if shipper.fault is None and shipper.is_done():
                    return
                self.now_ms += 1000
            raise AssertionError(shipper.fault)

    def start(self, *words: str, **settings: Any) -> subprocess.Popen[bytes]:
        """The command, as a separate process."""
        variables = {f"ENVTRAIL_ELASTIC_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "envtrail", "--data-dir", str(self.trail), "elastic", "write", str(self.path), *words]
        with (self.trail.parent / "said.log").open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, **variables}, stderr=log)

    def said(self) -> str:
        """What the processes complained of."""
        return (self.trail.parent / "said.log").read_text()
