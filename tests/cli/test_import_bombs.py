"""Archives that are small and unpack to very much: an import takes no more memory, and says what it found."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

MIB = 160
HEAD = b"type=SYSCALL msg=audit(1764000000.100:5): arch=c000003e syscall=59 comm="


@pytest.mark.parametrize("open_one", [gzip.open, lzma.open])
@pytest.mark.parametrize(("head", "block"), [(b"", bytes(1 << 20)), (HEAD, b"A" * (1 << 20))], ids=["zeros", "one line"])
def test_what_it_unpacks_to_is_not_held(
    tmp_path: Path, open_one: Callable[[Path, str], IO[bytes]], head: bytes, block: bytes
) -> None:
    path = tmp_path / "audit.log.packed"
    with open_one(path, "wb") as file:
        file.write(head)
        for _ in range(MIB):
            file.write(block)
    assert path.stat().st_size < 4 << 20
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(tmp_path / "trail"), "import", str(path)]
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(done.stdout + done.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True, timeout=100)
    peak, _, said = done.stdout.partition("\n")
    assert int(peak) < 200 << 10, "KiB"
    assert "imported 0 events" in said
