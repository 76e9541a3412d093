"""Where a package came from, against where it may come from: the names of one index or channel, and what an operation drew on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from envtrail.model.operation import Change, Operation, OperationKind
from envtrail.model.patterns import fits_any

_SUBDIR = re.compile(r"/(?:noarch|(?:linux|osx|win|freebsd|zos|emscripten|wasi)-[0-9a-z_]+)$")
_CHANNEL = re.compile(r"^https://conda\.anaconda\.org/([^/]+)$")
_DEFAULTS = re.compile(r"^https://repo\.anaconda\.com/(pkgs/[^/]+)$")


def why_not_from(allowed: Sequence[str], operation: Operation, changes: Sequence[Change]) -> str | None:
    """What of an operation was, or may have been, installed from elsewhere; None when nothing did.

    Args:
        allowed: Indexes, channels and addresses; `*` and `?` stand for any text.
        operation: With the sources that its command line named: which of them a package came from is recorded nowhere.
        changes: Those in question.
    """
    installed = [change for change in changes if change.after is not None]
    if "*" in allowed or (changes and not installed):
        return None
    if operation.kind is OperationKind.TAMPER and installed:
        return f"{installed[0].name} was changed by hand: where it came from is not known"
    for change in installed:
        source = change.after.source if change.after else None
        if source is None and change.ecosystem != "pypi":
            return f"where {change.name} came from is not known"
        if source is not None and not is_from(allowed, source):
            return f"{change.name} came from {source}"
    return next((f"the command named the source {source}" for source in operation.sources if not is_from(allowed, source)), None)


def is_from(allowed: Sequence[str], source: str) -> bool:
    """Whether a source is one of these."""
    names = names_of(source)
    return any(fits_any([pattern, pattern.rstrip("/") or pattern], names) for pattern in allowed)


def names_of(source: str) -> list[str]:
    """A source as it stands, and as people call it: `https://conda.anaconda.org/conda-forge/linux-64` is `conda-forge`.

    References:
        https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/channels.html
    """
    plain = source.rstrip("/")
    channel = _SUBDIR.sub("", plain)
    names = [source, plain, channel]
    if found := _CHANNEL.match(channel):
        names.append(found[1])
    if found := _DEFAULTS.match(channel):
        names += [found[1], "defaults"]
    return names
