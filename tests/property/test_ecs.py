"""Whatever was typed becomes a document that JSON can say, whose fields are those of the table and no others."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.documents.base import Site, base_document, leaves_of
from envtrail.documents.ecs import amendment_of, documents_of
from envtrail.documents.ecs_events import EVENT_FIELDS, NUMBERS_AS_TEXT, batch_of, event_documents
from envtrail.documents.fields import FIELDS, OWN, STREAMS, mapping
from envtrail.documents.heartbeat import heartbeat_document, heartbeat_of
from envtrail.fleet.cluster import _row_of
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Approval, Grant, Request, Terms
from envtrail.model.ecs import RECORD_FIELDS
from envtrail.model.environment import Environment, Holding, Package, SnapshotRef
from envtrail.model.finding import Finding, FindingId, Level, Status, Suppression
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity
from envtrail.model.ids import EventId, make_operation_id, make_ulid
from envtrail.model.operation import (
    Actor,
    Change,
    Confidence,
    Container,
    EnvironmentRef,
    Operation,
    OperationKind,
    Outcome,
    PackageState,
)
from envtrail.model.run import Run, Session
from envtrail.model.schema import EVENT_COLUMNS
from envtrail.model.times import to_rfc3339

# What the trail holds is JSON already: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.none() | texts
moments = st.integers(0, 4_000_000_000_000)
numbers = st.none() | st.integers(0, 2**32 - 1)
actors = st.builds(
    Actor,
    name=names,
    uid=numbers,
    auid=numbers,
    method=texts,
    confidence=st.sampled_from(Confidence),
    kind=names,
    session=numbers,
    remote=names | st.ip_addresses().map(str),
    chain=st.lists(texts, max_size=3),
    container=st.none() | st.builds(Container, id=texts, engine=texts, image=names),
)
states = st.none() | st.builds(PackageState, version=texts, source=names)
changes = st.builds(Change, ecosystem=texts, name=texts, requested=st.none() | st.booleans(), before=states, after=states)
environments = st.builds(EnvironmentRef, prefix=texts, kind=texts)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    started, took = draw(moments), draw(st.none() | st.integers(0, 10**9))
    return Operation(
        id=make_operation_id(EventId(node="n", time_ms=started, serial=1), "x"),
        kind=draw(st.sampled_from(OperationKind)),
        tool=draw(texts),
        via=[],
        argv=draw(st.lists(texts, max_size=4)),
        host=draw(texts),
        environment=draw(environments),
        actor=draw(actors),
        started=to_rfc3339(started),
        ended=None if took is None else to_rfc3339(started + took),
        outcome=draw(st.sampled_from(Outcome)),
        reason=draw(names),
        exit_code=draw(st.none() | st.integers(0, 255)),
        signal=None,
        changes=draw(st.none() | st.lists(changes, max_size=4)),
        processes=1,
        explained=None,
        grant=draw(names),
        complete=True,
        absent=draw(st.dictionaries(texts, texts, max_size=3)),
        evidence=[],
        policy_rule=draw(names),
        why=draw(st.dictionaries(texts, texts, max_size=3)),
    )


@st.composite
def runs(draw: st.DrawFn) -> Run:
    started = draw(moments)
    return Run(
        id=make_operation_id(EventId(node="n", time_ms=started, serial=1), "r"),
        kind="script",
        program=draw(texts),
        argv=draw(st.lists(texts, max_size=4)),
        host=draw(texts),
        environment=draw(st.none() | environments),
        actor=draw(actors),
        started=to_rfc3339(started),
        ended=draw(st.sampled_from([None, to_rfc3339(started)])),
        outcome=draw(st.sampled_from(Outcome)),
        exit_code=None,
        signal=None,
        snapshot=None,
        cwd=draw(names),
        pid=1,
        image=1,
        absent={},
        evidence=[],
        script_sha256=draw(names),
    )


findings = st.builds(
    Finding,
    id=texts.map(FindingId),
    detection=texts,
    source=texts,
    title=texts,
    level=st.sampled_from(Level),
    time_ms=moments,
    host=texts,
    reason=texts,
    user=names,
    uid=numbers,
    prefix=names,
    package=names,
    argv=st.lists(texts, max_size=3),
    operation=st.none(),
    values=st.dictionaries(texts, texts, max_size=3),
    tags=st.lists(st.sampled_from(["attack.t1059", "attack.t1195.002", "attack.execution", "attack.t", "x"]), max_size=3),
    status=st.sampled_from(Status),
)
gaps = st.builds(
    Gap,
    id=texts,
    cause=st.sampled_from(GapCause),
    host=texts,
    since_ms=moments,
    until_ms=moments,
    records=st.none() | st.integers(0, 2**63 - 1),
    detail=texts,
)

packages = st.builds(
    Package, ecosystem=texts, name=texts, version=texts, url=names, archive=names, license=names, size_bytes=numbers
)
times = st.none() | moments
terms = st.builds(Terms, prefix=texts, user=texts, uid=numbers, why=texts, until_ms=moments, packages=st.lists(texts, max_size=2))
approvals = st.lists(st.builds(Approval, name=texts, uid=numbers, time_ms=moments), max_size=2)
standing = st.one_of(
    st.builds(Environment, prefix=texts, kind=texts, python=names, owner_uid=numbers, created_ms=times, gone=st.booleans()),
    st.builds(Holding, prefix=texts, package=packages, since_ms=moments, until_ms=times),
    st.builds(SnapshotRef, prefix=texts, time_ms=moments, digest=texts, packages=st.integers(0, 9999), faults=st.lists(texts)),
    st.builds(Session, id=texts, host=texts, user=names, auid=numbers, started=moments.map(to_rfc3339), ended=st.none()),
    st.builds(Request, id=texts, time_ms=moments, host=texts, terms=terms, approvals=approvals),
    st.builds(Grant, id=texts, since_ms=moments, terms=terms, approvals=approvals, revoked_ms=times),
    st.builds(Suppression, id=texts, detection=texts, owner=texts, made_ms=moments, until_ms=moments),
    st.builds(
        AccessEntry, id=texts, time_ms=moments, by=st.builds(Identity, name=texts), what=texts, user=names, environment=names
    ),
)


@settings(max_examples=300, deadline=None)
@given(item=operations() | runs() | findings | gaps | standing)
def test_every_document_is_of_the_table_and_reads_back(item: Any) -> None:
    documents = documents_of(item, Site())
    for document in [*documents, amendment_of(item, Site(), 5)]:
        assert document.stream in STREAMS
        check(document.body)
    own = documents[0]
    assert msgspec.convert(_without_counts(own.body["envtrail"][own.stream]), type(item)) == item
    assert len({(document.stream, document.id) for document in documents}) == len(documents)
    assert [document.id for document in documents_of(item, Site())] == [document.id for document in documents]


def test_a_heartbeat_is_of_the_table() -> None:
    beat = heartbeat_of("h", 1, None, outbox=1, refused=2)
    check(heartbeat_document(beat, Site()).body)


def whole(bits: int, *, signed: bool = False) -> st.SearchStrategy[int | None]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.none() | st.integers(least, most)


paths = st.fixed_dictionaries(
    {
        "name": names,
        "nametype": st.sampled_from(["CREATE", "NORMAL", None]),
        "inode": whole(64),
        "mode": whole(32),
        "ouid": whole(32),
    }
)
addresses = (
    names | st.ip_addresses().map(str) | st.sampled_from(["fe80::1%eth0", "::ffff:10.0.0.7", "gpu1.example", "1.2.3", "%"])
)
values: dict[str, st.SearchStrategy[Any]] = {
    "string": names,
    "bool": st.none() | st.booleans(),
    "int32": whole(32, signed=True),
    "int64": whole(64, signed=True),
    "uint16": whole(16),
    "uint32": whole(32),
    "uint64": whole(64),
    "timestamp[ms, tz=UTC]": moments,
    "list<item: string>": st.none() | st.lists(texts, max_size=3),
    "map<string, string>": st.none() | st.dictionaries(texts | st.sampled_from(RECORD_FIELDS), names, max_size=3),
}
kinds = st.sampled_from(["exec", "exit", "file", "user", "config", "daemon", "anomaly", "mac", "other"]) | texts
columns = {column.name: values[column.arrow] for column in EVENT_COLUMNS if column.arrow in values}
columns |= {column.name: names for column in EVENT_COLUMNS if column.arrow.startswith("dictionary")}
columns |= {"paths": st.none() | st.lists(paths, max_size=3), "address": addresses}
columns |= {"serial": st.integers(0, 2**64 - 1), "node": texts, "kind": kinds, "type": texts | st.just("SYSCALL")}
rows = st.fixed_dictionaries({column.name: columns[column.name] for column in EVENT_COLUMNS})


@settings(max_examples=200, deadline=None)
@given(given=st.lists(rows, min_size=1, max_size=4), segment=st.integers(0, 2**63))
def test_every_event_is_a_document_that_reads_back(given: list[dict[str, Any]], segment: int) -> None:
    site = Site(namespace="n")
    batch = batch_of(given)
    made = event_documents(site).make(batch, segment)
    assert event_documents(site).make(batch.slice(1), segment) == made[1:]
    for row, (id_, encoded) in zip(given, made, strict=True):
        body = msgspec.json.decode(encoded)
        assert b"\n" not in encoded
        check(body)
        assert id_ == make_ulid(row["time"], "event", row["node"], str(row["serial"]))
        reported = dict(leaves_of(body))
        assert dict(leaves_of(base_document("event", row["node"], row["time"], site))).items() <= reported.items()
        assert reported["envtrail.event.segment"] == segment
        assert _row_of(body) == {name: None if value in ([], {}) else value for name, value in row.items()}


def test_what_an_event_has_in_ecs_is_a_column_of_it() -> None:
    assert NUMBERS_AS_TEXT <= set(EVENT_FIELDS) <= {column.name for column in EVENT_COLUMNS}


def test_the_number_of_fields_is_constant_and_within_the_servers_limit() -> None:
    def leaves(properties: dict[str, Any]) -> int:
        return sum(1 + leaves(below.get("properties", {})) for below in properties.values())

    assert len(FIELDS) < leaves(mapping()["properties"]) < 1000  # index.mapping.total_fields.limit


def check(body: dict[str, Any]) -> None:
    """It is JSON; what is not below `envtrail.<kind>` is a field of the table."""
    encoded = msgspec.json.encode(body)
    assert msgspec.json.encode(msgspec.json.decode(encoded)) == encoded
    kept = tuple(f"envtrail.{kind}." for kind in (*OWN, "heartbeat"))
    assert {name for name, _value in leaves_of(body) if not name.startswith(kept)} <= set(FIELDS)


def _without_counts(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in {"changed", "installed", "unexplained", "off_hours"}}
