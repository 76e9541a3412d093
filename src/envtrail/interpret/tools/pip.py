"""pip: `pip`, `pip3.12`, `python -m pip`, an environment's own, its zipapp, and the script that bootstraps it.

References:
    pip/_internal/cli/cmdoptions.py (which options take a value), pip/_internal/commands/
"""

from __future__ import annotations

import posixpath

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import YES, Words, requirements, sort_words, sources, values
from envtrail.interpret.tools.paths import (
    absolute,
    prefix_of_invocation,
    prefix_of_python,
    program_name,
    program_words,
    user_base,
)
from envtrail.model.operation import OperationKind

TAKES_VALUE = values(
    "--log --proxy --retries --timeout --exists-action --trusted-host --cert --client-cert --cache-dir --keyring-provider --python"
    " --use-feature --use-deprecated --resume-retries -c --constraint -r --requirement -e --editable -t --target --platform --python-version"
    " --implementation --abi --root --prefix --src --upgrade-strategy -C --config-settings --config-setting --global-option --no-binary"
    " --only-binary --progress-bar --root-user-action --report --group -i --index-url --pypi-url --extra-index-url -f --find-links"
    " --build-constraint --uploaded-prior-to --all-releases --only-final --refresh-package --requirements-from-script --default-timeout"
    " --log-file --local-log --source --source-dir --source-directory"
)
_COMMANDS = {"install": OperationKind.INSTALL, "uninstall": OperationKind.REMOVE}
_BUILD_FOLDERS = ("/pip-build-env-", "/build-env-")
"""Where pip and build install what a build needs: no environment of anybody."""


class Pip:
    """`pip install` and `pip uninstall`; every other command changes nothing."""

    name = "pip"
    programs = ("pip", "__pip-runner__.py", "get-pip.py", "pip.pyz")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this pip wants."""
        program, arguments = program_words(invocation)
        if posixpath.basename(program) == "get-pip.py":
            arguments = ["install", *arguments, "pip"]
        elif program_name(program) not in {"pip", "pip.pyz"}:
            return None
        words = sort_words(arguments, TAKES_VALUE)
        kind = _COMMANDS.get(words.command)
        if kind is None or words.asks_for_help or words.has("--dry-run"):
            return None
        prefix, environment_kind, why = _where(invocation, words)
        if any(folder in (prefix or "") for folder in _BUILD_FOLDERS):
            return None
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["pip", *arguments],
            prefix=prefix,
            environment_kind=environment_kind,
            requested=requirements(words.positional[1:]),
            sources=sources(words, words.positional[1:], invocation.variables, abbreviates=True),
            why=why,
        )


def _where(invocation: Invocation, words: Words) -> tuple[str | None, str | None, str]:
    variables = invocation.variables

    def given(*options: str, variable: str) -> tuple[str | None, str]:
        value = words.last(*options)
        return (value, f"{options[-1]} of the command") if value else (variables.get(variable), f"{variable} of the process")

    target, why = given("-t", "--target", variable="PIP_TARGET")
    if target:
        return absolute(target, invocation.cwd), "target", why
    prefix, why = given("--prefix", variable="PIP_PREFIX")
    root, why_root = given("--root", variable="PIP_ROOT")
    if root:
        # The whole tree is laid out below it: `--root /mnt` of `/v/bin/pip` fills `/mnt/v`.
        inner = (prefix and absolute(prefix, invocation.cwd)) or prefix_of_invocation(invocation)
        return inner and absolute(root.rstrip("/") + inner, invocation.cwd), None, why_root
    if prefix:
        return absolute(prefix, invocation.cwd), None, why
    by_variable = variables.get("PIP_USER", "").lower() in YES
    if words.has("--user") or by_variable:
        return user_base(invocation), "user", "PIP_USER of the process" if by_variable else "--user of the command"
    python, why = given("--python", variable="PIP_PYTHON")
    if python:
        return prefix_of_python(python, invocation.cwd), None, why
    return prefix_of_invocation(invocation), None, "the prefix of the program that was called"
