"""Logs in files: plain, gzip or zstd, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from envtrail.capture.source import Block
from envtrail.errors import InputError

BLOCK_BYTES = 1 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class ReplaySource:
    """One file from beginning to end.

    Args:
        path: The file; `-` is standard input.

    Raises:
        InputError: it is missing, is a folder, or cannot be read.
    """

    name = "replay"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw: IO[bytes]
        if str(path) == "-":
            self._raw, self.size_bytes = sys.stdin.buffer, 0
        else:
            try:
                self._raw = path.open("rb")
            except FileNotFoundError:
                raise InputError(f"no file `{path}`") from None
            except IsADirectoryError:
                raise InputError(f"`{path}` is a folder", hint=f"name the files in it: `{path}/*`") from None
            except PermissionError:
                raise InputError(f"`{path}` cannot be read by this user", hint=f"sudo envtrail import {path}") from None
            self.size_bytes = path.stat().st_size
        self._stream = self._open()
        self._ahead = b""
        self._ends_in_newline = True

    @property
    def position_bytes(self) -> int:
        """How much of the file, as it lies on disk, has been read."""
        return self._raw.tell() if self.size_bytes else 0

    def peek(self) -> bytes:
        """What the next `read` gives.

        Raises:
            InputError: the archive is damaged.
        """
        self._ahead = self._ahead or self._next()
        return self._ahead

    def read(self, timeout_ms: int) -> Block:  # noqa: ARG002 - a file never makes one wait
        """The next block of at most 1 MiB; the last one is empty and `ended`.

        Raises:
            InputError: the archive is damaged.
        """
        records, self._ahead = self._ahead or self._next(), b""
        if records:
            self._ends_in_newline = records.endswith(b"\n")
            return Block(records=records)
        return Block(records=b"" if self._ends_in_newline else b"\n", ended=True)

    def _next(self) -> bytes:
        try:
            return bytes(self._stream.read(BLOCK_BYTES))
        except (OSError, EOFError) as fault:
            raise InputError(
                f"`{self.path}` is a damaged archive: {fault}",
                hint="import what `zcat` or `zstdcat` can still read",
            ) from None

    def close(self) -> None:
        """Close the file."""
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def _open(self) -> Any:
        if not self.size_bytes:
            return self._raw
        magic = self._raw.read(4)
        self._raw.seek(0)
        compression = next((name for prefix, name in _MAGIC.items() if magic.startswith(prefix)), None)
        return pa.CompressedInputStream(pa.PythonFile(self._raw, mode="r"), compression) if compression else self._raw
