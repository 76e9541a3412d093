# ruff: noqa: S105 - a token of a file is no secret
"""Where in a TOML file a key stands. `tomllib` does not say; the text is one that it has read.

References:
    https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

Path = tuple[str, ...]
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}=,.\n]"
    r"|[ \t\r]+"
    r"|[^\[\]{}=,.\n\"'\#\s]+",
    re.DOTALL,
)


def places_of(text: str) -> dict[Path, tuple[int, int]]:
    """Every key and section of a TOML text, as its parts, with the line and column at which it begins, both from 1 on."""
    found: dict[Path, tuple[int, int]] = {}
    table: Path = ()
    tokens = list(_tokens(text))
    at = 0
    while at < len(tokens):
        token, place = tokens[at]
        if token == "[":
            first = at + 1 + (tokens[at + 1][0] == "[")
            table, at = _key(tokens, first)
            _note(found, table, place)
            at += 1
        elif token in {"\n", "]"}:
            at += 1
        else:
            key, at = _key(tokens, at)
            at = _value(tokens, at, table + key, place, found)
    return found


def _key(tokens: list[tuple[str, tuple[int, int]]], at: int) -> tuple[Path, int]:
    """A key, and where it ends: at its `=` or `]`."""
    parts = []
    while at < len(tokens) and tokens[at][0] not in {"=", "]", "\n"}:
        token = tokens[at][0]
        if token != ".":
            parts.append(token[1:-1] if token[0] == "'" else _unescape(token) if token[0] == '"' else token)
        at += 1
    return tuple(parts), at


def _value(
    tokens: list[tuple[str, tuple[int, int]]],
    at: int,
    key: Path,
    place: tuple[int, int],
    found: dict[Path, tuple[int, int]],
) -> int:
    """Over a key's value, the keys within it noted; gives where it ends."""
    _note(found, key, place)
    above: list[Path | None] = []
    while at < len(tokens):
        token, place = tokens[at]
        at += 1
        if token == "{":
            above.append(key)
        elif token == "[":
            above.append(None)
        elif token in {"}", "]"}:
            above.pop()
        elif token == "\n" and not above:
            break
        if token in {"{", ","} and above and above[-1] is not None and at < len(tokens) and tokens[at][0] != "}":
            inner, after = _key(tokens, at)
            _note(found, above[-1] + inner, tokens[at][1])
            key, at = above[-1] + inner, after
    return at


def _note(found: dict[Path, tuple[int, int]], key: Path, place: tuple[int, int]) -> None:
    """A key stands where it, or a part of it that is not written by itself, is first written."""
    for length in range(1, len(key) + 1):
        found.setdefault(key[:length], place)


def _tokens(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    line, begins = 1, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token[0] not in " \t\r#":
            yield token, (line, match.start() - begins + 1)
        lines = token.count("\n")
        if lines:
            line += lines
            begins = match.start() + token.rindex("\n") + 1


def _unescape(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token[1:-1]
