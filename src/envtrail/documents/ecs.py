"""What the trail holds, as ECS documents: pure functions, whose documents name their data stream.

The domain document is stored whole below `envtrail.<kind>`, under the names that `--json` uses, so that it can be read back
unchanged; the ECS fields beside it serve dashboards and other tools.

References:
    https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-kind and the pages beside it
    https://www.elastic.co/docs/reference/ecs/ecs-process, ecs-user, ecs-package, ecs-related
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from envtrail.documents.base import OUTCOMES, EcsDocument, Site, address_of, base_document, set_environment, set_user
from envtrail.documents.ecs_state import fill_state
from envtrail.documents.fields import STANDING
from envtrail.documents.identity import digest_of, host_of, id_of, kind_of, moment_of
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.hours import When
from envtrail.model.ids import make_ulid, time_of
from envtrail.model.operation import Actor, Change, Operation, OperationKind
from envtrail.model.run import Run
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.state.change_log import Item
from envtrail.state.schema import WITHDRAWN

_TYPES = {
    OperationKind.INSTALL: ["installation"],
    OperationKind.REMOVE: ["deletion"],
    OperationKind.UPDATE: ["change"],
    OperationKind.CREATE: ["installation"],
    OperationKind.DELETE: ["deletion"],
    OperationKind.MOVE: ["change"],
    OperationKind.LOCK: ["info"],
    OperationKind.SYNC: ["change"],
    OperationKind.TAMPER: ["change"],
}


def documents_of(item: Item, site: Site) -> list[EcsDocument]:
    """An item's own document; for an operation also one for each package that changed."""
    own = EcsDocument(stream=kind_of(item), id=document_id(item, site), body=_body(item, site))
    if not isinstance(item, Operation):
        return [own]
    # The same change may occur twice: a system's Python holds a package in two folders.
    met: Counter[tuple[str, ...]] = Counter()
    changes = []
    for change in item.changes or ():
        key = (change.ecosystem, change.name, _version(change, "before"), _version(change, "after"))
        changes.append(_change_document(item, change, (*key, str(met[key])), site))
        met[key] += 1
    return [own, *changes]


def amendment_of(item: Item, site: Site, made_ms: int) -> EcsDocument:
    """The present content of an item that was sent before: whole, and with the name of the document that it replaces.

    Amendments of standing items are kept in the same data stream as these, and as long.
    """
    kind = kind_of(item)
    stream = kind if kind in STANDING else "amendment"
    amended = document_id(item, site)
    body = _body(item, site)
    body["data_stream"]["dataset"] = body["event"]["dataset"] = f"envtrail.{stream}"
    body["event"]["created"] = to_rfc3339(made_ms)
    body["envtrail"]["amends"] = {"kind": kind, "id": amended, "made": to_rfc3339(made_ms)}
    return EcsDocument(stream=stream, id=make_ulid(made_ms, "amendment", amended, digest_of(item)), body=body)


def withdrawal_of(kind: str, id_: str, host: str, site: Site, made_ms: int) -> EcsDocument:
    """An item that was sent is none any more: an amendment that says nothing, so that no search meets it or what it takes the place of."""
    began_ms = int(id_.split("/")[-2]) if kind == "login" else time_of(id_)
    amended = make_ulid(began_ms, "document", kind, host, id_)
    body = base_document("amendment", host, began_ms, site)
    body["event"] |= {"id": id_, "created": to_rfc3339(made_ms)}
    body["envtrail"] = {
        "id": id_,
        "digest": WITHDRAWN,
        "amends": {"kind": kind, "id": amended, "made": to_rfc3339(made_ms)},
    }
    return EcsDocument(stream="amendment", id=make_ulid(made_ms, "amendment", amended, WITHDRAWN), body=body)


def document_id(item: Item, site: Site) -> str:
    """The `_id` of an item; unique across machines."""
    return make_ulid(moment_of(item), "document", kind_of(item), host_of(item, site.host), id_of(item))


def _body(item: Item, site: Site) -> dict[str, Any]:
    kind = kind_of(item)
    body = base_document(kind, host_of(item, site.host), moment_of(item), site)
    body["event"]["id"] = id_of(item)
    body["envtrail"] |= {"id": id_of(item), "kind": kind, "digest": digest_of(item), kind: msgspec.to_builtins(item)}
    match item:
        case Operation():
            _fill_operation(body, item, site.office_hours)
        case Run():
            _fill_run(body, item)
        case Finding():
            _fill_finding(body, item)
        case Gap():
            _fill_gap(body, item)
        case _:
            fill_state(body, item)
    return body


def _fill_operation(body: dict[str, Any], item: Operation, office_hours: When) -> None:
    changes = item.changes or ()
    command = " ".join(item.argv)
    body["message"] = f"{item.actor.name or item.actor.number}: {command} in {item.environment.prefix}: {item.outcome.value}"
    body["event"] |= {"kind": "event", "category": ["package"], "type": _TYPES[item.kind], "action": item.kind.value}
    if names := sorted({change.name for change in changes}):
        body["package"] = {"name": names}
    if item.policy_rule is not None:
        body["rule"] = {"name": item.policy_rule, "ruleset": "envtrail.policy"}
    own = body["envtrail"]["operation"]
    body["envtrail"]["package"] = {"name": item.package_names}
    if item.changes is not None:
        own["changed"] = len(changes)
    own["installed"] = sum(change.after is not None for change in changes)
    own["unexplained"] = max(1, len(changes)) if item.explained is False else 0
    own["off_hours"] = not office_hours.holds_at(to_ms(item.started))
    _fill_what_ran(body, item, command)
    set_environment(body, item.environment.prefix, item.environment.kind)


def _fill_run(body: dict[str, Any], item: Run) -> None:
    command = " ".join(item.argv)
    body["message"] = f"{item.actor.name or item.actor.number}: {command}: {item.outcome.value}"
    body["event"] |= {
        "kind": "event",
        "category": ["process"],
        "type": ["start", "end"] if item.ended else ["start"],
        "action": "run",
    }
    _fill_what_ran(body, item, command)
    if item.script_sha256 is not None:
        body["process"]["hash"] = {"sha256": item.script_sha256}
        body["related"]["hash"] = [item.script_sha256]
    if item.environment is not None:
        set_environment(body, item.environment.prefix, item.environment.kind)


def _fill_finding(body: dict[str, Any], item: Finding) -> None:
    body["message"] = f"{item.title}: {item.reason}" if item.reason else item.title
    body["event"] |= {"kind": "alert", "type": ["info"], "action": item.detection, "severity": item.level.rank * 20 + 1}
    if item.reason:
        body["event"]["reason"] = item.reason
    body["rule"] = {"id": item.detection, "name": item.title, "ruleset": f"envtrail.{item.source}"}
    techniques = [tag[len("attack.") :].upper() for tag in item.tags if tag[:8] == "attack.t" and tag[8:9].isdigit()]
    if techniques:
        body["threat"] = {"technique": {"id": techniques}}
    set_user(body, item.user, item.uid)
    if item.argv:
        body["process"] = {"args": item.argv, "args_count": len(item.argv), "command_line": " ".join(item.argv)}
    if item.package is not None:
        body["package"] = {"name": [item.package]}
    if item.prefix is not None:
        set_environment(body, item.prefix)


def _fill_gap(body: dict[str, Any], item: Gap) -> None:
    body["message"] = f"{item.cause.value}: {item.detail}"
    body["event"] |= {
        "kind": "pipeline_error",
        "type": ["info"],
        "action": item.cause.value,
        "start": to_rfc3339(item.since_ms),
        "end": to_rfc3339(item.until_ms),
        "duration": max(0, item.until_ms - item.since_ms) * 1_000_000,
    }


def _fill_what_ran(body: dict[str, Any], item: Operation | Run, command: str) -> None:
    """Time, outcome, process and person, which operations and runs share."""
    event = body["event"]
    event["outcome"] = OUTCOMES[item.outcome]
    event["start"] = item.started
    if item.ended is not None:
        event["end"] = item.ended
        event["duration"] = max(0, to_ms(item.ended) - to_ms(item.started)) * 1_000_000
    if isinstance(item, Operation) and item.reason is not None:
        event["reason"] = item.reason
    process = {
        "pid": item.pid,
        "args": item.argv,
        "args_count": len(item.argv),
        "command_line": command,
        "working_directory": item.cwd,
        "exit_code": item.exit_code,
    }
    body["process"] = {name: value for name, value in process.items() if value is not None}
    _fill_actor(body, item.actor)


def _fill_actor(body: dict[str, Any], actor: Actor) -> None:
    set_user(body, actor.name, actor.number)
    if actor.auid is not None:
        body["user"]["audit"] = {"id": str(actor.auid)}
    if actor.uid is not None:
        body["user"]["effective"] = {"id": str(actor.uid)}
    body["envtrail"]["actor"] = {"class": actor.kind, "method": actor.method, "confidence": actor.confidence.value}
    if actor.session is not None:
        body["envtrail"]["session"] = actor.session
    if (address := address_of(actor.remote)) is not None:
        body["source"] = {"ip": address}
        body["related"]["ip"] = [address]
        body["process"]["entry_leader"] = {"entry_meta": {"source": {"ip": address}}}
    if actor.chain:
        body["related"]["user"] = sorted({*actor.chain, *body["related"].get("user", [])})
    if actor.container is not None:
        body["container"] = {"id": actor.container.id, "runtime": actor.container.engine}
        if actor.container.image is not None:
            body["container"]["image"] = {"name": actor.container.image}


def _change_document(operation: Operation, change: Change, key: tuple[str, ...], site: Site) -> EcsDocument:
    action = change.action
    body = base_document("change", operation.host, time_of(operation.id), site)
    body["message"] = (
        f"{change.name} {_version(change, 'before')} → {_version(change, 'after')} in {operation.environment.prefix}"
    )
    types = {"added": "installation", "installed": "installation", "removed": "deletion", "changed": "change"}
    body["event"] |= {
        "id": operation.id,
        "kind": "event",
        "category": ["package"],
        "type": [types[action]],
        "action": action,
        "outcome": OUTCOMES[operation.outcome],
    }
    state = change.after or change.before
    body["package"] = {"name": [change.name], "type": change.ecosystem}
    if state is not None:
        body["package"]["version"] = state.version
        if state.source is not None:
            body["package"]["reference"] = state.source
    own = msgspec.to_builtins(change) | {"operation": operation.id, "action": action}
    body["envtrail"] |= {"id": operation.id, "kind": "change", "change": own}
    body["process"] = {"args": operation.argv, "command_line": " ".join(operation.argv)}
    _fill_actor(body, operation.actor)
    set_environment(body, operation.environment.prefix, operation.environment.kind)
    id_ = make_ulid(time_of(operation.id), "change", operation.host, operation.id, *key)
    return EcsDocument(stream="change", id=id_, body=body)


def _version(change: Change, side: str) -> str:
    state = change.before if side == "before" else change.after
    return state.version if state is not None else "?" if side in change.absent else "∅"
