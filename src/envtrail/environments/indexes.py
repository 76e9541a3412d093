"""Ask an index by the real tools, with the user's own settings: uv lists every file of a version, pip the one that it would take.

References:
    https://pip.pypa.io/en/stable/reference/installation-report/
    https://docs.astral.sh/uv/reference/cli/#uv-pip-compile (`--format pylock.toml`), PEP 751
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct
from packaging.pylock import Pylock
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from envtrail.core import redact_text
from envtrail.environments.artefacts import Artefact, Miss
from envtrail.environments.wheels import WheelFacts, read_unpacked, read_wheel
from envtrail.model.environment import Package
from envtrail.model.naming import normalise_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Done(Struct, frozen=True, kw_only=True):
    """A tool has ended."""

    code: int
    out: str
    err: str


Run = Callable[[Sequence[str], str], Done]
"""Runs a command line with a text on its standard input."""


class UvIndex:
    """What uv knows of the index; offline, what its cache does."""

    def __init__(
        self, uv: Sequence[str], run: Run, *, python: str | None, words: Sequence[str] = (), offline: bool, interpreter: str
    ) -> None:
        self.name = "cache (uv)" if offline else "index (uv)"
        self._run = run
        self._uv = [*uv, *(["--offline"] if offline else [])]
        # What lies unpacked in uv's cache has no hash of its archive any more: the index's listing has it, the files prove it.
        self._hashed = not offline
        version = ["--python-version", python] if python else []
        self._words = [*version, "--python", interpreter, "--only-binary", ":all:", "--no-deps", *words]

    def ask(self, packages: Sequence[Package]) -> dict[Package, list[Artefact] | Miss]:
        """Its files that this platform can take, by the tags that were installed."""
        return _halved(packages, self._ask)

    def look_into(self, artefacts: Sequence[Artefact]) -> dict[str, WheelFacts | Miss]:
        """Installed into a folder that is thrown away: uv has no other way to fetch."""
        seen: dict[str, WheelFacts | Miss] = {}
        for batch in _without_rivals(artefacts):
            seen |= {artefact.sha256: found for artefact, found in _halved(batch, self._install).items()}
        return seen

    def _ask(self, packages: Sequence[Package]) -> dict[Package, list[Artefact]] | str:
        command = [*self._uv, "pip", "compile", "-q", "--format", "pylock.toml", *self._words, "-"]
        done = self._run(command, "".join(f"{package.name}=={package.version}\n" for package in packages))
        if done.code:
            return last_words(done)
        lock = Pylock.from_dict(tomllib.loads(done.out))
        listed = {
            str(locked.name): [
                Artefact(
                    filename=wheel.filename,
                    sha256=wheel.hashes["sha256"],
                    url=wheel.url,
                    path=_local(wheel.url, wheel.path),
                    size_bytes=wheel.size,
                    origin=self.name,
                )
                for wheel in locked.wheels or ()
                if "sha256" in wheel.hashes
            ]
            for locked in lock.packages
        }
        return {package: likeliest(package, listed.get(package.name, [])) for package in packages}

    def _install(self, artefacts: Sequence[Artefact]) -> dict[Artefact, WheelFacts] | str:
        with _scratch() as folder:
            lines = folder / "requirements.txt"
            lines.write_text("".join(_line(artefact, hashed=self._hashed) for artefact in artefacts))
            target = folder / "prefix"
            hashed = ["--require-hashes"] if self._hashed else []
            command = [
                *self._uv,
                "pip",
                "install",
                "-q",
                *self._words,
                "--prefix",
                str(target),
                *hashed,
                "-r",
                str(lines),
            ]
            done = self._run(command, "")
            if done.code:
                return last_words(done)
            laid = {facts.name: facts for facts in read_unpacked(target)}
        names = {artefact: parse_wheel_filename(artefact.filename)[0] for artefact in artefacts}
        return {artefact: laid[name] for artefact, name in names.items() if name in laid}


class PipIndex:
    """What pip would take from the index for the tags that were installed."""

    name = "index (pip)"

    def __init__(self, pip: Sequence[str], run: Run, *, python: str | None, words: Sequence[str] = ()) -> None:
        self._pip = list(pip)
        self._run = run
        self._python = python
        self._words = list(words)

    def ask(self, packages: Sequence[Package]) -> dict[Package, list[Artefact] | Miss]:
        """One file each; what has other tags is named as what it is."""
        answers: dict[Package, list[Artefact] | Miss] = {}
        for tags in dict.fromkeys(package.tags for package in packages):
            group = [package for package in packages if package.tags == tags]
            answers.update(_halved(group, partial(self._report, tags=tags)))
        return answers

    def look_into(self, artefacts: Sequence[Artefact]) -> dict[str, WheelFacts | Miss]:
        """Downloaded by pip, which holds them against their hashes (and has most of them in its cache)."""
        seen: dict[str, WheelFacts | Miss] = {}
        for tags in dict.fromkeys(_tags_of(artefact.filename) for artefact in artefacts):
            group = [artefact for artefact in artefacts if _tags_of(artefact.filename) == tags]
            for batch in _without_rivals(group):
                found = _halved(batch, partial(self._download, tags=tags))
                seen |= {artefact.sha256: facts for artefact, facts in found.items()}
        return seen

    def _report(self, packages: Sequence[Package], tags: tuple[str, ...]) -> dict[Package, list[Artefact]] | str:
        with _scratch() as folder:
            lines = folder / "requirements.txt"
            lines.write_text("".join(f"{package.name}=={package.version}\n" for package in packages))
            command = [
                *self._pip,
                "install",
                "-q",
                "--dry-run",
                "--ignore-installed",
                "--report",
                "-",
                "--target",
                str(folder / "none"),
            ]
            done = self._run([*command, *self._choice(tags), *self._words, "-r", str(lines)], "")
        if done.code:
            return last_words(done)
        report = msgspec.json.decode(done.out, type=_Report)
        taken = {normalise_name(item.metadata.name): item.artefact(self.name) for item in report.install}
        return {package: [artefact] if (artefact := taken.get(package.name)) else [] for package in packages}

    def _download(self, artefacts: Sequence[Artefact], tags: tuple[str, ...]) -> dict[Artefact, WheelFacts] | str:
        with _scratch() as folder:
            lines = folder / "requirements.txt"
            lines.write_text("".join(_address(artefact) for artefact in artefacts))
            command = [*self._pip, "download", "-q", "-d", str(folder), *self._choice(tags), "-r", str(lines)]
            done = self._run(command, "")
            if done.code:
                return last_words(done)
            found = {artefact: read_wheel(folder / artefact.filename) for artefact in artefacts}
        return {artefact: facts for artefact, facts in found.items() if facts is not None}

    def _choice(self, tags: tuple[str, ...]) -> list[str]:
        """The options by which pip takes wheels of these tags, for a Python that need not be here."""
        words = ["--only-binary", ":all:", "--no-deps"]
        if not tags:
            return words
        parts = [tag.split("-", 2) for tag in tags if tag.count("-") >= 2]
        words += ["--implementation", "cp" if any(part[0].startswith("cp") for part in parts) else "py"]
        words += ["--python-version", self._python] if self._python else []
        for option, at in (("--abi", 1), ("--platform", 2)):
            for value in dict.fromkeys(part[at] for part in parts):
                words += [option, value]
        return words


class _Archive(Struct):
    hashes: dict[str, str] = {}


class _Download(Struct):
    url: str
    archive_info: _Archive | None = None


class _Named(Struct):
    name: str


class _Install(Struct):
    download_info: _Download
    metadata: _Named

    def artefact(self, origin: str) -> Artefact | None:
        """As an artefact; None without a hash."""
        download = self.download_info
        sha256 = download.archive_info.hashes.get("sha256") if download.archive_info else None
        filename = unquote(urlsplit(download.url).path.rpartition("/")[2])
        if sha256 is None or not filename.endswith(".whl"):
            return None
        return Artefact(filename=filename, sha256=sha256, url=download.url, path=_local(download.url, None), origin=origin)


class _Report(Struct):
    install: list[_Install]


def likeliest(package: Package, artefacts: Sequence[Artefact]) -> list[Artefact]:
    """Those whose name has exactly the tags that were installed; without one, those that share a tag; without one, all of them."""
    tags = frozenset(package.tags)
    exact = [artefact for artefact in artefacts if frozenset(_tags_of(artefact.filename)) == tags]
    near = [artefact for artefact in artefacts if tags & set(_tags_of(artefact.filename))]
    return exact or near or list(artefacts)


def last_words(done: Done) -> str:
    """The line in which a tool says why it failed, without secrets."""
    lines = [
        line.strip() for line in done.err.splitlines() if line.strip() and not line.lstrip().startswith(("hint:", "[notice]"))
    ]
    said = next((line for line in reversed(lines) if line.lower().startswith(("error:", "cause:"))), lines[-1] if lines else "")
    return redact_text(said or f"exit code {done.code}")[0]


def _halved(items: Sequence[Item], attempt: Callable[[Sequence[Item]], Mapping[Item, Answer] | str]) -> dict[Item, Answer | Miss]:
    """All at once; when the tool refuses, half by half, until those that it refuses are found."""
    if not items:
        return {}
    answer = attempt(items)
    if not isinstance(answer, str):
        return {item: answer.get(item, Miss(reason="the tool did not answer for it")) for item in items}
    if len(items) == 1:
        return {items[0]: Miss(reason=answer)}
    middle = len(items) // 2
    return {**_halved(items[:middle], attempt), **_halved(items[middle:], attempt)}


def _without_rivals(artefacts: Iterable[Artefact]) -> list[list[Artefact]]:
    """Batches in which each project is at most once."""
    batches: list[dict[str, Artefact]] = []
    for artefact in artefacts:
        name = parse_wheel_filename(artefact.filename)[0]
        batch = next((batch for batch in batches if name not in batch), None)
        if batch is None:
            batches.append(batch := {})
        batch[name] = artefact
    return [list(batch.values()) for batch in batches]


def _line(artefact: Artefact, *, hashed: bool) -> str:
    name, version, _, _ = parse_wheel_filename(artefact.filename)
    return f"{name}=={version}" + (f" --hash=sha256:{artefact.sha256}" if hashed else "") + "\n"


def _address(artefact: Artefact) -> str:
    name = parse_wheel_filename(artefact.filename)[0]
    return f"{name} @ {artefact.url} --hash=sha256:{artefact.sha256}\n"


def _tags_of(filename: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(str(tag) for tag in parse_wheel_filename(filename)[3]))
    except InvalidWheelFilename:
        return ()


def _local(url: str | None, path: str | None) -> str | None:
    parts = urlsplit(url or "")
    return unquote(parts.path) if parts.scheme == "file" else path


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="envtrail-") as folder:
        yield Path(folder)
