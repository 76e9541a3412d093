"""A trail whose access log was poisoned over the socket of the first version: everything that reads it goes on, and shows what is there."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from web_lab import serve_page

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.documents.base import Site
from envtrail.documents.ecs import documents_of
from envtrail.model.access_log import AccessEntry, make_access_entry
from envtrail.model.decided import AccessRecorded, SuppressionSet
from envtrail.model.finding import Suppression
from envtrail.model.identity import Identity, Role
from envtrail.model.times import EARLIEST_MS, LATEST_MS, bounded_ms, show_ms, to_rfc3339

NOW_MS = 1_764_000_000_000
HUGE = 999_999_999_999_999_999_999
EVE = Identity(name="eve\x1b[2J", role=Role.MEMBER, uid=1003, method="link")
GOOD = make_access_entry(
    Identity(name="audrey", role=Role.AUDITOR, uid=None, method="local"),
    "runs",
    NOW_MS,
    user="alice",
    environment=None,
    item=None,
)


def poison(time_ms: int, id_: str, item: str | None = None) -> AccessEntry:
    return AccessEntry(id=id_, time_ms=time_ms, by=EVE, what="<b>all</b>", user=None, environment=None, item=item)


POISONED = [
    poison(HUGE, "7" * 26),
    poison(-HUGE, ""),
    poison(-1, "\x00"),
    poison(LATEST_MS + 1, "~~~"),
    poison(EARLIEST_MS - 1, "x" * 60_000),
    poison(1 << 63, "0" * 26),
    poison(NOW_MS + 5, GOOD.id, "replaced"),
]


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    config = load_config(environ={"ENVTRAIL_DATA_DIR": str(tmp_path / "trail")})
    mute = Suppression(id="M" * 26, detection="d", reason="r", owner="eve", until_ms=HUGE, made_ms=HUGE)
    with open_trail(config, world=ImportedWorld()) as opened:
        opened.pipeline.observe([AccessRecorded(time_ms=NOW_MS, entries=[GOOD])], NOW_MS)
        opened.pipeline.observe(
            [AccessRecorded(time_ms=NOW_MS + 1 + at, entries=[entry]) for at, entry in enumerate(POISONED)], NOW_MS
        )
        opened.pipeline.observe([SuppressionSet(time_ms=NOW_MS, suppression=mute)], NOW_MS)
    return tmp_path / "trail"


def envtrail(trail: Path, *words: str) -> str:
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def access_log(trail: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in envtrail(trail, "access-log", "--json").splitlines()]


def test_every_entry_is_listed_before_and_after_a_rebuild(trail: Path) -> None:
    found = access_log(trail)
    assert len(found) == 1 + len(POISONED)
    assert [item for item in found if item["id"] == GOOD.id] == [json.loads(_encode(GOOD))], "nobody's entry is replaced"
    assert {item["time_ms"] for item in found} == {GOOD.time_ms, *(entry.time_ms for entry in POISONED)}
    envtrail(trail, "rebuild")
    assert access_log(trail) == found
    envtrail(trail, "verify")
    text = envtrail(trail, "access-log")
    assert f"{HUGE} ms"[:19] in text
    assert "\x1b" not in text


def _encode(entry: AccessEntry) -> bytes:
    return msgspec.json.encode(entry)


def test_a_state_that_the_first_version_wrote_is_read_too(trail: Path) -> None:
    """It kept the ids that clients chose."""
    with sqlite3.connect(trail / "state/state.sqlite") as database:
        database.execute("DELETE FROM looks")
        database.executemany(
            "INSERT OR REPLACE INTO looks VALUES (?, ?)", [(entry.id, _encode(entry)) for entry in (GOOD, *POISONED)]
        )
    database.close()
    assert len(access_log(trail)) >= 4
    envtrail(trail, "access-log")
    envtrail(trail, "rebuild")
    assert len(access_log(trail)) == 1 + len(POISONED)


def test_the_page_and_its_api_show_them_as_text(trail: Path) -> None:
    with serve_page(trail) as page:
        page.enter()
        status, _, text = page.ask("/looks?since=400d")
        assert status == 200
        assert "<b>all</b>" not in text.replace("\\u003c", "<")
        assert str(HUGE)[:19] in text
        status, _, text = page.ask("/api/v1/looks")
        assert status == 200
        assert len(json.loads(text)) == 1 + len(POISONED)
        assert page.ask("/health")[0] == 200


def test_the_shippers_end_and_every_entry_is_a_document(trail: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    envtrail(trail, "elastic", "write", "--once", str(out))
    documents = [json.loads(line) for line in out.read_text().splitlines()]
    written = [item for item in documents if item["event"]["dataset"] == "envtrail.look"]
    assert len(written) == 1 + len(POISONED)


@pytest.mark.parametrize("entry", POISONED)
def test_a_document_has_a_moment_that_a_calendar_has(entry: AccessEntry) -> None:
    (document,) = documents_of(entry, Site(host="h"))
    stamp = document.body["@timestamp"]
    assert len(stamp) == 24
    assert stamp[4] == "-"
    assert ("no moment" in document.body["event"].get("reason", "")) == (entry.time_ms != bounded_ms(entry.time_ms))


@pytest.mark.parametrize(
    "time_ms", [HUGE, -HUGE, -1, 0, EARLIEST_MS, EARLIEST_MS - 1, LATEST_MS, LATEST_MS + 1, 1 << 63, 10**400]
)
def test_any_number_is_shown(time_ms: int) -> None:
    assert show_ms(time_ms)
    assert len(to_rfc3339(time_ms)) == 24
