"""A rule's condition, as parsed by pySigma, in a query language.

What cannot be expressed raises `RefusedError`, which names the part; a rule at fault does not get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from envtrail.detect.fields import LogSource, SigmaField, find_field

_T = TypeVar("_T")
Part = str | None
"""Of a pattern: text; None is any text. A single unknown character is `ONE`."""
ONE = "\0"
"""A NUL stands for `?`: no recorded text has one."""


class RefusedError(Exception):
    """A rule uses something that is not available here; the message names it."""


class Dialect(Protocol[_T]):
    """What a condition is in a language; as a query's expression it is true or false, never NULL."""

    def all_of(self, parts: Sequence[_T]) -> _T: ...
    def any_of(self, parts: Sequence[_T]) -> _T: ...
    def none_of(self, part: _T) -> _T: ...
    def text(self, field: SigmaField, pattern: Sequence[Part], *, cased: bool) -> _T: ...
    def number(self, field: SigmaField, operator: str, number: float) -> _T: ...
    def yes_no(self, field: SigmaField, value: bool) -> _T: ...
    def regex(self, field: SigmaField, pattern: str, flags: str) -> _T: ...
    def cidr(self, field: SigmaField, network: Any) -> _T: ...
    def exists(self, field: SigmaField) -> _T: ...
    def same(self, field: SigmaField, other: SigmaField, *, starts: bool, ends: bool) -> _T: ...
    def anywhere(self, pattern: Sequence[Part]) -> _T: ...


def translate(condition: Any, source: LogSource, dialect: Dialect[_T]) -> _T:
    """One condition.

    Raises:
        RefusedError: a field, a value or a modifier cannot be used.
    """
    match condition:
        case ConditionAND():
            return dialect.all_of([translate(item, source, dialect) for item in condition.args])
        case ConditionOR():
            return dialect.any_of([translate(item, source, dialect) for item in condition.args])
        case ConditionNOT():
            return dialect.none_of(translate(condition.args[0], source, dialect))
        case ConditionFieldEqualsValueExpression():
            return _compare(condition.field, condition.value, source, dialect)
        case ConditionValueExpression():
            return dialect.anywhere(_pattern_anywhere(condition.value))
        case _:
            raise RefusedError(f"a condition of the kind {type(condition).__name__}")


def _compare(name: str, value: Any, source: LogSource, dialect: Dialect[_T]) -> _T:  # noqa: PLR0911 - one line a type of value
    field = _field(source, name)
    match value:
        case SigmaExpansion():
            return dialect.any_of([_compare(name, item, source, dialect) for item in value.values])
        case SigmaCasedString() | SigmaString():
            return dialect.text(field, _pattern(value), cased=isinstance(value, SigmaCasedString))
        case SigmaNumber() if type(value) is SigmaNumber:
            return dialect.number(field, "=", value.number)
        case SigmaBool():
            return dialect.yes_no(field, value.boolean)
        case SigmaCompareExpression() if isinstance(value.number, SigmaNumber):
            return dialect.number(field, value.op.name, value.number.number)
        case SigmaRegularExpression():
            flags = "".join(sorted(flag.name[0].lower() for flag in value.flags))
            return dialect.regex(field, str(value.regexp), flags)
        case SigmaCIDRExpression():
            return dialect.cidr(field, value.network)
        case SigmaNull():
            return dialect.none_of(dialect.exists(field))
        case SigmaExists():
            found = dialect.exists(field)
            return found if value.exists else dialect.none_of(found)
        case SigmaFieldReference():
            return dialect.same(field, _field(source, value.field), starts=value.starts_with, ends=value.ends_with)
        case _:
            raise RefusedError(f"a value of the kind {type(value).__name__} for `{name}`")


def _field(source: LogSource, name: str) -> SigmaField:
    found = find_field(source, name)
    if isinstance(found, str):
        raise RefusedError(found)
    return found


def _pattern(value: SigmaString) -> list[Part]:
    parts: list[Part] = []
    for item in value.s:
        if item is SpecialChars.WILDCARD_MULTI:
            parts.append(None)
        elif item is SpecialChars.WILDCARD_SINGLE:
            parts.append(ONE)
        elif isinstance(item, str):
            parts.append(item.replace(ONE, "\ufffd"))
        else:
            raise RefusedError(f"the placeholder `{item}`: Envtrail has no list of values for it")
    return parts


def _pattern_anywhere(value: Any) -> list[Part]:
    match value:
        case SigmaString():
            return [None, *_pattern(value), None]
        case SigmaNumber():
            return [None, str(value.number), None]
        case _:
            raise RefusedError(f"a keyword of the kind {type(value).__name__}")
