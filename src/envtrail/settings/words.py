"""What the texts of settings mean: each function gives the value, or raises a ValueError that says why there is none (empty: it is plain)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from envtrail.settings.kinds import did_you_mean

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_LONGEST_PATH = 4095
_LONGEST_SOCKET = 107
_UNITS = ("service", "scope", "slice", "socket", "mount", "swap", "timer", "path", "target", "device", "automount")
_GIT_SCHEMES = ("file", "https", "ssh")
_HOST_AND_PATH = r"[\w.][\w.-]*(@[\w.-]+)?:(?!/)[^\s]+"
"""`git@host:path`, which is ssh."""


def absolute_path(text: str) -> Path:
    """A path from the root on."""
    if not text.startswith("/"):
        raise ValueError("`~` is not expanded" if text.startswith("~") else "")
    if len(os.fsencode(text)) > _LONGEST_PATH:
        raise ValueError(f"it is longer than {_LONGEST_PATH} bytes")
    return Path(text)


def socket_path(text: str) -> Path:
    """A path that fits into an address (unix(7))."""
    path = absolute_path(text)
    if len(os.fsencode(text)) > _LONGEST_SOCKET:
        raise ValueError(f"it is longer than {_LONGEST_SOCKET} bytes")
    return path


def path_pattern(text: str) -> str:
    """A pattern of absolute paths."""
    return str(absolute_path(text))


def program_path(text: str) -> str:
    """A whole path: the kernel compares no patterns."""
    if set("*?[") & set(text):
        raise ValueError("the kernel compares whole paths, no patterns")
    return str(absolute_path(text))


def program_pattern(text: str) -> str:
    """A pattern of the names of programs."""
    if "/" in text:
        raise ValueError("a name has no folder")
    return text


def relative_folder(text: str) -> str:
    """A folder within a repository."""
    folder = text.strip("/")
    if not folder or {"", ".", ".."} & set(folder.split("/")):
        raise ValueError("")
    return folder


def file_name(text: str) -> str:
    """A name without a folder."""
    return _fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", text)


def any_text(text: str) -> str:
    """What somebody else gives a meaning."""
    return text


def host_name(text: str) -> str:
    """As a record's `node=` can hold it."""
    return _fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", text)


def account(text: str) -> str:
    """The name of an account or a group: what no directory's may hold is refused (passwd(5), group(5))."""
    return _fullmatch(r"[^\s:,/@*-][^:,/*]{0,255}", text)


def role_member(text: str) -> str:
    """A name, `@group` or `*`."""
    if text.startswith("@"):
        account(text[1:])
    elif text != "*" and ("*" in text or "," in text):
        raise ValueError("`*` stands alone")
    return text


def variable(text: str) -> str:
    """The name of an environment variable."""
    return _fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", text)


def unit(text: str) -> str:
    """The name of a unit of systemd, whole, as a cgroup has it."""
    if not text.endswith(tuple(f".{kind}" for kind in _UNITS)):
        raise ValueError(f"did you mean `{text}.service`?" if "/" not in text else "")
    return _fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}", text)


def namespace(text: str) -> str:
    """The last part of a data stream's name; `*` and `?` read several.

    References:
        https://www.elastic.co/docs/reference/ecs/ecs-data_stream
    """
    if len(text) > 100:
        raise ValueError("it is longer than 100 characters")
    return _fullmatch(r"[a-z0-9_.*?]+", text)


def search_server(text: str) -> str:
    """An address of Elasticsearch or OpenSearch: without secrets in it, and plain only to this machine itself."""
    parts = _web(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a secret; elastic.user with elastic.password_file, or elastic.api_key_file")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("without TLS everything would be readable on the network; https, or a loopback address")
    return text.rstrip("/")


def index(text: str) -> str:
    """An address of a package index."""
    _web(text)
    return text.rstrip("/")


def issuer(text: str) -> str:
    """An OpenID provider, as its tokens name it: plain only on this machine itself."""
    parts = _web(text)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("plain http is for providers on this machine alone")
    return text


def repository(text: str) -> str:
    """An address that git takes, without a secret in it."""
    from urllib.parse import urlsplit

    is_address = "://" in text
    parts = urlsplit(text)
    if not (parts.scheme in _GIT_SCHEMES if is_address else text.startswith("/") or re.fullmatch(_HOST_AND_PATH, text)):
        raise ValueError("")
    if is_address and (parts.password is not None or (parts.scheme == "https" and parts.username is not None)):
        raise ValueError("it holds a secret; a credential helper of git, or a deploy key over ssh")
    if parts.scheme in {"https", "ssh"} and is_address:
        _need_host(parts)
    return text


def branch(text: str) -> str:
    """The name of a branch, or a whole ref (git-check-ref-format(1))."""
    if ".." in text or "//" in text or text.endswith(("/", ".", ".lock")):
        raise ValueError("")
    return _fullmatch(r"[\w][\w./-]*", text)


def days(text: str) -> str:
    """A day, or a span of days."""
    from envtrail.model.hours import parse_days

    with _plain():
        parse_days([text])
    return text.lower()


def hours(text: str) -> str:
    """A span of hours."""
    from envtrail.model.hours import parse_hours

    with _plain():
        parse_hours(text)
    return text


def zone(text: str) -> str:
    """A time zone that this machine knows."""
    from zoneinfo import available_timezones

    from envtrail.model.hours import parse_zone

    try:
        parse_zone(text)
    except ValueError:
        raise ValueError(did_you_mean(text, available_timezones()).removeprefix("; ")) from None
    return text


def day(text: str) -> date:
    """A date."""
    return date.fromisoformat(_fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text))


def ip_address(text: str) -> str:
    """An address in its one form, as a socket reports it."""
    import ipaddress

    with _plain():
        return str(ipaddress.ip_address(text))


def header(text: str) -> str:
    """The name of a header (RFC 9110 section 5.6.2, token)."""
    return _fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", text)


@contextmanager
def _plain() -> Iterator[None]:
    """What is allowed says enough."""
    try:
        yield
    except ValueError:
        raise ValueError("") from None


def _fullmatch(pattern: str, text: str) -> str:
    if re.fullmatch(pattern, text) is None:
        raise ValueError("")
    return text


def _web(text: str) -> SplitResult:
    from urllib.parse import urlsplit

    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("")
    if parts.query or parts.fragment:
        raise ValueError("it ends with its path")
    return _need_host(parts)


def _need_host(parts: SplitResult) -> SplitResult:
    if not parts.hostname or re.search(r"\s", parts.netloc):
        raise ValueError("it names no host")
    _ = parts.port  # a ValueError where it is none
    return parts


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
