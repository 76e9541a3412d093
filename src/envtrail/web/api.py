"""The HTTP API: the same queries and documents as the command line's `--json`, described by OpenAPI; figures for Prometheus.

References:
    https://spec.openapis.org/oas/v3.1.0
    https://html.spec.whatwg.org/multipage/server-sent-events.html
    https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from envtrail.errors import EnvtrailError, UsageError
from envtrail.model.approval import Grant
from envtrail.model.approval import Request as Asked
from envtrail.model.environment import EnvironmentSummary, Snapshot
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session
from envtrail.store.agent_status import AgentStatus
from envtrail.store.store import Query, Store, StoreStatus
from envtrail.web.reading import Reading

MOST = 1000
_LOOK_S = 0.5
_KINDS: tuple[Any, ...] = (
    Operation,
    Run,
    Session,
    Finding,
    Asked,
    Grant,
    Gap,
    EnvironmentSummary,
    Snapshot,
    StoreStatus,
    Activity,
    ProgramUse,
)
_SCHEMAS, _PARTS = msgspec.json.schema_components(_KINDS, ref_template="#/components/schemas/{name}")
_SCHEMA_OF = dict(zip(_KINDS, _SCHEMAS, strict=True))
_LISTS: dict[str, tuple[Any, str, Callable[[Store, Query], Iterator[Any]]]] = {
    "operations": (Operation, "Operations, newest first.", lambda store, query: store.operations(query)),
    "runs": (Run, "Python programs that ran, newest first.", lambda store, query: store.runs(query)),
    "sessions": (Session, "Logins, newest first.", lambda store, query: store.sessions(query)),
    "findings": (Finding, "What was noticed, newest first.", lambda store, query: store.findings(query)),
    "requests": (Asked, "Who asked to change what, newest first.", lambda store, query: store.requests(query)),
    "grants": (Grant, "Who may change what, newest first.", lambda store, query: store.grants(query)),
    "gaps": (Gap, "The loss ledger, newest first.", lambda store, query: store.gaps(query)),
    "activity": (Activity, "Operations counted by minute, person and environment.", lambda store, query: store.activity(query)),
    "programs": (ProgramUse, "Runs counted by program, content and person.", lambda store, query: store.programs(query)),
}


class Filter(BaseModel):
    """What every listing takes; every condition that is given must hold."""

    model_config = ConfigDict(extra="forbid")

    environment: str | None = None
    """A prefix, or the last part of one."""
    user: str | None = None
    tool: str | None = None
    package: str | None = None
    outcome: str | None = None
    kind: str | None = None
    program: str | None = None
    text: str | None = None
    status: str | None = None
    detection: str | None = None
    before_id: str | None = None
    since_ms: Annotated[int | None, Field(ge=0, le=1 << 53)] = None
    until_ms: Annotated[int | None, Field(ge=0, le=1 << 53)] = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100


def add_api(app: FastAPI, reading: Reading) -> None:
    """Mount `/api/v1`, `/metrics` and `/healthz`."""
    router = APIRouter(prefix="/api/v1", tags=["trail"])

    for name, (kind, summary, read) in _LISTS.items():
        router.add_api_route(
            f"/{name}",
            _listing(reading, read),
            methods=["GET"],
            summary=summary,
            name=name,
            responses=_answers(kind, is_list=True),
        )

    @router.get("/operations/{id}", summary="One operation.", responses=_answers(Operation))
    async def operation(id: str) -> Response:  # noqa: A002 - the path's word
        return _one(await _asked(reading, lambda store: store.operation(id) if len(id) == 26 else None))

    @router.get("/environments", summary="The environments that are there.", responses=_answers(EnvironmentSummary, is_list=True))
    async def environments() -> Response:
        return _json(await _asked(reading, lambda store: list(store.summaries())))

    @router.get("/snapshot", summary="What an environment held at a moment (now, without one).", responses=_answers(Snapshot))
    async def snapshot(prefix: str, at_ms: Annotated[int | None, Parameter(ge=0, le=1 << 53)] = None) -> Response:
        return _one(await _asked(reading, lambda store: store.snapshot(prefix, at_ms)))

    @router.get("/status", summary="Figures of the trail.", responses=_answers(StoreStatus))
    async def status() -> Response:
        return _json(await _asked(reading, lambda store: store.status()))

    @router.get("/live", summary="New operations and findings, as server-sent events, within a second.")
    async def live(request: Request) -> StreamingResponse:
        return StreamingResponse(_live(reading, request), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    app.include_router(router)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """Whether this process can read the trail, and whether an agent writes it; says nothing else to anybody."""
        try:
            agent = await reading.ask(lambda store: store.agent()) is not None
        except EnvtrailError:
            return Response('{"trail":false}\n', status_code=503, media_type="application/json")
        return Response(f'{{"trail":true,"agent":{str(agent).lower()}}}\n', media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        status, agent = await reading.ask(lambda store: (store.status(), store.agent()))
        return Response(_metrics(status, agent), media_type="text/plain; version=0.0.4; charset=utf-8")

    _describe(app)


def _listing(reading: Reading, read: Callable[[Store, Query], Iterator[Any]]) -> Callable[..., Any]:
    async def listing(query: Annotated[Filter, Parameter()]) -> Response:
        asked = Query(**query.model_dump())
        return _json(await _asked(reading, lambda store: list(islice(read(store, asked), query.limit))))

    return listing


async def _asked(reading: Reading, question: Callable[[Store], Any]) -> Any:
    try:
        return await reading.ask(question)
    except EnvtrailError as fault:
        return fault


def _json(answer: Any) -> Response:
    if isinstance(answer, EnvtrailError):
        code = 400 if isinstance(answer, UsageError) else 503
        return Response(
            msgspec.json.encode({"error": {"id": answer.id, "message": answer.message, "hint": answer.hint}}),
            code,
            media_type="application/json",
        )
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _one(answer: Any) -> Response:
    if answer is None:
        return Response(
            b'{"error":{"id":"input","message":"there is none, or it is not yours to see","hint":null}}',
            404,
            media_type="application/json",
        )
    return _json(answer)


async def _live(reading: Reading, request: Request) -> AsyncIterator[bytes]:
    """Each as `event: operation|finding` with its document; a comment at each look keeps the connection."""
    seen: set[str] = set()

    def newest(store: Store) -> list[tuple[str, Any]]:
        operations = (item for item in store.operations(Query(limit=50)) if item.actor.method != "owner")
        return [("operation", item) for item in operations] + [("finding", item) for item in store.findings(Query(limit=50))]

    is_first = True
    while not await request.is_disconnected():
        found = await reading.ask(newest)
        for kind, item in reversed(found):
            if item.id not in seen and not is_first:
                yield f"event: {kind}\nid: {item.id}\ndata: ".encode() + msgspec.json.encode(item) + b"\n\n"
        seen = {item.id for _, item in found}
        is_first = False
        yield b": still here\n\n"
        await asyncio.sleep(_LOOK_S)


def _metrics(status: StoreStatus, agent: AgentStatus | None) -> bytes:
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(f"envtrail_{name}", text, registry=registry).set(value)

    for name in ("operations", "runs", "sessions", "environments", "unexplained", "gaps", "findings", "requests", "segments"):
        gauge(name, f"{name} in the trail", getattr(status, name))
    gauge("disk_bytes", "bytes of the trail on disk", status.disk_bytes)
    gauge("records_bytes", "bytes of records kept, as the kernel wrote them", status.records_bytes)
    gauge("agent_up", "whether an agent writes the trail", agent is not None)
    if agent is not None:
        gauge("agent_lag_seconds", "age of the newest event when it was read", agent.lag_ms / 1000)
        gauge("agent_cpu_seconds", "processor time of the agent", agent.cpu_s)
        gauge("agent_resident_bytes", "memory of the agent", agent.rss_bytes)
        for name, count in agent.counters.items():
            gauge(f"capture_{name}", f"{name} since the agent's start", count)
        if agent.kernel is not None:
            gauge("kernel_lost", "records that the kernel lost since boot", agent.kernel.lost)
            gauge("kernel_backlog", "records that wait in the kernel", agent.kernel.backlog)
        if agent.rules is not None:
            gauge("rules_loaded", "rules in the kernel", agent.rules.loaded)
            gauge("rules_expected", "rules of the plan", agent.rules.expected)
    return generate_latest(registry)


def _answers(kind: Any, *, is_list: bool = False) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "array", "items": _SCHEMA_OF[kind]} if is_list else _SCHEMA_OF[kind]
    fault = {"description": "What is wrong, and what to do.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        200: {"content": {"application/json": {"schema": schema}}, "description": "As documented."},
        400: fault,
        404: fault,
        503: fault,
    }


def _describe(app: FastAPI) -> None:
    """Add the documents' own schemas, which come from the values themselves."""
    generated = app.openapi

    def described() -> dict[str, Any]:
        document = generated()
        document.setdefault("components", {}).setdefault("schemas", {}).update(_PARTS)
        return document

    app.openapi = described  # type: ignore[method-assign]
