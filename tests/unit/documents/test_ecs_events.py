"""Typed events as documents: as the first version, which was Python, made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envtrail.documents.base import Site
from envtrail.documents.ecs_events import batch_of, documents_of_rows, event_documents
from envtrail.state.store import EventRow

SITE = Site(namespace="golden")
GOLDEN = [json.loads(line) for line in (Path(__file__).parents[2] / "data/event_documents.jsonl").read_bytes().splitlines()]
"""Rows with their ids and documents, the version left out: programs, exits, files, logins, settings, and one of odd values."""


def test_a_document_is_what_it_always_was() -> None:
    assert len(GOLDEN) == 13
    assert {one["row"]["kind"] for one in GOLDEN} >= {"exec", "exit", "file", "user", "config", "daemon", "anomaly", "other"}
    made = event_documents(SITE).make(batch_of([one["row"] for one in GOLDEN]), 7)
    for (id_, body), one in zip(made, GOLDEN, strict=True):
        document = json.loads(body)
        assert document["agent"].pop("version")
        assert (id_, document) == (one["id"], one["document"])


def test_rows_of_several_segments_keep_their_order() -> None:
    rows = [EventRow(segment=at // 3, values=one["row"], records=None) for at, one in enumerate(GOLDEN)]
    made = list(documents_of_rows(rows, SITE))
    assert [id_ for id_, _body in made] == [one["id"] for one in GOLDEN]
    assert [json.loads(body)["envtrail"]["event"]["segment"] for _id, body in made] == [row.segment for row in rows]


@pytest.mark.parametrize("column", ["node", "time", "serial"])
def test_an_event_that_nothing_tells_from_another_is_named(column: str) -> None:
    rows = [GOLDEN[0]["row"], GOLDEN[1]["row"] | {column: None}]
    with pytest.raises(ValueError, match="row 1: an event has a node, a time and a serial"):
        event_documents(SITE).make(batch_of(rows), 1)


def test_columns_that_are_not_there_are_absent() -> None:
    batch = batch_of([GOLDEN[0]["row"]]).select(["node", "time", "serial"])
    ((_id, body),) = event_documents(SITE).make(batch, 1)
    document = json.loads(body)
    assert document["envtrail"] == {"kind": "event", "event": {"serial": GOLDEN[0]["row"]["serial"], "segment": 1}}
    assert document["event"]["outcome"] == "unknown"
    assert "process" not in document


def test_what_is_no_batch_is_refused() -> None:
    column = batch_of([GOLDEN[0]["row"]]).column("pid")
    with pytest.raises(TypeError, match="no record batch"):
        event_documents(SITE).make(column, 1)
