"""Rows of exec and metadata events as tools see them."""

from __future__ import annotations

from envtrail.interpret.rows import Row
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools.paths import absolute


def invocation_of(row: Row) -> Invocation:
    """The exec of a row."""
    path = row["paths"][0]["name"] if row["paths"] else None
    return Invocation(
        exe=row["exe"] or "",
        argv=row["argv"],
        path=absolute(path, row["cwd"]) if path else None,
        cwd=row["cwd"],
        uid=row["uid"],
        home=_home_of(row),
    )


def _home_of(row: Row) -> str | None:
    """Home folders are a matter of the directory service; root's is the one that is the same everywhere."""
    name = row["fields"].get("UID")
    return "/root" if row["uid"] == 0 else f"/home/{name}" if name else None


def prefix_of_metadata(row: Row) -> str | None:
    """The environment in which a row's package metadata lies."""
    for path in row["paths"] or ():
        name = absolute(path["name"] or "", row["cwd"]) or ""
        for marker in ("/conda-meta", "/lib/python3", "/pyvenv.cfg"):
            if marker in name:
                return name.partition(marker)[0]
    return None
