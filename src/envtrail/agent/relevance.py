"""Which changes of files below an environment are changes of it."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Sequence

from envtrail.model.operation import FileChange

_PARTS = frozenset(
    {
        "bin", "sbin", "libexec", "condabin", "compiler_compat", "shell", "lib", "lib64", "local", "include", "share", "etc", "ssl",
        "conda-meta", "pyvenv.cfg", "Scripts", "man", "var", "opt", "plugins", "src", "x86_64-conda-linux-gnu",
        "aarch64-conda-linux-gnu", "site-packages",
    }
)  # fmt: skip
"""What packages and managers put directly below a prefix; the rest is somebody's data (`notes.txt`, `checkpoints`, `.git`)."""
_TOUCH = frozenset({"/usr/bin/touch", "/bin/touch"})
_CHANGE_ATTRIBUTES = frozenset({"chmod", "chown", "chgrp"})
_CONDA = frozenset({"conda", "mamba", "micromamba"})


def parts_of(files: Iterable[FileChange], prefix: str, kind: str, sites: Collection[str] = ()) -> list[FileChange]:
    """The files that are parts of an environment. Folders of packages (`--target`, a user's site) have no other.

    Args:
        files: That changed.
        prefix: Of the environment.
        kind: Of the environment.
        sites: Its folders of packages, where they are known: what has them below `lib` is laid out as a virtual environment is.
    """
    is_laid_out = kind in {"venv", "conda"} or (kind == "target" and sites and f"{prefix}/" not in sites)
    if not is_laid_out:
        return list(files)
    return [file for file in files if _is_part(file.path, prefix)]


def _is_part(path: str, prefix: str) -> bool:
    if not f"{path}/".startswith(f"{prefix}/"):
        return True  # Through a bind mount it has another path.
    below = path[len(prefix) + 1 :]
    return not below or below.partition("/")[0] in _PARTS


def without_times(files: Iterable[FileChange], *, program: str | None, is_recorded: bool) -> list[FileChange]:
    """Without those of which fanotify reports other attributes: it does so for other times as well as for another mode or owner.

    Args:
        files: That changed.
        program: That ran: one that changes nothing but mode and owner is believed.
        is_recorded: By the kernel's audit, which names the call.
    """
    is_believed = is_recorded or program in _CHANGE_ATTRIBUTES
    return [file for file in files if is_believed or file.what != "attributes"]


def is_nothing(files: Sequence[FileChange], *, exe: str | None = None, tool: str | None = None) -> bool:
    """Whether nothing was changed.

    Opening is not changing: `conda run`, `activate` and `list` open the history to append nothing, uv locks what it only reads, touch
    writes nothing. conda removes documents of packages that are not there any more as it lists.
    """
    if all(file.path.endswith(("/conda-meta/history", "/.lock")) and file.what in {"written", "created"} for file in files):
        return True
    if exe in _TOUCH:
        return all(file.what == "written" for file in files)
    return tool in _CONDA and all(
        file.what == "deleted" and posixpath.basename(posixpath.dirname(file.path)) == "conda-meta"
        for file in files
        if not file.path.endswith("/conda-meta/history")
    )
