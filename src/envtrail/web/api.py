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
from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from envtrail.errors import EnvtrailError, UnknownNameError, UsageError
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant
from envtrail.model.approval import Request as ApprovalRequest
from envtrail.model.environment import EnvironmentSummary, Snapshot
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session
from envtrail.model.times import LATEST_MS
from envtrail.state.agent_status import AgentStatus
from envtrail.state.lookup import Incomplete, find_incomplete, marked, need_known, resolve_environment, resolve_names
from envtrail.state.store import Query, Store, StoreStatus
from envtrail.web.access import COOKIE
from envtrail.web.feed import WebFeed
from envtrail.web.reading import Reading

MOST = 1000
_LOOK_S = 0.5
_KINDS: tuple[Any, ...] = (
    Operation,
    Run,
    Session,
    Finding,
    ApprovalRequest,
    Grant,
    Gap,
    AccessEntry,
    EnvironmentSummary,
    Snapshot,
    StoreStatus,
    Activity,
    ProgramUse,
)
_SCHEMAS, _PARTS = msgspec.json.schema_components(_KINDS, ref_template="#/components/schemas/{name}")
_SCHEMA_OF = dict(zip(_KINDS, _SCHEMAS, strict=True))
INCOMPLETE = "Envtrail-Incomplete"
"""Response header about a package query whose answer may lack operations, because their changes are not recorded: JSON."""


def _operations(store: Store, query: Query) -> Iterator[Operation]:
    return store.operations(query)


_LISTS: dict[str, tuple[Any, str, Callable[[Store, Query], Iterator[Any]]]] = {
    "operations": (Operation, "Operations, newest first.", _operations),
    "runs": (Run, "Python programs that ran, newest first.", lambda store, query: store.runs(query)),
    "sessions": (Session, "Logins, newest first.", lambda store, query: store.sessions(query)),
    "findings": (Finding, "Findings, newest first.", lambda store, query: store.findings(query)),
    "requests": (ApprovalRequest, "Requests for changes, newest first.", lambda store, query: store.requests(query)),
    "grants": (Grant, "Who may change what, newest first.", lambda store, query: store.grants(query)),
    "gaps": (Gap, "The loss ledger, newest first.", lambda store, query: store.gaps(query)),
    "activity": (Activity, "Operations counted by minute, person and environment.", lambda store, query: store.activity(query)),
    "looks": (AccessEntry, "Who looked at whose data in the web UI, newest first.", lambda store, query: store.access_log(query)),
    "programs": (ProgramUse, "Runs counted by program, content and person.", lambda store, query: store.programs(query)),
}


_SINGLES: dict[str, tuple[Any, str, Callable[[Store, str], Any]]] = {
    "operations": (Operation, "One operation.", lambda store, id_: store.operation(id_)),
    "runs": (Run, "One run.", lambda store, id_: store.run(id_)),
    "findings": (Finding, "One finding.", lambda store, id_: next(store.findings(Query(id_prefix=id_, limit=1)), None)),
    "requests": (ApprovalRequest, "One request.", lambda store, id_: next(store.requests(Query(id_prefix=id_, limit=1)), None)),
    "grants": (Grant, "One approval.", lambda store, id_: next(store.grants(Query(id_prefix=id_, limit=1)), None)),
}
_ID = "^[0-9A-HJKMNP-TV-Z]{26}$"
"""A ULID (https://github.com/ulid/spec): Crockford's base 32."""
_FAULT = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["id", "message", "hint"],
            "properties": {"id": {"type": "string"}, "message": {"type": "string"}, "hint": {"type": ["string", "null"]}},
        }
    },
}
ReadingOf = Callable[[Request], Reading]
"""The parts of the store that the user may read."""


class ApiFilter(BaseModel):
    """Conditions of every listing; all given ones must hold."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str | None = None
    """Name of the machine."""
    environment: str | None = None
    """A prefix, or the last part of one."""
    user: str | None = None
    """Name or uid."""
    tool: str | None = None
    package: str | None = None
    """Operations that changed it, and those that requested it when their changes are not recorded: `matched` says which."""
    outcome: str | None = None
    kind: str | None = None
    program: str | None = None
    """Path of a script, or the last part of one, or name of a module (runs)."""
    text: str | None = None
    """Part of the command line."""
    status: str | None = None
    """Status of findings and requests."""
    detection: str | None = None
    """Name or id of the rule (findings)."""
    before_id: str | None = None
    """Keyset paging: only items older than this id."""
    since_ms: Annotated[int | None, Field(ge=0, le=LATEST_MS)] = None
    """Unix time in ms."""
    until_ms: Annotated[int | None, Field(ge=0, le=LATEST_MS)] = None
    """Unix time in ms."""
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100


def add_api(app: FastAPI, own: Reading, reading_of: ReadingOf, feed: WebFeed) -> None:
    """Mount `/api/v1`, `/metrics` and `/healthz`.

    Args:
        app: The application.
        own: For figures that belong to nobody.
        reading_of: For everything else.
        feed: New items.
    """
    router = APIRouter(prefix="/api/v1", tags=["trail"])

    for name, (kind, summary, read) in _LISTS.items():
        router.add_api_route(
            f"/{name}",
            _listing(reading_of, read),
            methods=["GET"],
            summary=summary,
            name=name,
            response_class=JSONResponse,
            responses=_answers(kind, is_list=True),
        )
    for name, (kind, summary, find) in _SINGLES.items():
        router.add_api_route(
            f"/{name}/{{id}}",
            _single(reading_of, find),
            methods=["GET"],
            summary=summary,
            name=f"one of {name}",
            response_class=JSONResponse,
            responses=_answers(kind),
        )

    @router.get("/environments", summary="The existing environments.", responses=_answers(EnvironmentSummary, is_list=True))
    async def environments(request: Request) -> Response:
        return await _answered(reading_of(request), lambda store: list(store.summaries()))

    @router.get("/snapshot", summary="What an environment held at a moment (now, without one).", responses=_answers(Snapshot))
    async def snapshot(
        request: Request, prefix: str, at_ms: Annotated[int | None, Parameter(ge=0, le=LATEST_MS)] = None
    ) -> Response:
        return await _answered(reading_of(request), lambda store: store.snapshot(resolve_environment(store, prefix), at_ms))

    @router.get("/status", summary="Figures of the trail.", responses=_answers(StoreStatus))
    async def status(request: Request) -> Response:
        return await _answered(reading_of(request), lambda store: store.status())

    @router.get(
        "/live",
        summary="New operations and findings, as server-sent events, within a second.",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "`event: operation|finding`, `data:` its document."}
        },
    )
    async def live(request: Request) -> StreamingResponse:
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(_live(feed, reading_of(request), request), media_type="text/event-stream", headers=headers)

    app.include_router(router)
    _add_figures(app, own)
    app.add_exception_handler(RequestValidationError, _refuse)
    _describe(app)


def _add_figures(app: FastAPI, own: Reading) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """Whether this process can read the trail, and whether an agent writes it; it discloses nothing else."""
        try:
            agent = await own.query(lambda store: store.agent()) is not None
        except EnvtrailError:
            return Response('{"trail":false}\n', status_code=503, media_type="application/json")
        return Response(f'{{"trail":true,"agent":{str(agent).lower()}}}\n', media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        try:
            status, agent = await own.query(lambda store: (store.status(), store.agent()))
        except EnvtrailError as fault:
            return _fault(503, fault.id, fault.message, fault.hint)
        return Response(_metrics(status, agent), media_type="text/plain; version=0.0.4; charset=utf-8")


def _listing(reading_of: ReadingOf, read: Callable[[Store, Query], Iterator[Any]]) -> Callable[..., Any]:
    async def listing(request: Request, query: Annotated[ApiFilter, Parameter()]) -> Response:
        given = Query(**query.model_dump())
        missing: list[Incomplete] = []

        def answer(store: Store) -> list[Any]:
            resolved = resolve_names(store, given)
            found = list(islice(read(store, resolved), query.limit))
            missing.extend(filter(None, [find_incomplete(store, resolved) if read is _operations else None]))
            if not found and not missing:
                need_known(store, resolved)
            return list(marked(found, resolved)) if read is _operations else found

        response = await _answered(reading_of(request), answer)
        if missing:
            response.headers[INCOMPLETE] = msgspec.json.encode(missing[0]).decode("ascii")
        return response

    return listing


def _single(reading_of: ReadingOf, find: Callable[[Store, str], Any]) -> Callable[..., Any]:
    async def single(request: Request, id: Annotated[str, Path(pattern=_ID)]) -> Response:  # noqa: A002 - the path's word
        return await _answered(reading_of(request), lambda store: find(store, id))

    return single


async def _answered(reading: Reading, question: Callable[[Store], Any]) -> Response:
    try:
        answer = await reading.query(question)
    except UnknownNameError as fault:
        return _fault(404, fault.id, fault.message, fault.hint)
    except EnvtrailError as fault:
        return _fault(400 if isinstance(fault, UsageError) else 503, fault.id, fault.message, fault.hint)
    if answer is None:
        return _fault(404, "input", "not found, or access denied", None)
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _fault(code: int, id_: str, message: str, hint: str | None) -> Response:
    body = msgspec.json.encode({"error": {"id": id_, "message": message, "hint": hint}})
    return Response(body, code, media_type="application/json")


async def _refuse(_: Request, fault: Exception) -> Response:
    """FastAPI's validation messages, in the form of all other faults."""
    errors = fault.errors() if isinstance(fault, RequestValidationError) else []
    said = "; ".join(f"`{error['loc'][-1]}`: {error['msg']}" for error in errors)
    return _fault(422, "usage", said or "no such query", "/api/openapi.json describes the queries")


async def _live(feed: WebFeed, reading: Reading, request: Request) -> AsyncIterator[bytes]:
    """Each as `event: operation|finding` with its document; a comment at each poll keeps the connection."""
    number = feed.begin()
    while not await request.is_disconnected():
        for at, item in feed.after(number, reading):
            kind = "operation" if isinstance(item, Operation) else "finding"
            yield f"event: {kind}\nid: {item.id}\ndata: ".encode() + msgspec.json.encode(item) + b"\n\n"
            number = at
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
        gauge("agent_full", "whether nothing is recorded because the disk is full", agent.full_since_ms is not None)
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
    fault = {
        "description": "What is wrong, and what to do.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}},
    }
    said = {"description": "No session, and no token.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        200: {"content": {"application/json": {"schema": schema}}, "description": "As documented."},
        **dict.fromkeys((400, 404, 422, 503), fault),
        401: said,
    }


def _describe(app: FastAPI) -> None:
    """Add the documents' own schemas, generated from their types, and the security schemes."""
    generated = app.openapi

    def described() -> dict[str, Any]:
        document = generated()
        parts = document.setdefault("components", {})
        parts.setdefault("schemas", {}).update(_PARTS, Fault=_FAULT)
        parts["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
        document["security"] = [{"token": []}, {"session": []}]
        return document

    app.openapi = described  # type: ignore[method-assign]
