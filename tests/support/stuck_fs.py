"""A file system of a user's whose program answers nothing: whoever asks it for anything waits, some even after SIGKILL.

References:
    include/uapi/linux/fuse.h (fuse_in_header, fuse_init_out); fuse(4)
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_INIT = 26
_DETACH = 2


@contextmanager
def stuck_file_system(place: Path, uid: int) -> Iterator[None]:
    """Mount one that anybody may enter, as `user_allow_other` of fuse.conf(5) lets users do."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other".encode()
    if _LIBC.mount(b"stuck", os.fsencode(place), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    thread = threading.Thread(target=_serve, args=(device,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        _abort(place)
        _LIBC.umount2(os.fsencode(place), _DETACH)
        thread.join(5)
        os.close(device)


def _serve(device: int) -> None:
    with suppress(OSError):  # ENODEV: it is aborted.
        while request := os.read(device, 1 << 17):
            _, opcode, unique = struct.unpack_from("<IIQ", request)
            if opcode == _INIT:
                body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
                os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)


def _abort(place: Path) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == str(place):
            connections = Path("/sys/fs/fuse/connections")
            if not (connections / fields[2].partition(":")[2]).exists():
                _LIBC.mount(b"none", os.fsencode(connections), b"fusectl", 0, None)
            (connections / fields[2].partition(":")[2] / "abort").write_text("1")
