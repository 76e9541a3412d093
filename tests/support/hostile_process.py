"""Processes of a user without rights whose own memory is a trap for whoever reads `/proc/PID/cmdline` or `environ`.

`python hostile_process.py endless`: arguments and environment of 200 GB. `python hostile_process.py stuck FOLDER`: its mmap lock is held
for ever. Each prints its pid when it is so.

References:
    prctl(2) (PR_SET_MM_MAP); fs/proc/base.c; include/uapi/linux/fuse.h; fs/fuse/file.c (fuse_file_mmap: invalidate_inode_pages2)
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MALLORY = 61_101
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_READ, _PRIVATE, _ANONYMOUS, _NO_RESERVE = 1, 2, 0x20, 0x4000
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ_FILE, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_DIRECT_IO = 1


@contextmanager
def hostile_process(*words: str, before: Sequence[str] = ()) -> Iterator[int]:
    """One of them, as a user who owns nothing else here; its pid."""
    as_user = ["setpriv", f"--reuid={MALLORY}", f"--regid={MALLORY}", "--clear-groups", *before]
    # The machine's own Python: that user may not read where the tests' lies.
    command = [*as_user, "/usr/bin/python3", "-c", _source(), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            # With its file system's server, which would keep it from ending.
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def endless_process() -> Iterator[int]:
    """Its arguments and its environment are as long as its address space."""
    with hostile_process("endless") as pid:
        yield pid


@contextmanager
def stuck_process(folder: str, *writes: str) -> Iterator[int]:
    """Who looks into its memory waits; it writes a file when that is so."""
    with hostile_process("stuck", folder, *writes, before=["unshare", "--user", "--map-root-user", "--mount"]) as pid:
        yield pid


def _source() -> str:
    with open(__file__, encoding="utf-8") as file:
        return file.read()


def _become_endless() -> None:
    size = 200 << 30
    start = _LIBC.mmap(None, size, _READ, _PRIVATE | _ANONYMOUS | _NO_RESERVE, -1, 0)
    with open("/proc/self/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    code, data, stack = (int(fields[at]) for at in (23, 42, 25))
    heap = _LIBC.sbrk
    heap.restype = ctypes.c_void_p
    line = (start, start + size - 4096)
    packed = struct.pack(
        "<12QII", code, int(fields[24]), data, int(fields[43]), int(fields[44]), heap(0), stack, *line, *line, 0, 0, 0xFFFFFFFF
    )
    buffer = ctypes.create_string_buffer(packed, len(packed))
    words = [ctypes.c_ulong(word) for word in (_PR_SET_MM_MAP, ctypes.addressof(buffer), len(packed), 0)]
    if _LIBC.prctl(_PR_SET_MM, *words):
        raise OSError(ctypes.get_errno(), "prctl")


def _serve(device: int) -> None:
    """One file whose pages never come; its second opening is for direct I/O."""
    opened = 0
    while request := os.read(device, 1 << 17):
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        attributes = struct.pack("<6Q10I", node, 1 << 20, 2048, 0, 0, 0, 0, 0, 0, 0o100644, 1, 0, 0, 0, 4096, 0)
        body: bytes | None = b""
        if opcode == _INIT:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        elif opcode == _LOOKUP:
            body = struct.pack("<QQQQII", 2, 0, 1000, 1000, 0, 0) + attributes
        elif opcode == _GETATTR:
            body = struct.pack("<QII", 1000, 0, 0) + attributes
        elif opcode == _OPEN:
            opened += 1
            body = struct.pack("<QII", opened, _DIRECT_IO if opened > 1 else 0, 0)
        elif opcode in (_READ_FILE, _FORGET):
            body = None
        if body is not None:
            os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)


def _become_stuck(folder: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    if _LIBC.mount(b"stuck", os.fsencode(folder), b"fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()):
        raise OSError(ctypes.get_errno(), "mount")
    if os.fork() == 0:
        _serve(device)
    os.close(device)
    cached, direct = (os.open(f"{folder}/file", os.O_RDONLY) for _ in range(2))
    threading.Thread(target=os.pread, args=(cached, 1, 0), daemon=True).start()
    time.sleep(0.3)
    # The mapping waits for the page that is being read, and holds this process's mmap lock meanwhile.
    threading.Thread(target=_LIBC.mmap, args=(None, 4096, _READ, _PRIVATE, direct, 0), daemon=True).start()
    time.sleep(0.3)


if __name__ == "__main__":
    _become_endless() if sys.argv[1] == "endless" else _become_stuck(sys.argv[2])
    for path in sys.argv[3:]:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    print(os.getpid(), flush=True)
    time.sleep(60)
