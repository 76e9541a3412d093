"""Output: a table for people, JSON lines and CSV for programs. Users' text is always escaped before it reaches a terminal."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import click
import msgspec

from envtrail.errors import ExitCode
from envtrail.model.text import safe as safe  # noqa: PLC0414 - every verb takes it from here
from envtrail.model.text import safe_cell as safe_cell  # noqa: PLC0414


def command_line(argv: Sequence[str]) -> str:
    """Arguments as typed in a shell, safe to print."""
    import shlex

    return safe(shlex.join(argv))


def show_bytes(count: int) -> str:
    """`731 KB`: powers of 1,000, as disk vendors and `ls -lh --si` count."""
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def style(text: str, **how: Any) -> str:
    """Colour, if enabled; the text alone always carries the meaning."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, **how)


def emit_json(items: Iterable[Any]) -> int:
    """JSON lines with the documents' own field names; returns how many."""
    count = 0
    encode = msgspec.json.Encoder().encode
    for item in items:
        click.echo(encode(item))
        count += 1
    return count


def emit_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """CSV with a header; returns how many rows."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(columns)
    count = 0
    for row in rows:
        out.writerow([safe_cell(value) for value in row])
        count += 1
    return count


def emit_text(parts: Iterable[str]) -> int:
    """Text, through the pager on a terminal; returns how many parts."""
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for part in parts:
            count += 1
            yield part + "\n"

    if sys.stdout.isatty() and not os.environ.get("ENVTRAIL_NO_PAGER"):
        os.environ.setdefault("LESS", "FRX")
        click.echo_via_pager(counted())
    else:
        for text in counted():
            click.echo(text, nl=False)
    return count


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Columns as wide as necessary, the last one cut at the terminal's edge; returns how many rows."""
    kept = [[safe(cell) for cell in row] for row in rows]
    if not kept:
        return 0
    widths = [max(len(line[at]) for line in [list(columns), *kept]) for at in range(len(columns))]
    room = shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 10**6

    def lines() -> Iterator[str]:
        yield style(_join(columns, widths)[:room], bold=True)
        for row in kept:
            line = _join(row, widths)
            yield line if len(line) <= room else line[: room - 1] + "…"

    return emit_text(lines()) - 1


def listing(
    items: Iterable[Any],
    *,
    as_json: bool,
    as_csv: bool = False,
    columns: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    nothing: str | Callable[[], str],
) -> None:
    """Print a listing in the requested format; exit 1 with a message when it is empty."""
    if as_json:
        count = emit_json(items)
    elif as_csv:
        count = emit_csv(columns, (row(item) for item in items))
    else:
        count = emit_table(columns, (row(item) for item in items))
    if not count:
        found_nothing(nothing if isinstance(nothing, str) else nothing())


def found_nothing(sentence: str) -> NoReturn:
    """Print that there is nothing, and what to do, and exit 1."""
    click.echo(sentence, err=True)
    raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
