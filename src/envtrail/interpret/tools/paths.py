"""Paths as tools mean them: lexical only, nothing is looked up."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from envtrail.interpret.tool import Invocation

_PYTHON = re.compile(r"^(?:platform-)?(?:python|pypy|graalpy)[\d.]*[a-z]?$")
"""`python3.13t` is the free-threaded one, `platform-python` the one that dnf of RHEL 8 runs on."""


def absolute(path: str, cwd: str | None) -> str | None:
    """`path` seen from `cwd`; None when it is relative and the folder is not known."""
    if path.startswith("/"):
        return posixpath.normpath(path)
    return posixpath.normpath(posixpath.join(cwd, path)) if cwd else None


def is_python(path: str) -> bool:
    """Whether this is the name of a Python interpreter."""
    return bool(_PYTHON.match(posixpath.basename(path)))


def prefix_of_program(path: str) -> str | None:
    """`/x/bin/pip` → `/x`; None when the program does not lie in a `bin`."""
    folder, _, _ = path.rpartition("/")
    return os.path.dirname(folder) or "/" if posixpath.basename(folder) in {"bin", "condabin", "sbin"} else None


def prefix_of_invocation(invocation: Invocation) -> str | None:
    """The prefix whose program was called.

    An interpreter's whole path in argv[0] comes first: the kernel puts the one of a script's first line there (`/usr/local/bin/pip` of
    `/usr/bin/python3`, a link to a conda in `/usr/local/bin`), and Python takes its own prefix from it. Then the path passed to execve:
    a venv's `python` is a link to another one.
    """
    first = invocation.argv[0] if invocation.argv else None
    called = first if first and first.startswith("/") and is_python(first) and is_python(invocation.exe) else None
    for path in (called, invocation.path, first, invocation.exe):
        if path and (found := absolute(path, invocation.cwd)) and (prefix := prefix_of_program(found)):
            return prefix
    return None


def conda_root(prefix: str | None) -> str | None:
    """The installation that an environment below its `envs` belongs to."""
    return prefix.rpartition("/envs/")[0] if prefix and "/envs/" in prefix else prefix


def prefix_of_python(python: str, cwd: str | None) -> str | None:
    """The prefix that a path of an interpreter (or of an environment) names."""
    found = absolute(python, cwd)
    if found is None:
        return None
    return prefix_of_program(found) if is_python(found) else found


def user_base(invocation: Invocation) -> str | None:
    """Where `--user` installs to."""
    home = invocation.home_folder
    return invocation.variables.get("PYTHONUSERBASE") or (f"{home}/.local" if home else None)


def active_variable(variables: Mapping[str, str]) -> str | None:
    """The variable that names the activated environment; conda's base is active in most shells without being meant."""
    if variables.get("VIRTUAL_ENV"):
        return "VIRTUAL_ENV"
    is_base = variables.get("CONDA_DEFAULT_ENV") in {"base", "root"}
    return "CONDA_PREFIX" if variables.get("CONDA_PREFIX") and not is_base else None


def is_program(invocation: Invocation, word: str, name: str) -> bool:
    """Whether a native program is this one: its file decides, whatever it was called; a script is known by its own name."""
    if is_python(invocation.exe):
        return program_name(word) == name
    return name in {program_name(invocation.exe), program_name(word)}


class Program(NamedTuple):
    """What an interpreter is to run."""

    how: str
    """`script`, `module` (`-m`), `code` (`-c`, standard input, a prompt), or `native` where there is no interpreter."""
    word: str
    """As typed: path of the script, name of the module, `-c` or `-` for code; the program itself where there is none."""
    arguments: list[str]


def read_program(invocation: Invocation) -> Program:
    """Part a command line as the interpreter itself would.

    `[python, /x/bin/pip, install]` → script `/x/bin/pip`, `[python, -Im, pip, install]` → module `pip`, both with `["install"]`.

    References:
        https://docs.python.org/3/using/cmdline.html
    """
    argv = invocation.argv
    if not argv:
        return Program("native", invocation.exe, [])
    if not is_python(argv[0]) and not is_python(invocation.exe):
        return Program("native", argv[0], argv[1:])
    at = 1
    while at < len(argv):
        word = argv[at]
        if word == "-":
            return Program("code", word, argv[at + 1 :])
        if word.startswith("--") and len(word) > 2:
            at += 2 if word == "--check-hash-based-pycs" else 1
            continue
        if not word.startswith("-"):
            return Program("script", word, argv[at + 1 :])
        taker = next((place for place, letter in enumerate(word[1:], 1) if letter in "mcWXQ"), None)
        if taker is None:
            at += 1
            continue
        inline = word[taker + 1 :]
        if word[taker] == "m":
            name = inline or next(iter(argv[at + 1 :]), "")
            return Program("module", name, argv[at + 1 if inline else at + 2 :])
        if word[taker] == "c":
            return Program("code", "-c", argv[at + 1 :])
        at += 1 if inline else 2
    return Program("code", argv[0], [])


def program_words(invocation: Invocation) -> tuple[str, list[str]]:
    """The program as typed and its arguments, without the interpreter."""
    _, word, arguments = read_program(invocation)
    return word, arguments


def known_program(invocation: Invocation, known: Collection[str]) -> tuple[str, list[str]] | None:
    """The name of a program that is one of these, and its arguments; None for another one."""
    word, arguments = program_words(invocation)
    name = program_name(word)
    if name not in known and not is_python(invocation.exe):
        # The file decides what a native program is, whatever it was called.
        name = program_name(invocation.exe)
    return (name, arguments) if name in known else None


def program_name(word: str) -> str:
    """`/x/bin/pip3.12` → `pip`, `pip/__main__.py` → `pip`."""
    name = posixpath.basename(word)
    if name in {"__main__.py", "__pip-runner__.py"}:
        name = posixpath.basename(posixpath.dirname(word))
    return re.sub(r"[-\d.]+$", "", name) or name


def program_of(invocation: Invocation) -> str:
    """The base name of what runs: of the script for an interpreter, else of the executable. `cli.js` → `cli`."""
    word, _ = program_words(invocation)
    name = posixpath.basename(word)
    if name in {"node", "nodejs", "bun", "deno", "sh", "bash", "dash"}:
        name = posixpath.basename(next((word for word in invocation.argv[1:5] if not word.startswith("-")), name))
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix in {"js", "mjs", "cjs", "py", "sh"} else name if "-" in name else program_name(name) or name
