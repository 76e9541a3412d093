"""Containers: what is in them comes out, in bounded memory and as far as the damage."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from descriptors import held_files
from packing import ARCHIVES, COMPRESSED, PACKINGS, tar, zipped

from envtrail.capture.auditbeat import AuditbeatSource
from envtrail.capture.lines import LinesSource, LogReport
from envtrail.capture.recognise import open_sources
from envtrail.errors import InputError
from envtrail.model.gap import Gap, GapCause

RECORD = b'type=CWD msg=audit(1700000000.%03d:%d): cwd="/home/%x"\n'


def log(count: int) -> bytes:
    dice = random.Random(1)
    return b"".join(RECORD % (at % 1000, at, dice.getrandbits(64)) for at in range(count))


def drain(source: LinesSource | AuditbeatSource) -> tuple[bytes, list[Gap]]:
    out, gaps = [], []
    while True:
        block = source.read(0)
        out.append(block.records)
        gaps += block.gaps
        if block.ended:
            source.close()
            return b"".join(out), gaps


def read(path: Path) -> tuple[bytes, list[Gap], list[LogReport]]:
    """All that is in a file."""
    records, gaps, reports = b"", [], []
    for source in open_sources([path], "here"):
        more, lost = drain(source)
        records += more
        gaps += lost
        reports.append(source.report())
    return records, gaps, reports


@pytest.fixture
def file(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "x"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("packing", PACKINGS)
def test_what_was_packed_comes_out(packing: str, file) -> None:
    content = log(20_000)
    records, gaps, (report,) = read(file(PACKINGS[packing](content)))
    assert records == content
    assert (gaps, report.records, report.forms, report.damage) == ([], 20_000, {"audit": 20_000}, None)
    assert (report.containers == []) == (packing == "plain")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_pipe_is_as_good_as_a_file(packing: str, tmp_path: Path) -> None:
    path, content = tmp_path / "fifo", log(5000)
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(PACKINGS[packing](content)))
    writer.start()
    records, gaps, _ = read(path)
    writer.join()
    assert (records, gaps) == (content, [])


@pytest.mark.parametrize("packing", [*COMPRESSED, *ARCHIVES])
def test_all_before_a_cut_is_read_and_the_rest_is_a_gap(packing: str, file) -> None:
    content = log(30_000)
    whole = PACKINGS[packing](content)
    path = file(whole[: len(whole) * 2 // 3])
    os.utime(path, (1_700_000_100, 1_700_000_100))
    records, gaps, reports = read(path)
    # Blocks of bzip2 have 900 kB, of LZ4 and of Zstandard up to 256: one that is cut gives nothing.
    assert content.startswith(records[: records.rindex(b"\n", 0, -1) + 1])
    assert len(records) > (0.2 if "bzip2" in packing else 0.4) * len(content)
    (gap,) = gaps
    (report,) = [report for report in reports if report.damage]
    assert (gap.cause, gap.host, gap.until_ms) == (GapCause.DAMAGED, "here", 1_700_000_100_000)
    assert 1_700_000_000_000 <= gap.since_ms < 1_700_000_001_000
    assert report.path in gap.detail
    assert not str(report.damage).endswith(".")


@pytest.mark.parametrize("packing", ["gzip", "xz"])
def test_not_a_byte_before_the_damage_is_lost(packing: str, file) -> None:
    content = log(3000)
    whole = bytearray(COMPRESSED[packing](content))
    whole[-9 if packing == "gzip" else -20] ^= 0xFF
    records, gaps, _ = read(file(bytes(whole)))
    assert len(gaps) == 1
    assert len(records) > len(content) - 1024


def test_a_wrong_checksum_is_told_after_all_that_there_is(file) -> None:
    content = log(3000)
    whole = bytearray(gzip.compress(content))
    whole[-6] ^= 1
    records, gaps, (report,) = read(file(bytes(whole)))
    assert (records, len(gaps)) == (content, 1)
    assert "incorrect data check" in str(report.damage)
    packed = bytearray(zipped({"a": content, "b": content}))
    packed[14] ^= 1  # The checksum in the first local header.
    records, gaps, reports = read(file(bytes(packed)))
    assert records == content + content
    assert [report.damage for report in reports] == ["its checksum is wrong", None]


def test_streams_that_follow_each_other_are_one(file) -> None:
    content = log(100)
    for pack in COMPRESSED.values():
        if pack is not COMPRESSED["lzma"] and pack is not COMPRESSED["lz4"]:
            assert read(file(pack(content) + pack(content)))[0] == content + content
    assert read(file(gzip.compress(content) + b"\0" * 100_000))[:2] == (content, [])
    _, gaps, (report,) = read(file(gzip.compress(content) + b"garbage"))
    assert (len(gaps), report.records) == (1, 100)


def test_of_an_archive_only_logs_are_taken(file) -> None:
    content = log(10)
    files = {
        "audit.log": content,
        "bin/true": b"\x7fELF\2\1\1" + bytes(500),
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
        "audit.log.1.gz": gzip.compress(content),
        "empty": b"",
    }
    for archive in (tar(files), zipped(files), zipped({"all.tar": tar(files)})):
        records, gaps, reports = read(file(archive))
        assert (records, gaps) == (content + content, [])
        assert [report.path.rpartition("/")[2] for report in reports] == ["audit.log", "audit.log.1.gz"]
        assert [report.beside for report in reports] == [3, 0]
    _, _, (report,) = read(file(zipped({"etc/passwd": b"root:x:0:0::/root:/bin/sh\n"})))
    assert (report.form, report.is_log) == ("an archive of 1 files, none of which is a log", False)
    (report,) = read(file(zipped({})))[2]
    assert (report.form, report.is_log) == ("an archive without files", False)


def test_a_tar_with_a_spoiled_header_is_damaged_not_ended(file) -> None:
    content = log(10)
    whole = bytearray(tar({"a": content, "b": content}, form=tarfile.USTAR_FORMAT))
    whole[512 + 512 * -(-len(content) // 512)] ^= 1
    records, gaps, reports = read(file(bytes(whole)))
    assert (records, len(gaps)) == (content, 1)
    assert "what follows a file in it is no file" in str(reports[-1].damage)


def _without_second(archive: str) -> bytes:
    files = {"a": log(10), "b": log(2000)}
    if archive.startswith("zip"):
        whole = zipped(files)
        second = whole.index(b"PK\x03\x04", 4)
        return whole[: second if archive == "zip" else second + 20]
    whole = tar(files, form=tarfile.USTAR_FORMAT)
    second = 512 + 512 * -(-len(files["a"]) // 512)
    return whole[: second if archive == "tar" else second + 200]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("archive", ["zip", "zip in header", "tar", "tar in header"])
def test_the_loss_of_whole_files_of_an_archive_begins_at_the_last_record_read(archive: str, nested: bool, file) -> None:
    damaged = _without_second(archive)
    path = file(zipped({"out": log(5).replace(b"1700000000", b"1700000050"), "in": damaged}) if nested else damaged)
    os.utime(path, (1_700_000_100, 1_700_000_100))
    _, (gap,), reports = read(path)
    assert (gap.since_ms, gap.until_ms) == (1_700_000_000_009, 1_700_000_100_000)
    assert "may be older" in gap.detail
    (rest,) = [report for report in reports if report.damage]
    assert rest.form.startswith("the rest of the archive")


def test_a_tar_that_asks_for_memory_gets_none(file) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    forged = tar({"a": log(10)}).rstrip(b"\0")
    forged += bytes(-len(forged) % 512) + header.tobuf(tarfile.GNU_FORMAT)
    records, gaps, reports = read(file(forged + bytes(10_000)))
    assert (records, len(gaps)) == (log(10), 1)
    assert "too long" in str(reports[-1].damage)


def test_an_encrypted_file_is_named_and_the_next_is_read(file) -> None:
    content = log(10)
    whole = bytearray(zipped({"a": content, "b": content}))
    struct.pack_into("<H", whole, 6, 1)
    records, _, reports = read(file(bytes(whole)))
    assert (records, [report.damage for report in reports]) == (content, ["it is encrypted", None])


def test_archives_in_archives_have_an_end(file) -> None:
    content = log(10)
    for _ in range(20):
        content = gzip.compress(content)
    _, gaps, (report,) = read(file(content))
    assert (len(gaps), report.records) == (1, 0)
    assert "too deep" in str(report.damage)


@pytest.mark.parametrize("shape", ["gzip", "zip", "tar.xz", "line"])
def test_a_bomb_costs_no_memory(shape: str, tmp_path: Path) -> None:
    size = 300 << 20
    path = tmp_path / "bomb"
    zeros = b"\0" * (1 << 20)
    if shape == "gzip":
        with gzip.open(path, "wb", compresslevel=1) as bomb:
            for _ in range(size >> 20):
                bomb.write(zeros)
    elif shape == "zip":
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        body = b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()
        path.write_bytes(b"PK\3\4" + struct.pack("<5H3I2H", 20, 8, 8, 0, 0, 0, 0, 0, 1, 0) + b"x" + body)
    elif shape == "line":
        with gzip.open(path, "wb", compresslevel=1) as bomb:
            for _ in range(size >> 20):
                bomb.write(b"x" * (1 << 20))
    else:
        with tarfile.open(path, "w:xz", preset=0) as archive:
            entry = tarfile.TarInfo("audit.log")
            entry.size = size // 4
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom envtrail.capture.recognise import open_sources\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for source in open_sources([Path(sys.argv[1])], 'n'):\n    while not source.read(0).ended: pass\n    source.close()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 64 * 1024


def test_what_cannot_be_opened_opens_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(log(3))
    with pytest.raises(InputError, match="no file"):
        open_sources([path, tmp_path / "missing"], "here")


def test_what_is_no_log_is_named(file) -> None:
    for content, form, hint in (
        (b"\x7fELF\2\1\1" + bytes(600), "a program", None),
        (
            b"LPKSHHRH" + bytes(600),
            "a file of the systemd journal",
            "journalctl --file {} -o export _TRANSPORT=audit | envtrail import -",
        ),
        (bytes(range(256)) * 4, "binary data, which begins 00 01 02 03 04 05 06 07", None),
        (b"hello\n", "text without audit records", None),
        (b"", "an empty file", None),
        (gzip.compress(b""), "an empty file (gzip)", None),
    ):
        path = file(content)
        _, gaps, (report,) = read(path)
        assert (gaps, report.form, report.records) == ([], form, 0)
        assert report.hint == (hint.format(path) if hint else None)
        assert report.is_log == ("empty" in form)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_seen(encoding: str, file) -> None:
    text = log(50).decode() + 'type=CWD msg=audit(1.000:2): cwd="/é😀"\r\n'
    records, _, (report,) = read(file(text.encode(encoding)))
    assert records.replace(b"\r", b"") == text.replace("\r", "").encode()
    assert report.encoding == (None if "8" in encoding else "utf-16-be" if encoding.endswith("be") else "utf-16-le")


def test_many_files_may_be_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = log(5)
    path = tmp_path / "many.tar"
    path.write_bytes(tar({f"audit.log.{at}": content for at in range(3000)}))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def held() -> list[str]:
        return [target for target in held_files().values() if target.startswith(str(tmp_path))]

    with ExitStack() as stack:
        sources = open_sources([path], "here")
        for source in sources:
            stack.callback(source.close)
        assert len(sources) == 3000
        assert 1 <= len(held()) <= 2
        assert drain(sources[2999])[0] == content  # In any order.
        assert drain(sources[0])[0] == content
    assert held() == []


def test_the_first_record_tells_when_a_file_begins(file) -> None:
    (source,) = open_sources([file(b"hello\n" * 100_000 + log(3))], "here")
    assert isinstance(source, LinesSource)
    assert source.first_ms() == 1_700_000_000_000
    assert drain(source)[0] == log(3)
    (source,) = open_sources([file(b"hello\n")], "here")
    assert isinstance(source, LinesSource)
    assert (source.first_ms(), drain(source)) == (None, (b"", []))
