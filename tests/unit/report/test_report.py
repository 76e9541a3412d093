"""A report holds what the trail holds, in both languages, and what users typed harms nobody who reads it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from envtrail.i18n import translator
from envtrail.model.approval import Approval, Grant, GrantId, GrantKind, Request, RequestId, Terms
from envtrail.model.decided import FindingMade, GrantGiven, RequestMade
from envtrail.model.finding import Finding, FindingId, Level, Status
from envtrail.model.gap import Gap, GapCause
from envtrail.model.hours import When
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Operation, Outcome
from envtrail.model.times import to_ms
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.report import content
from envtrail.report.content import Report, Verified, gather
from envtrail.report.html import render_html
from envtrail.report.sections import make_sections
from envtrail.report.tables import write_tables
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.trail.layout import Layout
from envtrail.trail.verify import CANNOT_PROVE

EVIL = "<script>alert(1)</script>\"'&{{7*7}}\u202e\x1b[31m"
T0 = to_ms("2026-01-07T12:00:00Z")
OFFICE_HOURS = When(days=["mon-fri"], hours=["08:00-11:00"], zone="UTC")


def operations() -> list[Operation]:
    made = []
    for at, (user, package) in enumerate([("alice", "six==1.16.0"), (EVIL, f"{EVIL}==1"), ("bob", "-numpy==2.0")]):
        item = operation_of(
            Case(user=user, packages=[package], environment=f"/e/{EVIL if at == 1 else at}", time="2026-01-07T12:00:00.000Z")
        )
        id_ = make_operation_id(EventId(node="h", time_ms=T0 + at, serial=at), "x")
        made.append(msgspec.structs.replace(item, id=id_, argv=["pip", "install", EVIL if at == 1 else "six"]))
    made[2] = msgspec.structs.replace(made[2], outcome=Outcome.FAILURE, explained=False, verdict="deny")
    return made


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Report]:
    layout = Layout(tmp_path / "trail")
    layout.create()
    state = State(layout.state)
    terms = Terms(
        prefix=f"/e/{EVIL}",
        user=EVIL,
        uid=1,
        action="install",
        packages=[EVIL],
        dependencies=True,
        until_ms=T0 + 9,
        uses=1,
        why=EVIL,
    )
    approval = Approval(name=EVIL, uid=0, time_ms=T0, method="service", why=EVIL)
    finding = Finding(
        id=FindingId("F"),
        detection=EVIL,
        source="policy",
        title=EVIL,
        level=Level.HIGH,
        time_ms=T0,
        host=EVIL,
        reason=EVIL,
        user=EVIL,
        prefix=EVIL,
        argv=[EVIL],
        status=Status.ACKNOWLEDGED,
        status_by=EVIL,
        status_why=EVIL,
    )
    with state.transaction():
        for item in operations():
            state.put_operation(item)
        state.put_gap(Gap(id="g", cause=GapCause.RESTART, host="h", since_ms=T0, until_ms=T0 + 5, records=None, detail=EVIL))
        state.decisions.put(FindingMade(time_ms=T0, finding=finding))
        state.decisions.put(RequestMade(time_ms=T0, request=Request(id=RequestId("R"), time_ms=T0, host="h", terms=terms)))
        late = Grant(id=GrantId("G"), kind=GrantKind.LATE, since_ms=T0, terms=terms, approvals=[approval])
        state.decisions.put(GrantGiven(time_ms=T0, grant=late))
    state.close()
    store = EmbeddedStore(layout.folder)
    verified = Verified(state="faults", segments=2, records=9, faults=[EVIL], cannot_prove=["the open segment"])
    yield gather(store, since_ms=T0 - 1, until_ms=T0 + 10, made_ms=T0 + 11, office_hours=OFFICE_HOURS, verified=verified)
    store.close()


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_figures_are_those_of_the_trail(report: Report) -> None:
    assert report.counts == {
        "operations": 3,
        "failed": 1,
        "changes": 3,
        "unexplained": 1,
        "unapproved": 1,
        "people": 3,
        "environments": 3,
        "findings": 1,
        "requests made": 1,
        "grants standing": 1,
        "gaps": 1,
    }
    assert [item.user for item in report.off_hours] == sorted(["alice", "bob", EVIL])
    assert report.levels == {"high": 1}
    assert report.statuses == {"acknowledged": 1}
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_users_typed_is_text_and_nothing_else(report: Report, language: str) -> None:
    page = render_html(report, translator(language), language)
    seen = Seen(page)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert "49" not in page.replace("2026", ""), "a template in a name is not filled in"
    assert sum("<script>alert(1)</script>" in text for text in seen.texts) >= 10
    assert not [value for name, value in seen.attributes if name in {"src", "href"} and not (value or "").startswith("#")]


def test_in_chinese_no_heading_is_english(report: Report) -> None:
    english, chinese = (make_sections(report, translator(language)) for language in ("en", "zh"))
    pairs = [(one.title, other.title) for one, other in zip(english, chinese, strict=True)]
    pairs += [pair for one, other in zip(english, chinese, strict=True) for pair in zip(one.columns, other.columns, strict=True)]
    assert len(pairs) > 60
    assert [one for one, other in pairs if one == other or other.isascii()] == []
    unproven = msgspec.structs.replace(report.verified, cannot_prove=list(CANNOT_PROVE))
    rows = make_sections(msgspec.structs.replace(report, verified=unproven), translator("zh"))[1].rows
    assert [text for _, text in rows if text in CANNOT_PROVE] == [], "what `verify` says is in the catalogue too"
    assert 'lang="zh-Hans"' in render_html(report, translator("zh"), "zh")


def test_tables_hold_no_formula_and_open_as_text(report: Report, tmp_path: Path) -> None:
    written = write_tables(report, translator("en"), tmp_path / "csv")
    assert len(written) == 11
    for path in written:
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]


def test_the_same_data_give_the_same_page(report: Report) -> None:
    assert render_html(report, translator("en"), "en") == render_html(report, translator("en"), "en")


def test_a_trail_that_was_not_looked_at_is_not_called_sound(report: Report) -> None:
    unseen = msgspec.structs.replace(report, verified=Verified(state="not verified", reason="no right"))
    assert "was not verified: no right" in render_html(unseen, translator("en"), "en")
    assert "was changed after it was written" in render_html(report, translator("en"), "en")


def test_what_is_left_out_is_counted(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_ROWS", 2)
    store = EmbeddedStore(tmp_path / "trail")
    short = gather(store, since_ms=T0 - 1, until_ms=T0 + 10, made_ms=T0, office_hours=OFFICE_HOURS, verified=report.verified)
    store.close()
    assert (len(short.operations), short.parts["operations"].left_out, short.counts["operations"]) == (2, 1, 3)
    assert "1 of 3 are left out" in render_html(short, translator("en"), "en")
