"""Beside the loop: each operation judged by the policy in force, and what is noticed made into findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from envtrail.agent.detecting import Detecting
from envtrail.config import Config
from envtrail.environments.advisories import Advisories, read_advisories
from envtrail.errors import InputError
from envtrail.host_directory import forget_people, name_of_uid
from envtrail.model.decided import FindingMade, OperationJudged
from envtrail.model.finding import Finding, Level, Status, Suppression, make_finding_id
from envtrail.model.naming import normalise_name
from envtrail.model.observation import Observation
from envtrail.model.operation import Operation
from envtrail.model.run import Run
from envtrail.model.times import to_ms
from envtrail.policy.ages import IndexAges
from envtrail.policy.facts import FactFinder
from envtrail.policy.grants import find_cover, find_suppression
from envtrail.policy.judge import Decision, judge
from envtrail.policy.keeper import PolicyKeeper
from envtrail.policy.language import Policy, Verdict
from envtrail.state.state import State

_LEVELS = {Verdict.NOTIFY: Level.LOW, Verdict.REQUIRE_APPROVAL: Level.MEDIUM, Verdict.DENY: Level.HIGH}
_TITLES = {
    Verdict.NOTIFY: "A change that requires a notification",
    Verdict.REQUIRE_APPROVAL: "A change without approval",
    Verdict.DENY: "A change that the policy denies",
}
_AGES_WAIT_MS = 6_000
"""How long an operation waits for an index to say how old its packages are."""
_PEOPLE_INTERVAL_MS = 60_000


class Overseer:
    """Operations in, judgements and findings out; the loop writes them.

    Args:
        config: Everything.
        state: What is known.
        is_alive: Whether a process's image still runs.
    """

    def __init__(self, config: Config, state: State, *, is_alive: Callable[[int], bool] = lambda _: True) -> None:
        self._config = config
        self._state = state
        self._node = config.node
        self.keeper = PolicyKeeper(config.policy.path, state, config.node)
        index = config.policy.index
        self._ages = IndexAges(index) if index else None
        self._advisories: Advisories | None = None
        self._advisories_of: tuple[Path, float] | None = None
        self._waiting: dict[str, tuple[int, Operation]] = {}
        """By id: (since when, the operation)."""
        self.detecting = Detecting(config, state, is_alive=is_alive, owner_of=lambda prefix: name_of_uid(state.owner_uid(prefix)))
        self._looked_ms = 0
        self._people_ms = 0

    @property
    def policy(self) -> Policy:
        """In force now."""
        return self.keeper.policy

    def hold(self, results: Iterable[Operation | Run], now_ms: int) -> None:
        """Take what was just stored."""
        self.detecting.hold_runs([result for result in results if isinstance(result, Run)])
        for operation in results:
            if not isinstance(operation, Operation) or operation.actor.method == "owner":
                continue
            if not self.keeper.is_in_force:
                self.detecting.hold_operation(operation)
            elif operation.verdict is None:
                self._waiting[operation.id] = (now_ms, operation)
                if self._ages is not None and self.policy.judges_age:
                    self._ages.request(_projects_of(operation))

    def begin(self, now_ms: int) -> list[Observation]:
        """The policy and the detections, before either is evaluated; what an agent that was killed had not judged is taken up."""
        observations = [*self.look(now_ms), *(FindingMade(time_ms=now_ms, finding=item) for item in self.detecting.await_rules())]
        last = self._state.decisions.last_policy()
        if last is not None:
            self.hold(self._state.unjudged(last.time_ms), now_ms)
        return self.muted(observations, now_ms)

    def look(self, now_ms: int) -> list[Observation]:
        """The policy's files, where it is time to look at them."""
        if now_ms - self._looked_ms < self._config.policy.interval_s * 1000:
            return []
        self._looked_ms = now_ms
        if now_ms - self._people_ms > _PEOPLE_INTERVAL_MS:
            self._people_ms = now_ms
            forget_people()
        observations = self.keeper.poll(now_ms)
        observations += [FindingMade(time_ms=now_ms, finding=finding) for finding in self.detecting.reload()]
        return self.muted(observations, now_ms)

    def release(self, now_ms: int, *, is_last: bool = False) -> list[Observation]:
        """Judge what waits for nothing any more, and ask the detections."""
        ready = [
            operation
            for since_ms, operation in self._waiting.values()
            if self._is_ready(operation) or now_ms - since_ms > _AGES_WAIT_MS
        ]
        observations: list[Observation] = []
        uses: dict[str, int] = {}
        for operation in sorted(ready, key=lambda item: item.id):
            del self._waiting[operation.id]
            judged, *found = self._judge(operation, now_ms, uses)
            observations += [judged, *found]
            self.detecting.hold_operation(
                msgspec.structs.replace(operation, verdict=judged.verdict, policy_rule=judged.rule, grant=judged.grant)
            )
        found = [FindingMade(time_ms=now_ms, finding=finding) for finding in self.detecting.look(now_ms, is_last=is_last)]
        observations += found
        return self.muted(observations, now_ms)

    def muted(self, observations: Sequence[Observation], now_ms: int) -> list[Observation]:
        """The same, with findings that a suppression covers muted."""
        if not any(isinstance(item, FindingMade) for item in observations):
            return list(observations)
        standing = self._state.decisions.suppressions(now_ms)
        return [self._mute(item, standing) if isinstance(item, FindingMade) else item for item in observations]

    def close(self) -> None:
        """Ask nobody any more."""
        if self._ages is not None:
            self._ages.close()
        self.detecting.close()

    def _mute(self, made: FindingMade, standing: list[Suppression]) -> FindingMade:
        finding = made.finding
        operation = self._state.operation(finding.operation) if finding.operation else None
        packages = [change.name for change in (operation.changes or [])] if operation else [finding.package or ""]
        found = find_suppression(standing, finding, packages)
        if found is None:
            return made
        muted = msgspec.structs.replace(finding, status=Status.MUTED, status_by=found.id, status_why=found.reason)
        return msgspec.structs.replace(made, finding=muted)

    def _is_ready(self, operation: Operation) -> bool:
        if self._ages is None or not self.policy.judges_age:
            return True
        return all(self._ages.is_known(name) for name in _projects_of(operation))

    def _judge(
        self, operation: Operation, now_ms: int, uses: dict[str, int]
    ) -> tuple[OperationJudged] | tuple[OperationJudged, FindingMade]:
        started_ms = to_ms(operation.started)
        decision = judge(self.policy, operation, self._finder().facts_of(operation, started_ms))
        grant = None
        reasons: list[str] = []
        if decision.verdict in {Verdict.REQUIRE_APPROVAL, Verdict.DENY}:
            grants = self._state.decisions.grants_on(operation.environment.prefix)
            grant, reasons = find_cover(
                grants,
                operation,
                decision,
                uses_of=lambda id_: self._state.decisions.uses_of(id_, but=operation.id) + uses.get(id_, 0),
                configured=self._config.policy.sources,
            )
        if grant is not None:
            uses[grant.id] = uses.get(grant.id, 0) + 1
        judged = OperationJudged(
            time_ms=now_ms,
            operation=operation.id,
            verdict=decision.verdict.value,
            rule=decision.rule,
            reason=decision.reason,
            grant=grant.id if grant else None,
        )
        if decision.verdict is Verdict.ALLOW or grant is not None:
            return (judged,)
        return judged, FindingMade(time_ms=now_ms, finding=_finding_of(operation, decision, reasons, started_ms))

    def _finder(self) -> FactFinder:
        return FactFinder(
            owner_uid_of=self._state.owner_uid,
            snapshot_of=self._state.snapshot,
            advisories=self._known_advisories(),
            born_ms_of=self._ages.born_ms if self._ages is not None and self.policy.judges_age else None,
        )

    def _known_advisories(self) -> Advisories | None:
        """Read again when the export has changed; only where a rule is about malware."""
        path = self._config.advisories.path
        if path is None or not any(rule.what.malicious is not None for rule in self.policy.rules):
            return None
        try:
            stamp = (path, path.stat().st_mtime)
            if stamp != self._advisories_of:
                self._advisories, self._advisories_of = read_advisories(path), stamp
        except (OSError, InputError):
            self._advisories = None
        return self._advisories


def _finding_of(operation: Operation, decision: Decision, reasons: list[str], started_ms: int) -> Finding:
    values = {"grants that do not cover it": "; ".join(reasons)} if reasons else {}
    return Finding(
        id=make_finding_id(f"policy {decision.rule}", operation.id, started_ms),
        detection=decision.rule or "",
        source="policy",
        title=_TITLES[decision.verdict],
        level=_LEVELS[decision.verdict],
        time_ms=started_ms,
        host=operation.host,
        reason=decision.reason,
        user=operation.actor.name,
        uid=operation.actor.number,
        prefix=operation.environment.prefix,
        package=decision.package,
        argv=operation.argv,
        verdict=decision.verdict.value,
        operation=operation.id,
        evidence=operation.evidence[:10],
        values=values,
    )


def _projects_of(operation: Operation) -> list[str]:
    return sorted({normalise_name(change.name) for change in operation.changes or () if change.ecosystem == "pypi"})
