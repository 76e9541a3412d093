"""Text of users made harmless: it changes nothing but the cells, or the line, that it is printed in."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe(text: str) -> str:
    """Controls, and the marks that reorder or hide text, as escapes.

    References:
        https://trojansource.codes (Trojan Source); UAX #9 (bidirectional formatting characters)
    """
    return _UNSAFE.sub(_escape, text)


def record_lines(records: str) -> list[str]:
    """The records of an event, one each. `str.splitlines` would also cut where auditd's names begin (0x1d)."""
    return records.removesuffix("\n").split("\n") if records else []


def safe_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula.

    References:
        https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = "" if value is None else safe(str(value))
    return "'" + text if text.startswith(_FORMULA) and not _is_number(text) else text


def is_safe(text: str) -> bool:
    """Whether nothing would be escaped."""
    return _UNSAFE.search(text) is None


def unsafe_as(text: str, replacement: str) -> str:
    """Each character that would be escaped, replaced: for patterns, where `?` stands for it."""
    return _UNSAFE.sub(lambda _: replacement, text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
