"""Policy inputs that an operation's document does not hold: groups, owners, licences, malware, ages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envtrail.environments.advisories import Advisories
from envtrail.environments.impact import target_of
from envtrail.host_directory import groups_of, name_of_uid
from envtrail.model.environment import Package, Snapshot
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change, Operation
from envtrail.policy.judge import PackageFacts, PolicyFacts

AgeOf = Callable[[str, str], "int | None"]
"""(normalised name, version) → upload time of the version, in ms; None when it is unknown."""


class FactFinder:
    """Facts about operations.

    Args:
        owner_uid_of: Prefix → uid of the environment's owner.
        snapshot_of: Prefix → present contents of the environment.
        advisories: Source for malware; None when there are none.
        born_ms_of: Upload time of a version.
    """

    def __init__(
        self,
        *,
        owner_uid_of: Callable[[str], int | None],
        snapshot_of: Callable[[str], Snapshot | None],
        advisories: Advisories | None = None,
        born_ms_of: AgeOf | None = None,
    ) -> None:
        self._owner_uid_of = owner_uid_of
        self._snapshot_of = snapshot_of
        self._advisories = advisories
        self._born_ms_of = born_ms_of

    def facts_of(self, operation: Operation, started_ms: int) -> PolicyFacts:
        """All facts about one operation."""
        held = self._held(operation)
        return PolicyFacts(
            groups=groups_of(operation.actor.name) if operation.actor.name else frozenset(),
            owner=name_of_uid(self._owner_uid_of(operation.environment.prefix)),
            packages={
                (change.ecosystem, change.name): self._package(change, held, started_ms) for change in operation.changes or ()
            },
        )

    def _held(self, operation: Operation) -> Mapping[tuple[str, str, str], Package]:
        snapshot = self._snapshot_of(operation.environment.prefix) if operation.changes else None
        return {(item.ecosystem, item.name, item.version): item for item in (snapshot.packages if snapshot else ())}

    def _package(self, change: Change, held: Mapping[tuple[str, str, str], Package], started_ms: int) -> PackageFacts:
        state = change.after or change.before
        if state is None:
            return PackageFacts()
        package = held.get((change.ecosystem, change.name, state.version))
        name = normalise_name(change.name)
        born_ms = self._born_ms_of(name, state.version) if self._born_ms_of and change.ecosystem == "pypi" else None
        probe = package or Package(ecosystem=change.ecosystem, name=change.name, version=state.version, installer=state.installer)
        return PackageFacts(
            licence=package.license if package else None,
            malicious=self._is_malicious(name, probe),
            age_ms=started_ms - born_ms if born_ms is not None else None,
        )

    def _is_malicious(self, name: str, package: Package) -> bool | None:
        if self._advisories is None:
            return None
        known = self._advisories.by_name.get(name, ())
        return any(advisory.is_malware and target_of(advisory, name).matches(package) for advisory in known)
