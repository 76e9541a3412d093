"""What `b64` and `b32` are on a machine, and the numbers of its system calls.

References:
    libaudit's `audit_determine_machine` (which 32-bit programs a 64-bit kernel runs); uname(2)
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from envtrail.core import architectures, system_calls
from envtrail.errors import UsageError

MASK_BITS = 2048
"""Of a rule (AUDIT_BITMASK_SIZE words of 32 bits); calls with greater numbers (x32, MIPS) cannot be named in one."""
_TWINS = {"x86_64": "i386", "aarch64": "arm", "ppc64": "ppc", "s390x": "s390"}
_OTHER_NAMES = {"i486": "i386", "i586": "i386", "i686": "i386", "armv6l": "arm", "armv7l": "arm", "armv8l": "arm"}
IO_URING = {"openat": 18, "openat2": 28, "renameat": 35, "unlinkat": 36, "mkdirat": 37, "symlinkat": 38, "linkat": 39}
"""Operations (`IORING_OP_*`), the same on every machine."""
_HEX = re.compile(r"0x[0-9a-f]{1,8}", re.IGNORECASE | re.ASCII).fullmatch
_IS_64_BIT = 0x80000000


class Machine:
    """One kind of machine.

    Args:
        name: As `uname -m` gives it.
    """

    def __init__(self, name: str) -> None:
        known, own = architectures(), _OTHER_NAMES.get(name, name)
        numbers = [known[arch] for arch in (own, _TWINS.get(own)) if arch in known]
        self.arches = {"b64" if number & _IS_64_BIT else "b32": number for number in numbers if _calls(number)}
        """`b64`, `b32` → number of the audit interface; the machine's own first. Empty where no rule can name a call."""

    @property
    def own(self) -> str:
        """Its own entry: `b64`, or `b32` on a 32-bit machine."""
        return next(iter(self.arches), "b64")

    def number_of(self, arch: str) -> int:
        """Of an architecture as a rule names it: `b64`, `b32`, a name, or a number.

        Raises:
            UsageError: this machine has no such entry.
        """
        number = self.arches.get(arch, architectures().get(arch))
        if number is None and _HEX(arch):
            number = int(arch, 16)
        if number is None:
            raise UsageError(f"`arch={arch}` is nothing on this machine")
        return number

    def text_of(self, number: int) -> str:
        """As a rule names an architecture."""
        return next((text for text, known in self.arches.items() if known == number), hex(number))

    def calls(self, arch: str | None) -> dict[str, int]:
        """The system calls that a rule for an architecture can name; None: the machine's own."""
        try:
            return _calls(self.number_of(arch or self.own))
        except UsageError:
            return {}

    def present(self, arch: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those calls of these that an architecture has (aarch64 has `mkdirat` and no `mkdir`), by number."""
        known = self.calls(arch)
        return tuple(sorted((name for name in names if name in known), key=known.__getitem__))


@lru_cache(maxsize=8)
def _calls(arch: int) -> dict[str, int]:
    return {name: number for number, name in system_calls(arch) if number < MASK_BITS}


HERE = Machine(os.uname().machine)
