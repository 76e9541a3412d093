"""A TOML file with every setting, its default and what it may be; each is commented out."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from envtrail.settings import SECTIONS, SETTINGS, Setting, Written

_WIDTH = 118


def example() -> Iterator[str]:
    """Its lines."""
    yield "# /etc/envtrail/envtrail.toml: every setting of Envtrail with its default. A variable of the environment wins over it: of"
    yield "# `profile` in `[rules]` that is ENVTRAIL_RULES_PROFILE. `envtrail config check FILE` names every fault of a file."
    for setting in SETTINGS:
        section, dot, name = setting.key.rpartition(".")
        if dot and name == SECTIONS[section].__struct_fields__[0]:
            yield ""
            yield f"[{section}]"
            yield f"# {SECTIONS[section].__doc__}"
        yield ""
        yield from textwrap.wrap(_describe(setting), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        yield f"#{name} = {toml_of(setting.written_default)}"


def toml_of(value: Written) -> str:
    """A value as TOML has it: JSON's texts are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _describe(setting: Setting) -> str:
    allowed = setting.kind.allowed
    return f"{setting.doc} {allowed[0].upper()}{allowed[1:]}."
