"""Conditions as Lucene queries over ECS fields, for Kibana, Elastic Security and OpenSearch Alerting.

References:
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-query-string-query
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from envtrail.detect.fields import SigmaField
from envtrail.detect.translate import ONE, Part, RefusedError
from envtrail.model.ecs import CASELESS, CASELESS_SUFFIX

_SPECIAL = re.compile(r'([+\-=&|><!(){}\[\]^"~*?:\\/ \t\n])')
_RANGES = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_CLASSES = {"s": " \t", "d": "0-9", "w": "0-9A-Za-z_"}
_BEGINS = re.compile(r"^\(\^\|([^()]*)\)")
_ENDS = re.compile(r"\(([^()]*)\|\$\)$")
_SIGN = re.compile(r"\\.|\[\^?\]?|\]|\(\?|.", re.DOTALL)


class Lucene:
    """Queries; an absent field matches nothing."""

    def all_of(self, parts: Sequence[str]) -> str:
        """All of them."""
        return f"({' AND '.join(parts)})" if len(parts) != 1 else parts[0]

    def any_of(self, parts: Sequence[str]) -> str:
        """At least one."""
        return f"({' OR '.join(parts)})" if len(parts) != 1 else parts[0]

    def none_of(self, part: str) -> str:
        """The negation."""
        return f"(NOT {part})"

    def text(self, field: SigmaField, pattern: Sequence[Part], *, cased: bool) -> str:
        """Case-insensitive: through the folded twin if a field has one."""
        if not "".join(part or "*" for part in pattern):
            return f'{_name(field)}:""'
        if not cased:
            pattern = [part if part is None else part.lower() for part in pattern]
        return f"{_name(field) if cased else _folded(field)}:{''.join(map(_part, pattern))}"

    def number(self, field: SigmaField, operator: str, number: float) -> str:
        """A range, or the number."""
        shown = str(number).replace("-", "\\-")
        if operator == "NEQ":
            return f"(NOT {_name(field)}:{shown})"
        return f"{_name(field)}:{_RANGES.get(operator, '')}{shown}"

    def yes_no(self, field: SigmaField, value: bool) -> str:
        """True or false."""
        return f"{_name(field)}:{str(value).lower()}"

    def regex(self, field: SigmaField, pattern: str, flags: str) -> str:
        """Lucene's expressions match the whole value, have neither anchors nor character classes, and more special characters."""
        if flags:
            raise RefusedError(f"the expression `{pattern}`: Lucene has no flags")
        return f"{_name(field)}:/" + _whole_value(pattern).replace("/", "\\/") + "/"

    def cidr(self, field: SigmaField, network: Any) -> str:
        """Fields of the type `ip` accept networks."""
        return f"{_name(field)}:{_part(str(network))}"

    def exists(self, field: SigmaField) -> str:
        """It has a value."""
        return f"_exists_:{_name(field)}"

    def same(self, field: SigmaField, other: SigmaField, *, starts: bool, ends: bool) -> str:
        """Not expressible."""
        raise RefusedError(
            f"`{field.name}` compared with `{other.name}`: Lucene compares no fields (starts {starts}, ends {ends})"
        )

    def anywhere(self, pattern: Sequence[Part]) -> str:
        """In any field."""
        return "".join(_part(part) for part in pattern).strip("*")


def _whole_value(pattern: str) -> str:
    """An expression that matches anywhere, as one that matches the whole value.

    References:
        https://www.elastic.co/docs/reference/query-languages/query-dsl/regexp-syntax
    """
    before, after, inner = ".*", ".*", pattern
    if found := _BEGINS.match(inner):
        before, inner = f"(.*({_translated(found[1])}))?", inner[found.end() :]
    elif inner.startswith("^"):
        before, inner = "", inner[1:]
    if found := _ENDS.search(inner):
        after, inner = f"(({_translated(found[1])}).*)?", inner[: found.start()]
    elif inner.endswith("\\b"):
        after, inner = "([^0-9A-Za-z_].*)?", inner[:-2]
    elif inner.endswith("$") and not inner.endswith("\\$"):
        after, inner = "", inner[:-1]
    return f"{before}({_translated(inner)}){after}"


def _translated(pattern: str) -> str:
    out = []
    is_class = False
    for sign in _SIGN.findall(pattern):
        letter = sign[1:]
        if sign.startswith("\\") and letter.lower() in _CLASSES and not (is_class and letter.isupper()):
            members = _CLASSES[letter.lower()]
            out.append(members if is_class else f"[{'^' if letter.isupper() else ''}{members}]")
        elif (sign.startswith("\\") and letter.isalnum()) or sign == "(?" or (sign in "^$" and not is_class):
            raise RefusedError(f"the expression `{pattern}`: Lucene has no anchors inside, no look-around and no `{sign}`")
        elif sign in '@#&<>~"':
            out.append("\\" + sign)
        else:
            is_class = sign.startswith("[") or (is_class and sign != "]")
            out.append(sign)
    return "".join(out)


def _name(field: SigmaField) -> str:
    if field.ecs is None:
        raise RefusedError(f"`{field.name}` has no own field in the documents")
    return field.ecs


def _folded(field: SigmaField) -> str:
    name = _name(field)
    return name + CASELESS_SUFFIX if name in CASELESS else name


def _part(part: Part) -> str:
    if part is None:
        return "*"
    return "?" if part == ONE else _SPECIAL.sub(r"\\\1", part)
