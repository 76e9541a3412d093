"""Moments as documents spell them."""

from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from envtrail.model.times import EARLIEST_MS, LATEST_MS, to_ms, to_rfc3339


@given(st.integers(EARLIEST_MS, LATEST_MS))
@example(EARLIEST_MS)
@example(LATEST_MS)
@example(-1)
@example(0)
@example(951_782_399_999)
def test_a_moment_is_spelt_as_the_calendar_has_it(time_ms: int) -> None:
    spelt = datetime.fromtimestamp(time_ms // 1000, tz=timezone.utc).isoformat()[:19]
    assert to_rfc3339(time_ms) == f"{spelt}.{time_ms % 1000:03d}Z"


@given(st.integers(0, 4_102_444_800_000))
def test_what_is_spelt_is_read_again(time_ms: int) -> None:
    assert to_ms(to_rfc3339(time_ms)) == time_ms


def test_what_no_calendar_has_is_the_nearest_moment() -> None:
    assert (to_rfc3339(EARLIEST_MS - 1), to_rfc3339(LATEST_MS + 1)) == ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")
