"""Any file and any environment give settings or say what is at fault; what is in force is the same for a process that is started."""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtrail.config import Config, load_config
from envtrail.errors import ConfigError
from envtrail.model.text import is_safe
from envtrail.settings import SECTIONS, SETTINGS, Setting
from envtrail.settings.kinds import Choice, Flag, Kind, Many, Maybe, Whole
from envtrail.settings.places import places_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAMES = st.sampled_from([setting.key.rpartition(".")[2] for setting in SETTINGS]) | st.text(max_size=6)
_TEXTS = st.text(max_size=12) | st.sampled_from(
    ["/a", "/a:b", "lean", "auto", "mon", "09:00-18:00", "https://es", "http://[::1", "https://a:b@c", "Europe/Berlin", "../..", "::1", "2026-12-25", "a.service", '["x"', "@", "*", "true", "1"]
)  # fmt: skip
_SCALARS = _TEXTS | st.booleans() | st.integers() | st.floats() | st.dates() | st.times() | st.datetimes()
_VALUES = _SCALARS | st.lists(_SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), _SCALARS, max_size=2)
_SECTIONS = st.sampled_from([*SECTIONS, "Rules", "node"]) | st.text(max_size=6)


def load(file: Path | None, environ: dict[str, str]) -> Config | None:
    """The settings, or nothing when they are at fault; nothing else may be raised."""
    reported: ConfigError
    try:
        return load_config(file=file, environ=environ)
    except ConfigError as fault:
        reported = fault
    assert reported.faults
    assert all(one.place and one.message for one in reported.faults)
    assert all(map(is_safe, str(reported).split("\n")))
    return None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "e.toml"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_a_fault(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    load(file, {})


_PIECES = st.sampled_from(
    ["[rules]", "[[a]]", "[a.'b'.\"c\"]", "\n", "\n", "\r\n", "profile", "a", '"b"', "'c'", " = ", "=", '"""', "\'\'\'", '"x"', "{", "}", "[", "]", ",", ".", "#c", "1", " ", '\\"', "\t", "é"]
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.lists(_PIECES, max_size=25).map("".join) | st.lists(_PIECES, max_size=12).map(lambda pieces: "a = " + "".join(pieces)))
def test_any_pieces_of_toml_are_settings_or_a_fault_with_its_place(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    load(file, {})
    try:
        document = tomllib.loads(text)
    except ValueError:
        return
    places = places_of(text)
    lines = text.replace("\r\n", "\n").split("\n")
    for name in document:
        line, column = places[name,]
        begins = lines[line - 1][column - 1 :]
        assert begins.startswith(("[", name, f'"{name}"', f"'{name}'")), (places, begins)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return repr(value)
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml(key)} = {_toml(inner)}' for key, inner in value.items())}}}"
        case int():
            return str(value)
        case _:
            return str(value.isoformat())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(_SECTIONS, st.dictionaries(_NAMES, _VALUES, max_size=4) | _VALUES, max_size=4),
    st.dictionaries(st.sampled_from([setting.variable for setting in SETTINGS]) | st.text(string.ascii_uppercase, max_size=3).map("ENVTRAIL_{}".format), _TEXTS, max_size=4),
)  # fmt: skip
def test_any_document_and_any_environment_are_settings_or_a_fault(
    file: Path, document: dict[str, Any], environ: dict[str, str]
) -> None:
    text = "".join(f"{_toml(name)} = {_toml(value)}\n" for name, value in document.items())
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError):
        pass
    else:
        places = places_of(text)
        assert {(name,) for name in document} <= set(places)
        assert {(name, inner) for name, value in document.items() if isinstance(value, dict) for inner in value} <= set(places)
    environ.pop("ENVTRAIL_CONFIG", None)
    config = load(file, environ)
    if config is not None:
        again = load_config(environ=config.variables())
        assert [setting.value_in(again) for setting in SETTINGS] == [setting.value_in(config) for setting in SETTINGS]


def _written(kind: Kind[Any]) -> st.SearchStrategy[Any]:
    """Values that a kind may take, and some that it may not."""
    match kind:
        case Flag():
            return st.booleans()
        case Whole():
            return st.integers(kind.least, kind.most)
        case Choice():
            return st.sampled_from(kind.words)
        case Maybe():
            return st.just("") | _TEXTS
        case Many():
            return st.lists(_written(kind.kind), max_size=4)
        case _:
            return _TEXTS | st.from_regex(r"/[!-~]{1,12}", fullmatch=True) | st.from_regex(r"[!-~]{1,12}", fullmatch=True)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_is_read_is_written_and_read_again(data: st.DataObject) -> None:
    setting: Setting = data.draw(st.sampled_from(SETTINGS))
    try:
        value = setting.kind.read(data.draw(_written(setting.kind)))
    except ValueError:
        return
    assert setting.kind.read(setting.kind.write(value)) == value
    assert setting.kind.read_text(setting.kind.write_text(value)) == value
    json.dumps(setting.kind.write(value))
