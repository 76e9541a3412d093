"""Patterns of names, as policies, suppressions and channels write them.

References:
    https://docs.python.org/3/library/fnmatch.html
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase

from envtrail.model.text import unsafe_as


def fits_any(patterns: Collection[str], values: Collection[str]) -> bool:
    """Whether a value fits a pattern; no patterns require nothing."""
    return not patterns or any(fnmatchcase(value, pattern) for value in values for pattern in patterns)


def as_pattern(text: str) -> str:
    """A pattern that fits this text alone: somebody may have named a folder `*`. An unsafe character becomes `?`."""
    return unsafe_as(re.sub(r"([*?[])", r"[\1]", text), "?")
