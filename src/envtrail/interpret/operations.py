"""Operations in the making: opened by an exec that states an intention, closed by its process's end, settled by the snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from envtrail.interpret.actors import Named
from envtrail.interpret.invocations import is_unpacked
from envtrail.interpret.metadata_names import changes_by_names, read_metadata_name
from envtrail.interpret.people import Subject
from envtrail.interpret.rows import Row, evidence_of
from envtrail.interpret.tool import Intention, Invocation
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.naming import normalise_name, package_key
from envtrail.model.operation import (
    Change,
    EnvironmentRef,
    Evidence,
    Operation,
    OperationKind,
    Outcome,
    PackageState,
)
from envtrail.model.times import to_rfc3339


class OpenOperation(Struct, kw_only=True, omit_defaults=True):
    """What is known of an operation so far."""

    image: int
    pid: int
    event: EventId
    invocation: Invocation
    intention: Intention
    subject: Subject
    named: Named
    complete: bool
    via: list[str] = []
    inner_sources: list[str] = []
    """Sources that managers below it were given."""
    ended_ms: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    evidence: list[Evidence] = []
    added: dict[str, PackageState] = {}
    """`package_key` → state, by the metadata whose creation was recorded."""
    removed: dict[str, PackageState] = {}
    saw_metadata: bool = False
    saw_place: bool = False
    """Some of the metadata lies where it was thought to work."""
    from_others: list[Change] = []
    """Its own changes that the snapshot of another operation showed first."""
    shared: list[OperationId] = []
    """Operations that a change could belong to as well."""
    why: dict[str, str] = {}
    elsewhere: dict[str, str | None] = {}
    """Prefix → kind (null: the environment itself says) of other environments that its processes were seen to change."""
    is_seen: bool = False
    """Its environment is one that its processes were seen to change."""
    first_thought: Intention | None = None
    """What it was taken for until that environment showed nothing of it."""
    given: OperationId | None = None
    """As its row has it that was given while its end was not read."""

    def take_inner(self, intention: Intention) -> None:
        """A manager below it states an intention of its own."""
        if intention.tool not in self.via:
            self.via.append(intention.tool)
        self.inner_sources += [place for place in intention.sources if place not in self.inner_sources]

    @property
    def id(self) -> OperationId:
        """As its document will have it."""
        return make_operation_id(self.event, self.intention.prefix or "")

    def read_again(self, fresh: OpenOperation) -> None:
        """What was missing of its exec has been read."""
        if self.is_seen and fresh.intention.prefix is None:
            place = {"prefix": self.intention.prefix, "environment_kind": self.intention.environment_kind}
            fresh.intention = msgspec.structs.replace(fresh.intention, **place, why=self.intention.why)
        self.invocation, self.intention, self.complete = fresh.invocation, fresh.intention, fresh.complete
        self.subject, self.named = fresh.subject, fresh.named

    def misses(self, changes: Sequence[Change] | None, installed: Mapping[str, str] | None) -> bool:
        """Whether its tool says that it did what was asked, and the environment shows nothing of it, for the first time."""
        if self.first_thought is not None or self.exit_code != 0 or installed is None or changes or self.from_others:
            return False
        return bool(self.elsewhere) or not self.has_effect(installed)

    def look_elsewhere(self) -> None:
        """A configuration file may have sent it to another environment: what it was, or will be, seen to change tells."""
        self.first_thought = self.intention
        if self.elsewhere:
            self.go_elsewhere()
        else:
            self.intention = msgspec.structs.replace(self.intention, prefix=None)

    def see_elsewhere(self, prefix: str, kind: str | None) -> None:
        """Its processes were seen to change this environment, which it was not thought to work in."""
        self.elsewhere[prefix] = self.elsewhere.get(prefix) or kind

    def go_elsewhere(self) -> None:
        """It works in the first other environment that its processes were seen to change."""
        self.retarget(*next(iter(self.elsewhere.items())))

    @property
    def is_only_elsewhere(self) -> bool:
        """Whether records show it at work in another environment, and nothing where it was thought to (`--target` is taken at its word)."""
        is_told = self.intention.environment_kind == "target"
        return self.saw_metadata and bool(self.elsewhere) and not self.saw_place and not is_told

    def may_work_in(self, prefix: str) -> bool:
        """Whether it was seen to change an environment that it was not thought to work in, or has ended and nothing tells where it worked."""
        return prefix in self.elsewhere or (self.is_ended and self.intention.prefix is None)

    def retarget(self, prefix: str, kind: str | None) -> None:
        """It was seen to work in this environment."""
        self.is_seen = True
        self.intention = msgspec.structs.replace(
            self.intention,
            prefix=prefix,
            environment_kind=kind or self.intention.environment_kind,
            why="what its processes were seen to change",
        )

    def has_metadata_of(self, change: Change) -> bool:
        """Whether its own processes were seen to make or remove the change's metadata."""
        key = package_key(change.ecosystem, change.name)
        return key in self.added or key in self.removed

    def claims(self, change: Change) -> bool:
        """Whether a change is likely its own: its processes made it, or it was asked for by name."""
        return self.has_metadata_of(change) or normalise_name(change.name) in self.intention.names

    @property
    def is_ended(self) -> bool:
        """Its process has ended."""
        return self.ended_ms is not None

    def take_metadata(self, row: Row, place: tuple[str, str | None] | None) -> None:
        """Learn from a recorded creation or removal of package metadata, and from the environment that it lies in."""
        self.saw_metadata = True
        if (evidence := evidence_of(row)) not in self.evidence:
            self.evidence.append(evidence)
        if place is not None and place[0] == self.intention.prefix:
            self.saw_place = True
        elif place is not None:
            self.see_elsewhere(*place)
            if place[0] != next(iter(self.elsewhere)):
                # An operation tells of one environment: `conda rename` fills the new one, then empties the old one.
                return
        for path in row.paths or ():
            name = path.name or ""
            found = read_metadata_name(name)
            if found is None or is_unpacked(name):
                continue
            key, state = found
            if path.nametype == "CREATE":
                self.added[key] = state
            elif path.nametype == "DELETE":
                self.removed[key] = state

    def settle(
        self,
        *,
        environment_kind: str | None,
        changes: list[Change] | None,
        installed: Mapping[str, str] | None,
        absent: str | None,
        processes: int,
    ) -> Operation:
        """Make the document of it.

        Args:
            environment_kind: As the environment itself says.
            changes: By comparison of snapshots; null when there is none, then recorded metadata speaks.
            installed: Normalised name → version afterwards; null when not known.
            absent: Why `changes` is null.
            processes: How many were seen in its tree.
        """
        reasons = dict(self.named.absent)
        why = self.why | {"actor": self.named.why}
        why["changes"] = "snapshots before and after were compared"
        if changes is not None:
            changes = sorted([*self.from_others, *changes], key=lambda change: change.name)
            if self.intention.tool == "uv" and self.intention.names:
                # uv writes REQUESTED for every package, whoever asked for it.
                changes = [
                    msgspec.structs.replace(change, requested=normalise_name(change.name) in self.intention.names)
                    for change in changes
                ]
        elif self.saw_metadata:
            changes = changes_by_names(self.added, self.removed, self.intention.names)
            why["changes"] = "the names of the metadata that its processes were seen to make and remove"
        if changes is None:
            reasons["changes"] = absent or "not recorded"
            del why["changes"]
        outcome, reason = self._judge(installed)
        for name, value in (("exit_code", self.exit_code), ("signal", self.signal)):
            if value is None:
                reasons[name] = "not applicable" if self.exit_code is not None or self.signal is not None else "not recorded"
        if self.ended_ms is None:
            reasons["ended"] = "not recorded"
        reasons["grant"] = "no policy in force"
        if changes is None:
            reasons["explained"] = "what changed is not known"
        if reason is None:
            reasons["reason"] = "not applicable"
        prefix = self.intention.prefix
        if prefix is None:
            reasons["environment.prefix"] = "the command does not tell, and nothing was seen to change"
        return Operation(
            id=self.id,
            kind=self.intention.kind,
            tool=self.intention.tool,
            via=self.via,
            argv=self.intention.argv,
            host=self.event.node,
            environment=EnvironmentRef(
                prefix=prefix or "", kind=environment_kind or self.intention.environment_kind or "unknown"
            ),
            actor=self.named.actor,
            started=to_rfc3339(self.event.time_ms),
            ended=to_rfc3339(self.ended_ms) if self.ended_ms is not None else None,
            outcome=outcome,
            reason=reason,
            exit_code=self.exit_code,
            signal=self.signal,
            changes=changes,
            processes=processes,
            explained=None if changes is None else True,
            grant=None,
            complete=self.complete,
            absent=reasons,
            evidence=self.evidence,
            cwd=self.invocation.cwd,
            pid=self.pid,
            image=self.image,
            requested=self.intention.requested,
            sources=list(dict.fromkeys([*self.intention.sources, *self.inner_sources])),
            shared=self.shared,
            why=why
            | {"outcome": reason or "exit code 0, and the environment is as was asked", "environment": self.intention.why},
        )

    def _judge(self, installed: Mapping[str, str] | None) -> tuple[Outcome, str | None]:
        outcome, reason = judge_end(self.exit_code, self.signal)
        if outcome is Outcome.SUCCESS and installed is not None and not self.has_effect(installed):
            return Outcome.FAILURE, "no effect"
        return outcome, reason

    def has_effect(self, installed: Mapping[str, str]) -> bool:
        """Whether the environment is as was asked: what was named is there, or is not."""
        names = self.intention.names
        match self.intention.kind:
            case OperationKind.INSTALL:
                return all(name in installed for name in names)
            case OperationKind.REMOVE:
                return not any(name in installed for name in names)
            case _:
                return True


def judge_end(exit_code: int | None, signal: int | None) -> tuple[Outcome, str | None]:
    """What the end of a process says by itself."""
    if signal is not None:
        return Outcome.KILLED, f"signal {signal}"
    if exit_code is None:
        return Outcome.UNKNOWN, "its end was not recorded"
    return (Outcome.SUCCESS, None) if exit_code == 0 else (Outcome.FAILURE, f"exit code {exit_code}")


def with_variables(invocation: Invocation, variables: dict[str, str]) -> Invocation:
    """The invocation with what /proc said of its environment."""
    return msgspec.structs.replace(invocation, variables=variables)
