"""The loop and the outbox, on a clock of the test's: what is sent when, what is folded, what is sent again."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from notify_lab import START, NotifierLab, Trail, make_request, write_channels

from envtrail.model.approval import Approval, Grant, GrantKind, make_grant_id
from envtrail.model.decided import FindingMade, GrantGiven, RequestDenied, RequestMade
from envtrail.model.finding import Level, Status
from envtrail.notify.channels import Channel, open_channels
from envtrail.notify.messages import Message
from envtrail.notify.notifier import Notifier
from envtrail.notify.outbox import DAY_MS
from envtrail.notify.services import Answer
from envtrail.state.state import State

MINUTE = 60_000


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NotifierLab]:
    made = NotifierLab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., NotifierLab]]:
    made: list[NotifierLab] = []

    def make(*channels: dict[str, object]) -> NotifierLab:
        made.append(NotifierLab(tmp_path, *channels))
        return made[-1]

    yield make
    for one in made:
        one.close()


class TestWhatIsSent:
    def test_a_finding_is_told_once_however_often_it_is_looked_at_or_made_again(self, lab: NotifierLab) -> None:
        made = lab.notice()
        assert lab.settle() == [made.id]
        lab.trail.put(FindingMade(time_ms=lab.now, finding=made))
        lab.notifier.close()
        lab.start()
        assert lab.settle(later_ms=20 * MINUTE) == []

    def test_what_was_there_long_before_the_first_start_is_not_told_and_the_last_hour_is(self, lab: NotifierLab) -> None:
        lab.notice(time_ms=START - 61 * MINUTE)
        recent = lab.notice(time_ms=START - 59 * MINUTE, user="bob")
        assert lab.settle() == [recent.id]

    @pytest.mark.parametrize("status", [Status.MUTED, Status.ACKNOWLEDGED, Status.APPROVED])
    def test_what_is_not_open_is_not_sent(self, lab: NotifierLab, status: Status) -> None:
        lab.notice(status=status)
        assert lab.settle() == []

    def test_what_is_dealt_with_while_it_waits_is_given_up(self, lab: NotifierLab) -> None:
        lab.answer = lambda _name, _message: Answer(fault="down")
        made = lab.notice()
        lab.settle()
        lab.trail.triage(made, Status.MUTED)
        lab.answer = lambda _name, _message: Answer()
        assert lab.settle(later_ms=10 * MINUTE) == []
        assert (lab.state()["given_up"], lab.state()["waiting"]) == (1, 0)

    def test_a_request_is_told_then_what_became_of_it(self, lab: NotifierLab) -> None:
        granted, denied = make_request("alice", time_ms=START), make_request("bob", time_ms=START)
        lab.trail.put(RequestMade(time_ms=START, request=granted), RequestMade(time_ms=START, request=denied))
        assert sorted(lab.settle()) == sorted([granted.id, denied.id])
        approval = Approval(name="pat", uid=1, time_ms=START, method="service")
        grant = Grant(
            id=make_grant_id(GrantKind.APPROVAL, granted.id, START),
            kind=GrantKind.APPROVAL,
            since_ms=START,
            terms=granted.terms,
            approvals=[approval],
            request=granted.id,
        )
        lab.trail.put(GrantGiven(time_ms=START, grant=grant), RequestDenied(time_ms=START, request=denied.id, by="pat", why="no"))
        lab.settle()
        assert sorted(message.title.split("]")[0] for _, message in lab.sent[2:]) == ["[approved", "[denied"]
        lab.notifier.close()
        lab.start()
        assert lab.settle(later_ms=MINUTE) == []

    def test_a_request_that_was_decided_before_the_first_start_is_never_sent(self, make_lab: Callable[..., NotifierLab]) -> None:
        lab = make_lab()
        old = make_request("alice", time_ms=START - 3 * DAY_MS)
        waiting = make_request("bob", time_ms=START - 3 * DAY_MS)
        lab.trail.put(RequestMade(time_ms=START, request=old), RequestDenied(time_ms=START, request=old.id, by="pat", why="no"))
        lab.trail.put(RequestMade(time_ms=START, request=waiting))
        assert lab.settle() == []
        lab.trail.put(RequestDenied(time_ms=lab.now, request=waiting.id, by="pat", why="no"))
        assert lab.settle() == [waiting.id]

    def test_each_channel_gets_what_it_asks_for_in_its_language(self, make_lab: Callable[..., NotifierLab]) -> None:
        lab = make_lab({"name": "en", "level": "critical"}, {"name": "zh", "language": "zh", "kinds": ["finding"]})
        lab.notice(user="a")
        lab.notice(user="b", level=Level.CRITICAL)
        lab.trail.put(RequestMade(time_ms=START, request=make_request(time_ms=START)))
        lab.settle()
        titles = sorted((name, message.title.split("]")[0]) for name, message in lab.sent)
        assert titles == [("en", "[critical"), ("en", "[request"), ("zh", "[严重"), ("zh", "[高")]

    def test_a_channel_that_is_added_later_is_not_told_of_the_past(
        self, make_lab: Callable[..., NotifierLab], tmp_path: Path
    ) -> None:
        lab = make_lab()
        lab.notice()
        lab.settle()
        lab.notifier.close()
        added = [{"name": name, "url": "json://127.0.0.1:9/x"} for name in ("ops", "new")]
        lab.channels = open_channels(write_channels(tmp_path / "notify.toml", *added))
        lab.start()
        assert lab.settle() == []

    def test_what_waits_for_a_channel_that_was_removed_is_given_up(
        self, make_lab: Callable[..., NotifierLab], tmp_path: Path
    ) -> None:
        lab = make_lab()
        lab.answer = lambda _name, _message: Answer(fault="down")
        lab.notice()
        lab.settle()
        lab.notifier.close()
        lab.channels = open_channels(write_channels(tmp_path / "notify.toml", {"name": "new", "url": "json://127.0.0.1:9/x"}))
        lab.start()
        lab.settle()
        rows = sqlite3.connect(lab.folder / "notify.sqlite").execute("SELECT channel, state, body FROM letters").fetchall()
        assert rows == [("ops", "given up", None)]

    def test_after_a_rebuild_nothing_is_told_again_and_what_is_new_is(self, lab: NotifierLab) -> None:
        made = [lab.notice(user=user) for user in ("a", "b")]
        lab.settle()
        fresh = State(lab.folder / "state/state.sqlite.new")
        later = msgspec.structs.replace(made[0], id=made[0].id[:-4] + "ZZZZ", user="c")
        with fresh.transaction():
            for finding in (made[1], later, made[0]):
                fresh.decisions.put(FindingMade(time_ms=lab.now, finding=finding))
        fresh.close()
        lab.trail.state.close()
        for suffix in ("-wal", "-shm"):
            (lab.folder / f"state/state.sqlite{suffix}").unlink(missing_ok=True)
        (lab.folder / "state/state.sqlite.new").replace(lab.folder / "state/state.sqlite")
        lab.trail.state = State(lab.folder / "state/state.sqlite")
        assert lab.settle(later_ms=MINUTE) == [later.id]

    def test_a_trail_that_is_not_there_yet_is_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "trail").mkdir()
        channels = open_channels(write_channels(tmp_path / "notify.toml", {"name": "ops", "url": "json://127.0.0.1:9/x"}))
        got: list[str] = []

        def send(_channel: Channel, message: Message) -> Answer:
            got.append(message.id)
            return Answer()

        notifier = Notifier(tmp_path / "trail", channels, lambda: START, send)
        assert notifier.step(START) == START + 200
        trail = Trail(tmp_path / "trail")
        made = trail.notice(time_ms=START)
        until = time.monotonic() + 10
        while not got and time.monotonic() < until:
            notifier.step(START + 1000)
        assert got == [made.id]
        notifier.close()
        trail.state.close()


class TestFolding:
    def test_the_like_of_a_finding_within_the_window_is_folded_into_one_digest(self, lab: NotifierLab) -> None:
        first = lab.notice()
        assert lab.settle() == [first.id]
        for _ in range(5):
            lab.notice()
            assert lab.settle(later_ms=MINUTE) == []
        (digest,) = lab.settle(later_ms=6 * MINUTE)
        assert digest.startswith("digest-")
        assert "5 × [high] nobody-changes-prod: alice in /opt/conda/envs/prod-ml" in lab.sent[-1][1].body
        assert (lab.state()["sent"], lab.state()["digested"], lab.state()["waiting"]) == (1, 5, 0)

    @pytest.mark.parametrize("other", [{"user": "bob"}, {"prefix": "/opt/other"}, {"detection": "another"}])
    def test_what_differs_in_person_environment_or_detection_is_no_like(self, lab: NotifierLab, other: dict[str, object]) -> None:
        lab.notice()
        second = lab.notice(**other)
        assert second.id in lab.settle()

    def test_after_a_quiet_window_it_is_told_at_once_again(self, lab: NotifierLab) -> None:
        lab.notice()
        lab.settle()
        again = lab.notice(time_ms=lab.now + 11 * MINUTE)
        assert lab.settle(later_ms=11 * MINUTE) == [again.id]

    def test_what_goes_on_without_end_costs_one_digest_a_window(self, lab: NotifierLab) -> None:
        for _ in range(60):
            lab.notice()
            lab.settle(later_ms=MINUTE)
        lab.settle(later_ms=11 * MINUTE)
        assert len(lab.sent) <= 8
        assert (lab.state()["sent"], lab.state()["digested"]) == (1, 59)

    def test_a_flood_is_at_most_so_many_messages_and_one_digest_with_counts(self, make_lab: Callable[..., NotifierLab]) -> None:
        lab = make_lab({"most_per_digest": 3})
        lab.trail.put(
            *(
                FindingMade(time_ms=START, finding=msgspec.structs.replace(lab.notice(user="u0"), id=f"{at:026d}", user=f"u{at}"))
                for at in range(1, 500)
            )
        )
        assert len(lab.settle()) == 3
        assert len(lab.settle(later_ms=9 * MINUTE)) == 0
        (digest,) = lab.settle(later_ms=MINUTE)
        message = lab.sent[-1][1]
        assert digest == message.id
        counts = [int(line.split(" × ")[0]) for line in message.body.splitlines() if " × " in line]
        rest = next(int(line.split()[0]) for line in message.body.splitlines() if "other kinds" in line)
        reported = int(message.title.split(": ")[1].split()[0])
        assert sum(counts) + rest == reported == lab.state()["digested"]
        assert 3 + reported == len(set(all_ids(lab)))

    def test_a_digest_that_is_not_taken_is_tried_again_and_loses_nobody(self, lab: NotifierLab) -> None:
        lab.notice()
        lab.settle()
        lab.notice()
        lab.settle(later_ms=MINUTE)
        lab.answer = lambda _name, _message: Answer(fault="down")
        assert lab.settle(later_ms=11 * MINUTE) == []
        assert lab.state()["waiting"] == 1
        lab.notifier.close()
        lab.answer = lambda _name, _message: Answer()
        lab.start()
        (digest,) = lab.settle(later_ms=MINUTE)
        assert digest.startswith("digest-")
        assert (lab.state()["digested"], lab.state()["waiting"]) == (1, 0)


class TestFailing:
    def test_it_is_tried_again_later_each_time_at_most_ten_minutes_apart_without_end(self, lab: NotifierLab) -> None:
        tries: list[int] = []

        def refuse(_name: str, _message: Message) -> Answer:
            tries.append(lab.now)
            return Answer(fault="down")

        lab.answer = refuse
        made = lab.notice()
        while lab.now < START + 12 * 3_600_000:
            lab.settle(later_ms=250)
            failures, next_ms = lab.state()["failures"], lab.state()["next_ms"]
            assert isinstance(next_ms, int)
            lab.now = max(lab.now, next_ms - 250)
            assert failures == len(tries)
        waits = [after - before for before, after in itertools.pairwise(tries)]
        assert waits[0] <= 1_500
        assert 250_000 <= waits[-1] <= 600_500
        assert max(waits) <= 600_500
        assert len(tries) > 60
        lab.answer = lambda _name, _message: Answer()
        assert lab.settle(later_ms=10 * MINUTE) == [made.id]

    def test_a_fault_and_when_it_is_tried_again_are_kept_for_status(self, lab: NotifierLab) -> None:
        lab.answer = lambda _name, _message: Answer(fault="error=404", permanent=True)
        lab.notice()
        lab.settle()
        state = lab.state()
        assert (state["fault"], state["permanent"], state["failures"], state["success_ms"]) == ("error=404", True, 1, None)
        lab.answer = lambda _name, _message: Answer()
        lab.settle(later_ms=MINUTE)
        state = lab.state()
        assert (state["permanent"], state["failures"], state["next_ms"], state["success_ms"]) == (False, 0, None, lab.now)

    def test_a_message_that_is_never_taken_does_not_hold_up_the_others_for_ever(self, lab: NotifierLab) -> None:
        poison = lab.notice(user="poison").id
        others = [lab.notice(user=f"u{at}").id for at in range(3)]
        lab.answer = lambda _name, message: Answer(fault="too odd") if message.id == poison else Answer()
        reported: list[str] = []
        for _ in range(40):
            reported += lab.settle(later_ms=5 * MINUTE)
        assert sorted(reported) == sorted(others)
        assert lab.state()["waiting"] == 1

    def test_a_backlog_of_an_outage_is_not_a_flood_when_it_ends(self, make_lab: Callable[..., NotifierLab]) -> None:
        lab = make_lab({"most_per_digest": 5})
        lab.answer = lambda _name, _message: Answer(fault="down")
        for at in range(100):
            lab.notice(user=f"u{at}")
            lab.settle(later_ms=5 * MINUTE)
        lab.answer = lambda _name, _message: Answer()
        assert len(lab.settle(later_ms=11 * MINUTE)) <= 6
        lab.settle(later_ms=11 * MINUTE)
        assert len(lab.sent) <= 7
        assert lab.state()["waiting"] == 0

    def test_a_channel_that_hangs_holds_up_nobody_and_order_is_kept(self, make_lab: Callable[..., NotifierLab]) -> None:
        lab = make_lab({"name": "slow"}, {"name": "fast"})
        gate = threading.Event()

        def answer(name: str, _message: Message) -> Answer:
            if name == "slow":
                gate.wait(10)
            return Answer()

        lab.answer = answer
        ids = [lab.notice(user=f"u{at}").id for at in range(5)]
        lab.notifier.step(lab.now)
        until = time.monotonic() + 5
        while len(lab.sent) < 5 and time.monotonic() < until:
            lab.notifier.step(lab.now)
        assert [(name, message.id) for name, message in lab.sent] == [("fast", id_) for id_ in ids]
        gate.set()
        lab.settle()
        assert [message.id for name, message in lab.sent if name == "slow"] == ids

    def test_a_channel_that_raises_is_a_channel_that_failed(self, lab: NotifierLab) -> None:
        def burst(_name: str, _message: Message) -> Answer:
            raise RuntimeError("s3cr3t")

        lab.answer = burst
        made = lab.notice()
        lab.settle()
        assert lab.state()["fault"] == "RuntimeError"
        lab.answer = lambda _name, _message: Answer()
        assert lab.settle(later_ms=MINUTE) == [made.id]

    def test_nothing_is_sent_while_the_outbox_cannot_be_written(self, lab: NotifierLab) -> None:
        """On a full disk each step fails before anything is handed over, so that nobody is notified again and again."""
        made = lab.notice()
        other = sqlite3.connect(lab.folder / "notify.sqlite", isolation_level=None)
        lab.notifier._outbox._database.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                lab.notifier.step(lab.now)
        assert lab.sent == []
        other.execute("ROLLBACK")
        other.close()
        assert lab.settle() == [made.id]

    def test_a_yes_that_cannot_be_marked_is_marked_later_and_not_asked_for_again(self, lab: NotifierLab) -> None:
        made = lab.notice()
        lab.notifier.step(lab.now)
        lab.woken.get(timeout=10)
        other = sqlite3.connect(lab.folder / "notify.sqlite", isolation_level=None)
        lab.notifier._outbox._database.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            lab.notifier.step(lab.now)
        other.execute("ROLLBACK")
        other.close()
        lab.settle()
        assert [message.id for _, message in lab.sent] == [made.id]
        assert lab.state()["sent"] == 1


def all_ids(lab: NotifierLab) -> list[str]:
    rows = sqlite3.connect(lab.folder / "state/state.sqlite").execute("SELECT id FROM findings").fetchall()
    return [id_ for (id_,) in rows]
