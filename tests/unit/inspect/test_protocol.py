"""Frames, and answers that are not those that were asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.inspect.client import _checked
from envtrail.inspect.protocol import (
    HEAD,
    Answer,
    EnvironmentRead,
    FrameKind,
    FrameReader,
    PlaceHeld,
    ReadEnvironment,
    ReadingRefused,
    ScriptDigested,
    decode_answer,
    frame,
    wrap,
)
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.observation import BaselineChange

REQUEST = ReadEnvironment(prefix="/home/alice/v")
HELD = PlaceHeld(prefix="/home/alice/v", uid=1000)


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 30))
def test_frames_are_the_same_however_they_are_cut(bodies: list[bytes], size: int) -> None:
    sent = b"".join(wrap(body, FrameKind.ANSWER) for body in bodies)
    reader = FrameReader(50)
    received = [one for at in range(0, len(sent), size) for one in reader.push(sent[at : at + size])]
    assert received == [(FrameKind.ANSWER, body) for body in bodies]


@pytest.mark.parametrize("head", [HEAD.pack(51, 3), HEAD.pack(2**32 - 1, 0), HEAD.pack(1, 9)])
def test_a_frame_that_is_too_long_or_of_no_kind_is_refused_before_its_body_comes(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"more than 50 bytes|9"):
        FrameReader(50).push(head)


def test_an_answer_is_what_it_was() -> None:
    answer = EnvironmentRead(environment=environment(), changed_ms=1.5)
    ((kind, body),) = FrameReader(10_000).push(frame(answer, FrameKind.ANSWER))
    assert (kind, decode_answer(body)) == (FrameKind.ANSWER, answer)


def environment(prefix: str = HELD.prefix, owner_uid: int = HELD.uid) -> Environment:
    return Environment(prefix=prefix, kind="venv", owner_uid=owner_uid)


def past(prefix: str) -> BaselineChange:
    return BaselineChange(
        time_ms=1, prefix=prefix, kind="venv", when_ms=1, argv=None, tool="pip", owner_uid=1, added=["x 1"], removed=[]
    )


BOBS = Snapshot(prefix="/home/bob/v", kind="venv", packages=[])


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        (EnvironmentRead(environment=environment("/home/bob/v")), HELD),
        (EnvironmentRead(environment=environment(owner_uid=0)), HELD),
        (EnvironmentRead(environment=environment()), None),
        (EnvironmentRead(environment=environment(), snapshot=BOBS), HELD),
        (EnvironmentRead(environment=environment(), past=[past("/home/bob/v")]), HELD),
        (ScriptDigested(sha256="0" * 64), HELD),
    ],
)
def test_a_worker_cannot_speak_of_another_environment(answer: Answer, held: PlaceHeld | None) -> None:
    assert isinstance(_checked(REQUEST, answer, held), ReadingRefused)


def test_what_it_says_of_its_own_is_taken() -> None:
    own = Snapshot(prefix=HELD.prefix, kind="venv", packages=[])
    for answer in (
        EnvironmentRead(environment=None),
        EnvironmentRead(environment=environment(), snapshot=own, past=[past(HELD.prefix)]),
    ):
        assert _checked(REQUEST, answer, HELD) is answer
