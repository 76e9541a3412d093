"""A state, what decides, and people who ask it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from envtrail.model.decision import Decided, Decision, Person, SubmitRequest
from envtrail.policy.approvals import Deciding
from envtrail.policy.files import parse_policy
from envtrail.policy.signatures import ServiceKey
from envtrail.state.state import State

NOW = 1_700_000_000_000
HOUR = 3_600_000
PREFIX = "/opt/envs/prod"
ALICE = Person(uid=1001, login_uid=1001, name="alice")
BOB = Person(uid=1002, login_uid=1002, name="bob", groups=frozenset({"leads"}))
CAROL = Person(uid=1003, login_uid=1003, name="carol", groups=frozenset({"leads"}))
ROOT = Person(uid=0, login_uid=1009, name="dora", is_admin=True)
UIDS = {"alice": 1001, "bob": 1002}


class DecisionLab:
    """A state, what decides, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "state.sqlite")
        self.signers = folder / "allowed_signers"
        self.deciding = Deciding(
            self.state,
            node="host",
            key=ServiceKey(folder, "host"),
            allowed_signers=self.signers,
            uid_of=UIDS.get,
            owner_of=lambda _: None,
        )
        self.now = NOW

    def __call__(self, decision: Decision, by: Person) -> Decided:
        self.now += 1000
        observations, decided = self.deciding.decide(decision, by, self.now)
        with self.state.transaction():
            for observation in observations:
                self.state.decisions.put(observation)  # type: ignore[arg-type]
        return decided

    def policy(self, text: str) -> None:
        found = parse_policy({"p.yaml": "version: 1\n" + text})
        assert found.faults == []
        self.deciding.policy = found.policy


def ask(**words: object) -> SubmitRequest:
    base: dict[str, object] = {"prefix": PREFIX, "action": "install", "packages": ["torch>=2"], "until_ms": NOW + 100 * HOUR}
    return msgspec.convert({**base, "why": "w", **words}, SubmitRequest)
