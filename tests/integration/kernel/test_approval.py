"""Policy, requests and grants, live: an unapproved install is noticed, an approved one is not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

from envtrail.model.decision import Decided, SubmitRequest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

AUID = 61098
POLICY = """version: 1
rules:
  - name: nobody-changes-prod
    reason: changes of prod need a request first
    verdict: require-approval
    where: {tags: [prod]}
  - name: never-evil
    verdict: deny
    what: {packages: [evil]}
tags: {prod: ["prod*"]}
approvals:
  - where: {environments: [prod-two]}
    approvers: {users: ["*"]}
    people: 2
"""


class Lab:
    """A shared machine with two environments and a person who may change both, as far as the file system goes."""

    def __init__(self, folder: Path, agent: RunningAgent, home: Path) -> None:
        self.agent, self.home, self.policy = agent, home, folder / "policy.d" / "10.yaml"
        self.socket = folder / "envtrail.sock"

    def install(self, prefix: str, *packages: str) -> dict[str, object]:
        """Install as the person; gives the operation when it has been judged."""
        before = {item["id"] for item in self.agent.operations()}
        pip = [str(self.home / prefix / "bin" / "pip"), "install", "-q", "--no-index", f"--find-links={self.home / 'wheels'}"]
        done = run_as(AUID, [*pip, "--upgrade", *packages], cwd=self.home)
        assert done.returncode == 0, done.stderr

        def judged() -> dict[str, object] | None:
            new = [item for item in self.agent.operations() if item["id"] not in before and item["verdict"]]
            return new[0] if new else None

        found = wait_until(judged, "the judgement")
        assert isinstance(found, dict)
        return found

    def findings(self, *words: str) -> list[dict[str, object]]:
        """`envtrail findings --json`."""
        return [json.loads(line) for line in self.agent.ask("findings", "--json", "--all", *words).stdout.splitlines()]

    def ask(self, **asked: object) -> Decided:
        """Send a query over the service's socket as the person, in a process of theirs."""
        words = (
            msgspec.json.encode({"method": "decide", "decision": msgspec.to_builtins(msgspec.convert(asked, SubmitRequest))})
            + b"\n"
        )
        return msgspec.json.decode(self.over_the_socket(AUID, words), type=Decided)

    def over_the_socket(self, uid: int, words: bytes) -> bytes:
        """The first line that the service answers to somebody."""
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.stdin.buffer.read()); f = s.makefile('rb'); print(f.readline().decode())"
        )
        python = ["/usr/bin/python3", "-c", code, str(self.socket)]
        return subprocess.run(python, input=words, preexec_fn=become(uid), capture_output=True, check=True).stdout

    def grant(self, id_: object) -> dict[str, object]:
        """`envtrail grants --json`, one of them."""
        grants = [json.loads(line) for line in self.agent.ask("grants", "--json").stdout.splitlines()]
        return next(item for item in grants if item["id"] == id_)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("approval")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    for name in ("prod-ml", "prod-two", "dev"):
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / name)], check=True)
    for version in ("1.0", "2.0"):
        make_wheel(home / "wheels", "leaf", version)
        make_wheel(home / "wheels", "model", version, requires=[f"leaf=={version}"])
        make_wheel(home / "wheels", "evil", version)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    (folder / "policy.d").mkdir()
    (folder / "policy.d" / "10.yaml").write_text(POLICY)
    variables = {
        "ENVTRAIL_POLICY_PATH": str(folder / "policy.d"),
        "ENVTRAIL_POLICY_INTERVAL_S": "1",
        # At whatever hour the tests are run, it is one of work.
        "ENVTRAIL_OFFICE_DAYS": "mon:tue:wed:thu:fri:sat:sun",
        "ENVTRAIL_OFFICE_HOURS": "00:00-24:00",
    }
    with running_agent(folder, AUID, roots=[home], **variables) as agent:
        wait_until(lambda: agent.ask("env", "list").stdout.count(str(home)) >= 3, "the environments to be known")
        yield Lab(folder, agent, home)


def test_an_unapproved_install_is_noticed_and_an_approved_one_is_not(lab: Lab) -> None:
    prefix = str(lab.home / "prod-ml")
    first = lab.install("prod-ml", "leaf==1.0")
    assert (first["verdict"], first["policy_rule"], first["grant"]) == ("require-approval", "nobody-changes-prod", None)
    (noticed,) = [item for item in lab.findings() if item["operation"] == first["id"]]
    assert (noticed["status"], noticed["level"], noticed["prefix"], noticed["uid"]) == ("open", "medium", prefix, AUID)
    assert noticed["reason"] == "changes of prod need a request first"

    asked = lab.ask(
        prefix=prefix,
        action="install",
        packages=["model>=2"],
        sources=[str(lab.home / "wheels")],
        until_ms=1 << 47,
        why="the new model",
    )
    own = [item for item in map(json.loads, lab.agent.ask("requests", "--json").stdout.splitlines()) if item["id"] == asked.id]
    assert [(item["terms"]["uid"], item["status"]) for item in own] == [(AUID, "pending")]
    approved = lab.agent.ask("approve", asked.id[:14], "--why", "go ahead", "--json")
    grant = json.loads(approved.stdout)["id"]

    second = lab.install("prod-ml", "model==2.0")
    assert (second["grant"], second["verdict"]) == (grant, "require-approval"), "its dependency came along and is covered"
    assert {change["name"] for change in second["changes"]} == {"model", "leaf"}  # type: ignore[attr-defined]
    assert not [item for item in lab.findings() if item["operation"] == second["id"]]

    third = lab.install("prod-ml", "evil==1.0")
    assert third["grant"] is None
    (reported,) = [item for item in lab.findings() if item["operation"] == third["id"]]
    assert "evil is not in it" in reported["values"]["grants that do not cover it"]  # type: ignore[index]

    late = lab.agent.ask("approve", "--operation", str(third["id"]), "--why", "it was agreed by telephone", "--json")
    assert lab.grant(json.loads(late.stdout)["id"])["kind"] == "late"
    (now,) = [item for item in lab.findings() if item["operation"] == third["id"]]
    assert (now["status"], now["status_why"]) == ("approved", "it was agreed by telephone")

    assert lab.agent.ask("revoke", grant, "--why", "the model is out").returncode == 0
    assert lab.install("prod-ml", "leaf==1.0")["grant"] is None, "a revoked grant covers nothing"
    right = lab.agent.ask("grants", "--verify", "--json")
    assert right.returncode == 0
    assert {json.loads(line)["checked"] for line in right.stdout.splitlines()} == {"right"}
    signers = lab.agent.data_dir / "state/approvals.allowed_signers"
    signers.rename(signers.with_suffix(".away"))
    unchecked = lab.agent.ask("grants", "--verify")
    signers.with_suffix(".away").rename(signers)
    assert (unchecked.returncode, "not checked" in unchecked.stdout, "wrong" in unchecked.stdout) == (4, True, False)


def test_what_is_denied_elsewhere_is_told_and_what_is_allowed_is_not(lab: Lab) -> None:
    allowed = lab.install("dev", "leaf==1.0")
    assert allowed["verdict"] == "allow"
    denied = lab.install("dev", "evil==1.0")
    assert denied["verdict"] == "deny"
    assert [(item["level"], item["package"]) for item in lab.findings() if item["operation"] == denied["id"]] == [
        ("high", "evil")
    ]
    assert not [item for item in lab.findings() if item["operation"] == allowed["id"]]


def test_two_people_must_say_yes_and_nobody_may_to_what_they_asked_for(lab: Lab) -> None:
    prefix = str(lab.home / "prod-two")
    asked = lab.ask(
        prefix=prefix, action="install", packages=["leaf"], sources=[str(lab.home / "wheels")], until_ms=1 << 47, why="try"
    )
    approve = json.dumps({"method": "decide", "decision": {"do": "approve", "request": asked.id}}).encode() + b"\n"

    def say(uid: int) -> dict[str, object]:
        return dict(json.loads(lab.over_the_socket(uid, approve)))

    listing = b'{"method": "requests"}\n'
    assert json.loads(lab.over_the_socket(AUID + 1, listing))["id"] == asked.id, (
        "an approver is notified of what to decide, and of no more"
    )
    assert "nobody approves their own request" in str(say(AUID)["error"])
    assert say(AUID + 1)["what"] == "approval"
    assert "has approved this already" in str(say(AUID + 1)["error"])
    assert lab.install("prod-two", "leaf==1.0")["grant"] is None, "one yes is not two"
    grant = say(AUID + 2)
    assert grant["what"] == "grant"
    assert lab.install("prod-two", "leaf==2.0")["grant"] == grant["id"]


def test_a_bad_policy_is_refused_with_its_place_and_the_last_good_one_stays_in_force(lab: Lab) -> None:
    lab.policy.write_text(POLICY.replace("verdict: deny", "verdict: denied"))
    try:
        refused = wait_until(lambda: lab.findings("--detection", "policy-refused"), "the refusal")
        assert isinstance(refused, list)
        assert refused[0]["reason"].startswith(f"{lab.policy}:8:14: Invalid enum value 'denied'")
        assert lab.install("dev", "evil==2.0")["verdict"] == "deny"
        lab.agent.kill()
        lab.agent.restart()
        assert lab.install("dev", "evil==1.0")["verdict"] == "deny", "also after a restart"
    finally:
        lab.policy.write_text(POLICY)


def test_a_mute_keeps_the_finding_and_tells_nobody_and_a_rebuild_makes_the_same_state(lab: Lab) -> None:
    muted = lab.agent.ask("mute", "never-evil", "--env", "dev", "--package", "evil", "--until", "1h", "--why", "a drill")
    assert muted.returncode == 0, muted.stderr
    found = lab.install("dev", "evil==2.0")
    (silent,) = [item for item in lab.findings() if item["operation"] == found["id"]]
    assert (silent["status"], silent["status_why"]) == ("muted", "a drill")
    tables = ("findings --all", "requests", "grants", "mute --list", "log")
    before = {words: lab.agent.ask(*words.split(), "--json").stdout for words in tables}
    lab.agent.stop()
    assert lab.agent.ask("rebuild").returncode == 0
    after = {words: lab.agent.ask(*words.split(), "--json").stdout for words in tables}
    assert {words: text.splitlines() for words, text in after.items()} == {
        words: text.splitlines() for words, text in before.items()
    }
    assert all(before.values())
    lab.agent.restart()
