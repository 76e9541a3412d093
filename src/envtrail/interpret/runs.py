"""Programs that ran on a Python: scripts, modules, console scripts, Jupyter servers and kernels, launchers of many processes."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from envtrail.core import Process
from envtrail.interpret.emission import Emission, ScriptWanted
from envtrail.interpret.rows import Row
from envtrail.interpret.times import to_rfc3339
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, prefix_of_program, program_name, program_words
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import ScriptSeen
from envtrail.model.operation import Actor, EnvironmentRef, Evidence, Outcome
from envtrail.model.run import Run

_LAUNCHERS = frozenset(
    {"torchrun", "torch.distributed.run", "torch.distributed.launch", "accelerate", "deepspeed", "mpirun", "horovodrun"}
)
_HELPERS = ("multiprocessing.spawn", "multiprocessing.resource_tracker", "multiprocessing.forkserver")
_SYSTEM = ("/usr/share/", "/usr/lib/", "/usr/bin/lsb_release", "/usr/bin/apt", "/usr/bin/py3", "/usr/sbin/")
"""The distribution's own programs that happen to be written in Python."""
_MOST = 16_384
_MOST_ALIKE = 4096
_MOST_LATELY = 1024
_ALIKE_WITHIN_MS = 60_000
_ALIKE_AT_LEAST = 5
"""As many runs alike are shown one by one before a loop becomes one row with a count."""


class Runs:
    """Those that are going on, and the loops among those that are done."""

    def __init__(self) -> None:
        self._going: dict[int, Run] = {}
        self._lately: dict[int, Run] = {}
        """Those that have ended, for a moment: what is in their script may be told late."""
        self._alike: dict[tuple[object, ...], list[Run]] = {}

    def begin(
        self, row: Row, invocation: Invocation, above: Sequence[Process], *, host: str, actor: Actor, absent: dict[str, str]
    ) -> list[Emission]:
        """The run that an exec begins, and a wish for its script's content; nothing for an interpreter without a program."""
        run = begin_run(row, invocation, host=host, actor=actor, absent=absent)
        if run is None or len(self._going) >= _MOST:
            return []
        parent = next((self._going[process.image].id for process in above if process.image in self._going), None)
        run = msgspec.structs.replace(run, parent=parent)
        self._going[run.image] = run
        if run.kind in {"module", "jupyter"} or not run.program.startswith("/"):
            return [run]
        return [run, ScriptWanted(image=run.image, path=run.program)]

    def take_script(self, seen: ScriptSeen) -> list[Run]:
        """The content of a script was read; the run may have ended meanwhile."""
        table = self._going if seen.image in self._going else self._lately
        run = table.get(seen.image)
        if run is None:
            return []
        absent = run.absent if seen.sha256 else run.absent | {"script_sha256": seen.absent or "not recorded"}
        run = msgspec.structs.replace(run, script_sha256=seen.sha256, absent=absent)
        table[run.image] = run
        return [run]

    def take_name(self, uid: int, name: str | None) -> list[Run]:
        """The name of a uid was asked for as a run began: those that wait for it, with it."""
        waiting = [run for run in self._going.values() if name is not None and _waits_for(run.actor) == uid]
        for run in waiting:
            absent = {field: why for field, why in run.absent.items() if field != "actor.name"}
            actor = msgspec.structs.replace(run.actor, name=name)
            self._going[run.image] = msgspec.structs.replace(run, actor=actor, absent=absent)
        return [self._going[run.image] for run in waiting]

    def end(self, image: int, *, time_ms: int, exit_code: int | None, signal: int | None) -> list[Emission]:
        """The run with its end; in a loop, the row of its first with a count, and the run itself taken back."""
        run = self._going.pop(image, None)
        if run is None:
            return []
        run = end_run(run, time_ms=time_ms, exit_code=exit_code, signal=signal)
        key = (run.program, tuple(run.argv), run.environment, run.actor.auid, run.actor.uid, run.cwd, run.exit_code, run.signal)
        alike = [one for one in self._alike.pop(key, []) if _gap_ms(one, run) <= _ALIKE_WITHIN_MS]
        while len(self._alike) >= _MOST_ALIKE:
            del self._alike[next(iter(self._alike))]
        if len(alike) < _ALIKE_AT_LEAST:
            self._alike[key] = [*alike, run]
            self._remember(run)
            return [run]
        *others, last = alike
        last = self._lately.get(last.image, last)
        loop = msgspec.structs.replace(last, count=last.count + run.count, ended=run.ended)
        self._alike[key] = [*others, loop]
        self._remember(loop)
        run = msgspec.structs.replace(run, part_of=loop.id)
        self._remember(run)
        return [run, loop]

    def _remember(self, run: Run) -> None:
        while len(self._lately) >= _MOST_LATELY:
            del self._lately[next(iter(self._lately))]
        self._lately[run.image] = run

    def holds(self, image: int) -> bool:
        """Whether this image is a run that is going on."""
        return image in self._going

    def clear(self) -> None:
        """Forget what is going on: the machine was started anew."""
        self._going.clear()


def _waits_for(actor: Actor) -> int | None:
    """The uid whose name an actor lacks."""
    if actor.name is not None or actor.method not in {"auid", "uid"}:
        return None
    return actor.auid if actor.method == "auid" else actor.uid


def begin_run(row: Row, invocation: Invocation, *, host: str, actor: Actor, absent: dict[str, str]) -> Run | None:
    """The run that an exec begins; None for an interpreter without a program (`-c`, a prompt) and for helpers of one that runs."""
    word, arguments = program_words(invocation)
    if not word or word == "-c" or word == invocation.argv[0] or word in _HELPERS:
        return None
    is_module = _is_module(word, invocation)
    program = word if is_module else absolute(word, invocation.cwd) or program_name(word)
    prefix = prefix_of_invocation(invocation)
    event = EventId(node=host, time_ms=row["time"], serial=row["serial"])
    return Run(
        id=make_operation_id(event, prefix or "", kind="run"),
        kind=_kind_of(row["hint"], program, arguments, prefix, is_module=is_module),
        program=program,
        argv=invocation.argv,
        host=host,
        environment=EnvironmentRef(prefix=prefix, kind="unknown") if prefix else None,
        actor=actor,
        started=to_rfc3339(row["time"]),
        ended=None,
        outcome=Outcome.UNKNOWN,
        exit_code=None,
        signal=None,
        snapshot=None,
        cwd=invocation.cwd,
        pid=row["pid"],
        image=row["image"],
        absent=absent | {"ended": "still running, or its end was not recorded"},
        evidence=[Evidence(segment=0, serial=row["serial"], time_ms=row["time"])],
    )


def end_run(run: Run, *, time_ms: int, exit_code: int | None, signal: int | None) -> Run:
    """The run with its end."""
    outcome = Outcome.KILLED if signal else Outcome.SUCCESS if exit_code == 0 else Outcome.FAILURE
    absent = {name: why for name, why in run.absent.items() if name != "ended"}
    absent["signal" if signal is None else "exit_code"] = "not applicable"
    return msgspec.structs.replace(
        run, ended=to_rfc3339(time_ms), outcome=outcome, exit_code=exit_code, signal=signal, absent=absent
    )


def _is_module(word: str, invocation: Invocation) -> bool:
    named = any(part.startswith("-") and not part.startswith("--") and part.endswith("m") for part in invocation.argv[1:6])
    return "/" not in word and not word.endswith(".py") and named


def _kind_of(hint: str, program: str, arguments: list[str], prefix: str | None, *, is_module: bool) -> str:
    name = program if is_module else posixpath.basename(program)
    if "ipykernel" in name:
        return "kernel"
    if name in _LAUNCHERS and (name != "accelerate" or "launch" in arguments[:3]):
        return "launcher"
    if hint == "jupyter":
        return "jupyter"
    if is_module:
        return "module"
    if program.startswith(_SYSTEM):
        return "system"
    return "console" if prefix is not None and prefix_of_program(program) == prefix and not name.endswith(".py") else "script"


def _gap_ms(earlier: Run, later: Run) -> int:
    """Between the beginnings of two runs, as their images say; a loop's last end counts for its own."""
    from datetime import datetime

    ended = datetime.fromisoformat((earlier.ended or earlier.started).replace("Z", "+00:00"))
    return (later.image >> 20) - int(ended.timestamp() * 1000)
