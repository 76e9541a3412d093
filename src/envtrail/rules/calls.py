"""System calls that no library makes for a canary: through the 32-bit entry of an x86-64 kernel, and through io_uring.

Both are made in a separate child process, which ends right after.

References:
    arch/x86/entry/entry_64_compat.S (`int 0x80`: number in eax, arguments in ebx, ecx, edx, esi, edi; pointers below 4 GiB);
    io_uring_setup(2), io_uring_enter(2), include/uapi/linux/io_uring.h (`IORING_OP_MKDIRAT` 37)
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Sequence

_MAP_32BIT = 0x40
_AT_FDCWD = -100
_MKDIRAT = 37
_SUBMISSION_RING, _ENTRIES = 0, 0x10000000
_GET_EVENTS = 1


def has_32() -> bool:
    """Whether a 32-bit call can be made here."""
    return os.uname().machine == "x86_64"


def call_32(number: int, *arguments: int | bytes | Sequence[bytes]) -> int:
    """Make a 32-bit system call; texts and lists of texts become pointers.

    Raises:
        OSError: the call failed, or this machine is no x86-64 (ENOSYS).
    """
    if not has_32():
        raise OSError(errno.ENOSYS, "32-bit calls need an x86-64 kernel")
    page = mmap.mmap(
        -1,
        1 << 16,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT,
        prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
    )
    base = ctypes.addressof(ctypes.c_char.from_buffer(page))
    page.seek(1024)

    def place(data: bytes) -> int:
        at = page.tell()
        page.write(data)
        return base + at

    def pointer(value: int | bytes | Sequence[bytes]) -> int:
        if isinstance(value, int):
            return value & 0xFFFFFFFF
        if isinstance(value, bytes):
            return place(value + b"\0")
        addresses = [place(text + b"\0") for text in value]
        return place(struct.pack(f"<{len(addresses) + 1}I", *addresses, 0))

    words = [pointer(argument) for argument in arguments] + [0] * (3 - len(arguments))
    code = b"\x53"  # push rbx, which the caller keeps
    for opcode, word in zip((b"\xb8", b"\xbb", b"\xb9", b"\xba"), (number, *words), strict=True):
        code += opcode + struct.pack("<I", word)  # mov eax, ebx, ecx, edx
    page[: len(code) + 4] = code + b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    result: int = ctypes.CFUNCTYPE(ctypes.c_int32)(base)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def mkdir_through_io_uring(path: str) -> None:
    """Make a folder by `IORING_OP_MKDIRAT`.

    Raises:
        OSError: io_uring is not there, is switched off (EPERM), or the folder could not be made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    setup, enter = (425, 426)
    parameters = ctypes.create_string_buffer(120)
    ring = libc.syscall(setup, 1, parameters)
    if ring < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        # struct io_uring_params: ten words, then the offsets of the submission and of the completion ring.
        tail, array = struct.unpack_from("<4xI16xI", parameters, 40)
        entries = struct.unpack_from("<20xI", parameters, 80)[0]
        with mmap.mmap(ring, 4096, offset=_SUBMISSION_RING) as rings, mmap.mmap(ring, 4096, offset=_ENTRIES) as submissions:
            name = ctypes.create_string_buffer(os.fsencode(path))
            submissions[:64] = struct.pack("<BBHiQQI36x", _MKDIRAT, 0, 0, _AT_FDCWD, 0, ctypes.addressof(name), 0o700)
            struct.pack_into("<I", rings, array, 0)
            struct.pack_into("<I", rings, tail, 1)
            if libc.syscall(enter, ring, 1, 1, _GET_EVENTS, None, 0) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            result = struct.unpack_from("<i", rings, entries + 8)[0]
    finally:
        os.close(ring)
    if result < 0:
        raise OSError(-result, os.strerror(-result), path)


if __name__ == "__main__":
    # Run by another interpreter: the end of that program through the 32-bit entry (exit_group is 252 there).
    call_32(252, 0)
