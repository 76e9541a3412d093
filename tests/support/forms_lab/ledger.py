"""The ledger: what was done, by whom and where, written down by who did it and never by what is tested."""

from __future__ import annotations

import glob
from pathlib import Path

from msgspec import Struct

from forms_lab.form import Form


class Person(Struct, frozen=True, kw_only=True):
    """Somebody with a login."""

    name: str
    auid: int
    home: str


class Entry(Struct, frozen=True, kw_only=True):
    """One row that was driven."""

    form: Form
    marker: str
    person: Person
    uid: int
    words: dict[str, str]
    """What `$E`, `$W` and the rest stood for."""
    exit_code: int
    output: str
    seen: str | None
    """What the disk shows: `+` the marker's metadata lies below the prefix, `f` only its name, `-` nothing."""
    started: float
    ended: float

    def fill(self, text: str) -> str:
        """Put the row's words in."""
        return fill(text, self.words)

    def fault(self) -> str | None:
        """Why the form itself did not do what it should, whatever the trail says."""
        if self.exit_code != self.form.exit_code:
            return f"it ended with {self.exit_code}, not {self.form.exit_code}: {self.output[-1500:]}"
        wanted = {"-f": "-"}.get(self.form.left or "", self.form.left)
        if wanted and self.seen != wanted:
            return f"the disk shows `{self.seen}`, not `{wanted}`: {self.output[-1500:]}"
        return None


def fill(text: str, words: dict[str, str]) -> str:
    """Replace `$NAME`, longest names first."""
    for name in sorted(words, key=len, reverse=True):
        text = text.replace(f"${name}", words[name])
    return text


def look(marker: str, places: list[str]) -> str:
    """What of a row's packages lies on the disk below these places."""
    found = "-"
    for place in places:
        for site in _sites(place.rstrip("*")):
            names = glob.glob(f"{site}/{marker}[xy]*")
            if any(name.endswith(("-info", ".egg", ".egg-link", ".json")) for name in names):
                return "+"
            found = "f" if names else found
    return found


def _sites(prefix: str) -> list[str]:
    patterns = (
        "",
        "/bin",
        "/conda-meta",
        "/lib/python3*/site-packages",
        "/local/lib/python3*/dist-packages",
        "/archive-v0/*/lib/python3*/site-packages",
    )
    own = [str(Path(prefix).parent)] if not glob.glob(f"{prefix}/*-info") else []
    return [path for pattern in patterns for path in glob.glob(prefix + pattern)] + (own if "mark" in Path(prefix).name else [])
