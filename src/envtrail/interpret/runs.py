"""Python programs that ran: scripts, modules, Jupyter servers and kernels."""

from __future__ import annotations

import msgspec

from envtrail.interpret.rows import Row
from envtrail.interpret.times import to_rfc3339
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, program_name, program_words
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Actor, EnvironmentRef, Evidence, Outcome
from envtrail.model.run import Run


def begin_run(row: Row, invocation: Invocation, *, host: str, actor: Actor, absent: dict[str, str]) -> Run | None:
    """The run that an exec begins; None for an interpreter without a program (`-c`, a prompt)."""
    word, _ = program_words(invocation)
    if not word or word == "-c" or word == invocation.argv[0]:
        return None
    is_module = (
        "/" not in word
        and not word.endswith(".py")
        and any(part.startswith("-") and part.endswith("m") for part in invocation.argv[1:4])
    )
    name = program_name(word)
    kinds = ("kernel", "jupyter") if row["hint"] == "jupyter" else ("module", "script")
    kind = kinds[0] if is_module or "ipykernel" in word else kinds[1]
    prefix = prefix_of_invocation(invocation)
    event = EventId(node=host, time_ms=row["time"], serial=row["serial"])
    return Run(
        id=make_operation_id(event, prefix or "", kind="run"),
        kind=kind,
        program=word if is_module else absolute(word, invocation.cwd) or name,
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
