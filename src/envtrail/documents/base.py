"""What every document has, and the parts that many tell alike.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-base, ecs-user, ecs-related
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

from msgspec import Struct

from envtrail.config import Config
from envtrail.documents.fields import ECS_VERSION
from envtrail.errors import ConfigError
from envtrail.model.hours import When
from envtrail.model.operation import Outcome
from envtrail.model.times import to_rfc3339
from envtrail.state.office_hours import office_hours

_VERSION = version("envtrail")
OUTCOMES = {Outcome.SUCCESS: "success", Outcome.FAILURE: "failure", Outcome.KILLED: "failure", Outcome.UNKNOWN: "unknown"}
"""As `event.outcome` says them."""


class Site(Struct, frozen=True, kw_only=True):
    """What the settings say of every document."""

    namespace: str = "default"
    """Last part of the data streams' names."""
    host: str = ""
    """Whose trail it is, for what does not name its machine itself."""
    office: When = When()
    """Hours of work."""


def site_of(config: Config) -> Site:
    """As the settings have it.

    Raises:
        ConfigError: `elastic.namespace` is a pattern: what is written goes to one.
    """
    namespace = config.elastic.namespace
    if set("*?") & set(namespace):
        raise ConfigError(
            f"elastic.namespace: `{namespace}` reads several, and what is written or taken away is of one", hint="`default`"
        )
    return Site(namespace=namespace, host=config.node, office=office_hours(config))


class Document(Struct, frozen=True, kw_only=True):
    """One document on its way."""

    stream: str
    """Kind of its data stream (`fields.STREAMS`)."""
    id: str
    """The same whenever it is made again."""
    body: dict[str, Any]


def frame(kind: str, host: str, time_ms: int, site: Site) -> dict[str, Any]:
    """What every document has."""
    return {
        "@timestamp": to_rfc3339(time_ms),
        **constants_of(kind, site),
        "host": {"name": host, "hostname": host},
        "related": {"hosts": [host]},
        "envtrail": {},
    }


def constants_of(kind: str, site: Site) -> dict[str, Any]:
    """What every document of a kind has with the same value."""
    dataset = f"envtrail.{kind}"
    return {
        "ecs": {"version": ECS_VERSION},
        "data_stream": {"type": "logs", "dataset": dataset, "namespace": site.namespace},
        "agent": {"type": "envtrail", "version": _VERSION},
        "event": {"module": "envtrail", "dataset": dataset},
    }


def tell_user(body: dict[str, Any], name: str | None, number: int | None) -> None:
    """Whose it is."""
    user = {"name": name, "id": None if number is None else str(number)}
    body["user"] = {key: value for key, value in user.items() if value is not None}
    if name is not None:
        body["related"]["user"] = [name]


def tell_environment(body: dict[str, Any], prefix: str, kind: str | None = None) -> None:
    """In which environment."""
    told = body["envtrail"].setdefault("environment", {})
    told |= {"prefix": prefix, "name": PurePosixPath(prefix).name}
    if kind is not None:
        told["kind"] = kind


def address_of(text: str | None) -> str | None:
    """An IP address without its zone; null for what is none, as a host's name."""
    try:
        return str(ipaddress.ip_address((text or "").partition("%")[0]))
    except ValueError:
        return None


def leaves_of(body: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted name of every field that a document holds, with its value."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{above}{name}.")
        else:
            yield above + name, value
