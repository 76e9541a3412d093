"""Conditions as SQL of DuckDB.

References:
    https://duckdb.org/docs/stable/sql/functions/text
    https://duckdb.org/docs/stable/sql/functions/regular_expressions (RE2: no look-around, no back-references)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from envtrail.detect.fields import FieldType, SigmaField
from envtrail.detect.tables import name_of
from envtrail.detect.translate import ONE, Part, RefusedError

_OPERATORS = {"=": "=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "NEQ": "!="}


class DuckDb:
    """Expressions over the columns of a source; none of them is ever NULL.

    Args:
        fold: Case folding, as in DuckDB's `lower`.
        everything: The text that keywords are searched in.
        check_regex: Raises RefusedError for a pattern that DuckDB does not accept.

    Attributes:
        columns: Name → expression of every column in use: each is computed once for each row, however many rules use it.
    """

    def __init__(self, *, fold: Callable[[str], str], everything: str, check_regex: Callable[[str], None]) -> None:
        self._fold = fold
        self._everything = SigmaField(everything, name="everything")
        self._check_regex = check_regex
        self.columns: dict[str, str] = {}

    def column(self, field: SigmaField, *, folded: bool = False) -> str:
        """A field as a column; folded: case-insensitive."""
        name = f"{field.name} folded" if folded else field.name
        self.columns[name] = _folded(field) if folded else field.sql
        return name_of(name)

    def all_of(self, parts: Sequence[str]) -> str:
        """All of them."""
        return f"({' AND '.join(parts)})" if parts else "true"

    def any_of(self, parts: Sequence[str]) -> str:
        """At least one."""
        return f"({' OR '.join(parts)})" if parts else "false"

    def none_of(self, part: str) -> str:
        """The negation."""
        return f"(NOT {part})"

    def text(self, field: SigmaField, pattern: Sequence[Part], *, cased: bool) -> str:
        """The whole text matches the pattern."""
        if field.shape is FieldType.YES_NO:
            word = "".join(part or "" for part in pattern).lower()
            return self.yes_no(field, word in {"true", "yes", "1"})
        if not cased:
            pattern = [part if part is None else self._fold(part) for part in pattern]
        if field.shape is FieldType.NUMBER:
            return _known(_like(f"CAST({self.column(field)} AS VARCHAR)", pattern))
        return self._each(field, lambda value: _like(value, pattern), folded=not cased)

    def number(self, field: SigmaField, operator: str, number: float) -> str:
        """Compared as a number; text that is not a number matches nothing."""
        comparison = _OPERATORS[operator]
        if field.shape is FieldType.YES_NO:
            return self.yes_no(field, bool(number))
        if field.shape is FieldType.NUMBER:
            return _known(f"{self.column(field)} {comparison} {number!r}")
        return self._each(field, lambda value: f"TRY_CAST({value} AS DOUBLE) {comparison} {number!r}")

    def yes_no(self, field: SigmaField, value: bool) -> str:
        """True or false."""
        if field.shape is not FieldType.YES_NO:
            return self.text(field, [str(value).lower()], cased=False)
        return _known(f"{self.column(field)} = {str(value).lower()}")

    def regex(self, field: SigmaField, pattern: str, flags: str) -> str:
        """A match anywhere in the text; case-sensitive unless `i` is given."""
        whole = f"(?{flags}){pattern}" if flags else pattern
        self._check_regex(whole)
        return self._each(field, lambda value: f"regexp_matches({value}, {quote(whole)})")

    def cidr(self, field: SigmaField, network: Any) -> str:
        """An IPv4 address within a network, compared as a number."""
        if isinstance(network, ipaddress.IPv6Network):
            raise RefusedError(f"`{network}`: an IPv6 address in text form cannot be compared with a network")
        first, last = int(network.network_address), int(network.broadcast_address)

        def test(value: str) -> str:
            octets = " + ".join(f"TRY_CAST(split_part({value}, '.', {at}) AS BIGINT) * {256 ** (4 - at)}" for at in range(1, 5))
            return f"(regexp_full_match({value}, '([0-9]{{1,3}}[.]){{3}}[0-9]{{1,3}}') AND {octets} BETWEEN {first} AND {last})"

        return self._each(field, test)

    def exists(self, field: SigmaField) -> str:
        """It has a value."""
        if field.shape is FieldType.TEXTS:
            return f"coalesce(len({self.column(field)}) > 0, false)"
        return _known(f"{self.column(field)} IS NOT NULL")

    def same(self, field: SigmaField, other: SigmaField, *, starts: bool, ends: bool) -> str:
        """Two fields are equal."""
        if FieldType.TEXTS in {field.shape, other.shape}:
            raise RefusedError("a comparison of two fields of which one has several values")
        one, two = (f"lower(CAST({self.column(item)} AS VARCHAR))" for item in (field, other))
        comparison = f"starts_with({one}, {two})" if starts else f"ends_with({one}, {two})" if ends else f"{one} = {two}"
        return _known(comparison)

    def anywhere(self, pattern: Sequence[Part]) -> str:
        """Anywhere in the recorded text."""
        return self.text(self._everything, pattern, cased=False)

    def _each(self, field: SigmaField, test: Callable[[str], str], *, folded: bool = False) -> str:
        """A test of the value, or of at least one of them."""
        column = self.column(field, folded=folded)
        if field.shape is FieldType.TEXTS:
            return f"coalesce(len(list_filter({column}, lambda x: {test('x')})) > 0, false)"
        return _known(test(f"CAST({column} AS VARCHAR)" if field.shape is FieldType.NUMBER else column))


def quote(text: str) -> str:
    """A text as a literal; a NUL, which no recorded text has, cannot be one."""
    return "'" + text.replace("\0", "\ufffd").replace("'", "''") + "'"


def _folded(field: SigmaField) -> str:
    return f"list_transform({field.sql}, lambda t: lower(t))" if field.shape is FieldType.TEXTS else f"lower({field.sql})"


def _known(test: str) -> str:
    """A test of an absent value is false."""
    return f"coalesce({test}, false)"


def _like(value: str, pattern: Sequence[Part]) -> str:
    """The cheapest expression for a pattern."""
    match [part for part in pattern if part != ""]:
        case []:
            return f"{value} = ''"
        case [None]:
            return f"{value} IS NOT NULL"
        case [str(only)] if ONE not in only:
            return f"{value} = {quote(only)}"
        case [None, str(only)] if ONE not in only:
            return f"ends_with({value}, {quote(only)})"
        case [str(only), None] if ONE not in only:
            return f"starts_with({value}, {quote(only)})"
        case [None, str(only), None] if ONE not in only:
            return f"contains({value}, {quote(only)})"
        case parts:
            return f"{value} LIKE {quote(''.join(_like_part(part) for part in parts))} ESCAPE '\\'"


def _like_part(part: Part) -> str:
    if part is None:
        return "%"
    if part == ONE:
        return "_"
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
