"""Settings: the table (`sections.py`), what each may be (`kinds.py`, `words.py`), and where it stands in a file (`places.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from msgspec import Struct

from envtrail.settings.kinds import Kind, Written
from envtrail.settings.sections import Settings, SettingsSection

__all__ = ["NEEDS", "NOT_SETTINGS", "PREFIX", "SECTIONS", "SETTINGS", "Kind", "Setting", "Settings", "SettingsSection", "Written"]

PREFIX = "ENVTRAIL_"
NOT_SETTINGS = frozenset(
    PREFIX + name
    for name in (
        *("CONFIG", "DEBUG", "NO_PAGER"),
        # Of the tests, the fuzzers and the tools that record test data.
        *(
            "BURSTS_CONDAS",
            "BURSTS_KEEP",
            "BURSTS_SEEDS",
            "BURSTS_STEPS",
            "CACHE",
            "CHAOS",
            "CHAOS_SEED",
            "COLLECTORS",
            "FORMS_CACHE",
            "FORMS_PROFILE",
            "FUZZ_SECONDS",
            "FUZZ_SEED",
            "RECORDING",
            "SEED",
        ),
        *("WRITE_FORMS", "WRITE_GOLDEN"),
    )
)
"""Variables of the same prefix that are no settings."""
NEEDS = {"elastic.client_key": "elastic.client_cert", "elastic.password_file": "elastic.user"}
"""What nothing would read where the other is not set."""


class Setting(NamedTuple):
    """One row of the table."""

    key: str
    """`section.name` as in TOML."""
    default: Any
    kind: Kind[Any]
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.replace(".", "_").upper()

    @property
    def written_default(self) -> Written:
        """The default as TOML has it."""
        return self.kind.write(self.default)

    def value_in(self, settings: Settings) -> Any:
        """Its value."""
        section, dot, name = self.key.rpartition(".")
        return getattr(getattr(settings, section) if dot else settings, name)


def _rows(section: type[Struct], above: str = "") -> Iterator[Setting]:
    names = section.__struct_fields__[-len(section.__struct_defaults__) :]
    defaults = dict(zip(names, section.__struct_defaults__, strict=True))
    for name in section.__struct_fields__:
        annotation = section.__annotations__[name]
        if not hasattr(annotation, "__metadata__"):
            yield from _rows(annotation, f"{name}.")
            continue
        _, kind, doc = get_args(annotation)
        yield Setting(above + name, defaults.get(name), kind, doc)


SETTINGS: tuple[Setting, ...] = tuple(_rows(Settings))
SECTIONS: dict[str, type[SettingsSection]] = {
    name: section for name, section in Settings.__annotations__.items() if not hasattr(section, "__metadata__")
}
