"""Apprise's own services send to real servers, and say what was answered."""

from __future__ import annotations

import logging

import pytest
from notify_lab import mail_server, make_request, receiver
from ports import free_port

from envtrail.model.finding import Finding, FindingId, Level
from envtrail.notify.messages import render_finding, render_request
from envtrail.notify.services import Service

FINDING = Finding(
    id=FindingId("01KB0000000000000000000001"),
    detection="nobody-changes-prod",
    source="policy",
    title="“prod-ml” 环境被修改：numpy → 2.0",
    level=Level.CRITICAL,
    time_ms=1_764_000_000_000,
    host="gpu1",
    user="爱丽丝",
    prefix="/opt/conda/envs/prod-ml",
    argv=["pip", "install", "numpy<2 & <b>bold</b> *x* _y_"],
)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_mail_arrives_whole_as_plain_utf8_text(language: str) -> None:
    message = render_finding(FINDING, language)
    with mail_server() as box:
        assert Service(box.url).send(message.title, message.body, message.level).fault is None
    (mail,) = box.mails
    assert mail["Subject"] == message.title
    assert mail["To"] == "ops@example.org"
    part = mail.get_body(("plain",))
    assert part is not None
    assert part.get_content_type() == "text/plain"
    assert part.get_content_charset() == "utf-8"
    assert part.get_content().replace("\r\n", "\n").rstrip("\n") == message.body


def test_a_webhook_gets_title_text_and_how_bad_it_is() -> None:
    message = render_request(make_request(), "zh")
    with receiver() as hook:
        assert Service(hook.url).send(message.title, message.body, Level.CRITICAL).fault is None
    (got,) = hook.taken
    assert (got["title"], got["message"], got["type"]) == (message.title, message.body, "failure")


@pytest.mark.parametrize(
    ("behaviour", "words", "permanent"),
    [(500, "500", False), (429, "429", False), (403, "403", True), (404, "404", True), ("drop", "127.0.0.1", False)],
)
def test_a_refusal_is_told_with_its_reason_and_whether_somebody_must_mend_it(
    behaviour: int | str, words: str, permanent: bool
) -> None:
    with receiver(lambda _: behaviour) as hook:
        answer = Service(hook.url).send("t", "b", Level.LOW)
    assert answer.fault is not None
    assert words in answer.fault
    assert answer.permanent is permanent


@pytest.mark.parametrize("service", ["json", "mailto"])
def test_a_server_that_is_down_is_a_fault_that_passes(service: str) -> None:
    url = {"json": "json://127.0.0.1:{}/x", "mailto": "mailto://127.0.0.1:{}?from=a@example.org&to=b@example.org"}[service]
    answer = Service(url.format(free_port())).send("t", "b", Level.LOW)
    assert answer.fault
    assert not answer.permanent


def test_no_part_of_an_address_is_in_a_fault_or_in_a_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"json://robot:pa55w0rd@127.0.0.1:{free_port()}/s3cr3t-path?+X-Token=t0k3n-value"
    service = Service(url)
    answer = service.send("t", "b", Level.LOW)
    assert service.shown == url.partition("robot:pa55w0rd@")[0] + url.partition("@")[2].partition("/")[0]
    out, err = capfd.readouterr()
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("apprise"))
    for secret in ("pa55w0rd", "s3cr3t-path", "t0k3n-value", "robot"):
        assert secret not in f"{answer.fault} {service.shown} {service!r} {out} {err} {ours}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mailtos://user:hunter22@smtp.example.org?from=a@example.org&to=b@example.org", "mailtos://smtp.example.org"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23ops", "slack://T...2"),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://T...2"),
        ("workflows://prod.westeurope.logic.azure.com:443/0123456789abcdef/sigsigsigsig", "workflow://prod.westeurope"),
        ("dingtalk://SEC0123456789@0123456789abcdef0123456789abcdef/", "dingtalk://0...f"),
        ("feishu://01234567-89ab-cdef-0123-456789abcdef/", "feishu://0...f"),
        ("wecombot://01234567-89ab-cdef-0123-456789abcdef/", "wecombot://0...f"),
        ("ntfys://user:hunter22@ntfy.example/topic", "ntfys://ntfy.example"),
        ("jsons://hook.example/a/long/token", "jsons://hook.example"),
        ("discord://012345678901234567/abcdefghijklmnopqrstuvwxyz/", "discord://0...7"),
    ],
)
def test_addresses_of_the_services_people_use_are_taken_and_shown_without_their_tokens(url: str, shown: str) -> None:
    service = Service(url)
    assert service.shown.startswith(shown)
    for secret in ("hunter22", "TIiajkdnlazkcOXrIdevi7FQ", "SEC0123456789", "89ab", "sigsig", "abcdefgh", "long"):
        assert secret not in service.shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("slak://a/b/c", "no service `slak`"),
        ("ops@example.org", "not an Apprise address"),
        ("slack://t0k3n-value", "does not accept what follows `slack://`"),
        ("https://hook.example/s3cr3t-path", "`jsons://…`"),
    ],
)
def test_an_address_that_apprise_does_not_take_is_refused_without_being_repeated(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("/", "/")) as caught:
        Service(url)
    for secret in ("t0k3n-value", "s3cr3t-path"):
        assert secret not in str(caught.value)
