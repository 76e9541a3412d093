"""Who keeps their reader waiting is read later and later, and nobody else."""

from __future__ import annotations

from envtrail.inspect.backoff import Backoff


def test_a_place_waits_twice_as_long_each_time_up_to_an_hour() -> None:
    backoff, now_s, waits = Backoff(), 0.0, []
    for _ in range(12):
        backoff.note_failure("/v", 1000, now_s)
        waits.append(backoff.place_wait_s("/v", now_s))
        now_s += waits[-1]
        assert backoff.place_wait_s("/v", now_s) == 0
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600
    assert backoff.place_wait_s("/w", 0.0) == 0


def test_one_success_ends_it() -> None:
    backoff = Backoff()
    backoff.note_failure("/v", 1000, 0.0)
    backoff.note_success("/v")
    assert backoff.place_wait_s("/v", 0.0) == 0
    backoff.note_failure("/v", 1000, 0.0)
    assert backoff.place_wait_s("/v", 0.0) == 10


def test_three_failures_within_five_minutes_keep_all_of_an_owners_waiting_and_nobody_elses() -> None:
    backoff = Backoff()
    for at in range(3):
        assert backoff.owner_wait_s(1000, 10.0 * at) == 0
        backoff.note_failure(f"/v{at}", 1000, 10.0 * at)
    assert backoff.owner_wait_s(1000, 20.0) == 280
    assert backoff.owner_wait_s(1000, 300.0) == 0
    assert backoff.owner_wait_s(1001, 20.0) == 0


def test_what_is_roots_waits_place_by_place_and_an_unknown_owner_is_nobody() -> None:
    backoff = Backoff()
    for at in range(9):
        backoff.note_failure(f"/v{at}", 0, 1.0)
        backoff.note_failure(f"/w{at}", None, 1.0)
    assert backoff.owner_wait_s(0, 1.0) == 0
    assert backoff.place_wait_s("/v3", 1.0) == 10


def test_what_is_remembered_is_bounded() -> None:
    backoff = Backoff()
    for at in range(10_500):
        backoff.note_failure(f"/v{at}", at + 1, 1.0)
    assert (len(backoff._places), len(backoff._owners)) == (10_000, 10_000)
