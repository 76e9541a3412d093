"""What the words of an exec say, read once: most of what runs on a machine runs again and again with the same words."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from envtrail.interpret.invocations import invocation_of
from envtrail.interpret.rows import Exec
from envtrail.interpret.run_kinds import Shape, shape_of
from envtrail.interpret.tool import Intention, Invocation, Tool
from envtrail.interpret.tools import RUN_HINTS
from envtrail.interpret.tools.paths import program_of

_MOST_KEPT = 1024
_MOST_CHARACTERS = 2048
"""Of a command line that is kept: a longer one is rarely run twice."""

_Words = tuple[tuple[str, ...], str | None, str | None, str | None, str | None, int | None, str | None]


class ExecReading(Struct, frozen=True, kw_only=True):
    """What an exec says by itself. Nothing else goes into it, so that it can be shared."""

    invocation: Invocation
    program: str
    """The base name of what runs."""
    tool: Tool | None
    intention: Intention | None
    """What the tool is to do; None where it changes nothing."""
    shape: Shape | None
    """The run that it is, where no tool is called."""


class Readings:
    """The newest.

    Args:
        tools: By what the core calls them.
    """

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = tools
        self._kept: dict[_Words, ExecReading] = {}

    def of(self, row: Exec) -> ExecReading:
        """What an exec says."""
        argv = tuple(row.argv or ())
        if sum(map(len, argv)) > _MOST_CHARACTERS:
            return self._read(row)
        path = row.paths[0].name if row.paths else None
        words = (argv, row.hint, row.exe, path, row.cwd, row.uid, row.fields.get("UID"))
        known = self._kept.get(words)
        if known is None:
            while len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            known = self._kept[words] = self._read(row)
        return known

    def _read(self, row: Exec) -> ExecReading:
        invocation = invocation_of(row)
        tool = self._tools.get(row.hint or "")
        return ExecReading(
            invocation=invocation,
            program=program_of(invocation),
            tool=tool,
            intention=tool.read(invocation) if tool else None,
            shape=shape_of(invocation, row.hint) if tool is None and row.hint in RUN_HINTS else None,
        )
