"""Words in other languages: English is the source, committed gettext catalogues beside this file hold the others.

References:
    https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from envtrail.errors import CannotRunError, InputError

SOURCE = "en"
LANGUAGES = ("en", "zh")
"""English, and 简体中文."""


def translator(language: str) -> Callable[[str], str]:
    """The function that says an English text in a language; what has no translation stays English.

    It is called `_` where it is used, so that the texts can be collected: they are literals, with `{name}` for what is put in.

    Raises:
        InputError: there is no such language.
        CannotRunError: Babel, which reads the catalogues, is not installed.
    """
    if language not in LANGUAGES:
        raise InputError(f"no language `{language}`", hint="there are " + ", ".join(f"`{one}`" for one in LANGUAGES))
    if language == SOURCE:
        return _same
    texts = _read(language)
    return lambda text: texts.get(text, text)


def marked(text: str) -> str:
    """The text as it is; it is collected, and translated where it is shown."""
    return text


def catalogue(language: str) -> Path:
    """Where a language's texts are."""
    return Path(__file__).parent / f"{language}.po"


def _same(text: str) -> str:
    return text


@lru_cache
def _read(language: str) -> dict[str, str]:
    try:
        from babel.messages.pofile import read_po
    except ImportError:
        raise CannotRunError(
            f"Babel, which reads the words of `{language}`, is not installed", hint="pip install 'envtrail[notify]'"
        ) from None
    with catalogue(language).open("rb") as file:
        found = read_po(file, locale=language, abort_invalid=True)
    return {
        message.id: message.string
        for message in found
        if isinstance(message.id, str) and isinstance(message.string, str) and message.id and message.string and not message.fuzzy
    }
