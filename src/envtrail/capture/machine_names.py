"""Which machine a record is of, where its line does not say so: logs of several machines look alike without `node=`."""

from __future__ import annotations

_BARE = b"\ntype="
"""A record that names no machine begins a line with its type: one that does begins with `node=` (auditd.conf(5), `name_format`)."""


class MachineNames:
    """Blocks of records in; the same out, each with the name of its machine.

    Args:
        name: Of the machine of records that name none, as a record's `node=` holds it.
    """

    def __init__(self, name: str) -> None:
        self._named = b"\nnode=%s type=" % name.encode()
        self._held = b"\n"
        """What the next block may complete to the beginning of such a record; at first a line break that is not handed on."""
        self._is_first = True
        self.unnamed = 0
        """Records that named no machine."""

    def take(self, records: bytes, *, ended: bool = False) -> bytes:
        """The next block, which may end inside a line; the last one is `ended`."""
        data = self._held + records
        kept = 0 if ended else next(size for size in range(len(_BARE) - 1, -1, -1) if data.endswith(_BARE[:size]))
        self._held = data[len(data) - kept :]
        data = data[: len(data) - kept]
        self.unnamed += data.count(_BARE)
        data = data.replace(_BARE, self._named)
        if self._is_first and data:
            self._is_first = False
            return data[1:]
        return data
