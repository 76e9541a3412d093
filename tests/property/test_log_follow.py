"""auditd's log under every kind of rotation and restart: each line once, in order, and no gap where nothing was lost."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.capture.auditd_log import AuditdLogSource
from envtrail.capture.rotation import log_files

STEPS = st.lists(
    st.sampled_from(
        ["line", "line", "half", "read", "rename", "copytruncate", "gz", "zst", "xz", "bz2", "lz4", "zip", "restart"]
    ),
    min_size=1,
    max_size=40,
)


def packed(kind: str, data: bytes) -> bytes:
    """The content of a file of one kind."""
    match kind:
        case "gz":
            return gzip.compress(data)
        case "xz":
            return lzma.compress(data)
        case "bz2":
            return bz2.compress(data)
        case "zip":
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("audit.log", data)
            return out.getvalue()
        case _:
            return bytes(pa.Codec({"zst": "zstd", "lz4": "lz4"}[kind]).compress(data, asbytes=True))


class Log:
    """A log that somebody writes and rotates, and the source that follows it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.log"
        self.path.touch()
        self.written = 0
        self.half = b""
        self.read_bytes = b""
        self.kept: tuple[dict[str, str | int] | None, int] = (None, 0)
        self.gaps = 0
        self.source = AuditdLogSource(self.path, node="n")

    def line(self) -> None:
        if not self.half:
            self.begin()
        self._append(self.half[len(self.half) // 2 :] if self.half_is_out else self.half)
        self.half = b""

    def begin(self) -> None:
        self.written += 1
        self.half = b"type=USER_CMD msg=audit(1700000000.%03d:%d): pid=1\n" % (self.written, self.written)
        self.half_is_out = False

    def half_line(self) -> None:
        if not self.half:
            self.begin()
            self._append(self.half[: len(self.half) // 2])
            self.half_is_out = True

    def _append(self, data: bytes) -> None:
        with self.path.open("ab") as handle:
            handle.write(data)

    def shift(self) -> None:
        """What logrotate does first: every rotated file gets the next number."""
        for number in range(60, 0, -1):
            for suffix in ("", ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip"):
                old = self.path.with_name(f"audit.log.{number}{suffix}")
                if old.exists():
                    old.rename(self.path.with_name(f"audit.log.{number + 1}{suffix}"))

    def rotate(self, how: str) -> None:
        if self.half or not self.path.stat().st_size:
            return  # auditd and logrotate do not cut a line in two, nor rotate an empty log
        self.shift()
        first = self.path.with_name("audit.log.1")
        match how:
            case "rename":
                self.path.rename(first)
                self.path.touch()
            case "copytruncate":
                shutil.copy(self.path, first)
                self.path.write_bytes(b"")
            case _:
                first.with_name(f"audit.log.1.{how}").write_bytes(packed(how, self.path.read_bytes()))
                self.path.unlink()
                self.path.touch()

    def read(self) -> None:
        self.source._checked_s = 0.0  # the look at the path is bounded to ten a second: here it is due
        block = self.source.read(0)
        self.read_bytes += block.records
        self.gaps += len(block.gaps)
        if block.position is not None:
            whole = self.read_bytes.rfind(b"\n") + 1
            self.kept = (block.position, whole)

    def restart(self) -> None:
        """Killed: what was kept is the last position, and the whole lines up to it."""
        self.source.close()
        position, kept = self.kept
        self.read_bytes = self.read_bytes[:kept]
        self.source = AuditdLogSource(self.path, node="n", position=position)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_every_line_is_read_once_in_order_through_rotations_and_restarts(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder))
        for step in steps:
            match step:
                case "line":
                    log.line()
                case "half":
                    log.half_line()
                case "read":
                    log.read()
                case "restart":
                    log.restart()
                case _:
                    log.rotate(step)
        log.line()
        for _ in range(2 * len(steps) + 10):
            log.read()
        log.source.close()
        serials = [int(line.partition(b":")[2].partition(b")")[0]) for line in log.read_bytes.splitlines()]
        assert serials == list(range(1, log.written + 1))
        assert log.gaps == 0


def test_a_damaged_rotated_file_is_a_gap_and_the_rest_is_read(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for _ in range(200):
        log.line()
    log.rotate("gz")
    rotated = tmp_path / "audit.log.1.gz"
    whole = rotated.read_bytes()
    rotated.write_bytes(whole[: len(whole) // 2])
    log.line()
    for _ in range(10):
        log.read()
    log.source.close()
    assert log.gaps == 1
    assert log.read_bytes.endswith(b":201): pid=1\n")


def test_bytes_that_were_never_written_end_a_line(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.line()
    log.path.write_bytes(log.path.read_bytes() + b"type=EOE msg=audit(1.000:2\0\0\0type=USER_CMD msg=audit(1.000:3): pid=1\n")
    read = log.source.read(0).records
    log.source.close()
    assert read.split(b"\n")[1:] == [b"type=EOE msg=audit(1.000:2", b"", b"", b"type=USER_CMD msg=audit(1.000:3): pid=1", b""]


def test_the_files_of_a_log_are_known_by_their_names_whoever_rotated_and_packed_them(tmp_path: Path) -> None:
    names = ["-20250930.zst", "-20251001.xz", "-20251001-2", ".12.lz4", ".3.bz2", ".2.tar.gz", ".1", ""]
    for name in [*names, ".bak", ".1.swp", "-old.gz", "2"]:
        (tmp_path / f"audit.log{name}").touch()
    assert [path.name.removeprefix("audit.log") for path in log_files(tmp_path / "audit.log")] == names


def test_a_log_with_dates_is_read_from_its_oldest_file_on(tmp_path: Path) -> None:
    lines = [b"type=USER_CMD msg=audit(170000000%d.000:%d): pid=1\n" % (at, at) for at in range(4)]
    for name, kind, line in zip(("-20231114.xz", "-20231115.bz2", ".1"), ("xz", "bz2", None), lines, strict=False):
        (tmp_path / f"audit.log{name}").write_bytes(packed(kind, line) if kind else line)
    (tmp_path / "audit.log").write_bytes(lines[3])
    source = AuditdLogSource(tmp_path / "audit.log", node="n")
    assert b"".join(source.read(0).records for _ in range(8)) == b"".join(lines)
    source.close()
