"""State and decisions in ECS: environments, what they hold, logins, requests, approvals, mutes, access log.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-package, ecs-allowed-values-event-category
"""

from __future__ import annotations

from typing import Any

from envtrail.documents.base import OUTCOMES, address_of, set_environment, set_user
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, Holding, SnapshotRef
from envtrail.model.finding import Suppression
from envtrail.model.naming import normalise_name
from envtrail.model.run import Session
from envtrail.model.times import bounded_ms, to_ms, to_rfc3339

State = Environment | Holding | SnapshotRef | Session | Request | Grant | Suppression | AccessEntry


def fill_state(body: dict[str, Any], item: State) -> None:
    """Add the ECS fields to a document that holds the item already."""
    match item:
        case Environment():
            _fill_environment(body, item)
        case Holding():
            _fill_package(body, item)
        case SnapshotRef():
            body["message"] = f"{item.packages} packages in {item.prefix}"
            body["event"] |= {"kind": "state", "type": ["info"], "action": "snapshot"}
            set_environment(body, item.prefix, item.kind)
        case Session():
            _fill_login(body, item)
        case Request():
            _fill_decided(body, "request", item.terms.why, ["info"])
            _fill_terms(body, item)
        case Grant():
            _fill_decided(body, "grant", item.terms.why, ["deletion" if item.revoked_ms else "creation"])
            _fill_terms(body, item)
        case Suppression():
            _fill_decided(body, "mute", item.reason, ["creation"])
            body["rule"] = {"id": item.detection}
            set_user(body, item.owner, None)
        case AccessEntry():
            _fill_access(body, item)


def _fill_environment(body: dict[str, Any], item: Environment) -> None:
    body["message"] = f"{item.kind} {item.prefix}" + (", gone" if item.gone else "")
    body["event"] |= {"kind": "state", "type": ["info"], "action": "environment"}
    if item.created_ms is not None:
        body["@timestamp"] = to_rfc3339(item.created_ms)
    set_user(body, None, item.owner_uid)
    set_environment(body, item.prefix, item.kind)


def _fill_package(body: dict[str, Any], item: Holding) -> None:
    package = item.package
    body["message"] = f"{package.name} {package.version} in {item.prefix}"
    body["event"] |= {
        "kind": "state",
        "category": ["package"],
        "type": ["info"],
        "action": "package",
        "start": to_rfc3339(item.since_ms),
    }
    if item.until_ms is not None:
        body["event"]["end"] = to_rfc3339(item.until_ms)
        body["event"]["duration"] = max(0, item.until_ms - item.since_ms) * 1_000_000
    fields = {
        "name": [package.name],
        "version": package.version,
        "type": package.ecosystem,
        "build_version": package.build,
        "reference": package.url or package.source,
        "checksum": package.archive,
        "license": package.license,
        "size": package.size_bytes,
        "installed": to_rfc3339(item.since_ms),
    }
    body["envtrail"]["package"]["name"] = normalise_name(package.name)
    body["package"] = {name: value for name, value in fields.items() if value is not None}
    set_environment(body, item.prefix)


def _fill_login(body: dict[str, Any], item: Session) -> None:
    body["message"] = f"{item.user or item.auid}: {item.service or 'login'}" + (f" from {item.remote}" if item.remote else "")
    body["event"] |= {
        "kind": "event",
        "category": ["session"],
        "type": ["start", "end"] if item.ended else ["start"],
        "action": "login",
        "outcome": OUTCOMES[item.outcome],
        "start": item.started,
    }
    if item.ended is not None:
        body["event"]["end"] = item.ended
        body["event"]["duration"] = max(0, to_ms(item.ended) - to_ms(item.started)) * 1_000_000
    set_user(body, item.user, item.auid)
    if item.session is not None:
        body["envtrail"]["session"] = item.session
    if item.auid is not None:
        body["user"]["audit"] = {"id": str(item.auid)}
    if item.service is not None:
        body["process"] = {"name": item.service}
    if (address := address_of(item.remote)) is not None:
        body["source"] = {"ip": address}
        body["related"]["ip"] = [address]


def _fill_decided(body: dict[str, Any], action: str, why: str, types: list[str]) -> None:
    body["message"] = f"{action}: {why}"
    body["event"] |= {"kind": "event", "category": ["configuration"], "type": types, "action": action, "reason": why}


def _fill_terms(body: dict[str, Any], item: Request | Grant) -> None:
    terms = item.terms
    set_user(body, terms.user, terms.uid)
    set_environment(body, terms.prefix)
    if approvers := {approval.name for approval in item.approvals}:
        body["related"]["user"] = sorted({terms.user, *approvers})


def _fill_access(body: dict[str, Any], item: AccessEntry) -> None:
    body["message"] = f"{item.by.name} looked at {item.what}" + (f" of {item.user}" if item.user else "")
    body["event"] |= {"kind": "event", "category": ["web"], "type": ["access"], "action": "look"}
    if item.time_ms != bounded_ms(item.time_ms):
        body["event"]["reason"] = f"{item.time_ms} ms, as it was reported, is no moment; `@timestamp` is the nearest one"
    set_user(body, item.by.name, item.by.uid)
    if item.user is not None:
        body["related"]["user"] = sorted({item.by.name, item.user})
    if item.environment is not None:
        set_environment(body, item.environment)
