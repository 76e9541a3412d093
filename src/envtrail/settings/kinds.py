"""What a setting may be: a kind reads a value of TOML or the text of a variable, refuses what is not allowed, and writes it back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Generic, TypeVar, Union, get_args

from envtrail.model.text import is_safe, safe

Written = Union[str, int, bool, list[str], list[int]]
"""A value as TOML has it."""
T = TypeVar("T")

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_MOST_SHOWN = 80
_USERINFO = r"(?<=//).*@|[^\s/:]*:(?!//)\S*@"


class Refused(ValueError):  # noqa: N818 - what it says follows the setting's name: "must be …, not …"
    """A value that a setting cannot have; the text says what is allowed."""


class Kind(Generic[T]):
    """One kind of setting."""

    allowed: str
    """What it may be, after "must be"."""
    unit: str

    def read(self, value: object) -> T:
        """The value of a TOML file or a flag.

        Raises:
            Refused: it cannot be that.
        """
        raise NotImplementedError

    def read_text(self, text: str) -> T:
        """The text of an environment variable.

        Raises:
            Refused: it cannot be that.
        """
        return self.read(text)

    def write(self, value: Any) -> Written:
        """As TOML has it."""
        raise NotImplementedError

    def write_text(self, value: Any) -> str:
        """As an environment variable has it."""
        return str(self.write(value))

    def refuse(self, value: object, why: str = "") -> Refused:
        """The fault of a value."""
        return Refused(f"must be {self.allowed}, not {shown(value)}{why and f'; {why}'}")


class Flag(Kind[bool]):
    """Yes or no."""

    allowed = "`true` or `false`"
    unit = ""

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise self.refuse(value)

    def read_text(self, text: str) -> bool:
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        raise self.refuse(text)

    def write(self, value: bool) -> bool:
        return value

    def write_text(self, value: bool) -> str:
        return "true" if value else "false"


class Whole(Kind[int]):
    """A whole number within bounds, which count."""

    def __init__(self, least: int, most: int, unit: str = "") -> None:
        self.least, self.most, self.unit = least, most, unit

    @property
    def allowed(self) -> str:  # type: ignore[override]
        return f"a whole number from {self.least:_} to {self.most:_}{self.unit and f' ({self.unit})'}"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        raise self.refuse(value)

    def read_text(self, text: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            return self.read(int(text))
        raise self.refuse(text)

    def write(self, value: int) -> int:
        return value


class Choice(Kind[str]):
    """One of some words.

    Args:
        words: A `Literal`.
        unit: Of what.
    """

    def __init__(self, words: Any, unit: str = "name") -> None:
        self.words: tuple[str, ...] = get_args(words)
        self.unit = unit

    @property
    def allowed(self) -> str:  # type: ignore[override]
        *others, last = (f"`{word}`" for word in self.words)
        return f"{', '.join(others)} or {last}"

    def read(self, value: object) -> str:
        if isinstance(value, str) and value in self.words:
            return value
        raise Refused(f"{self.refuse(value)}{did_you_mean(value, self.words)}")

    def write(self, value: str) -> str:
        return value


class Word(Kind[T]):
    """Text that means something.

    Args:
        parse: Gives what it means, or raises a ValueError that says why it means nothing.
        allowed: What it may be, after "must be".
        unit: Of what.
    """

    def __init__(self, parse: Callable[[str], T], allowed: str, unit: str) -> None:
        self._parse, self.allowed, self.unit = parse, allowed, unit

    def read(self, value: object) -> T:
        text = value.isoformat() if type(value) is date else value
        if not isinstance(text, str):
            raise self.refuse(value)
        if not is_safe(text):
            raise self.refuse(text, "it holds a character that cannot be seen, or is no UTF-8")
        if not text or text != text.strip():
            raise self.refuse(text, "spaces around it" if text else "")
        try:
            return self._parse(text)
        except ValueError as fault:
            raise self.refuse(text, str(fault)) from None

    def write(self, value: T) -> str:
        return str(value)


class Maybe(Kind[Union[T, None]]):
    """The same, or nothing: an empty text."""

    def __init__(self, kind: Kind[T]) -> None:
        self._kind, self.unit = kind, kind.unit

    @property
    def allowed(self) -> str:  # type: ignore[override]
        return f"{self._kind.allowed}, or empty"

    def read(self, value: object) -> T | None:
        return None if value == "" else self._kind.read(value)

    def write(self, value: T | None) -> Written:
        return "" if value is None else self._kind.write(value)


class Many(Kind[tuple[T, ...]]):
    """A list without empty entries and without one twice.

    Args:
        kind: Of an entry.
        unit: Of what.
        separator: Between the entries of a variable.
    """

    def __init__(self, kind: Kind[T], unit: str, separator: str = ":") -> None:
        self.kind, self.unit, self.separator = kind, unit, separator

    @property
    def allowed(self) -> str:  # type: ignore[override]
        return f"a list; each entry {self.kind.allowed}"

    def read(self, value: object) -> tuple[T, ...]:
        if not isinstance(value, (list, tuple)):
            raise self.refuse(value, 'a single entry is written `["…"]`' if isinstance(value, str) else "")
        return self._each(value, self.kind.read)

    def read_text(self, text: str) -> tuple[T, ...]:
        if text.startswith('["'):
            import json

            try:
                return self.read(json.loads(text))
            except (json.JSONDecodeError, RecursionError):
                raise self.refuse(text, "it begins as a JSON array and is none") from None
        return self._each(text.split(self.separator) if text else [], self.kind.read_text)

    def _each(self, values: Iterable[Any], read: Callable[[Any], T]) -> tuple[T, ...]:
        found: list[T] = []
        faults = []
        for at, value in enumerate(values, start=1):
            try:
                entry = read(value)
            except Refused as fault:
                faults.append(f"entry {at} {fault}")
                continue
            if entry in found:
                faults.append(f"entry {at} must not repeat entry {found.index(entry) + 1}, {shown(value)}")
            found.append(entry)
        if faults:
            raise Refused("; ".join(faults))
        return tuple(found)

    def write(self, value: tuple[T, ...]) -> Written:
        return [self.kind.write(entry) for entry in value]  # type: ignore[return-value]

    def write_text(self, value: tuple[T, ...]) -> str:
        texts = [self.kind.write_text(entry) for entry in value]
        if any(self.separator in text for text in texts) or (texts and texts[0].startswith('["')):
            import json

            return json.dumps(texts)
        return self.separator.join(texts)


def shown(value: object) -> str:
    """A value in a message: harmless, short, and without the secret of an address."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            text = re.sub(_USERINFO, "…@", value)
            return f"`{safe(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + '…')}`" if text else "empty"
        case int() if abs(value) < 1 << 70:
            return f"`{value}`"
        case float():
            return f"`{value}`"
        case list() | tuple():
            return "a list"
        case dict():
            return "a section"
        case _:
            return "a date or a time" if hasattr(value, "isoformat") else f"a {'number' if isinstance(value, int) else 'value'}"


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that is most like one that is not known; None: none is."""
    if not isinstance(word, str):
        return None
    import difflib

    by_case = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.strip().lower()[:_MOST_SHOWN], by_case, n=1)
    return by_case[found[0]] if found else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown word."""
    found = nearest(word, known)
    return f"; did you mean `{found}`?" if found else ""
