"""The identity of an item that is shipped: its kind, machine, id and time, and the digest of its content."""

from __future__ import annotations

import hashlib

import msgspec

from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, Holding, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.ids import make_ulid
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.times import to_ms
from envtrail.state.change_log import Item

_KINDS: dict[type, str] = {
    Operation: "operation",
    Run: "run",
    Finding: "finding",
    Gap: "gap",
    Session: "login",
    Environment: "environment",
    Holding: "package",
    SnapshotRef: "snapshot",
    Request: "request",
    Grant: "grant",
    Suppression: "mute",
    AccessEntry: "look",
}


def kind_of(item: Item) -> str:
    """As in `schema.LOGGED`: the name of its data stream, and of the document below `envtrail`."""
    return _KINDS[type(item)]


def digest_of(item: Item) -> str:
    """Digest of an item's whole content."""
    return hashlib.sha256(msgspec.json.encode(item)).hexdigest()[:32]


def host_of(item: Item, host: str) -> str:
    """The machine that an item names; `host` when it names none."""
    match item:
        case Operation() | Run() | Finding() | Gap() | Session() | Request():
            return item.host
        case Environment() | Holding() | SnapshotRef():
            return item.host or host
        case _:
            return host


def id_of(item: Item) -> str:
    """Unique by kind and machine; the same after `envtrail rebuild`."""
    match item:
        case Environment():
            return item.prefix
        case Holding():
            package = msgspec.json.encode(item.package).decode()
            return make_ulid(item.since_ms, "package", item.prefix, package)
        case SnapshotRef():
            return make_ulid(item.time_ms, "snapshot", item.prefix, item.digest)
        case _:
            return item.id


def moment_of(item: Item) -> int:
    """When it began, in ms; it never changes."""
    match item:
        case Operation() | Run() | Session():
            return to_ms(item.started)
        case Gap() | Holding() | Grant():
            return item.since_ms
        case Suppression():
            return item.made_ms
        case Environment():
            return 0  # its creation time may be learnt later
        case _:
            return item.time_ms
