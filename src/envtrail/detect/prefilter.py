"""Texts that a rule's condition needs: an event that holds none of them in those columns cannot match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from envtrail.core import texts_of_expression
from envtrail.detect.detection import Needed, needed_by_any
from envtrail.detect.fields import FieldType, SigmaField
from envtrail.detect.translate import ONE, Part

_PIECE = re.compile(r"[!-~]+")
"""Without a space: what is compared may be the texts of a list, joined by one."""


class NeededTexts:
    """The dialect that says what a condition needs."""

    def all_of(self, parts: Sequence[Needed | None]) -> Needed | None:
        """What is likely the rarest of what the parts need; of equals the last: a rule names a program, then what is special about it."""
        return max((part for part in reversed(parts) if part is not None), key=_shortest, default=None)

    def any_of(self, parts: Sequence[Needed | None]) -> Needed | None:
        """What any part needs."""
        return needed_by_any(parts)

    def none_of(self, part: Needed | None) -> Needed | None:  # noqa: ARG002 - whatever is needed may be missing
        """Nothing is known."""
        return None

    def text(self, field: SigmaField, pattern: Sequence[Part], *, cased: bool) -> Needed | None:  # noqa: ARG002 - any case is searched
        """The longest piece of the pattern."""
        return _of_pieces(field, [[piece for part in pattern if part for piece in part.split(ONE)]])

    def number(self, field: SigmaField, operator: str, number: float) -> Needed | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def yes_no(self, field: SigmaField, value: bool) -> Needed | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def regex(self, field: SigmaField, pattern: str, flags: str) -> Needed | None:
        """What the expression needs, if its flags change no letters' meaning."""
        texts = texts_of_expression(pattern) if set(flags) <= {"i"} else None
        return _of_pieces(field, [[text] for text in texts]) if texts is not None else None

    def cidr(self, field: SigmaField, network: Any) -> Needed | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def exists(self, field: SigmaField) -> Needed | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def same(self, field: SigmaField, other: SigmaField, *, starts: bool, ends: bool) -> Needed | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def anywhere(self, pattern: Sequence[Part]) -> Needed | None:  # noqa: ARG002
        """Nothing is known: a keyword is searched in what is made of many columns."""
        return None


def _shortest(needed: Needed) -> int:
    return min((len(text) for texts in needed.values() for text in texts), default=1 << 30)


def _of_pieces(field: SigmaField, choices: Iterable[Sequence[str]]) -> Needed | None:
    """One text of each choice."""
    if not field.columns or field.shape not in {FieldType.TEXT, FieldType.TEXTS}:
        return None
    texts = []
    for parts in choices:
        pieces = [piece for part in parts for piece in _PIECE.findall(part)]
        text = max(pieces, key=len, default="").lower()
        if not text or any(text in made.lower() for made in field.made):
            return None
        texts.append(text)
    return {column: sorted(set(texts)) for column in field.columns}
