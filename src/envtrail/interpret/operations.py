"""Operations in the making: opened by an exec that states an intention, closed by its process's end, settled by the snapshot."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct

from envtrail.interpret.actors import Named
from envtrail.interpret.people import Subject
from envtrail.interpret.rows import Row, evidence_of
from envtrail.interpret.tool import Intention, Invocation
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.naming import normalise_name, requested_name
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

_NOWHERE = "no environment is where the command names one"


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
    """In what segments of version 2 took over: `package_key` → state, by the metadata whose creation was recorded."""
    removed: dict[str, PackageState] = {}
    saw_metadata: bool = False
    saw_place: bool = False
    """Some of the metadata lies where it was thought to work."""
    from_others: list[Change] = []
    """What an earlier snapshot showed while it was the only one at work, and no event explains."""
    why: dict[str, str] = {}
    elsewhere: dict[str, str | None] = {}
    """Prefix → kind (None: the environment itself says) of other environments that its processes were seen to change."""
    is_seen: bool = False
    """Its environment is one that its processes were seen to change."""
    first_thought: Intention | None = None
    """What it was taken for until that environment showed nothing of it."""
    is_missing: bool = False
    """Nothing of what was requested was there, and nowhere else could it have been."""
    is_without_effect: bool = False
    made: bool = False
    """Its environment was not there before."""
    given: OperationId | None = None
    """As its row has it that was given while its end was not read."""

    def take_inner(self, intention: Intention) -> None:
        """A manager below it states its own intention."""
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

    def misses(self, changes: Sequence[Change] | None, installed: AbstractSet[str] | None, *, is_there: bool) -> bool:
        """Whether its tool says that it did what was requested, and the environment shows nothing of it, for the first time.

        Args:
            changes: Its own.
            installed: Normalised names of what is there; None: not known, or somebody else has begun to change it.
            is_there: The environment is.
        """
        if self.first_thought is not None or self.exit_code != 0 or changes or self.from_others:
            return False
        if installed is None:
            return not is_there and bool(self.elsewhere) and self.intention.kind is not OperationKind.DELETE
        return bool(self.elsewhere) or not self._has_effect(installed)

    def find_nowhere(self) -> None:
        """No environment is where conda's name leads, and none was. pip makes its folders when it needs them."""
        is_change = self.intention.kind in {OperationKind.INSTALL, OperationKind.UPDATE, OperationKind.REMOVE}
        if is_change and self.intention.environment_kind == "conda":
            self.intention = msgspec.structs.replace(self.intention, prefix=None, why=_NOWHERE)

    def look_elsewhere(self, *, is_certain: bool, is_there: bool) -> None:
        """A configuration file may have sent it to another environment: what it was, or will be, seen to change decides.

        Args:
            is_certain: Nothing but the environment that it was thought to work in can hold what it requested.
            is_there: There is one.
        """
        if not is_there:
            self.find_nowhere()
        self.first_thought, self.is_missing = self.intention, is_certain
        if self.elsewhere:
            self.go_elsewhere()
        else:
            self.intention = msgspec.structs.replace(self.intention, prefix=None)

    def is_left_undone(self, changes: Sequence[Change] | None, installed: AbstractSet[str]) -> bool:
        """Whether what it was to remove is still there, untouched: of a package of two managers one half may stay."""
        removed = {normalise_name(change.name) for change in changes or () if change.after is None}
        return self.intention.kind is OperationKind.REMOVE and not self._has_effect(installed - removed)

    def _has_effect(self, installed: AbstractSet[str]) -> bool:
        """Whether the environment is as requested: what was named is there, or is not."""
        match self.intention.kind:
            case OperationKind.INSTALL:
                # A marker (`; python_version < "3"`) may exclude what is named.
                wanted = [name for spec in self.intention.requested if ";" not in spec and (name := requested_name(spec))]
                return all(name in installed for name in wanted)
            case OperationKind.REMOVE:
                return not any(name in installed for name in self.intention.names)
            case _:
                return True

    def see_elsewhere(self, prefix: str, kind: str | None) -> None:
        """Its processes were seen to change this environment, which it was not thought to work in."""
        moved_to = self.intention.moved_to
        if moved_to is not None and posixpath.basename(prefix) == posixpath.basename(moved_to):
            # A name is looked for in several folders.
            self.intention = msgspec.structs.replace(self.intention, moved_to=prefix)
            return
        self.elsewhere[prefix] = self.elsewhere.get(prefix) or kind

    def go_elsewhere(self) -> None:
        """It works in the first other environment that its processes were seen to change."""
        self.retarget(*next(iter(self.elsewhere.items())))

    @property
    def is_only_elsewhere(self) -> bool:
        """Whether records show it at work in another environment, and nothing where it was thought to (`--target` is taken at its word)."""
        is_named = self.intention.environment_kind == "target"
        return self.saw_metadata and bool(self.elsewhere) and not self.saw_place and not is_named

    def may_work_in(self, prefix: str) -> bool:
        """Whether it was seen to change an environment that it was not thought to work in, or has ended and nothing shows where it worked."""
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

    def works_in(self, prefix: str) -> bool:
        """Whether it changes this environment, as far as that is known."""
        return prefix in {self.intention.prefix, self.intention.moved_to} or prefix in self.elsewhere

    @property
    def is_new_place(self) -> bool:
        """Whether its environment is one that was not there before, or that it was looked for in."""
        return self.intention.kind is OperationKind.CREATE or self.first_thought is not None

    @property
    def makes_place(self) -> bool:
        """Whether nothing was in its environment before, as its command says."""
        clearing = {"--clear", "-c"} if self.intention.tool == "uv" else {"--clear"}
        return self.intention.kind is OperationKind.CREATE and clearing.isdisjoint(self.intention.argv)

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

    def settle(
        self,
        *,
        environment_kind: str | None,
        changes: list[Change] | None,
        absent: str | None,
        processes: int,
    ) -> Operation:
        """Make the document of it.

        Args:
            environment_kind: As the environment itself says.
            changes: Its own; None where nothing is known of them.
            absent: Why `changes` is None.
            processes: How many were seen in its tree.
        """
        reasons = dict(self.named.absent)
        why = self.why | {"actor": self.named.why}
        why.setdefault("changes", "the metadata that its processes made and removed; snapshots complete it")
        if changes is not None:
            changes = sorted([*self.from_others, *changes], key=lambda change: change.name)
            if self.intention.tool == "uv" and self.intention.names:
                # uv writes REQUESTED for every package, whether it was named or not.
                changes = [
                    msgspec.structs.replace(change, requested=normalise_name(change.name) in self.intention.names)
                    for change in changes
                ]
        if changes is None:
            reasons["changes"] = absent or "not recorded"
            del why["changes"]
        outcome, reason = self._judge()
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
            is_named = self.intention.why == _NOWHERE
            unnamed = "the command does not name it, and nothing was seen to change"
            reasons["environment.prefix"] = _NOWHERE if is_named else unnamed
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
            made=self.made,
            moved_to=self.intention.moved_to if outcome is Outcome.SUCCESS else None,
            requested=self.intention.requested,
            sources=list(dict.fromkeys([*self.intention.sources, *self.inner_sources])),
            why=why
            | {
                "outcome": reason or "exit code 0, and nothing shows that the environment is not as requested",
                "environment": self.intention.why,
            },
        )

    def _judge(self) -> tuple[Outcome, str | None]:
        """How it ended. What the tool says is believed, unless it is certain that nothing of it is so."""
        outcome, reason = judge_end(self.exit_code, self.signal)
        if outcome is Outcome.SUCCESS and self.is_without_effect:
            return Outcome.FAILURE, "no effect"
        return outcome, reason


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
