"""How a result was reached: step by step, from the trail alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from envtrail.interpret.invocations import invocation_of
from envtrail.interpret.rows import Row
from envtrail.interpret.tools import TOOLS
from envtrail.model.operation import Operation
from envtrail.state.store import EventRow, Query, Store

_ORDER = ("tool", "kind", "actor", "environment", "changes", "outcome")


class ExplainStep(Struct, frozen=True, kw_only=True):
    """One step of the way."""

    what: str
    """What was decided: a field of the document, or `exec` for a kernel record."""
    said: str
    because: str
    evidence: list[str] = []
    """`time:serial` of the events that support it."""


def explain_operation(operation: Operation) -> Iterator[ExplainStep]:
    """Every decision in an operation's document, in the order in which it was made."""
    evidence = [f"{item.time_ms}:{item.serial}" for item in operation.evidence]
    actor = operation.actor
    said = {
        "tool": " ".join([operation.tool, *(f"via {name}" for name in operation.via)]),
        "kind": operation.kind.value,
        "actor": f"{actor.name or 'nobody'} by {actor.method}, {actor.confidence.value}"
        + (f", a {actor.kind}" if actor.kind else "")
        + (f", through {' → '.join(actor.chain)}" if actor.chain else ""),
        "environment": f"{operation.environment.prefix or 'unknown'} ({operation.environment.kind})",
        "changes": "not known" if operation.changes is None else f"{len(operation.changes)} packages",
        "outcome": operation.outcome.value,
    }
    for name in _ORDER:
        if name in operation.why:
            yield ExplainStep(what=name, said=said[name], because=operation.why[name], evidence=evidence)
    if operation.processes > 1:
        yield ExplainStep(
            what="processes",
            said=str(operation.processes),
            because="all descendants of the owner's image belong to it; managers among them are `via`",
        )
    if operation.shared:
        yield ExplainStep(
            what="shared",
            said=", ".join(operation.shared),
            because="they also ran in the environment, and the evidence does not decide between them",
        )
    for name, why in sorted(operation.absent.items()):
        yield ExplainStep(what=name, said="not known", because=why)


def explain_process(store: Store, pid: int, query: Query) -> Iterator[ExplainStep]:
    """The interpretation of each exec of a process, and the operation that it owns or belongs to."""
    for event in store.events(query):
        values = event.values
        if values["kind"] != "exec" or values["pid"] != pid or not values["argv"]:
            continue
        yield _explain_exec(event)
        owner = _owner_of(store, event)
        if owner is not None:
            where = "it owns" if owner.image == values["image"] else "it runs below the owner of"
            yield ExplainStep(what="operation", said=owner.id, because=f"{where} `{' '.join(owner.argv)}`")


def _explain_exec(event: EventRow) -> ExplainStep:
    values = event.values
    evidence = [f"{values['time']}:{values['serial']}"]
    shown = " ".join(values["argv"])
    if values["hint"] is None:
        return ExplainStep(
            what="exec", said=shown, because="neither its file nor its arguments name a known tool", evidence=evidence
        )
    invocation = invocation_of(msgspec.convert({**values, "fields": dict(values["fields"] or ())}, Row))
    tool = next((tool for tool in TOOLS if tool.name == values["hint"]), None)
    if tool is None:
        return ExplainStep(
            what="exec", said=shown, because=f"its name is one of `{values['hint']}`: not a package tool", evidence=evidence
        )
    intention = tool.read(invocation)
    if intention is None:
        because = f"{tool.name} was called, but these arguments change no environment (a query, a dry run, or a wrapper)"
        return ExplainStep(what="exec", said=shown, because=because, evidence=evidence)
    where = intention.prefix or "an environment that only the result shows"
    return ExplainStep(
        what="exec",
        said=shown,
        because=f"{intention.tool} is to {intention.kind.value} in {where}: {intention.why}",
        evidence=evidence,
    )


def _owner_of(store: Store, event: EventRow) -> Operation | None:
    """The operation running at that time whose tree contains the exec."""
    values: dict[str, Any] = event.values
    members = {values["image"], values["tracked_image"]} - {None}
    before = Query(since_ms=values["time"] - 86_400_000, until_ms=values["time"])
    return next((one for one in store.operations(before) if one.image in members), None)
