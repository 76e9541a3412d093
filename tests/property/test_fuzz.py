"""What comes from outside never ends whoever reads it: mutations of real requests, environments and segments (`make fuzz`: for long)."""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from fuzz_lab import mutated, rounds
from wheels import make_wheel

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.capture.source import Block
from envtrail.config import load_config
from envtrail.environments.inventory import read_snapshot
from envtrail.errors import EnvtrailError
from envtrail.inspect import jobs
from envtrail.inspect.protocol import ReadEnvironment, VerifyFiles
from envtrail.model.decision import Decided, Decision
from envtrail.service.server import StoreServer
from envtrail.state.store import Viewer
from envtrail.trail.layout import Layout
from envtrail.trail.reader import iterate_steps
from envtrail.trail.verify import verify

LOG = Path(__file__).parents[1] / "data/logs"
NOW = 1_764_000_000_000
ME = {"name": "eve", "role": "member", "uid": 1003, "method": "link"}
REQUESTS: list[dict[str, object]] = [
    {"method": "operations", "query": {"environment": "prod", "limit": 5, "since_ms": NOW - 1, "user": "alice"}},
    {"method": "operation", "text": "01M88"},
    {"method": "events", "query": {"limit": 3, "text": "pip"}, "with_records": True},
    {"method": "snapshot", "text": "/opt/conda/envs/prod", "at_ms": NOW},
    {"method": "holdings", "text": "six", "past": False},
    {"method": "findings", "query": {"limit": 5}, "on_behalf": ME},
    {"method": "decide", "decision": {"do": "mute", "detection": "x", "until_ms": NOW}},
    {"method": "decide", "decision": {"do": "ask", "prefix": "/opt/x", "action": "install", "until_ms": NOW, "uses": 2}},
    {"method": "decide", "decision": {"do": "looked", "looks": [{"time_ms": NOW, "by": ME, "what": "runs"}]}},
    {"method": "check", "credentials": {"name": "eve", "password": "secret"}},
]


@pytest.fixture
def trail(tmp_path: Path) -> Layout:
    """With an open and a sealed segment."""
    data_dir = tmp_path / "trail"
    demo = [sys.executable, "-m", "envtrail", "--data-dir", str(data_dir), "demo", "--fast"]
    subprocess.run(demo, check=True, capture_output=True)
    layout = Layout(data_dir / "demo")
    config = load_config(environ={}, flags={"data_dir": str(layout.folder), "store.min_free_bytes": 0})
    records = next(LOG.rglob("*.log")).read_bytes()
    with open_trail(config, world=ImportedWorld()) as opened:
        opened.take(Block(records=records[: 64 * 1024]), NOW)
    return layout


def test_the_socket_answers_whatever_is_sent(tmp_path: Path, trail: Layout, capfd: pytest.CaptureFixture[str]) -> None:
    def decide(_decision: Decision, _viewer: Viewer, _pid: int) -> Decided:
        return Decided(what="x", id="y", said="z")

    path, count = tmp_path / "s.sock", 0
    server = StoreServer(path, trail.folder, group="envtrail", web_account="nobody", decide=decide)
    try:
        for chance in rounds():
            line = mutated(chance, json.dumps(chance.choice(REQUESTS)).encode())
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(30)
                stream.connect(str(path))
                if chance.random() < 0.05:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    stream.sendall(line[: chance.randint(0, len(line))])
                    continue
                stream.sendall(line + b"\n")
                stream.shutdown(socket.SHUT_WR)
                with stream.makefile("rb") as lines:
                    answer = [json.loads(one) for one in lines]
            assert answer == [] or set(answer[-1]) & {"end", "error", "fault"}, (line, answer[-1:])
            assert "the service failed" not in str(answer[-1:]), (line, capfd.readouterr())
            count += 1
    finally:
        server.close()
    assert count > 10


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that is one of conda's too, with metadata of each form."""
    folder = tmp_path_factory.mktemp("fuzz")
    prefix = folder / "env"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(prefix)], check=True)
    wheel = make_wheel(folder, "member", "1.0", requires=["dep>=1"], scripts={"member": "member:main"})
    site = next(prefix.glob("lib/python3*/site-packages"))
    shutil.unpack_archive(wheel, site, "zip")
    (site / "member-1.0.dist-info/direct_url.json").write_text(
        '{"url": "https://x/y.git", "vcs_info": {"vcs": "git", "commit_id": "ab"}}'
    )
    (site / "old-1.0.egg-info").write_text("Metadata-Version: 1.1\nName: old\nVersion: 1.0\n")
    (site / "easy.egg-link").write_text("/src/easy\n.")
    (site / "__editable__.member-1.0.pth").write_text("/src/member\n")
    meta = prefix / "conda-meta"
    meta.mkdir()
    record = {
        "name": "six",
        "version": "1.16.0",
        "build": "py_0",
        "build_number": 0,
        "channel": "conda-forge",
        "files": ["a"],
        "depends": ["python"],
    }
    (meta / "six-1.16.0-py_0.json").write_text(json.dumps(record))
    (meta / "history").write_text(
        "==> 2026-01-01 10:00:00 <==\n# cmd: conda install six\n# conda version: 24.7.1\n+conda-forge::six-1.16.0-py_0\n"
    )
    return prefix


def test_an_environment_is_read_whatever_its_files_hold(environment: Path, tmp_path: Path) -> None:
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [
        path for path in files if path.suffix in {".json", ".cfg", ".egg-info", ".egg-link", ".pth"} or ".dist-info" in str(path)
    ]
    files += [environment / "conda-meta/history"]
    count = 0
    for chance in rounds():
        copy = tmp_path / f"env{count}"
        shutil.copytree(environment, copy, symlinks=True)
        for path in chance.sample(files, 3):
            _mutate(chance, copy / path.relative_to(environment))
        found = jobs.read_environment(ReadEnvironment(prefix=str(copy), past_until_ms=NOW))
        msgspec.json.encode(found)
        msgspec.json.encode(jobs.verify_files(VerifyFiles(prefix=str(copy), now_ms=NOW)))
        if found.environment is not None:
            read_snapshot(found.environment)
        shutil.rmtree(copy)
        count += 1
    assert count > 3


def test_a_trail_with_damaged_files_is_an_error_that_is_named(trail: Layout, tmp_path: Path) -> None:
    files = [path.relative_to(trail.folder) for path in trail.folder.rglob("*") if path.is_file() and path.name != "lock"]
    files = [path for path in files if path.name != "state.sqlite"]
    count = 0
    for chance in rounds():
        copy = Layout(tmp_path / f"trail{count}")
        shutil.copytree(trail.folder, copy.folder)
        for path in chance.sample(files, 2):
            _mutate(chance, copy.folder / path)
        for read in (verify, lambda layout: sum(len(step.records) for step in iterate_steps(layout))):
            with suppress(EnvtrailError):
                read(copy)
        shutil.rmtree(copy.folder)
        count += 1
    assert count > 3


def _mutate(chance: random.Random, path: Path) -> None:
    path.write_bytes(mutated(chance, path.read_bytes()))
