"""The file of channels: read and checked, each fault with its key. It holds secrets, so other users must not be able to read it.

References:
    https://toml.io/en/v1.0.0 (the file); docs/notifications.md (its keys)
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from envtrail.errors import CannotRunError, ConfigError, InputError
from envtrail.i18n import LANGUAGES
from envtrail.model.finding import Finding, Level
from envtrail.model.naming import fits_environment
from envtrail.model.patterns import fits_any
from envtrail.notify.services import Service

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("finding", "request", "decision")
_SAMPLE = '[[channel]]\nname = "ops"\nurl = "mailto://…"'
_CHOICES = {"level": tuple(level.value for level in Level), "language": LANGUAGES, "kinds": KINDS}


class Channel(Struct, frozen=True, kw_only=True):
    """A destination of notifications: address, selection and language."""

    name: str
    service: Service
    """Ready to send; its address is a secret."""
    level: Level
    """The lowest level of a finding that is sent."""
    language: str
    kinds: frozenset[str]
    environments: tuple[str, ...]
    """Prefixes, or the last part of one; `*` and `?` are wildcards. Empty: all."""
    detections: tuple[str, ...]
    """Names or ids of rules. Empty: all."""
    window_ms: int
    most_per_window: int

    def wants_finding(self, finding: Finding) -> bool:
        """Whether a finding is sent here."""
        return (
            "finding" in self.kinds
            and finding.level.rank >= self.level.rank
            and fits_any(self.detections, [finding.detection])
            and self.wants_environment(finding.prefix)
        )

    def wants_environment(self, prefix: str | None) -> bool:
        """Whether messages about an environment are sent here."""
        return not self.environments or (bool(prefix) and fits_environment(self.environments, prefix or ""))


class ChannelFault(Struct, frozen=True, kw_only=True):
    """A fault in the file, and its place."""

    path: str
    key: str
    """As `channel[0].level`; `ops.level` when the channel has a name."""
    message: str
    hint: str


class LoadedChannels(Struct, frozen=True, kw_only=True):
    """The valid channels, and every fault."""

    channels: list[Channel]
    faults: list[ChannelFault]


class _Written(Struct, frozen=True, kw_only=True):
    """A `[[channel]]`, unchecked."""

    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    url: Annotated[str, Meta(min_length=1)] = ""
    url_file: Annotated[str, Meta(min_length=1)] = ""
    level: str = Level.MEDIUM.value
    language: str = LANGUAGES[0]
    kinds: list[str] = msgspec.field(default_factory=lambda: list(KINDS))
    environments: list[str] = []
    detections: list[str] = []
    digest_minutes: Annotated[int, Meta(ge=1, le=1440)] = 10
    most_per_digest: Annotated[int, Meta(ge=1, le=1000)] = 20


_FIELDS = {field.name: field for field in msgspec.structs.fields(_Written)}


def load_channels(path: Path) -> LoadedChannels:
    """Read the file; valid channels are returned even if others are at fault.

    Raises:
        InputError: the file does not exist, or is not TOML.
        CannotRunError: it may not be read, others may read it, or Apprise is not installed.
    """
    text = _read_secret(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise InputError(f"`{path}` is not TOML: {fault}", hint=f"it starts like this: {_SAMPLE!r}") from None
    faults: list[ChannelFault] = []

    def note(key: str, message: str, hint: str) -> None:
        faults.append(ChannelFault(path=str(path), key=key, message=message, hint=hint))

    for key in document.keys() - {"channel"}:
        note(key, "is unknown", "channels are written `[[channel]]`")
    listed = document.get("channel", [])
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        note("channel", "is not a list of tables", "write `[[channel]]`, with two brackets")
        listed = []
    if not listed and not faults:
        note("channel", "is missing", f"write one: {_SAMPLE!r}")
    channels: list[Channel] = []
    for at, item in enumerate(listed):
        channel = _check(path, at, item, note)
        if channel is None:
            continue
        if any(channel.name == other.name for other in channels):
            note(f"channel[{at}].name", f"`{channel.name}` is used twice", "each channel needs its own name")
        else:
            channels.append(channel)
    return LoadedChannels(channels=channels, faults=faults)


def open_channels(path: Path) -> list[Channel]:
    """The channels of a valid file.

    Raises:
        ConfigError: something in it is at fault; all faults are reported at once.
    """
    loaded = load_channels(path)
    if loaded.faults:
        faults = "; ".join(f"`{fault.key}` {fault.message}" for fault in loaded.faults)
        raise ConfigError(f"`{path}`: {faults}", hint="`envtrail notify check` shows how to fix each")
    return loaded.channels


def _check(path: Path, at: int, item: dict[str, Any], note: Callable[[str, str, str], None]) -> Channel | None:
    sound = True
    name = item.get("name")
    place = name if isinstance(name, str) and name else f"channel[{at}]"

    def fault(key: str, message: str, hint: str) -> None:
        nonlocal sound
        sound = False
        note(f"{place}.{key}", message, hint)

    for key, message, hint in _faults(item):
        fault(key, message, hint)
    if not sound:
        return None
    written = msgspec.convert(item, _Written)
    try:
        url = written.url or _read_secret(_beside(path, written.url_file)).strip()
    except (InputError, CannotRunError) as cause:
        fault("url_file", cause.message, cause.hint or "")
        return None
    try:
        service = Service(url)
    except ValueError as cause:
        key = "url" if written.url else "url_file"
        fault(key, str(cause), "docs/notifications.md has an example of each; Apprise's wiki describes every service")
        return None
    return Channel(
        name=written.name,
        service=service,
        level=Level(written.level),
        language=written.language,
        kinds=frozenset(written.kinds),
        environments=tuple(written.environments),
        detections=tuple(written.detections),
        window_ms=written.digest_minutes * 60_000,
        most_per_window=written.most_per_digest,
    )


def _faults(item: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, message and hint of each fault that the table itself shows."""
    for key, value in item.items():
        field = _FIELDS.get(key)
        if field is None:
            yield key, "is unknown", "there are " + ", ".join(f"`{one}`" for one in _FIELDS)
            continue
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as cause:
            # The value is not repeated: it may be an address.
            yield key, f"is invalid: {cause}", "docs/notifications.md has the table of keys"
            continue
        known = _CHOICES.get(key)
        for word in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            if known is not None and word not in known:
                yield key, f"`{word}` is unknown", "there are " + ", ".join(f"`{one}`" for one in known)
    if "name" not in item:
        yield "name", "is missing", 'a channel needs a name, as `name = "ops"`'
    if ("url" in item) == ("url_file" in item):
        what = "are both given" if "url" in item else "are both missing"
        yield "url", f"and `url_file` {what}", "give the address itself, or a file that holds only that"


def _beside(path: Path, name: str) -> Path:
    return path.parent / name


def _read_secret(path: Path) -> str:
    """The text of a file that only its owner, this user or root, may read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise InputError(f"no file `{path}`", hint="docs/notifications.md has an example") from None
    except OSError as fault:
        raise CannotRunError(f"`{path}` cannot be read: {fault.strerror}", hint="use sudo") from None
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"`{path}` is not a file")
        if status.st_uid not in {0, os.geteuid()}:
            raise CannotRunError(f"`{path}` belongs to another user (uid {status.st_uid})", hint=f"chown root {path}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise CannotRunError(
                f"`{path}` holds secrets, and users other than its owner have access (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod 600 {path}",
            )
        try:
            return file.read()
        except UnicodeDecodeError:
            raise InputError(f"`{path}` is not UTF-8 text") from None
