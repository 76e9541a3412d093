"""The words: every text that the code shows has a translation, with the same things put in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import envtrail
from envtrail.errors import InputError
from envtrail.i18n import LANGUAGES, SOURCE, catalogue, marked, translator

PLACEHOLDER = re.compile(r"\{[^{}]*\}")
OTHERS = [language for language in LANGUAGES if language != SOURCE]


def used() -> set[str]:
    folder = Path(envtrail.__file__).parent
    found = extract_from_dir(str(folder), method_map=[("**.py", "python")], keywords={"_": None, "marked": None})
    return {message for _, _, message, _, _ in found if isinstance(message, str)}


def read(language: str) -> Catalog:
    with catalogue(language).open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_the_code_has_a_translation_with_the_same_placeholders(language: str) -> None:
    texts = used()
    assert len(texts) > 40
    say = translator(language)
    for text in texts:
        assert say(text) != text, f"no {language} for {text!r}"
        assert sorted(PLACEHOLDER.findall(say(text))) == sorted(PLACEHOLDER.findall(text)), text


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_holds_no_text_that_is_not_used_and_none_that_is_unsure(language: str) -> None:
    messages = [message for message in read(language) if message.id]
    assert {str(message.id) for message in messages} == used()
    assert not [message.id for message in messages if message.fuzzy]


def test_english_is_the_source_and_what_has_no_translation_stays_english() -> None:
    assert translator("en")("What") == marked("What") == "What"
    assert translator("zh")("nobody wrote this down") == "nobody wrote this down"
    assert translator("zh")("high") == "高"


def test_an_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="`fr`"):
        translator("fr")
