"""Command lines: options and what is left, without argparse's opinions, since only a handful of each tool's options matter."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement

from envtrail.model.naming import requested_name

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".egg", ".conda")
VARIABLES = (
    *(
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_CONFIG_FILE",
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
    ),
    *("UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "CONDARC", "CONDA_CHANNELS"),
)
"""Environment variables that do."""
_HELP = ("-h", "--help", "--version", "-V")
_MOST_KEPT = 1024

YES = frozenset({"1", "true", "yes", "on", "y", "t"})
"""What a variable says when it says yes, in lower case."""


class Words(Struct, frozen=True, kw_only=True):
    """Arguments sorted out."""

    options: dict[str, list[str]]
    """By the option's name as typed; flags have the value ``""``."""
    positional: list[str]

    def has(self, *names: str) -> bool:
        """Whether one of these options was given."""
        return any(name in self.options for name in names)

    def last(self, *names: str) -> str | None:
        """The last value given to one of these options."""
        return next((values[-1] for name in names if (values := self.options.get(name))), None)

    @property
    def asks_for_help(self) -> bool:
        """It prints something and does nothing."""
        return self.has(*_HELP)

    @property
    def command(self) -> str:
        """The first word; empty without one."""
        return self.positional[0] if self.positional else ""

    def commands(self, *groups: str) -> tuple[str, list[str]]:
        """The subcommand and what follows it; the words of `groups` have their own subcommands (`uv pip install`)."""
        words = self.positional
        depth = 2 if words and words[0] in groups else 1
        return " ".join(words[:depth]), words[depth:]


def values(names: str) -> frozenset[str]:
    """Options that are followed by a value, as a list of words."""
    return frozenset(names.split())


SOURCES = values(
    "-i --index-url --pypi-url --extra-index-url -f --find-links --index --default-index --pypi-mirror --pip-args --extra-pip-args"
    " -e --editable --git --path --url --source --with --with-editable --spec --config-file --preinstall"
)
"""Options of pip, uv, pipx and the managers of projects whose value names where packages come from."""


def sort_words(arguments: list[str], takes_value: Collection[str]) -> Words:
    """Separate options from positional arguments.

    Args:
        arguments: After the program's name.
        takes_value: Options (`-r`, `--target`) that are followed by a value.
    """
    options: dict[str, list[str]] = {}
    positional: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            positional += words
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            options.setdefault(name, []).append(value if equals else next(words, "") if name in takes_value else "")
        elif word.startswith("-") and len(word) > 1:
            _take_short(word, words, takes_value, options)
        else:
            positional.append(word)
    return Words(options=options, positional=positional)


def _take_short(word: str, words: Iterator[str], takes_value: Collection[str], options: dict[str, list[str]]) -> None:
    if word in takes_value:
        options.setdefault(word, []).append(next(words, ""))
        return
    for at, letter in enumerate(word[1:], 1):
        name = f"-{letter}"
        if name in takes_value:
            options.setdefault(name, []).append(word[at + 1 :] or next(words, ""))
            return
        options.setdefault(name, []).append("")


def requirements(words: list[str]) -> list[str]:
    """The PEP 508 requirements, and the archives that carry their name, among `words`."""
    return [word for word in words if _is_requirement(word)]


def sources(
    words: Words,
    packages: Iterable[str],
    variables: Mapping[str, str],
    options: Collection[str] = SOURCES,
    *,
    abbreviates: bool = False,
) -> list[str]:
    """Where packages shall come from, beside what the machine is configured for, in the order of the words.

    Args:
        words: The command line.
        packages: Those of its words that name packages.
        variables: Of the process.
        options: Whose values are sources.
        abbreviates: The beginning of a long option stands for the whole (optparse).
    """
    named = [
        value
        for name, given in words.options.items()
        if name in options or (abbreviates and len(name) > 3 and any(option.startswith(name) for option in options))
        for value in given
        if value and (name not in {"--with", "--spec", "--preinstall"} or _reference(value))
    ]
    direct = [found for word in packages if (found := _reference(word))]
    by_variable = [value for name in VARIABLES for value in variables.get(name, "").split()]
    return [place for place in dict.fromkeys([*named, *direct, *by_variable]) if place != os.devnull]


def _reference(word: str) -> str | None:
    """Where a word itself says that its package is: an address, a file, a folder, a channel."""
    channel, separator, _ = word.partition("::")
    if separator and "/" not in channel:
        return channel
    located = word.partition(" @ ")[2].strip() or word
    is_place = "/" in located or located.startswith((".", "~")) or located.partition("#")[0].partition("[")[0].endswith(_ARCHIVES)
    return located if is_place else None


def conda_specs(words: list[str]) -> list[str]:
    """The conda specs among `words` (`conda-forge::six=1.16`)."""
    return [word for word in words if requested_name(word) is not None]


@lru_cache(_MOST_KEPT)
def _is_requirement(word: str) -> bool:
    if "/" in word and " @ " not in word:
        return requested_name(word) is not None
    try:
        Requirement(word)
    except InvalidRequirement:
        return False
    return True
