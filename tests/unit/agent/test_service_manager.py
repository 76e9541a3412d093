"""What a service manager is notified of, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtrail.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def said(manager: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


def test_it_says_once_how_it_is_and_beats_four_times_an_interval(manager: socket.socket) -> None:
    now_s = [100.0]
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notified = ServiceManager(environ, lambda: now_s[0])
    assert environ == {"HOME": "/"}, "a child would take it for its own"
    notified.ready("recording")
    notified.ready("recording")
    notified.ready("recording, 2 rules more")
    assert said(manager) == ["READY=1\nSTATUS=recording", "READY=1\nSTATUS=recording, 2 rules more"]
    for _ in range(8):
        notified.beat()
        now_s[0] += 1
    assert said(manager) == ["WATCHDOG=1"] * 4
    notified.stopping()
    assert said(manager) == ["STOPPING=1"]


def test_an_abstract_name_is_one() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0envtrail-test-{os.getpid()}")
        listening.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": f"@envtrail-test-{os.getpid()}"}).ready("x")
        assert listening.recv(100) == b"READY=1\nSTATUS=x"


def test_the_watchdog_of_another_process_is_not_fed(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    ServiceManager(environ).beat()
    assert said(manager) == []


def test_a_manager_that_reads_nothing_or_has_gone_is_not_waited_for(manager: socket.socket, tmp_path: Path) -> None:
    notified = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4"})
    for _ in range(2000):
        notified.beat()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")
    ServiceManager({}).ready("x")
    assert set(said(manager)) == {"WATCHDOG=1"}
