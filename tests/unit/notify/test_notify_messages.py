"""Messages: whole, harmless, without secrets, and with commands that do exactly what they say."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notify_lab import finding

from envtrail.core import redact_argv
from envtrail.model.approval import Approval, GrantId, Request, RequestId, RequestStatus, Terms
from envtrail.model.finding import Level, mute_command
from envtrail.model.patterns import as_pattern
from envtrail.model.text import is_safe
from envtrail.notify.messages import (
    Digest,
    Group,
    render_decision,
    render_digest,
    render_finding,
    render_request,
)


def request(**values: object) -> Request:
    terms = Terms(
        prefix="/opt/conda/envs/prod-ml",
        user="alice",
        uid=1001,
        action="install",
        packages=["torch>=2.5"],
        dependencies=True,
        until_ms=1_764_086_400_000,
        uses=1,
        why="the paper's deadline",
    )
    base = Request(id=RequestId("01KC0000000000000000000002"), time_ms=1_764_000_000_000, host="gpu1", terms=terms)
    return msgspec.structs.replace(base, **values)


class TestFindings:
    def test_it_says_who_what_where_when_why_the_command_and_the_ids(self) -> None:
        message = render_finding(finding(), "en")
        assert message.title == "[high] gpu1: alice changed prod-ml"
        for word in (
            "Who: alice (uid 1001)",
            "Where: /opt/conda/envs/prod-ml on gpu1",
            "When: 2025-11-2",
            "Command: pip install six==1.16.0",
            "Why: changes of prod go through the platform team",
            "Finding: 01KB0000000000000000000001",
            "  envtrail approve --operation 01KA0000000000000000000009 --why",
            "  envtrail mute nobody-else-changes-prod --environment /opt/conda/envs/prod-ml --user alice --until 30d --why",
        ):
            assert word in message.body
        assert (message.id, message.level) == ("01KB0000000000000000000001", Level.HIGH)

    def test_in_chinese_the_words_are_chinese_and_the_commands_are_the_same(self) -> None:
        message = render_finding(finding(title="alice 修改了 prod-ml"), "zh")
        assert message.title == "[高] gpu1: alice 修改了 prod-ml"
        assert "人员: alice (uid 1001)" in message.body
        commands = [line for line in message.body.splitlines() if line.startswith("  envtrail")]
        assert commands == [line for line in render_finding(finding(), "en").body.splitlines() if line.startswith("  envtrail")]

    def test_what_is_not_known_is_left_out_or_said_to_be_unknown(self) -> None:
        body = render_finding(finding(user=None, uid=None, prefix=None, operation=None, argv=[], verdict=None), "en").body
        assert "Who: unknown" in body
        assert "Where: gpu1" in body
        assert "Command:" not in body
        assert "None" not in body
        assert "approve" not in body

    def test_only_what_the_policy_said_can_be_approved_late(self) -> None:
        assert "approve" not in render_finding(finding(source="sigma"), "en").body

    def test_controls_and_marks_that_reorder_text_are_escaped(self) -> None:
        evil = "x\x1b]0;owned\x07\u202egnp\u200b\r\nWho: root"
        message = render_finding(finding(title=evil, reason=evil, argv=["pip", evil], prefix="/e/" + evil, user=evil), "en")
        assert is_safe(message.title)
        assert is_safe(message.body.replace("\n", ""))
        assert "\nWho: root" not in message.body

    @given(st.text())
    def test_no_text_breaks_a_message_or_adds_a_line(self, text: str) -> None:
        plain = render_finding(finding(title="x", reason="x", argv=["x"], package="x"), "zh")
        message = render_finding(finding(title=text + "x", reason=text + "x", argv=[text], package=text + "x"), "zh")
        assert len(message.body.splitlines()) == len(plain.body.splitlines())
        message.body.encode()

    def test_a_credential_in_an_address_given_to_pip_does_not_come_through(self) -> None:
        typed = ["pip", "install", "--index-url", "https://bob:hunter2@pypi.example/simple", "six", "--token=tok-12345678"]
        kept = redact_argv(typed)[0]
        message = render_finding(finding(argv=kept, reason=f"installed with {' '.join(typed)}", values={"index": typed[3]}), "en")
        assert "pypi.example" in message.body
        for secret in ("hunter2", "tok-12345678"):
            assert secret not in message.title + message.body

    def test_texts_without_end_are_cut(self) -> None:
        message = render_finding(finding(title="t" * 9999, reason="r" * 9999, argv=["a"] * 9999), "en")
        assert len(message.title) <= 120
        assert len(message.body) < 2000


class TestMuting:
    @given(st.text(min_size=1), st.text(min_size=1))
    def test_a_pattern_fits_its_text_and_no_other_of_safe_characters(self, text: str, other: str) -> None:
        assert fnmatchcase(text, as_pattern(text))
        if is_safe(text) and text != other:
            assert not fnmatchcase(other, as_pattern(text))

    @pytest.mark.parametrize(
        "prefix", ["/home/eve/*", "/home/eve/[a-z]?", "/home/eve/'; rm -rf ~ #", "/home/eve/$(id)", "/e/a b"]
    )
    def test_a_folder_with_a_wicked_name_silences_nothing_else_and_runs_nothing(self, prefix: str) -> None:
        line = next(line for line in render_finding(finding(prefix=prefix), "en").body.splitlines() if "envtrail mute" in line)
        words = shlex.split(line)
        assert words == mute_command(finding(prefix=prefix))
        pattern = words[words.index("--environment") + 1]
        assert fnmatchcase(prefix, pattern)
        assert not fnmatchcase("/home/eve/abc", pattern)


class TestRequests:
    def test_a_request_says_what_is_wished_for_and_how_to_approve_it(self) -> None:
        message = render_request(request(), "en")
        assert message.title == "[request] gpu1: alice requests to change prod-ml"
        assert "Why: the paper's deadline" in message.body
        assert "Packages: torch>=2.5" in message.body
        assert "  envtrail approve 01KC0000000000000000000002" in message.body

    def test_an_approval_says_who_approved(self) -> None:
        approval = Approval(name="pat", uid=1, time_ms=1, method="service", why="looks fine")
        granted = request(status=RequestStatus.GRANTED, approvals=[approval], grant=GrantId("01KD"))
        message = render_decision(granted, "en")
        assert message.title == "[approved] gpu1: alice may change prod-ml"
        assert "Approved by: pat (looks fine)" in message.body

    def test_a_denial_says_who_denied_and_why_in_chinese_too(self) -> None:
        denied = request(status=RequestStatus.DENIED, denied_by="pat", denied_why="not this week")
        assert "Reason: not this week" in render_decision(denied, "en").body
        message = render_decision(denied, "zh")
        assert message.title == "[已拒绝] gpu1：alice 不得变更 prod-ml"
        assert "拒绝人: pat" in message.body


def test_a_digest_counts_by_detection_person_and_environment_and_says_how_many_it_does_not_name() -> None:
    groups = [
        Group(
            kind="finding", detection=f"d{at}", user="alice", prefix="/e/p", level=Level.HIGH if at == 0 else Level.LOW, count=9
        )
        for at in range(20)
    ]
    message = render_digest(Digest(id="digest-7", host="gpu1", since_ms=1, until_ms=2, groups=groups), "en")
    assert message.title == "[digest] gpu1: 180 more, not sent one by one"
    assert "9 × [high] d0: alice in /e/p" in message.body
    assert "72 more of 8 other kinds" in message.body
    assert message.level is Level.HIGH
