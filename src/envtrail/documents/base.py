"""What every document has, and the parts that several kinds share.

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
from envtrail.state.office_hours import read_office_hours

_VERSION = version("envtrail")
OUTCOMES = {Outcome.SUCCESS: "success", Outcome.FAILURE: "failure", Outcome.KILLED: "failure", Outcome.UNKNOWN: "unknown"}
"""Values of `event.outcome`."""


class Site(Struct, frozen=True, kw_only=True):
    """Settings that apply to every document."""

    namespace: str = "default"
    """Last part of the data streams' names."""
    host: str = ""
    """Owner of the trail, for items that do not name their machine."""
    office_hours: When = When()
    """Hours of work."""


def site_of(config: Config) -> Site:
    """Reads it from the settings.

    Raises:
        ConfigError: `elastic.namespace` is a pattern: what is written goes to one.
    """
    namespace = config.elastic.namespace
    if set("*?") & set(namespace):
        raise ConfigError(
            f"elastic.namespace: `{namespace}` matches several namespaces, and documents are written to one", hint="`default`"
        )
    return Site(namespace=namespace, host=config.node, office_hours=read_office_hours(config))


class EcsDocument(Struct, frozen=True, kw_only=True):
    """One document to be sent."""

    stream: str
    """Kind of its data stream (`fields.STREAMS`)."""
    id: str
    """Stable: the same whenever the document is made again."""
    body: dict[str, Any]


def base_document(kind: str, host: str, time_ms: int, site: Site) -> dict[str, Any]:
    """The fields that every document has."""
    return {
        "@timestamp": to_rfc3339(time_ms),
        **constants_of(kind, site),
        "host": {"name": host, "hostname": host},
        "related": {"hosts": [host]},
        "envtrail": {},
    }


def constants_of(kind: str, site: Site) -> dict[str, Any]:
    """The fields that have the same value in every document of a kind."""
    dataset = f"envtrail.{kind}"
    return {
        "ecs": {"version": ECS_VERSION},
        "data_stream": {"type": "logs", "dataset": dataset, "namespace": site.namespace},
        "agent": {"type": "envtrail", "version": _VERSION},
        "event": {"module": "envtrail", "dataset": dataset},
    }


def set_user(body: dict[str, Any], name: str | None, number: int | None) -> None:
    """Set the user."""
    user = {"name": name, "id": None if number is None else str(number)}
    body["user"] = {key: value for key, value in user.items() if value is not None}
    if name is not None:
        body["related"]["user"] = [name]


def set_environment(body: dict[str, Any], prefix: str, kind: str | None = None) -> None:
    """Set the environment."""
    environment = body["envtrail"].setdefault("environment", {})
    environment |= {"prefix": prefix, "name": PurePosixPath(prefix).name}
    if kind is not None:
        environment["kind"] = kind


def address_of(text: str | None) -> str | None:
    """An IP address without its zone; None for anything else, as a host name."""
    try:
        return str(ipaddress.ip_address((text or "").partition("%")[0]))
    except ValueError:
        return None


def leaves_of(body: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every field of a document."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{above}{name}.")
        else:
            yield above + name, value
