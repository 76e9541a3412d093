"""Runs from their exec to their end: what is below what, what was in the script, and loops as one row."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from envtrail.core import Process
from envtrail.interpret.actors import Named
from envtrail.interpret.emission import Emission, ScriptWanted
from envtrail.interpret.loops import Alike, Loops, began_ms
from envtrail.interpret.rows import Exec, evidence_of
from envtrail.interpret.run_kinds import Shape
from envtrail.interpret.tool import Invocation
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import ProcessSeen, ScriptSeen
from envtrail.model.operation import Actor, EnvironmentRef, Outcome
from envtrail.model.run import STILL_RUNNING, Run
from envtrail.model.times import to_rfc3339
from envtrail.model.withdrawn import Withdrawn

_MOST = 16_384
_MOST_ENDED = 1024
_MOST_CARRIED = 128
_SLACK_MS = 1000
"""The start time in /proc counts in clock ticks since boot; the exec is stamped by the wall clock."""
_INIT = 1
"""Every listing of the machine holds it; one process that was looked up is no listing."""
_END = ("ended", "exit_code", "signal")


class Runs:
    """Those that are going on, and for a moment those that have ended.

    Args:
        imported: What imported logs hold: nothing that is seen here and now says anything of it.
    """

    def __init__(self, imported: Container[int] = frozenset()) -> None:
        self._imported = imported
        self._going: dict[int, Run] = {}
        self._ended: dict[int, Run] = {}
        """What is in their script may be reported late, and what they started may begin late."""
        self._loops = Loops()
        self._listed: dict[int, int | None] | None = None
        """pid → start (ms) of every process, while a listing of the machine is taken in."""

    def begin(
        self,
        row: Exec,
        invocation: Invocation,
        shape: Shape,
        above: Sequence[Process],
        named: Named,
        *,
        host: str,
        kinds: Mapping[str, str],
        is_here: bool = True,
    ) -> list[Emission]:
        """The run that an exec begins, and a lookup for its script's content.

        Args:
            row: The exec.
            invocation: The same, as a tool sees it.
            shape: What runs.
            above: Its lineage, nearest first.
            named: Who it was.
            host: Name of the machine.
            kinds: Prefix → kind of the environments that are known.
            is_here: It is this machine, where the script can be read.
        """
        emissions: list[Emission] = []
        while len(self._going) >= _MOST:
            emissions.append(_without_end(self._going.pop(next(iter(self._going)))))
        held = (self._going.get(process.image) or self._ended.get(process.image) for process in above)
        parent = next((run.id for run in held if run), None)
        run = _begun(row, invocation, shape, named, host=host, kinds=kinds)
        if parent is not None:
            run = msgspec.structs.replace(run, parent=parent, absent=_without(run.absent, "parent"))
        known = self._going.get(run.image)
        if known is not None and known.id != run.id:
            emissions += self.drop(run.image)
        self._going[run.image] = run
        emissions.append(run)
        if shape.script is not None and is_here:
            inode = row.paths[0].inode if row.paths else None
            emissions.append(
                ScriptWanted(image=run.image, path=shape.script, uid=row.uid, executed=invocation.path, executed_inode=inode)
            )
        return emissions

    def drop(self, image: int) -> list[Emission]:
        """What was missing of its exec has been read: it is another, or none."""
        run = self._going.pop(image, None)
        return [Withdrawn(kind="run", id=run.id)] if run is not None else []

    def take_script(self, seen: ScriptSeen) -> list[Emission]:
        """The content of a script was read; the run may have ended meanwhile."""
        table = self._going if seen.image in self._going else self._ended
        run = table.get(seen.image)
        if run is None:
            return []
        absent = _without(run.absent, "script_sha256")
        if seen.sha256 is None:
            absent["script_sha256"] = seen.absent or "not recorded"
        run = table[run.image] = msgspec.structs.replace(run, script_sha256=seen.sha256, absent=absent)
        self._loops.learn(run)
        return [run]

    def take_name(self, uid: int, name: str | None, host: str) -> list[Run]:
        """The name of a uid was looked up as a run began: those of the machine that wait for it, with it; they may have ended meanwhile."""
        named: list[Run] = []
        for table in (self._going, self._ended):
            waiting = [one for one in table.values() if name is not None and one.host == host and _waits_for(one.actor) == uid]
            for run in waiting:
                actor = msgspec.structs.replace(run.actor, name=name)
                table[run.image] = msgspec.structs.replace(run, actor=actor, absent=_without(run.absent, "actor.name"))
                self._loops.learn(table[run.image])
                named.append(table[run.image])
        return named

    def end(self, image: int, *, time_ms: int, exit_code: int | None, signal: int | None) -> list[Emission]:
        """The run with its end; in a loop, the row that counts it too."""
        run = self._going.pop(image, None)
        if run is None:
            return []
        rows = self._loops.take(_with_end(run, time_ms, exit_code, signal), time_ms)
        for row in rows:
            self._ended[row.image] = row
        while len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        return [*rows]

    def take_listed(self, seen: ProcessSeen) -> None:
        """One process of a listing of the machine, made as an agent starts."""
        if self._listed is None:
            self._listed = {}
        self._listed[seen.pid] = seen.started_ms

    def close_listing(self, host: str) -> list[Emission]:
        """Runs of the machine that no process of the listing can be have ended while no agent ran."""
        if self._listed is None:
            return []
        listed, self._listed = self._listed, None
        if _INIT not in listed:
            return []
        lost = [run for run in self._here(host) if (run.pid not in listed or (listed[run.pid] or 0) > began_ms(run) + _SLACK_MS)]
        return [_without_end(self._going.pop(run.image)) for run in lost]

    def going(self) -> tuple[list[Run], list[Run], list[Alike]]:
        """Those whose end was not reported and the newest that have ended, oldest first; and what is alike."""
        return list(self._going.values()), list(self._ended.values())[-_MOST_CARRIED:], self._loops.going()

    def restore(self, going: Iterable[Run], ended: Iterable[Run], loops: Iterable[Alike]) -> None:
        """Take up what was going on."""
        self._going.update((run.image, run) for run in going)
        self._ended.update((run.image, run) for run in ended)
        self._loops.restore(loops)

    def give_up(self, images: AbstractSet[int], *, keep: bool) -> list[Emission]:
        """Those of these that are going on, as they are if no end will come; `keep`: one may."""
        found = [self._going[image] for image in sorted(images) if image in self._going]
        return [_without_end(run if keep else self._going.pop(run.image)) for run in found]

    def clear(self, host: str | None = None) -> list[Emission]:
        """The machine was started anew: what is going on, there or anywhere, has no end that is known."""
        return [_without_end(self._going.pop(run.image)) for run in self._here(host)]

    def _here(self, host: str | None) -> list[Run]:
        return [run for run in self._going.values() if host in {None, run.host} and run.image not in self._imported]


def _waits_for(actor: Actor) -> int | None:
    """The uid whose name an actor lacks."""
    if actor.name is not None or actor.method not in {"auid", "uid"}:
        return None
    return actor.auid if actor.method == "auid" else actor.uid


def _begun(row: Exec, invocation: Invocation, shape: Shape, named: Named, *, host: str, kinds: Mapping[str, str]) -> Run:
    event = EventId(node=host, time_ms=row.time, serial=row.serial)
    reasons = named.absent | dict.fromkeys(_END, STILL_RUNNING)
    reasons["parent"] = "not applicable: no run is above it"
    reasons["snapshot"] = "none was taken before it began"
    if shape.script is None:
        reasons["script_sha256"] = "not applicable: a module" if shape.kind != "script" else "its folder is not known"
    else:
        reasons["script_sha256"] = "not recorded"
    if shape.prefix is None:
        reasons["environment"] = "the command does not name the interpreter's prefix"
    return Run(
        id=make_operation_id(event, shape.prefix or "", kind="run"),
        kind=shape.kind,
        program=shape.program,
        argv=invocation.argv,
        host=host,
        environment=EnvironmentRef(prefix=shape.prefix, kind=kinds.get(shape.prefix, "unknown")) if shape.prefix else None,
        actor=named.actor,
        started=to_rfc3339(row.time),
        ended=None,
        outcome=Outcome.UNKNOWN,
        exit_code=None,
        signal=None,
        snapshot=None,
        cwd=invocation.cwd,
        pid=row.pid,
        image=row.image,
        absent=reasons,
        evidence=[evidence_of(row)],
    )


def _with_end(run: Run, time_ms: int, exit_code: int | None, signal: int | None) -> Run:
    absent = _without(run.absent, *_END)
    if exit_code is None and not signal:
        outcome = Outcome.UNKNOWN
        absent |= {"exit_code": "not recorded", "signal": "not recorded"}
    elif signal:
        outcome = Outcome.KILLED
        absent["exit_code"] = "not applicable"
    else:
        outcome = Outcome.SUCCESS if exit_code == 0 else Outcome.FAILURE
        absent["signal"] = "not applicable"
    return msgspec.structs.replace(
        run, ended=to_rfc3339(time_ms), outcome=outcome, exit_code=exit_code, signal=signal, absent=absent
    )


def _without_end(run: Run) -> Run:
    return msgspec.structs.replace(run, absent=run.absent | dict.fromkeys(_END, "its end was not recorded"))


def _without(absent: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: why for name, why in absent.items() if name not in names}
