"""Conditions as Lucene queries over ECS fields, for Kibana, Elastic Security and OpenSearch Alerting.

References:
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-query-string-query
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from envtrail.detect.sigma.fields import Field
from envtrail.detect.sigma.translate import ONE, Part, RefusedError

_SPECIAL = re.compile(r'([+\-=&|><!(){}\[\]^"~*?:\\/ \t\n])')
_RANGES = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_RE_SPECIAL = re.compile(r"\\[bBAZdDwWsS]|\(\?|\^|\$")


class Lucene:
    """Queries; what a document does not have fits nothing."""

    def all_of(self, parts: Sequence[str]) -> str:
        """Every one."""
        return f"({' AND '.join(parts)})" if len(parts) != 1 else parts[0]

    def any_of(self, parts: Sequence[str]) -> str:
        """At least one."""
        return f"({' OR '.join(parts)})" if len(parts) != 1 else parts[0]

    def none_of(self, part: str) -> str:
        """Not this one."""
        return f"(NOT {part})"

    def text(self, field: Field, pattern: Sequence[Part], *, cased: bool) -> str:
        """Keyword fields compare with regard to case; `envtrail elastic setup` gives them a normalizer that folds it."""
        if cased:
            raise RefusedError(f"`{field.name}|cased`: the fields are indexed without regard to case")
        if not "".join(part or "*" for part in pattern):
            return f'{_name(field)}:""'
        return f"{_name(field)}:{''.join(_part(part) for part in pattern)}"

    def number(self, field: Field, operator: str, number: float) -> str:
        """A range, or the number."""
        if operator == "NEQ":
            return f"(NOT {_name(field)}:{number})"
        return f"{_name(field)}:{_RANGES.get(operator, '')}{number}"

    def yes_no(self, field: Field, value: bool) -> str:
        """True or false."""
        return f"{_name(field)}:{str(value).lower()}"

    def regex(self, field: Field, pattern: str, flags: str) -> str:
        """Lucene's expressions are of the whole value, and have neither anchors nor classes by letter."""
        whole = pattern if pattern.startswith("^") else f".*{pattern}"
        whole = whole if pattern.endswith("$") else f"{whole}.*"
        whole = whole.removeprefix("^").removesuffix("$")
        if flags or _RE_SPECIAL.search(whole):
            raise RefusedError(f"the expression `{pattern}`: Lucene has no anchors inside, no classes by letter and no flags")
        return f"{_name(field)}:/" + whole.replace("/", "\\/") + "/"

    def cidr(self, field: Field, network: Any) -> str:
        """Fields of the type `ip` take networks."""
        return f"{_name(field)}:{_part(str(network))}"

    def exists(self, field: Field) -> str:
        """It has a value."""
        return f"_exists_:{_name(field)}"

    def same(self, field: Field, other: Field, *, starts: bool, ends: bool) -> str:
        """Not to be said."""
        raise RefusedError(
            f"`{field.name}` compared with `{other.name}`: Lucene compares no fields (starts {starts}, ends {ends})"
        )

    def anywhere(self, pattern: Sequence[Part]) -> str:
        """In any field."""
        return "".join(_part(part) for part in pattern).strip("*")


def _name(field: Field) -> str:
    if field.ecs is None:
        raise RefusedError(f"`{field.name}` has no field of its own in the documents")
    return field.ecs


def _part(part: Part) -> str:
    if part is None:
        return "*"
    return "?" if part == ONE else _SPECIAL.sub(r"\\\1", part)
