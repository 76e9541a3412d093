"""pip: `pip`, `pip3.12`, `python -m pip`, an environment's own.

References:
    pip/_internal/cli/cmdoptions.py (which options take a value), pip/_internal/commands/
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, requirement_names, sort_words
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = frozenset(
    [
        "--log",
        "--proxy",
        "--retries",
        "--timeout",
        "--exists-action",
        "--trusted-host",
        "--cert",
        "--client-cert",
        "--cache-dir",
        "--keyring-provider",
        "--python",
        "--use-feature",
        "--use-deprecated",
        "-c",
        "--constraint",
        "-r",
        "--requirement",
        "-e",
        "--editable",
        "-t",
        "--target",
        "--platform",
        "--python-version",
        "--implementation",
        "--abi",
        "--root",
        "--prefix",
        "--src",
        "--upgrade-strategy",
        "-C",
        "--config-settings",
        "--config-setting",
        "--global-option",
        "--no-binary",
        "--only-binary",
        "--progress-bar",
        "--root-user-action",
        "--report",
        "--group",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "--build-constraint",
    ]
)
_COMMANDS = {"install": OperationKind.INSTALL, "uninstall": OperationKind.REMOVE}


class Pip:
    """`pip install` and `pip uninstall`; every other command changes nothing."""

    name = "pip"
    programs = ("pip", "__pip-runner__.py")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this pip wants."""
        program, arguments = program_words(invocation)
        if program_name(program) != "pip":
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        if not words.positional or words.positional[0] not in _COMMANDS or words.has("--dry-run", "--help", "-h", "--version"):
            return None
        command, *packages = words.positional
        prefix, kind = _where(invocation, words)
        return Intention(
            tool=self.name,
            kind=_COMMANDS[command],
            argv=["pip", *arguments],
            prefix=prefix,
            environment_kind=kind,
            names=requirement_names(packages),
        )


def _where(invocation: Invocation, words: Words) -> tuple[str | None, str | None]:
    target = words.last("-t", "--target") or invocation.variables.get("PIP_TARGET")
    if target:
        return absolute(target, invocation.cwd), "target"
    prefix = words.last("--prefix", "--root") or invocation.variables.get("PIP_PREFIX")
    if prefix:
        return absolute(prefix, invocation.cwd), None
    if words.has("--user") or invocation.variables.get("PIP_USER", "").lower() in {"1", "true", "yes", "on"}:
        base = invocation.variables.get("PYTHONUSERBASE") or (invocation.home and f"{invocation.home}/.local")
        return base or None, "user"
    python = words.last("--python") or invocation.variables.get("PIP_PYTHON")
    if python and (found := absolute(python, invocation.cwd)):
        return found.removesuffix("/bin/python").removesuffix("/bin/python3"), None
    return prefix_of_invocation(invocation), None
