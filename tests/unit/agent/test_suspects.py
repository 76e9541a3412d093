"""A change of nobody is believed when it is still nobody's after its records have had time to come."""

from __future__ import annotations

from envtrail.agent.suspects import Suspects

SETTLE_MS = 400


def test_the_same_must_be_read_again_after_a_while() -> None:
    suspects = Suspects(SETTLE_MS)
    assert not suspects.is_settled("/v", "a", 0)
    assert not suspects.is_settled("/v", "a", SETTLE_MS - 1)
    assert suspects.due(SETTLE_MS - 1) == []
    assert suspects.due(SETTLE_MS) == ["/v"]
    assert suspects.is_settled("/v", "a", SETTLE_MS)


def test_another_content_begins_anew_and_what_is_explained_is_forgotten() -> None:
    suspects = Suspects(SETTLE_MS)
    suspects.is_settled("/v", "a", 0)
    assert not suspects.is_settled("/v", "b", SETTLE_MS)
    assert suspects.due(SETTLE_MS) == []
    suspects.clear("/v")
    assert not suspects.is_settled("/v", "b", 3 * SETTLE_MS)
