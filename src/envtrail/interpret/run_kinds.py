"""What an exec of a Python runs: which program, of which kind, in which environment."""

from __future__ import annotations

import posixpath

from msgspec import Struct

from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, prefix_of_program, read_program

_LAUNCHERS = frozenset(
    {
        "torchrun",
        "torch.distributed.run",
        "torch.distributed.launch",
        "accelerate.commands.launch",
        "deepspeed",
        "deepspeed.launcher.runner",
        "deepspeed.launcher.launch",
        "horovodrun",
    }
)
"""Programs whose work is to start the same script many times; `accelerate` is one when its command is `launch`."""
_SERVERS = frozenset({"jupyterlab", "notebook", "jupyter_server", "jupyter", "jupyterhub", "jupyterhub.singleuser", "nbclassic"})
"""Modules that are Jupyter servers."""
_SHELLS = frozenset({"ipython", "ipython3", "IPython"})
"""Programs that run the script they are given, as the interpreter does."""
_SCRIPTS = (".py", ".ipy", ".ipynb")
_HELPERS = ("multiprocessing.", "joblib.externals.loky.")
"""Modules by which a program that runs starts its own workers."""
_SYSTEM_PREFIXES = frozenset({"/usr", "/"})
_SYSTEM = ("/usr/share/", "/usr/lib/", "/usr/bin/lsb_release", "/usr/bin/apt", "/usr/bin/py3", "/usr/sbin/")
"""The distribution's own programs that happen to be written in Python."""


class Shape(Struct, frozen=True, kw_only=True):
    """What runs."""

    kind: str
    program: str
    """Path of the script (as typed, where the folder is not known), or name of the module."""
    script: str | None
    """Absolute path of the script, when there is one."""
    prefix: str | None


def shape_of(invocation: Invocation, hint: str | None) -> Shape | None:
    """What an exec runs; None for an interpreter without a program (`-c`, a prompt) and for helpers of one that runs."""
    how, word, arguments = read_program(invocation)
    if how in {"code", "native"} or not word:
        return None
    prefix = prefix_of_invocation(invocation)
    if posixpath.basename(word) in _SHELLS and (
        given := next((one for one in arguments if not one.startswith("-")), "")
    ).endswith(_SCRIPTS):
        how, word = "script", given
    if how == "module":
        if word.startswith(_HELPERS):
            return None
        return Shape(kind=_kind_of_module(word, arguments, hint), program=word, script=None, prefix=prefix)
    script = absolute(word, invocation.cwd)
    kind = _kind_of_script(script or word, arguments, hint, prefix)
    return Shape(kind=kind, program=script or word, script=script, prefix=prefix)


def _kind_of_module(name: str, arguments: list[str], hint: str | None) -> str:
    if name == "ipykernel_launcher" or (name == "ipykernel" and "-f" in arguments):
        return "kernel"
    if _is_launcher(name, arguments):
        return "launcher"
    return "jupyter" if hint == "jupyter" or name in _SERVERS else "module"


def _kind_of_script(path: str, arguments: list[str], hint: str | None, prefix: str | None) -> str:
    name = posixpath.basename(path)
    if name == "ipykernel_launcher.py":
        return "kernel"
    if _is_launcher(name, arguments):
        return "launcher"
    if hint == "jupyter":
        return "jupyter"
    if prefix in _SYSTEM_PREFIXES and path.startswith(_SYSTEM):
        return "system"
    is_installed = posixpath.basename(posixpath.dirname(path)) == "bin" and not name.endswith(".py")
    return "console" if is_installed and prefix is not None and prefix_of_program(path) == prefix else "script"


def _is_launcher(name: str, arguments: list[str]) -> bool:
    return name in _LAUNCHERS or (name == "accelerate" and arguments[:1] == ["launch"])
