"""Before pip: `setup.py install`, `setup.py develop`, `easy_install`.

References:
    setuptools/command/easy_install.py, setuptools/command/install.py, setuptools/command/develop.py
"""

from __future__ import annotations

import posixpath

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, requirements, sort_words, sources, values
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, program_name, program_words, user_base
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--prefix --exec-prefix --home --root --install-base --install-lib --install-purelib --install-platlib --install-scripts --record -d"
    " --install-dir -s --script-dir -f --find-links -b --build-directory -O --optimize -i --index-url -S --site-dirs -H --allow-hosts"
)
_COMMANDS = frozenset({"install", "develop"})


class Setuptools:
    """The old ways."""

    name = "setuptools"
    programs = ("setup.py", "easy_install")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what is to be installed."""
        program, arguments = program_words(invocation)
        name = posixpath.basename(program)
        words = sort_words(arguments, _TAKES_VALUE)
        if words.asks_for_help or words.has("-n", "--dry-run"):
            return None
        if name == "setup.py" and _COMMANDS.intersection(words.positional):
            return self._install("setup.py", program, invocation, arguments, words, requested=[])
        if program_name(program) == "easy_install" and words.positional:
            return self._install("easy_install", program, invocation, arguments, words, requested=requirements(words.positional))
        return None

    @staticmethod
    def _install(
        tool: str, program: str, invocation: Invocation, arguments: list[str], words: Words, *, requested: list[str]
    ) -> Intention:
        named = words.last("--prefix", "--home", "--root", "-d", "--install-dir")
        by_user = words.has("--user")
        prefix = (
            absolute(named, invocation.cwd) if named else user_base(invocation) if by_user else prefix_of_invocation(invocation)
        )
        return Intention(
            tool=tool,
            kind=OperationKind.REMOVE if words.has("-u", "--uninstall") else OperationKind.INSTALL,
            argv=[tool, *arguments],
            prefix=prefix,
            environment_kind="user" if by_user else None,
            requested=requested,
            # What `setup.py` installs is the project that it lies in.
            sources=sources(words, words.positional, invocation.variables)
            if tool == "easy_install"
            else [absolute(program, invocation.cwd) or program],
            why="a folder that was named" if named else "--user" if by_user else "the prefix of the program that was called",
        )
