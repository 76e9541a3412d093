"""The real inspector, one for all tests of a run: what is put into a folder meets a worker with its owner's rights."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envtrail.inspect.client import ForkedInspector
from envtrail.inspect.protocol import (
    MOST_ANSWER_BYTES,
    Answer,
    FrameKind,
    FrameReader,
    PlaceHeld,
    Request,
    decode_answer,
    frame,
    pair,
)

INSPECTOR = ForkedInspector()
atexit.register(INSPECTOR.close)
ALICE, BOB = 61_050, 61_051
"""Users without an account, who own nothing else here."""


def give(folder: Path, uid: int, mode: int = 0o700) -> Path:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
    folder.chmod(mode)
    return folder


def opened_up(folder: Path) -> None:
    """Let everybody enter what pytest has made for itself."""
    for parent in (folder, *folder.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)


@contextmanager
def serving(code: str) -> Iterator[socket.socket]:
    """A server that a program starts with the descriptor that is its argument: the socket that takes connections."""
    ours, theirs = pair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
    with ours:
        yield ours
    assert server.wait(10) == 0


def query(control: socket.socket, request: Request, held: list[PlaceHeld] | None = None) -> Answer:
    """What a server answers, and which places its worker held."""
    ours, theirs = pair()
    with theirs:
        socket.send_fds(control, [b"c"], [theirs.fileno()])
    reader = FrameReader(MOST_ANSWER_BYTES)
    with ours:
        ours.settimeout(20)
        ours.sendall(frame(request, FrameKind.REQUEST))
        while received := ours.recv(65_536):
            for kind, body in reader.push(received):
                answer = decode_answer(body)
                if kind is FrameKind.ANSWER:
                    return answer
                if held is not None and isinstance(answer, PlaceHeld):
                    held.append(answer)
    raise AssertionError("no answer")
