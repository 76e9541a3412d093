"""A form: what a person types, and what the trail must say of it."""

from __future__ import annotations

from msgspec import Struct

ANY_EXIT = -1
"""The exit status is not the point: what is judged is what happened to the files."""


class Expected(Struct, frozen=True, kw_only=True):
    """One operation that must be found. Words may hold `$E`, `$W`, `$HOME`, `$M` and `$N`; a `*` at the end leaves the rest open."""

    tool: str
    """For a `tamper` the program, its possible spellings divided by `|`."""
    kind: str
    prefix: str = "$E"
    environment_kind: str | None = None
    """Null where the place decides: `venv` for a venv and so on."""
    outcome: str = "success"
    changes: tuple[str, ...] = ("+$M",)
    """`+name`, `-name` or `^name` (another version) for each package; a last `…` allows more."""
    via: tuple[str, ...] | None = None
    """Null where the inner managers are not the point of the row."""
    exit_code: int | None = 0
    files: tuple[str, ...] = ()
    """Of a `tamper`: paths that must be among its files."""


class Form(Struct, frozen=True, kw_only=True):
    """A row of the table."""

    name: str
    script: str
    """For `sh -eu`, in a folder of the row's own."""
    expects: tuple[Expected, ...]
    place: str = "venv"
    """What `$E` is: `venv`, `bare` (a venv without pip), `legacy`, `conda`, `system`, `none`."""
    as_root: bool = False
    """By root, in the session that a person logged in to."""
    prepare: str = ""
    """Done before the agent starts, outside of any session."""
    exit_code: int = 0
    left: str | None = "+"
    """What the disk must show afterwards, seen by the driver: the marker is there (`+`), is gone (`-`), or was never (null)."""
    group: bool = False
    """One command on several environments: an operation each, with one group; `expects` in order of the prefix."""
    shared: bool = False
    """Its operations overlap: a change may be in either when both say that they are shared."""


def one(
    name: str, script: str, tool: str = "pip", kind: str = "install", *, form: dict[str, object] | None = None, **expected: object
) -> Form:
    """A form that is one operation."""
    options: dict[str, object] = {"left": "-"} if kind in {"remove", "delete"} else {}
    if kind in {"remove", "delete"}:
        expected.setdefault("changes", ("-$M",))
    row = Expected(tool=tool, kind=kind, **expected)  # type: ignore[arg-type]
    return Form(name=name, script=script, expects=(row,), **{**options, **(form or {})})  # type: ignore[arg-type]


def none(name: str, script: str, *, left: str | None = None, **form: object) -> Form:
    """A form that is no operation."""
    return Form(name=name, script=script, expects=(), left=left, **form)  # type: ignore[arg-type]


def tamper(name: str, script: str, program: str, *files: str, form: dict[str, object] | None = None, **expected: object) -> Form:
    """A change without a package tool, by `program`."""
    expected = {"changes": (), "exit_code": ANY_EXIT, **expected}
    return one(name, script, program, "tamper", files=files, form={"left": "f", **(form or {})}, **expected)


INSTALLED = (
    "$TOOLS/uv pip install -q --offline --no-index --no-cache --link-mode=copy --find-links=$SHELF --python=$E/bin/python3 $M"
)
"""For `prepare`: the marker is there before anything is watched."""
