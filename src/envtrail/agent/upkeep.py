"""Keeps the kernel's rules as planned while the agent runs, and says who changed them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Protocol

from envtrail.config import Config
from envtrail.core import identity_of
from envtrail.core.control import AuditControl
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap, GapCause
from envtrail.rules.kernel import ApplyReport, Ledger, apply_rules, remove_rules
from envtrail.rules.landscape import survey
from envtrail.rules.plan import Plan, plan_rules
from envtrail.rules.rule import Rule
from envtrail.state.agent_status import RulesStatus, read_proofs

Identity = tuple[int, int, int]


class Rules(Protocol):
    """The rules, as whoever looks for environments knows them."""

    def landscape_changed(self, environments: Sequence[Environment]) -> list[str]: ...
    def is_outdated(self) -> bool: ...


class RuleKeeper:
    """Applies the plan, follows environments, and puts back what somebody took out. Several threads may call it.

    Args:
        config: `rules.*` and the data folder.
        environments: Those that are known at the start.
    """

    def __init__(self, config: Config, environments: Sequence[Environment]) -> None:
        self._config = config
        self._ledger = Ledger(config.data_dir / "rules.json")
        self._lock = Lock()
        self._landscape = survey(environments, config)
        self._plan: Plan = plan_rules(self._landscape, config)
        self._places: dict[str, list[Identity]] = {}
        """What each rule's paths led to when it was last looked at."""
        self.report: ApplyReport | None = None

    def apply(self) -> ApplyReport | None:
        """Bring the kernel to the plan; None where no rules are wanted.

        Raises:
            OSError: the kernel does not answer.
        """
        with self._lock:
            return self._apply()

    def landscape_changed(self, environments: Sequence[Environment]) -> list[str]:
        """Plan again; gives the rules that were added."""
        if not self._config.rules.follow:
            return []
        landscape = survey(environments, self._config)
        plan = plan_rules(landscape, self._config)
        with self._lock:
            self._landscape = landscape
            if plan == self._plan:
                return []
            self._plan = plan
            report = self._apply_if_answered()
        return report.added if report else []

    def is_outdated(self) -> bool:
        """Whether something that is watched is no longer where it was: an environment has moved or gone."""
        return not all(map(os.path.exists, self._landscape.paths()))

    def keep(self, now_ms: int, since_ms: int) -> list[Gap]:
        """Look whether our rules are still there; what was missing is put back, and what somebody took out is an entry of the loss ledger.

        The kernel itself takes out a rule whose folder or program goes (`audit_kill_trees()`, `audit_autoremove_mark_rule()`): where another has taken its place, nobody did.
        """
        if self._plan.profile == "none":
            return []
        with self._lock:
            before = self._places
            report = self._apply_if_answered()
            taken = [rule for rule in report.added if before.get(rule) == self._places.get(rule)] if report else []
        if not taken:
            return []
        return [
            Gap(
                id=f"rules-{now_ms}",
                cause=GapCause.RULES_REMOVED,
                host=self._config.node,
                since_ms=since_ms,
                until_ms=now_ms,
                records=None,
                detail=f"{len(taken)} rules were taken out of the kernel by somebody and put back; `envtrail events --kind config` says by whom",
            )
        ]

    def remove(self) -> list[str]:
        """Take out what was added."""
        with AuditControl() as control:
            return remove_rules(control, self._ledger)

    def status(self) -> RulesStatus | None:
        """For the status file."""
        if self.report is None:
            return None
        return RulesStatus(
            profile=self._plan.profile,
            expected=self.report.expected,
            loaded=self.report.present,
            locked=self.report.locked,
            faults=self.report.faults[:20],
            proofs=read_proofs(self._config.data_dir),
        )

    def _apply(self) -> ApplyReport | None:
        if self._plan.profile == "none":
            return None
        with AuditControl() as control:
            self._raise_backlog(control)
            self._places = {item.rule.render(): _places_of(item.rule) for item in self._plan.rules}
            self.report = apply_rules(self._plan, control, self._ledger)
        return self.report

    def _apply_if_answered(self) -> ApplyReport | None:
        """As `apply`; where the kernel does not answer now (netlink is out of buffers under load), the next call does it."""
        try:
            return self._apply()
        except OSError:
            return None

    def _raise_backlog(self, control: AuditControl) -> None:
        wanted = self._config.capture.backlog_limit
        if control.status().backlog_limit < wanted:
            control.set_status(backlog_limit=wanted)


def _places_of(rule: Rule) -> list[Identity]:
    found = []
    for field in rule.fields:
        if field.name in {"dir", "path", "exe"}:
            with suppress(OSError):
                found.append(identity_of(field.value))
    return found
